"""What a change of the ring would move, and what moves now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from sadik_machine import NodeId

__all__ = ["Plan", "PlanResult", "Transfer", "Transfers", "TransfersResult"]


@frozen
class Plan:
    """What would a change of members move? ``joining`` are (name, zone, weight) of nodes that are
    not there yet; ``going`` are members that leave or are removed.
    """

    joining: tuple[tuple[str, str, float], ...] = ()
    going: tuple[NodeId, ...] = ()


@frozen
class Transfers:
    """What moves, in the whole cluster?"""


@frozen
class PlanResult:
    """The moves ``(partition, giver, receiver)``, their least possible number, and the balance.

    A node that is yet to join has no id: it goes by its name, as bytes.
    """

    moves: Sequence[tuple[int, bytes | None, bytes | None]]
    minimum: int
    slots: Mapping[bytes, tuple[int, int]]
    """By node: its owner slots now and then."""
    refusal: str = ""


@frozen
class Transfer:
    """One partition on its way, or planned to be. ``state`` is ``planned``, ``moving``,
    ``switching`` or ``waiting``; ``reason`` says what it waits for.
    """

    partition: int
    giver: NodeId | None
    receiver: NodeId | None
    bytes: int
    """What the receiver has of it: brought to it so far, or there when the transfer began."""
    state: str
    reason: str
    total: int
    """What it is going to have, as far as is known: an owner's estimate, and never below ``bytes``.
    """


@frozen
class TransfersResult:
    """All transfers, and which member drives them; None where none can be reached."""

    transfers: Sequence[Transfer]
    driver: NodeId | None
