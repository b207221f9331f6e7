"""The proposer's tally of one proposal, round by round. It knows nothing of messages or time.

A round prepares a ballot at all acceptors. Once a quorum of phase 1 has promised, it proposes the
value of the greatest ballot that any of them had accepted, and its own only where none had; once a
quorum of phase 2 has accepted, that value is decided.
"""

from __future__ import annotations

import enum

from sadik_machine import NodeId
from sadik_register.keys import ZERO_BALLOT, Ballot
from sadik_register.quorums import Quorums

__all__ = ["Phase", "Proposal"]


class Phase(enum.Enum):
    """How far a round is."""

    WAITING = "waiting"
    """Between rounds."""
    PREPARING = "preparing"
    ACCEPTING = "accepting"


class Proposal:
    """One value proposed for one register."""

    def __init__(self, value: bytes, quorums: Quorums) -> None:
        self.own = value
        self.quorums = quorums
        self.phase = Phase.WAITING
        self.ballot = ZERO_BALLOT
        self.value = value
        """What is proposed in this round."""
        self.failures = 0
        """Rounds that came to nothing."""
        self.was_proposed = False
        """Whether any acceptor may have accepted this proposal's own value."""
        self._seen = ZERO_BALLOT
        self._found = ZERO_BALLOT
        self._answered: dict[NodeId, None] = {}
        self._rejected: dict[NodeId, None] = {}

    def begin(self, proposer: NodeId, boot: int, above: int) -> Ballot:
        """Begin a round above every ballot that was heard of; its ballot.

        Its number is above ``above``, too: the greatest that this proposer has used in this life,
        for whatever proposal. An earlier one for the same register may have been given up.
        """
        self.ballot = Ballot(max(self._seen.round, above) + 1, proposer, boot)
        self.phase = Phase.PREPARING
        self.value = self.own
        self._found = ZERO_BALLOT
        self._answered, self._rejected = {}, {}
        return self.ballot

    def promised(
        self, acceptor: NodeId, ballot: Ballot, accepted: Ballot | None, value: bytes | None
    ) -> bool:
        """Count a promise; True when it is time to propose ``value``."""
        if self.phase is not Phase.PREPARING or not self._counts(acceptor, ballot):
            return False
        if accepted is not None and value is not None:
            self._adopt(accepted, value)
        self._answered[acceptor] = None
        if not self.quorums.has_phase1(self._answered):
            return False
        self.phase = Phase.ACCEPTING
        self.was_proposed = self.was_proposed or self._found == ZERO_BALLOT
        self._answered = {}
        return True

    def accepted(self, acceptor: NodeId, ballot: Ballot) -> bool:
        """Count an acceptance; True when the value is decided."""
        if self.phase is not Phase.ACCEPTING or not self._counts(acceptor, ballot):
            return False
        self._answered[acceptor] = None
        return self.quorums.has_phase2(self._answered)

    def rejected(self, acceptor: NodeId, ballot: Ballot, promised: Ballot) -> bool:
        """Count a rejection; True when the round can come to nothing any more."""
        self._seen = max(self._seen, promised)
        if self.phase is Phase.WAITING or not self._counts(acceptor, ballot):
            return False
        self._rejected[acceptor] = None
        left = [node for node in self.quorums.acceptors if node not in self._rejected]
        if self.phase is Phase.PREPARING:
            return not self.quorums.has_phase1(left)
        return not self.quorums.has_phase2(left)

    def give_up_round(self) -> None:
        """The round failed."""
        self.failures += 1
        self.phase = Phase.WAITING

    def propose_instead(self, value: bytes) -> None:
        """Another value of one's own, as long as no acceptor was sent the present one."""
        assert not self.was_proposed
        self.own = value
        if self._found == ZERO_BALLOT:
            self.value = value

    def _adopt(self, accepted: Ballot, value: bytes) -> None:
        if accepted > self._found:
            self._found = accepted
            self.value = value

    def _counts(self, acceptor: NodeId, ballot: Ballot) -> bool:
        return ballot == self.ballot and acceptor in self.quorums.acceptors
