"""The acceptor's records: loaded when asked for, stored before they are shown, bounded in memory.

A record in memory may be ahead of the disk. What shows it rides in ``Store.then``: in the store
that changes it, or in an empty one while another is under way. When a store fails, all that are
pending do; every record that was ahead is dropped then, and loaded again when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, define

from sadik_machine import Announce, Effect, GetRows, Load, NodeId, Send, Store, Ticket
from sadik_register.acceptor import Answer, Question, answer
from sadik_register.keys import RegisterKey
from sadik_register.messages import Decision, Rejected
from sadik_register.records import (
    EMPTY,
    AcceptorRecord,
    DamagedRecordError,
    read_record,
    record_row,
    row_key,
)
from sadik_register.requests import Conflict, Damaged, Decided
from sadik_register.settings import Counters, Limits

__all__ = ["Shelf"]


@define
class _Slot:
    record: AcceptorRecord | None = None
    """None while it is being loaded, or where it is damaged."""
    is_damaged: bool = False
    stores: int = 0
    """Stores of it under way."""
    waiting: list[tuple[NodeId, Question]] = Factory(list)


class Shelf:
    """All records of one acceptor.

    ``to_self`` takes answers for this node, once they may be shown.
    """

    def __init__(
        self,
        me: NodeId,
        prefix: bytes,
        limits: Limits,
        counters: Counters,
        next_ticket: Callable[[], Ticket],
    ) -> None:
        self._me = me
        self._prefix = prefix
        self._limits = limits
        self._counters = counters
        self._next_ticket = next_ticket
        self._slots: dict[RegisterKey, _Slot] = {}
        self._loads: dict[Ticket, RegisterKey] = {}
        self._stores: dict[Ticket, tuple[RegisterKey, Answer | None]] = {}
        self.effects: list[Effect] = []
        """Of the present step; the machine takes them."""
        self.to_self: list[Answer] = []
        """Answers to this node's own proposers and learners that may be shown now."""
        self.news: list[Conflict | Damaged] = []

    def __len__(self) -> int:
        return len(self._slots)

    def owns(self, ticket: Ticket) -> bool:
        """Whether a load or store under way is one of these."""
        return ticket in self._loads or ticket in self._stores

    def take(self, sender: NodeId, question: Question) -> None:
        """A question to this acceptor."""
        key = RegisterKey(question.name, question.epoch)
        slot = self._slots.pop(key, None)
        if slot is None:
            if not self._has_room():
                self._counters.dropped += 1
                return
            slot = _Slot()
            ticket = self._next_ticket()
            self._loads[ticket] = key
            self.effects.append(Load(ticket, GetRows([row_key(self._prefix, key)])))
        self._slots[key] = slot  # the last one used goes last
        if slot.record is not None or slot.is_damaged:
            self._serve(key, slot, sender, question)
        elif len(slot.waiting) < self._limits.waiting:
            slot.waiting.append((sender, question))
        else:
            self._counters.dropped += 1

    def loaded(self, ticket: Ticket, value: Any) -> None:
        """A record was read."""
        key = self._loads.pop(ticket)
        slot = self._slots[key]
        [row] = value
        try:
            slot.record = EMPTY if row is None else read_record(row_key(self._prefix, key), row)
        except DamagedRecordError:
            slot.is_damaged = True
            self._counters.damaged += 1
            self.news.append(Damaged(key))
        waiting, slot.waiting = slot.waiting, []
        for sender, question in waiting:
            self._serve(key, slot, sender, question)

    def stored(self, ticket: Ticket) -> None:
        """A record is on disk, and what showed it to others is on its way."""
        key, own = self._stores.pop(ticket)
        slot = self._slots.get(key)
        if slot is not None:
            slot.stores -= 1
        if own is not None:
            self.to_self.append(own)

    def failed(self, ticket: Ticket) -> None:
        """A record could not be read, or stored."""
        key = self._loads.pop(ticket, None)
        if key is not None:
            self._counters.dropped += len(self._slots.pop(key).waiting)
            return
        # All that is pending fails with it; the others are reported when nobody knows them any
        # more.
        for key, _ in self._stores.values():
            self._slots.pop(key, None)
        self._stores.clear()

    def forget(self, keys: Sequence[RegisterKey]) -> None:
        """Remove records, from memory and disk; what is under way about them is dropped."""
        gone = dict.fromkeys(keys)
        for key in gone:
            self._slots.pop(key, None)
        self._loads = {t: key for t, key in self._loads.items() if key not in gone}
        self._stores = {t: each for t, each in self._stores.items() if each[0] not in gone}
        if gone:
            ticket = self._next_ticket()
            self._stores[ticket] = (keys[0], None)
            rows = [(row_key(self._prefix, key), None) for key in gone]
            self.effects.append(Store(ticket, rows, []))

    def _serve(self, key: RegisterKey, slot: _Slot, sender: NodeId, question: Question) -> None:
        if slot.record is None:
            if not isinstance(question, Decision):
                return
            slot.record, slot.is_damaged = EMPTY, False
        before = slot.record
        slot.record, result = answer(before, question)
        if isinstance(result, Rejected):
            self._counters.rejected += 1
        if isinstance(question, Decision) and before.decided not in (None, question.value):
            assert before.decided is not None
            self._counters.conflicts += 1
            self.news.append(Conflict(key, before.decided, question.value))
        own = result if sender == self._me else None
        out: list[Effect] = []
        if result is not None and own is None:
            out.append(Send(sender, result))
        if slot.record is not before:
            if isinstance(question, Decision):
                out.append(Announce(Decided(key, question.value)))
            self._store(key, slot, [record_row(self._prefix, key, slot.record)], out, own)
        elif slot.stores and result is not None:
            self._store(key, slot, [], out, own)
        else:
            self.effects += out
            if own is not None:
                self.to_self.append(own)

    def _store(
        self,
        key: RegisterKey,
        slot: _Slot,
        batch: list[tuple[bytes, bytes | None]] | list[tuple[bytes, bytes]],
        then: list[Effect],
        own: Answer | None,
    ) -> None:
        ticket = self._next_ticket()
        slot.stores += 1
        self._stores[ticket] = (key, own)
        self.effects.append(Store(ticket, batch, then))

    def _has_room(self) -> bool:
        """Make room for one more record, of the one that was used least lately and is idle."""
        if len(self._slots) < self._limits.records:
            return True
        idle = next(
            (k for k, s in self._slots.items() if not s.stores and (s.record or s.is_damaged)), None
        )
        if idle is None:
            return False
        del self._slots[idle]
        return True
