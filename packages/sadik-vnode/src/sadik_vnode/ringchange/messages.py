"""What nodes say to each other to change the ring. Registers travel in their plain form."""

from __future__ import annotations

from attrs import define

from sadik_vnode.messages import MESSAGES

__all__ = [
    "Accept",
    "Accepted",
    "AdoptionAsked",
    "AdoptionTold",
    "FillAsked",
    "FillTold",
    "Prepare",
    "Promise",
    "TransfersAsked",
    "TransfersTold",
]


@MESSAGES.message(180)
@define(slots=True)
class Prepare:
    """Promise to take no register of this partition and epoch from a lesser ballot than mine."""

    request: int
    partition: int
    epoch: int
    ballot: tuple[int, bytes]


@MESSAGES.message(181)
@define(slots=True)
class Promise:
    """Promised, on disk, and this is what I had accepted before: ``ballot`` and ``register``.

    ``promised`` is another ballot where there was a greater one. ``newer`` is the register of one
    who knows that the epoch is decided.
    """

    request: int
    promised: tuple[int, bytes]
    ballot: tuple[int, bytes] | None
    register: tuple[object, ...] | None
    newer: tuple[object, ...] | None = None


@MESSAGES.message(182)
@define(slots=True)
class Accept:
    """Accept this register of the partition and epoch."""

    request: int
    partition: int
    epoch: int
    ballot: tuple[int, bytes]
    register: tuple[object, ...]


@MESSAGES.message(183)
@define(slots=True)
class Accepted:
    """Accepted, on disk, if ``promised`` is the ballot asked for; else that one is greater."""

    request: int
    promised: tuple[int, bytes]
    newer: tuple[object, ...] | None = None


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
    """How far that is. ``waits_for`` names what keeps it from going on, if anything does."""

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
    """Rows ``(partition, giver, receiver, bytes, state, reason)``."""

    request: int
    rows: tuple[tuple[int, bytes | None, bytes | None, int, str, str], ...]
