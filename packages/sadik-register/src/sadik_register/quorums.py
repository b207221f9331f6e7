"""Who must answer: flexible quorums.

Paxos needs only that each quorum of phase 1 (prepare) shares an acceptor with each quorum of phase
2 (accept); two quorums of one phase need share none (Howard, Malkhi and Spiegelman 2016, "Flexible
Paxos: Quorum intersection revisited"). So writing may need fewer acceptors, at the price that
taking over from another proposer needs more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from attrs import frozen

from sadik_machine import LocalProtocolError, NodeId

__all__ = ["ACCEPTORS_MAX", "Quorums"]

ACCEPTORS_MAX: Final = 255


@frozen
class Quorums:
    """The acceptors of a register and how many of them are a quorum in each phase.

    All proposers of one register must use the same, or at least ones whose quorums intersect.
    Raises `LocalProtocolError` where an acceptor is named twice, a quorum cannot be had, or quorums
    of the two phases might not intersect.
    """

    acceptors: tuple[NodeId, ...]
    phase1: int
    phase2: int

    def __attrs_post_init__(self) -> None:
        count = len(self.acceptors)
        if not 1 <= count <= ACCEPTORS_MAX or len(set(self.acceptors)) != count:
            raise LocalProtocolError(f"1 to {ACCEPTORS_MAX} acceptors, none of them twice")
        if not (1 <= self.phase1 <= count and 1 <= self.phase2 <= count):
            raise LocalProtocolError(f"a quorum of {count} acceptors has 1 to {count} of them")
        if self.phase1 + self.phase2 <= count:
            raise LocalProtocolError(
                f"{self.phase1} and {self.phase2} of {count} acceptors need not intersect"
            )

    @classmethod
    def majority(cls, acceptors: Iterable[NodeId]) -> Quorums:
        """More than half of the acceptors, in both phases."""
        nodes = tuple(acceptors)
        return cls(nodes, len(nodes) // 2 + 1, len(nodes) // 2 + 1)

    def has_phase1(self, answered: Collection[NodeId]) -> bool:
        """Whether these acceptors are a quorum of phase 1."""
        return len(answered) >= self.phase1

    def has_phase2(self, answered: Collection[NodeId]) -> bool:
        """Whether these acceptors are a quorum of phase 2."""
        return len(answered) >= self.phase2
