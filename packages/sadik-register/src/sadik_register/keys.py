"""Which register, and which attempt to write it."""

from __future__ import annotations

from typing import Final, NamedTuple

from sadik_machine import NODE_ID_BYTES, NodeId

__all__ = ["EPOCH_MAX", "NAME_BYTES_MAX", "ZERO_BALLOT", "Ballot", "RegisterKey"]

NAME_BYTES_MAX: Final = 200
EPOCH_MAX: Final = (1 << 64) - 1


class RegisterKey(NamedTuple):
    """One register: a name, and an epoch of it (0 to `EPOCH_MAX`). Each is written once."""

    name: bytes
    epoch: int

    @property
    def is_valid(self) -> bool:
        """Whether the parts are within their bounds."""
        return 1 <= len(self.name) <= NAME_BYTES_MAX and 0 <= self.epoch <= EPOCH_MAX


class Ballot(NamedTuple):
    """The number of one attempt (Lamport 2001's proposal number), in a total order.

    No two attempts share one: ``boot`` tells the lives of a proposer apart, since it forgets with
    each restart which rounds it has used.
    """

    round: int
    proposer: NodeId
    boot: int


ZERO_BALLOT: Final = Ballot(0, NodeId(bytes(NODE_ID_BYTES)), 0)
"""Below every ballot that a proposer makes."""
