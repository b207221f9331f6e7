"""A replica driven by hand: the test decides when a load is answered and when a batch syncs.

It keeps the promises of `sadik_machine.effects`: a load sees what was stored before it, batches
become durable in order, ``then`` is released when its batch is on disk, and a batch that fails
takes with it all that were emitted after it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from sadik_machine import (
    Effect,
    FailureReason,
    GetRows,
    Load,
    Reply,
    ScanRows,
    Send,
    Store,
    Ticket,
)
from sadik_vnode.births import Births
from sadik_vnode.counters import Counters
from sadik_vnode.keyspace import BIRTHS_ROW, Key
from sadik_vnode.outbox import Outbox
from sadik_vnode.record import Record
from sadik_vnode.replica import Replica

INSTANCE = b"instance"


class ReplicaHost:
    """One replica, its disk, and what waits: ``loads`` and ``stores``. ``left`` is what left."""

    def __init__(self) -> None:
        self.disk: dict[bytes, bytes] = {}
        self.loads: deque[tuple[Ticket, Any]] = deque()
        self.stores: deque[Store] = deque()
        self.left: list[Effect] = []
        self.boot()

    def boot(self) -> None:
        """Start on what is on disk; all else is gone."""
        self.loads.clear()
        self.stores.clear()
        self.outbox = Outbox()
        self.counters = Counters()
        births = Births(INSTANCE, self.disk.get(BIRTHS_ROW))
        self.replica = Replica(self.outbox, births, self.counters)

    def perform(self) -> None:
        """Take what the replica wants; loads are evaluated now and answered later."""
        self._perform(self.outbox.take())

    def answer_load(self) -> None:
        """Answer the oldest load."""
        ticket, value = self.loads.popleft()
        self.outbox.loaded(ticket, value)
        self.perform()

    def fail_load(self, reason: FailureReason = FailureReason.IO) -> None:
        """The oldest load fails."""
        self.outbox.failed(self.loads.popleft()[0], reason)
        self.perform()

    def sync(self, count: int = 1) -> None:
        """The oldest batches reach the disk together."""
        done = [self.stores.popleft() for _ in range(min(count, len(self.stores)))]
        for store in done:
            for row, value in store.batch:
                if value is None:
                    self.disk.pop(row, None)
                else:
                    self.disk[row] = value
        for store in done:
            self._perform(list(store.then))
            self.outbox.stored(store.ticket)
            self.perform()

    def fail_stores(self, reason: FailureReason = FailureReason.FULL) -> None:
        """The oldest batch fails, and all that are emitted before the last failure is told."""
        failed = list(self.stores)
        self.stores.clear()
        while failed:
            self.outbox.failed(failed.pop(0).ticket, reason)
            self.perform()
            if failed:
                failed += self.stores
                self.stores.clear()

    def settle(self) -> None:
        """Answer and sync until nothing waits."""
        self.perform()
        while self.loads or self.stores:
            while self.loads:
                self.answer_load()
            self.sync(len(self.stores))

    def on_disk(self, key: Key) -> Record:
        """The record as a power cut would leave it."""
        return Record.decode(self.disk.get(key.record_row))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Load(ticket, GetRows(keys)):
                    rows = self._seen()
                    self.loads.append((ticket, [rows.get(key) for key in keys]))
                case Load(ticket, ScanRows(start, bytes(end), limit)):
                    found = sorted(self._seen().items())
                    found = [(row, value) for row, value in found if start <= row < end]
                    self.loads.append((ticket, found[:limit]))
                case Store():
                    self.stores.append(effect)
                case Send() | Reply():
                    self.left.append(effect)
                case _:
                    raise AssertionError(f"a replica wants no {effect}")

    def _seen(self) -> dict[bytes, bytes]:
        """The rows as a load sees them: batches that wait for the disk included."""
        rows: dict[bytes, bytes | None] = dict(self.disk)
        for store in self.stores:
            rows.update(store.batch)
        return {row: value for row, value in rows.items() if value is not None}
