"""What the rest of a node knows of its cluster: members, ring, and who answers.

These are cold values: made when something changes, read on every request. Identity is not
address: a member is its id; name, addresses, zone and weight may change.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import field, frozen

from sadik_machine import NodeId

__all__ = ["Liveness", "Member", "MemberState", "Phase", "Register", "Ring"]


class MemberState(enum.IntEnum):
    """What a member has declared, or an operator for it. Greater beats lesser; LEFT absorbs."""

    JOINING = 1
    UP = 2
    LEAVING = 3
    LEFT = 4


class Liveness(enum.Enum):
    """What this node believes of a peer: local, for routing only; it never removes anyone."""

    UNKNOWN = "unknown"
    """Not heard of since this node started: it is tried, not presumed down."""
    UP = "up"
    SUSPECT = "suspect"
    """Its stream broke or its probes go unanswered: routed around, and probed on."""
    DOWN = "down"

    @property
    def is_routable(self) -> bool:
        """Whether requests are sent its way."""
        return self is Liveness.UP or self is Liveness.UNKNOWN


@frozen
class Member:
    """One node as the member table has it. Addresses are ``host:port`` texts."""

    id: NodeId
    name: str
    peer: str
    http: str
    zone: str
    weight: float
    incarnation: int
    state: MemberState
    boot_number: int
    boot_nonce: int
    is_forced: bool = False
    """Whether it was removed by force: then it has no voice in the registers that it owned."""


class Phase(enum.IntEnum):
    """How far a partition is on its way from one list of owners to another."""

    DONE = 0
    """There is one list of owners."""
    WRITE_BOTH = 1
    """Writes need quorums of both lists, reads one of the old."""
    READ_NEW = 2
    """Writes need quorums of both lists, reads one of the new."""


@frozen
class Register:
    """Who owns one partition since ``epoch``: a decided value that never changes in its epoch.

    ``owners`` are ordered owner slots, first owner first; empty before the first ring. While they
    change (``phase``) they are the nodes of both lists, those that are read first.
    """

    epoch: int
    owners: tuple[NodeId, ...]
    phase: Phase = Phase.DONE
    old: tuple[NodeId, ...] = ()
    """While they change: the owners that were."""
    new: tuple[NodeId, ...] = ()
    """While they change: the owners to be."""

    @staticmethod
    def changing(
        epoch: int, phase: Phase, old: tuple[NodeId, ...], new: tuple[NodeId, ...]
    ) -> Register:
        """The register of a partition that is on its way from ``old`` to ``new``."""
        assert phase is not Phase.DONE, "what is done has one list"
        first, then = (old, new) if phase is Phase.WRITE_BOTH else (new, old)
        return Register(epoch, (*first, *(n for n in then if n not in first)), phase, old, new)

    @property
    def readers(self) -> tuple[NodeId, ...]:
        """The owner slots that reads count."""
        match self.phase:
            case Phase.DONE:
                return self.owners
            case Phase.WRITE_BOTH:
                return self.old
            case Phase.READ_NEW:
                return self.new

    @property
    def lists(self) -> tuple[tuple[NodeId, ...], ...]:
        """The lists of owner slots, in each of which a write needs its quorum."""
        return (self.owners,) if self.phase is Phase.DONE else (self.old, self.new)

    @property
    def settled(self) -> tuple[NodeId, ...]:
        """The owners when the present change is over."""
        return self.owners if self.phase is Phase.DONE else self.new

    @property
    def acceptors(self) -> tuple[NodeId, ...]:
        """The nodes of which a majority decides the next epoch's register."""
        return self.owners if self.phase is Phase.DONE else self.old

    @property
    def receivers(self) -> tuple[NodeId, ...]:
        """While owners change: those that have to be brought what the partition holds.

        Where the list only shrinks they are the ones that stay.
        """
        found = tuple(node for node in self.new if node not in self.old)
        return found or self.new


@frozen
class Ring:
    """The registers of all partitions. ``len(registers)`` is a power of two, 8 to 4096."""

    replicas: int
    registers: tuple[Register, ...] = field(repr=False)

    @property
    def partitions(self) -> int:
        """How many partitions the cluster was formed with."""
        return len(self.registers)

    @property
    def epoch(self) -> int:
        """The greatest epoch of any partition."""
        return max(register.epoch for register in self.registers)

    def owned_by(self, node: NodeId) -> list[int]:
        """The partitions that ``node`` owns a replica of, ascending."""
        return [p for p, register in enumerate(self.registers) if node in register.owners]


MembersById = Mapping[NodeId, Member]
