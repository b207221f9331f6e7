"""The learner's tally of one question: what do the acceptors say was accepted?"""

from __future__ import annotations

from sadik_machine import NodeId
from sadik_register.keys import Ballot
from sadik_register.quorums import Quorums

__all__ = ["Inquiry"]


class Inquiry:
    """Answers to one question about one register."""

    def __init__(self, quorums: Quorums) -> None:
        self.quorums = quorums
        self._accepted: dict[NodeId, tuple[Ballot, bytes] | None] = {}

    def answered(self, acceptor: NodeId, accepted: tuple[Ballot, bytes] | None) -> None:
        """One acceptor's last accepted proposal. A later answer of the same one is not needed."""
        if acceptor in self.quorums.acceptors:
            self._accepted.setdefault(acceptor, accepted)

    @property
    def silent(self) -> list[NodeId]:
        """Who has not answered."""
        return [node for node in self.quorums.acceptors if node not in self._accepted]

    @property
    def decided(self) -> bytes | None:
        """The value that a quorum of phase 2 accepted in one ballot."""
        by_ballot: dict[Ballot, list[NodeId]] = {}
        for node, accepted in self._accepted.items():
            if accepted is not None:
                ballot, value = accepted
                nodes = by_ballot.setdefault(ballot, [])
                nodes.append(node)
                if self.quorums.has_phase2(nodes):
                    return value
        return None

    @property
    def is_vacant(self) -> bool:
        """Whether nothing was decided when the question was put.

        A quorum of phase 1 had accepted nothing, and every decision has an acceptor among them.
        """
        empty = [node for node, accepted in self._accepted.items() if accepted is None]
        return self.quorums.has_phase1(empty)
