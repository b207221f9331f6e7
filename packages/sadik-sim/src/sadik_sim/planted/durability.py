"""Bugs of durability: something leaves, or is built on, before it is on disk."""

# ruff: noqa: ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.coordinator.putting import waiting_for
from sadik_vnode.coordinator.repairing import Repairs
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.outbox import Outbox
from sadik_vnode.record import Record, seal_value
from sadik_vnode.replica import Replica
from sadik_vnode.requests import Written
from sadik_vnode.serving import Serving

__all__ = ["BUGS"]

_SUM_BYTES = 8


def _ack_before_store() -> list[Patch]:
    take = Replica.take

    def early(
        self: Replica, key: Any, incoming: Any, rows: Any, then: Any, done: Any, failed: Any
    ) -> None:
        self._outbox.perform(then)
        take(self, key, incoming, rows, (), done, failed)

    return [(Replica, "take", early)]


def _answered_before_stored() -> list[Patch]:
    merge_and_answer = Serving._merge_and_answer

    def early(self: Serving, sender: Any, message: Any, key: Any, incoming: Any) -> None:
        waiting = waiting_for(self._desk, sender, message.answer)
        if waiting is not None:
            waiting.stored()
        merge_and_answer(self, sender, message, key, incoming)

    return [(Serving, "_merge_and_answer", early)]


def _sent_before_stored() -> list[Patch]:
    store = Outbox.store

    def early(self: Outbox, batch: Any, then: Any, done: Any, failed: Any) -> None:
        self.perform(then)
        store(self, batch, (), done, failed)

    return [(Outbox, "store", early)]


def _counts_itself_early() -> list[Patch]:
    watch = Writing._watch

    def early(self: Writing, after: Any) -> None:
        watch(self, after)
        me = self.desk.self_id
        slot = next((slot for slot, node in self.slots if node == me), me)
        self._tally.add(slot, me, durable=self.desk.config.durable)
        if self._tally.enough:
            done = self._done
            done(Written(self.token, self._etag, self._tally.value(), me))
            self._done = lambda _result: None

    return [(Writing, "_watch", early)]


def _full_acknowledged() -> list[Patch]:
    failed = Outbox.failed

    def acknowledged(self: Outbox, ticket: Any, reason: Any) -> None:
        done, _ = self._stores.pop(ticket, (None, None))
        if done is not None:
            done()
        elif ticket in self._loads:
            failed(self, ticket, reason)

    return [(Outbox, "failed", acknowledged)]


def _read_shows_pending() -> list[Patch]:
    read = Replica.read

    def pending(self: Replica, key: Any, done: Any, failed: Any) -> None:
        state = self._states.get(key.name)
        if state is not None and state.record is not None and state.stores:
            done(state.record)
        else:
            read(self, key, done, failed)

    return [(Replica, "read", pending)]


def _builds_on_failed() -> list[Patch]:
    return [(Replica, "_drop_pending", lambda self: None)]


def _checksum_ignored() -> list[Patch]:
    def unchecked(_cls: type[Record], row: bytes | None) -> Record:
        if row is None:
            return decode(None)
        return decode(seal_value(row[_SUM_BYTES:]))

    decode = Record.decode
    return [(Record, "decode", classmethod(unchecked))]


def _damage_unmended() -> list[Patch]:
    return [(Repairs, "damaged", lambda self, key: None)]


BUGS = (
    PlantedBug(
        "ack-before-store",
        8,
        "A replica acknowledges a write before its batch is on disk.",
        _ack_before_store,
    ),
    PlantedBug(
        "answered-before-stored",
        8,
        "A node that forwarded a write answers its client when its copy comes, before that is on "
        "disk.",
        _answered_before_stored,
    ),
    PlantedBug(
        "sent-before-stored",
        8,
        "Messages and answers that rest on a store leave with it, not after it.",
        _sent_before_stored,
    ),
    PlantedBug(
        "counts-itself-early",
        8,
        "A coordinator counts its own copy before it is on disk.",
        _counts_itself_early,
    ),
    PlantedBug(
        "full-acknowledged",
        24,
        "A batch that the full disk refused counts as stored.",
        _full_acknowledged,
        {"profile": "disks"},
    ),
    PlantedBug(
        "read-shows-pending",
        29,
        "A read shows a state that is not on disk yet.",
        _read_shows_pending,
    ),
    PlantedBug(
        "builds-on-failed",
        28,
        "An update builds on the state of a batch that failed.",
        _builds_on_failed,
        {"profile": "disks"},
    ),
    PlantedBug(
        "checksum-ignored",
        24,
        "A record with a flipped bit is served as if it had been written so.",
        _checksum_ignored,
        {"profile": "disks"},
    ),
    PlantedBug(
        "damage-unmended",
        24,
        "A damaged record stays damaged, though the other owners have what it held.",
        _damage_unmended,
        {"profile": "disks"},
    ),
)
