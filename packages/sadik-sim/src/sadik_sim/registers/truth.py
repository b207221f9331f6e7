"""What is true of registers, as only somebody can know who sees every disk.

A value is decided the moment a quorum of phase 2 has accepted it under one ballot, on disk, whether
or not anybody knows. From that moment on nothing else may be decided, shown, or kept.
"""

from __future__ import annotations

from sadik_machine import NodeId
from sadik_register import Ballot, Decided, Quorums, RegisterKey, Undecided, Vacant
from sadik_register.messages import Accepted, Chosen, Decision, Promise
from sadik_register.records import EMPTY, AcceptorRecord, read_key, read_record, row_key
from sadik_sim.disk import Rows
from sadik_sim.violation import Violation

__all__ = ["Truth"]


class Truth:
    """Watches one run. ``prefix`` starts the rows of registers."""

    def __init__(self, quorums: Quorums, prefix: bytes = b"P") -> None:
        self._quorums = quorums
        self._prefix = prefix
        self._accepted: dict[tuple[RegisterKey, Ballot], dict[NodeId, bytes]] = {}
        self.decided: dict[RegisterKey, bytes] = {}
        self.proposed: dict[RegisterKey, dict[bytes, None]] = {}
        """What was asked to be written."""
        self.unwritten: dict[RegisterKey, dict[bytes, None]] = {}
        """What a client was told is not written, and never will be."""

    def stored(self, node: NodeId, row: bytes, value: bytes | None) -> None:
        """A row is on a node's disk."""
        if not row.startswith(self._prefix) or value is None:
            return
        key, record = read_key(self._prefix, row), read_record(row, value)
        if record.accepted is not None and record.value is not None:
            votes = self._accepted.setdefault((key, record.accepted), {})
            votes[node] = record.value
            if len(set(votes.values())) > 1:
                raise Violation("a register has one value", f"{record.accepted} has two of {key}")
            if len(votes) >= self._quorums.phase2:
                self.is_decided(key, record.value)
        if record.decided is not None:
            self.is_shown(key, record.decided)

    def is_decided(self, key: RegisterKey, value: bytes) -> None:
        """A quorum has accepted ``value``."""
        if self.decided.setdefault(key, value) != value:
            detail = f"{key} was decided as {self.decided[key]!r}, and as {value!r}"
            raise Violation("a register has one value", detail)
        if value not in self.proposed.get(key, {}):
            raise Violation("nothing from nowhere", f"{value!r} of {key} was not proposed")
        if value in self.unwritten.get(key, {}):
            raise Violation("not applied is never seen", f"{value!r} of {key} was never to be")

    def is_shown(self, key: RegisterKey, value: bytes) -> None:
        """Somebody says or keeps that ``value`` was decided."""
        if self.decided.get(key) != value:
            detail = f"{key} is said to be {value!r}, and is {self.decided.get(key)!r}"
            raise Violation("a register has one value", detail)

    def leaves(self, node: NodeId, message: object, durable: Rows) -> None:
        """A message is handed to the network: what it says must be on its sender's disk."""
        if isinstance(message, Decision | Chosen):
            self.is_shown(RegisterKey(message.name, message.epoch), message.value)
        if not isinstance(message, Promise | Accepted):
            return
        row = row_key(self._prefix, RegisterKey(message.name, message.epoch))
        value = durable.by_key.get(row)
        record = EMPTY if value is None else read_record(row, value)
        if not _holds(record, message):
            detail = f"{node.hex()} sends {message}, and has {record} on its disk"
            raise Violation("nothing leaves before it is on disk", detail)

    def answered(self, key: RegisterKey, value: bytes | None, result: object, was: bool) -> None:
        """A client is answered. ``was``: whether the register was decided when it asked."""
        match result:
            case Decided(_, decided):
                self.is_shown(key, decided)
            case Undecided(_, may_be_written=False) if value is not None:
                self.unwritten.setdefault(key, {})[value] = None
                if self.decided.get(key) == value:
                    raise Violation("not applied is never seen", f"{value!r} of {key} is decided")
            case Vacant() if was:
                raise Violation("a register has one value", f"{key} was decided, and is vacant")
            case _:
                pass


def _holds(record: AcceptorRecord, message: Promise | Accepted) -> bool:
    if record.decided is not None:
        return True
    if isinstance(message, Promise):
        return record.promised >= message.ballot
    return record.accepted is not None and record.accepted >= message.ballot
