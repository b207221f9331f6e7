"""How many hint notes wait, as a node tells it: as many as there are, whatever happens at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica_host import ReplicaHost
from sadik_causality import EMPTY, Container
from sadik_machine import NodeId
from sadik_vnode import hints
from sadik_vnode.hints import HintNotes, NoteCheck
from sadik_vnode.keyspace import HINTS_RANGE, Key, hint_row
from sadik_vnode.record import Rows
from sadik_vnode.version import version_of

KEYS = [Key("b", b"one"), Key("b", b"two"), Key("b", b"three")]
OWNERS = [NodeId(b"owner--1"), NodeId(b"owner--2")]
DOT = (b"actor--1", 1)
WRITTEN = Container({DOT: version_of(b"value", 1 << 16, None, (), None)}, EMPTY.with_dot(DOT))


class NotesHost(ReplicaHost):
    """A replica with notes beside its records, whose owners cannot be reached."""

    def boot(self) -> None:
        super().boot()
        placement = SimpleNamespace(has_left=lambda _node: False, ring=None)
        desk = SimpleNamespace(
            outbox=self.outbox,
            replica=self.replica,
            counters=self.counters,
            config=SimpleNamespace(hint_bytes_max=10_000),
            placement=placement,
        )
        self.notes = HintNotes(cast("Any", desk))
        self.notes.start()
        self.perform()

    def stand_in(self, key: Key, owners: list[NodeId]) -> None:
        """Merge what is for owners of a key, with notes of it, as `Serving` does."""

        def merge(check: NoteCheck) -> None:
            def rows() -> Rows | None:
                rows = self.notes.rows(owners, key, check)
                assert rows is not None
                self.notes.written(owners, key, check)
                return rows

            def failed(_reason: object) -> None:
                self.notes.note_lost(key, check)

            self.replica.merge(key, WRITTEN, rows, (), None, failed)

        self.notes.check(owners, key, merge)
        self.perform()

    def deliver(self, key: Key, owner: NodeId) -> None:
        """The owner has acknowledged what a delivery sent it, of what that has scanned."""
        slot = self.notes._slots.get(owner)
        if slot is not None and hint_row(owner, key) in self._seen():
            slot.delivery = cast("Any", SimpleNamespace(renoted=lambda _key: None))
            self.notes.delivered(owner, key)
            self.perform()

    def check_counts(self) -> None:
        """What is told is what a look at the disk finds."""
        there = [row for row in self.disk if HINTS_RANGE[0] <= row < HINTS_RANGE[1]]
        expected = []
        for owner in OWNERS:
            rows = [hint_row(owner, key) for key in KEYS if hint_row(owner, key) in there]
            if rows:
                expected.append((owner, len(rows), sum(map(len, rows))))
        assert self.notes.by_slot() == expected
        assert self.notes.bytes_pending == sum(map(len, there))


@pytest.fixture
def host() -> NotesHost:
    host = NotesHost()
    host.settle()
    return host


def test_two_writes_of_a_key_at_once_leave_one_note(host: NotesHost) -> None:
    host.stand_in(KEYS[0], OWNERS[:1])
    host.stand_in(KEYS[0], OWNERS[:1])
    assert len(host.loads) == 2, "both look for the note before either has written it"
    host.settle()
    host.check_counts()
    assert host.counters.hints_written == 1


def test_a_note_taken_away_while_a_write_looks_for_it_is_written_anew(host: NotesHost) -> None:
    host.stand_in(KEYS[0], OWNERS[:1])
    host.settle()
    host.boot()
    host.settle()
    host.stand_in(KEYS[0], OWNERS[:1])
    host.deliver(KEYS[0], OWNERS[0])
    host.settle()
    host.check_counts()
    assert host.notes.notes_pending == 1


def test_a_note_whose_batch_failed_is_not_counted_though_another_write_built_on_it(
    host: NotesHost,
) -> None:
    host.stand_in(KEYS[0], OWNERS)
    host.stand_in(KEYS[0], OWNERS)
    while host.loads:
        host.answer_load()
    host.fail_stores()
    host.settle()
    host.check_counts()
    assert host.notes.notes_pending == 0


@pytest.mark.property
@given(st.data())
def test_what_is_told_is_what_is_there_after_any_interleaving(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hints, "_SCAN_ROWS", 1)  # the count at the start goes in steps
        host = NotesHost()
        steps = st.sampled_from(["stand in", "deliver", "load", "sync", "fail", "boot", "check"])
        for step in data.draw(st.lists(steps, max_size=30)):
            key = data.draw(st.sampled_from(KEYS))
            owner = data.draw(st.sampled_from(OWNERS))
            match step:
                case "stand in":
                    some = data.draw(st.sampled_from([[owner], OWNERS]))
                    host.stand_in(key, some)
                case "deliver":
                    host.deliver(key, owner)
                case "load" if host.loads:
                    host.answer_load()
                case "sync" if host.stores:
                    host.sync(data.draw(st.integers(1, 3)))
                case "fail":
                    host.fail_stores()
                case "boot":
                    host.boot()
                case "check":
                    host.settle()
                    host.check_counts()
        host.settle()
        host.check_counts()
