"""What nodes say to each other to change the ring. Registers travel in their plain form."""

from __future__ import annotations

from attrs import define

from sadik_vnode.messages import MESSAGES

__all__ = [
    "AdoptionAsked",
    "AdoptionTold",
    "FillAsked",
    "FillTold",
    "RegistersTold",
    "SizesAsked",
    "SizesTold",
    "TransfersAsked",
    "TransfersTold",
]


@MESSAGES.message(183)
@define(slots=True)
class RegistersTold:
    """You asked under a register that is not the newest: these are newer than what you know."""

    registers: tuple[tuple[object, ...], ...]


@MESSAGES.message(184)
@define(slots=True)
class AdoptionAsked:
    """Adopt these decided registers, if they are new, and tell when they are on your disk."""

    request: int
    registers: tuple[tuple[object, ...], ...]


@MESSAGES.message(185)
@define(slots=True)
class AdoptionTold:
    """``(partition, epoch)`` of registers that this node has on disk."""

    request: int
    epochs: tuple[tuple[int, int], ...]


@MESSAGES.message(186)
@define(slots=True)
class FillAsked:
    """Bring yourself what the givers of this partition hold, under the register of this epoch."""

    request: int
    partition: int
    epoch: int


@MESSAGES.message(187)
@define(slots=True)
class FillTold:
    """How far that is. ``bytes`` counts what the receiver had when it began, too; ``waits_for``
    names what keeps it from going on, if anything does.
    """

    request: int
    partition: int
    epoch: int
    is_filled: bool
    bytes: int
    waits_for: str


@MESSAGES.message(188)
@define(slots=True)
class TransfersAsked:
    """You drive the changes of the ring: tell how far they are."""

    request: int


@MESSAGES.message(189)
@define(slots=True)
class TransfersTold:
    """Rows ``(partition, giver, receiver, bytes, state, reason)``, and beside them the bytes that
    there are to be in the end: none where the sender is of a version that does not know.
    """

    request: int
    rows: tuple[tuple[int, bytes | None, bytes | None, int, str, str], ...]
    totals: tuple[int, ...] = ()


@MESSAGES.message(190)
@define(slots=True)
class SizesAsked:
    """You own these partitions: how many bytes are they?"""

    partitions: tuple[int, ...]


@MESSAGES.message(191)
@define(slots=True)
class SizesTold:
    """``(partition, bytes)``, the bytes estimated (`sadik_vnode.ringchange.measuring`)."""

    sizes: tuple[tuple[int, int], ...]
