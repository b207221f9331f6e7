"""What the rest of a node knows of its cluster: members, ring, and who answers.

These are cold values: made when something changes, read on every request. Identity is not
address: a member is its id; name, addresses, zone and weight may change.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import field, frozen

from sadik_machine import NodeId

__all__ = ["Liveness", "Member", "MemberState", "Register", "Ring"]


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
        return self in (Liveness.UNKNOWN, Liveness.UP)


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


@frozen
class Register:
    """Who owns one partition since ``epoch``: a decided value that never changes in its epoch.

    ``owners`` are ordered owner slots, first owner first; empty before the first ring.
    """

    epoch: int
    owners: tuple[NodeId, ...]


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
