"""This node's own records: every read and every update of a key, one after another.

An update loads the record, changes it and stores it, atomically per key: while a store is under
way the next update of the key builds on its pending state, not on the disk. A read never shows
a pending state: it waits, behind an empty store, until that state is on disk. When a store
fails, every pending state built on it is dropped with it and the next operation loads from disk.

What is on disk of keys that were met lately is known for a while (`sadik_vnode.known`), and need
not be loaded.

Applying is always merging, so a write that comes twice, late, or by three ways at once is harmless.

Whatever changes a record changes the leaf of the hash tree that it belongs to in the same batch,
and its row in the order of what is due: here, and nowhere else. A record that is taken away leaves
no row behind, and whoever writes the key next begins a new birth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import Factory, define

from sadik_causality import Container, Dot
from sadik_hashing import record_hash
from sadik_machine import Effect, FailureReason, GetRows
from sadik_vnode.births import Births
from sadik_vnode.blocks import UpdatesTogether
from sadik_vnode.counters import Counters
from sadik_vnode.key_state import Change, KeyState, MakeChange, unknown_leaves
from sadik_vnode.keyspace import Key, due_row, index_row, leaf_row
from sadik_vnode.known import Known
from sadik_vnode.outbox import OnFailed, OnStored, Outbox
from sadik_vnode.record import (
    ABSENT,
    INLINE_BYTES_MAX,
    DamagedRecord,
    Record,
    Rows,
    open_value,
    seal_value,
)
from sadik_vnode.tree import HashTree, HeldLeaf, hash_of
from sadik_vnode.version import Version

__all__ = ["Replica"]


Update = tuple[Key, MakeChange, OnStored | None, OnFailed]
"""What `Replica.update` is asked for."""


@define(slots=True)
class _Shut:
    """Leaves whose records stay as they are for now; ``busy`` updates of them are to end first."""

    first: int
    stop: int
    busy: int
    quiet: Callable[[], None]
    held: list[tuple[Key, MakeChange, OnStored | None, OnFailed]] = Factory(list)


@define(slots=True)
class _Page:
    """Records that came together, as `Replica.merge_many` is given them."""

    may_go_on: Callable[[], bool]
    done: Callable[[int], None]
    failed: OnFailed


class Replica:
    """The records of one node."""

    def __init__(self, outbox: Outbox, births: Births, counters: Counters) -> None:
        self._outbox: Final = outbox
        self._births: Final = births
        self._counters: Final = counters
        self._states: dict[bytes, KeyState] = {}
        """Of the keys that are being updated, by name, whose hash is cheaper than that of a key."""
        outbox.store_failing = self._drop_pending
        self.tree = HashTree(outbox)
        self._shut: _Shut | None = None
        self._gathered: list[Update] | None = None
        self.on_damaged: Callable[[Key], None] = _ignore
        """Called with the key of a record, or of a large value, that turned out to be damaged."""
        self.on_changed: Callable[[Key], None] = _ignore
        """Called with the key of every record that is made or changed, before it is on disk."""
        self.on_due: Callable[[Key, int | None], None] = _ignore_due
        """Called with the key of a record whose `due_ms` changes, and what it is now, before it is
        on disk."""
        self.tombstones = 0
        """Records on disk of nothing but deletes. For people: `sadik_vnode.reaping` counts them."""
        self._known: Final = Known()
        self._failures = 0
        self.has_written = False
        """Whether any record was ever stored, or tried to be, since the start."""

    @property
    def keys_pending(self) -> int:
        """How many keys are being updated."""
        return len(self._states)

    def known(self, key: Key) -> Record | None:
        """The record as it is on disk, as `read` gives it, where that need not be looked up."""
        name = key.name
        state = self._states.get(name)
        if state is not None and state.stores:
            return None
        known = self._known.get(name)
        return None if known is None else known.record

    def read(self, key: Key, done: Callable[[Record], None], failed: OnFailed) -> None:
        """Give the record as it is on disk; bodies in rows of their own are left there."""
        state = self._states.get(key.name)
        record = None if state is None or not state.stores else state.record
        if record is not None:
            self._outbox.store((), (), lambda: done(record), lambda _: self.read(key, done, failed))
            return
        self._load(key, done, failed)

    def read_many(
        self,
        keys: Sequence[Key],
        done: Callable[[list[Record]], None],
        failed: OnFailed,
        *,
        for_client: bool = False,
    ) -> None:
        """Give many records at once, as they are on disk. A damaged one fails them all.

        Those that a client asks for, and nobody else, are known for a while, and not loaded then.
        """
        failures, changes = self._failures, self._known.changes
        known = [self.known(key) for key in keys] if for_client else [None] * len(keys)

        def again() -> None:
            self.read_many(keys, done, failed, for_client=for_client)

        def loaded(rows: list[bytes | None]) -> None:
            if failures != self._failures:
                again()  # some of it may have been taken back meanwhile
                return
            records = []
            next_row = iter(rows)
            for key, record in zip(keys, known, strict=True):
                if record is None:
                    row = next(next_row)
                    record = self._decoded(key, row)
                    if record is None:
                        failed(FailureReason.DAMAGED)
                        return
                    if for_client and key.name not in self._states:
                        self._known.learn(key, record, len(row or b""), changes)
                records.append(record)
            if any(key.name in self._states for key in keys):
                # A load sees stores that are under way: show it once those are on disk.
                self._outbox.store((), (), lambda: done(records), lambda _: again())
            else:
                done(records)

        wanted = [k.record_row for k, record in zip(keys, known, strict=True) if record is None]
        self._outbox.load(GetRows(wanted), loaded, failed)

    def read_bodies(
        self,
        key: Key,
        dots: Sequence[Dot],
        done: Callable[[dict[Dot, bytes]], None],
        failed: OnFailed,
    ) -> None:
        """Give the bodies of versions that lie in rows of their own.

        One that was replaced meanwhile is absent from the answer.
        """

        def loaded(rows: list[bytes | None]) -> None:
            bodies: dict[Dot, bytes] = {}
            try:
                for dot, row in zip(dots, rows, strict=True):
                    if row is not None:
                        bodies[dot] = open_value(row)
            except DamagedRecord:
                self._counters.damaged_records += 1
                self.on_damaged(key)
                failed(FailureReason.DAMAGED)
                return
            done(bodies)

        self._outbox.load(GetRows([key.value_row(dot) for dot in dots]), loaded, failed)

    def read_whole(self, key: Key, done: Callable[[Record], None], failed: OnFailed) -> None:
        """Give the record as it is on disk, with all bodies."""

        def read(record: Record) -> None:
            outside = [dot for dot, _ in record.bodies_outside()]
            if not outside:
                done(record)
                return

            def with_bodies(bodies: dict[Dot, bytes]) -> None:
                if len(bodies) < len(outside):
                    self.read_whole(key, done, failed)  # a version was replaced meanwhile
                else:
                    done(record.with_bodies(bodies))

            self.read_bodies(key, outside, with_bodies, failed)

        self.read(key, read, failed)

    def update(self, key: Key, make: MakeChange, done: OnStored | None, failed: OnFailed) -> None:
        """Change a record. ``make`` is called once, with the state that the change builds on.

        ``done`` is called when the change is on disk; neither ``done`` nor ``failed`` is
        where ``make`` returns None.
        """
        if self._gathered is not None:
            self._gathered.append((key, make, done, failed))
            return
        if self._shut is not None and self._is_shut(key):
            self._shut.held.append((key, make, done, failed))
            return
        state = self._states.get(key.name)
        if state is None:
            state = self._begun(key)
            if state.record is None:
                state.waiting.append((make, done, failed))
                self._load_for_update([(key, state)])
                return
        elif state.record is None or state.waiting:
            state.waiting.append((make, done, failed))
            return
        self._apply(key, state, make, done, failed)

    def _begun(self, key: Key) -> KeyState:
        """The state of a key which nobody has been updating. It has its record where nothing need
        be loaded.
        """
        leaf = self.tree.hold(key.leaf)
        state = self._known.get(key.name)
        if state is None or (leaf is not None and leaf.pending is None):
            state = KeyState(key)
        state.leaf = leaf
        self._states[key.name] = state
        return state

    def together(self) -> UpdatesTogether:
        """What updates are asked for within the block begin at its end, by `update_many`."""
        return UpdatesTogether(self)

    def gather(self) -> None:
        """Gather updates from now on; see `together`."""
        assert self._gathered is None, "updates are gathered once"
        self._gathered = []

    def take_gathered(self) -> Sequence[Update]:
        """What was gathered; from now on updates begin at once again."""
        gathered = self._gathered
        assert gathered is not None, "updates are gathered"
        self._gathered = None
        return gathered

    def update_many(self, updates: Sequence[Update]) -> None:
        """Change many records, as `update` does each. Those that nobody else is changing are loaded
        together and stored together, which is what makes it cheap.
        """
        loading: list[tuple[Key, KeyState]] = []
        left: list[KeyState] = []
        for key, make, done, failed in updates:
            if key.name in self._states or self._is_shut(key):
                self.update(key, make, done, failed)
                continue
            state = self._begun(key)
            state.waiting.append((make, done, failed))
            if state.record is None:
                loading.append((key, state))
            else:
                left.append(state)
        if loading:
            self._load_for_update(loading, left)
        elif left:
            with self._outbox.one_store():
                self._ready_many(left)

    def _is_shut(self, key: Key) -> bool:
        return self._shut is not None and self._shut.first <= key.leaf < self._shut.stop

    def merge(
        self,
        key: Key,
        incoming: Container[Version],
        rows: Callable[[], Rows | None],
        then: Sequence[Effect],
        done: OnStored | None,
        failed: OnFailed,
    ) -> None:
        """Merge versions into the record; see `take`."""
        self.take(key, Record(incoming), rows, then, done, failed)

    def take(
        self,
        key: Key,
        incoming: Record,
        rows: Callable[[], Rows | None],
        then: Sequence[Effect],
        done: OnStored | None,
        failed: OnFailed,
    ) -> None:
        """Merge another node's record, which has no actor, into the record. Where it replaces all
        that there is, it is stored as it came.

        ``rows`` gives further rows of the batch (a hint note), or None to give the change up.
        """

        def make(before: Record) -> Change | None:
            extra = rows()
            return None if extra is None else self._merged(before, incoming, extra, then)

        self.update(key, make, done, failed)

    def merge_many(
        self,
        arrivals: Sequence[tuple[Key, Record]],
        may_go_on: Callable[[], bool],
        done: Callable[[int], None],
        failed: OnFailed,
    ) -> None:
        """Merge records of other nodes, each when its own can be loaded. ``done`` is called with
        how many are on disk, and ``failed`` for each that is not going to be.

        ``may_go_on`` is asked of each, at the last moment, whether it is still to be merged; where
        not, neither is called.

        What nothing is known of here is stored as it came, all of it at once, if nobody else wants
        to change it.
        """
        page = _Page(may_go_on, done, failed)
        loading: list[tuple[Record, KeyState]] = []
        others: list[Update] = []
        for key, record in arrivals:
            name = key.name
            if (
                not record.is_one_row
                or name in self._states
                or self._known.get(name) is not None
                or self._is_shut(key)
            ):
                others.append((key, *self._merging(record, page)))
                continue
            loading.append((record, self._begun(key)))
        if loading:
            self._load_page(loading, page)
        if others:
            self.update_many(others)

    def _merging(self, record: Record, page: _Page) -> tuple[MakeChange, OnStored, OnFailed]:
        """The same of one record as a change of its own."""

        def make(before: Record) -> Change | None:
            if not page.may_go_on():
                return None
            return self._merged(before, record, [], ())

        def stored() -> None:
            page.done(1)

        return make, stored, page.failed

    def _load_page(self, loading: Sequence[tuple[Record, KeyState]], page: _Page) -> None:
        pairs = [(state.key, state) for _, state in loading]
        leaves = unknown_leaves(pairs)
        rows = [key.record_row for key, _ in pairs]
        rows += map(leaf_row, leaves)

        def loaded(values: list[bytes | None]) -> None:
            for leaf, value in zip(leaves.values(), values[len(pairs) :], strict=True):
                self.tree.loaded(leaf, value)
            new: list[tuple[Record, KeyState]] = []
            others: list[tuple[KeyState, bytes | None]] = []
            for (record, state), value in zip(loading, values, strict=False):
                if value is None and not state.waiting:
                    new.append((record, state))
                else:
                    state.waiting.insert(0, self._merging(record, page))
                    others.append((state, value))
            with self._outbox.one_store():
                self._store_new(new, page)
                for state, value in others:
                    self._loaded_for_update(state.key, state, value)

        def failed(reason: FailureReason) -> None:
            for record, state in loading:
                state.waiting.insert(0, self._merging(record, page))
            self._not_loaded_together(pairs, reason)

        self._outbox.load(GetRows(tuple(rows)), loaded, failed)

    def _store_new(self, arrivals: Sequence[tuple[Record, KeyState]], page: _Page) -> None:
        """Store records of which nothing is known here as they came. All that `_apply` does for
        each is done for them together.
        """
        rows: Rows = []
        states: list[KeyState] = []
        leaves: dict[int, HeldLeaf] = {}
        graves = 0
        for record, state in arrivals:
            key, leaf = state.key, state.leaf
            if not page.may_go_on():
                self._forget(key, state)
                continue
            self.on_changed(key)
            row, due = record.encode(), record.due_ms()
            rows += ((key.record_row, row), (index_row(key), b""))
            if due is not None:
                rows.append((due_row(due, key), b""))
                graves += due == 0
                self.on_due(key, due)
            dots = record.live_dots()
            if leaf is not None and dots:
                state.hash = added = record_hash(key.name, dots)
                self.tree.add(leaf, added)
                leaves[leaf.number] = leaf
            state.record = record
            state.is_passing = True
            state.size = len(row)
            state.stores = 1
            states.append(state)
        if not states:
            return
        self.has_written = True
        self._known.changes += 1
        sums: list[tuple[HeldLeaf, int]] = []
        for leaf in leaves.values():
            value, leafs_row = self.tree.row(leaf)
            sums.append((leaf, value))
            rows.append(leafs_row)

        def stored() -> None:
            for leaf, value in sums:
                self.tree.stored(leaf, value)
            self.tombstones += graves
            for state in states:
                state.stores -= 1
                self._release(state.key, state)
            page.done(len(states))

        def failed(reason: FailureReason) -> None:
            for _ in states:
                page.failed(reason)

        self._outbox.store(rows, (), stored, failed)

    def _merged(
        self, before: Record, incoming: Record, extra: Rows, then: Sequence[Effect]
    ) -> Change:
        if not before.own_actor and (
            incoming.replaces(before) or (before.is_absent and not incoming.is_absent)
        ):
            return Change(incoming, extra, then)
        merged = before.container.merge(incoming.container)
        own = before.own_actor
        if before.lost_tail(incoming.context):
            self._counters.lost_tails += 1
            own = b""
        elif merged is before.container:
            return Change(before, extra, then)
        return Change(Record(merged, own), extra, then)

    def mend(
        self,
        key: Key,
        whole: Container[Version],
        is_recent: Callable[[], bool],
        failed: OnFailed,
    ) -> None:
        """Merge what the owners have into a record that was damaged, and write again all of its
        large values that ``whole`` has. An empty ``whole`` leaves no record in its place.

        ``is_recent`` is asked at the last moment whether ``whole`` is not too old to be merged.
        """

        def make(before: Record) -> Change | None:
            if not is_recent():
                return None
            merged = before.container.merge(whole)
            rows: Rows = [
                (key.value_row(dot), seal_value(version.body))
                for dot, version in whole.versions.items()
                if dot in before.container.versions
                and version.body is not None
                and version.size > INLINE_BYTES_MAX
            ]
            if merged is before.container and not before.is_absent:
                return Change(before, rows, ())
            return Change(Record(merged, before.own_actor), rows, ())

        self._known.drop(key.name)
        self.update(key, make, None, failed)

    def take_away(
        self, key: Key, may_go: Callable[[Record], bool], done: OnStored | None, failed: OnFailed
    ) -> None:
        """Remove a record with all its rows if ``may_go`` says so of it as it is then.

        ``done`` is called when that is on disk, or at once where it stays or there is none.
        """

        def make(before: Record) -> Change:
            if before.is_absent or not may_go(before):
                return Change(before, [], ())
            return Change(ABSENT, [], ())

        self.update(key, make, done, failed)

    def next_dot(self, record: Record) -> tuple[Dot, Rows]:
        """A dot that was never made before, for a write on top of ``record``.

        The rows must be in the batch that stores it.
        """
        own = record.own_actor
        if own and self._births.may_go_on(own):
            return (own, record.container.context.counter(own) + 1), []
        actor, rows = self._births.draw()
        return (actor, 1), rows

    def _decoded(self, key: Key, row: bytes | None) -> Record | None:
        """The record of a row; None where it is damaged, which is counted and seen to."""
        if row is None:
            return ABSENT
        try:
            return Record.decode(row)
        except DamagedRecord:
            self._counters.damaged_records += 1
            self.on_damaged(key)
            return None

    def _load(self, key: Key, done: Callable[[Record], None], failed: OnFailed) -> None:
        changes = self._known.changes

        def loaded(rows: list[bytes | None]) -> None:
            row = rows[0]
            record = self._decoded(key, row)
            if record is None:
                failed(FailureReason.DAMAGED)
                return
            if key.name not in self._states:
                self._known.learn(key, record, len(row or b""), changes)
            done(record)

        self._outbox.load(GetRows((key.record_row,)), loaded, failed)

    def _load_for_update(
        self,
        loading: Sequence[tuple[Key, KeyState]],
        left: Sequence[KeyState] = (),
    ) -> None:
        """Load records, and the sums of their leaves where no other update has them in hand. What
        is known of others, ``left``, is used when they are there, so that all are stored together.
        """
        rows = [key.record_row for key, _ in loading]
        leaves = unknown_leaves(loading)
        rows += map(leaf_row, leaves)

        def loaded(values: list[bytes | None]) -> None:
            for leaf, value in zip(leaves.values(), values[len(loading) :], strict=True):
                self.tree.loaded(leaf, value)
            if not left and len(loading) == 1:
                self._loaded_for_update(*loading[0], values[0])
                return
            with self._outbox.one_store():
                self._ready_many(left)
                for (key, state), value in zip(loading, values, strict=False):
                    self._loaded_for_update(key, state, value)

        def failed(reason: FailureReason) -> None:
            self._ready_many(left)
            self._not_loaded_together(loading, reason)

        self._outbox.load(GetRows(tuple(rows)), loaded, failed)

    def _not_loaded_together(
        self, loading: Sequence[tuple[Key, KeyState]], reason: FailureReason
    ) -> None:
        if reason is FailureReason.DAMAGED and len(loading) > 1:
            for each in loading:
                self._load_for_update([each])  # which of them it is
            return
        for key, state in loading:
            self._not_loaded(key, state, reason)

    def _loaded_for_update(self, key: Key, state: KeyState, row: bytes | None) -> None:
        record = self._decoded(key, row)
        if record is None:
            self._not_loaded(key, state, FailureReason.DAMAGED)
        else:
            state.size = len(row or b"")
            self._ready(key, state, record)

    def _ready_many(self, left: Sequence[KeyState]) -> None:
        """Go on with keys of which it is known what updates have left on disk."""
        for state in left:
            self._go_on(state.key, state)

    def _ready(self, key: Key, state: KeyState, record: Record) -> None:
        state.record = record
        self._go_on(key, state)

    def _go_on(self, key: Key, state: KeyState) -> None:
        """The record is there: do what waited for it."""
        waiting, state.waiting = state.waiting, []
        for make, done, failed in waiting:
            if self._states.get(key.name) is state:
                self._apply(key, state, make, done, failed)
            else:
                self.update(key, make, done, failed)

    def _not_loaded(self, key: Key, state: KeyState, reason: FailureReason) -> None:
        if reason is FailureReason.DAMAGED:
            # What was here is gone, its actor too; the other owners have it, and are asked.
            if state.leaf is not None:
                self.tree.broken(state.leaf)
            self._ready(key, state, ABSENT)
            return
        self._known.drop(key.name)
        self._forget(key, state)
        for _, _, on_failed in state.waiting:
            on_failed(reason)

    def _apply(
        self,
        key: Key,
        state: KeyState,
        make: MakeChange,
        done: OnStored | None,
        failed: OnFailed,
    ) -> None:
        before = state.record
        assert before is not None, "a change builds on a loaded record"
        change = make(before)
        if change is None:
            # A birth may have been drawn for it, whose reservation is not going to be stored.
            self._births.reservation_failed()
            self._release(key, state)
            return
        if state.stores:
            # Each state of a record is in a store of its own: else what was written before the last
            # one would never have been on disk.
            self._outbox.end_store()
        rows = change.rows
        leaf_sum: int | None = None
        graves = 0
        if change.record is not before:
            self.has_written = True
            if not change.record.is_absent:
                self.on_changed(key)
            own_rows = change.record.rows(key, before)
            rows = rows + own_rows
            if change.record.is_absent:
                rows.append((index_row(key), None))
            elif before.is_absent:
                rows.append((index_row(key), b""))
            graves = self._change_due(key, before, change.record, rows)
            leaf_sum = self._change_leaf(key, state, before, change.record, rows)
            state.record = change.record.without_large_bodies()
            state.is_passing = False
            state.size = len(own_rows[0][1] or b"")
        elif not rows and not state.stores:
            self._outbox.perform(change.then)
            self._release(key, state)
            if done is not None:
                done()
            return

        state.stores += 1
        self._known.changes += 1

        def stored() -> None:
            state.stores -= 1
            if leaf_sum is not None and state.leaf is not None:
                self.tree.stored(state.leaf, leaf_sum)
            self.tombstones = max(self.tombstones + graves, 0)
            self._release(key, state)
            if done is not None:
                done()

        self._outbox.store(rows, change.then, stored, failed)

    def _change_leaf(
        self, key: Key, state: KeyState, before: Record, after: Record, rows: Rows
    ) -> int | None:
        """Add the leaf's row to ``rows``, and give its sum; None where nothing live changes."""
        leaf = state.leaf
        if leaf is None or before.same_live(after):
            return None
        old = hash_of(key, before) if state.hash is None else state.hash
        state.hash = new = hash_of(key, after)
        value, row = self.tree.change(leaf, old, new)
        rows.append(row)
        return value

    def _change_due(self, key: Key, before: Record, after: Record, rows: Rows) -> int:
        """Add the row that says when the record is due; by how much there are more tombstones."""
        old, new = before.due_ms(), after.due_ms()
        if old != new:
            if old is not None:
                rows.append((due_row(old, key), None))
            if new is not None:
                rows.append((due_row(new, key), b""))
            self.on_due(key, new)
        return (new == 0) - (old == 0)

    def _drop_pending(self) -> None:
        """A store failed, and with it all that are pending: load from disk from now on."""
        self._failures += 1
        self._births.reservation_failed()
        self.tree.drop_pending()
        for state in [state for state in self._states.values() if state.stores]:
            self._known.drop(state.key.name)
            self._forget(state.key, state)

    def _release(self, key: Key, state: KeyState) -> None:
        if not state.stores and not state.waiting and self._states.get(key.name) is state:
            record = state.record
            if record is None or state.is_passing:
                # What clients ask for is not to be forgotten for it.
                self._forget(key, state)
                return
            self._known.put(state)
            self._forget(key, state)

    def _forget(self, key: Key, state: KeyState) -> None:
        del self._states[key.name]
        self.tree.release(state.leaf)
        state.leaf = None
        shut = self._shut
        if shut is not None and shut.first <= key.leaf < shut.stop:
            shut.busy -= 1
            if not shut.busy:
                shut.quiet()

    # Building the tree

    def shut(self, first: int, stop: int, quiet: Callable[[], None]) -> None:
        """Let updates of these leaves wait; ``quiet`` is called when none is under way any more.

        What it finds on disk then stays as it is until `open`. One range at a time.
        """
        assert self._shut is None, "one range is shut at a time"
        busy = sum(first <= state.key.leaf < stop for state in self._states.values())
        self._shut = _Shut(first, stop, busy, quiet)
        if not busy:
            quiet()

    def open(self) -> None:
        """Go on with the updates that waited."""
        shut, self._shut = self._shut, None
        assert shut is not None, "what is open is not opened"
        # Sums were made of what is on disk now, damaged or not: updates shall be, too.
        self._known.clear()
        for key, make, done, failed in shut.held:
            self.update(key, make, done, failed)

    def discard(self) -> None:
        """Let go of what is remembered; nothing is read or updated any more."""
        self._known.clear()
        self.tree.discard()


def _ignore(_key: Key) -> None:
    """Nobody wants to know."""


def _ignore_due(_key: Key, _due: int | None) -> None:
    """Nobody wants to know."""
