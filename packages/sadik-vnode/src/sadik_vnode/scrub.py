"""Scrub: reading all that is stored, so that damage is found while other replicas are whole.

A checksum finds damage when a row is read, and a row that nobody asks for may be damaged on one
node after the other. So now and then, and when an operator asks, a node walks its records in token
order, a chunk at a time, beside and below the requests of clients (`sadik_vnode.admission`):

* A record and its large values must match their checksums; else the owners are asked for what they
  have (`coordinator.repairing`).
* A record lies where its name says: the token in its row's key is a hash of the rest, so that a
  damaged key is known too. Nobody can ask for such a row, and it is removed.
* The sum of a leaf of the hash tree must be that of its records; else it is built anew, and
  anti-entropy sees what is missing here.
* A record has its row in the index by which buckets are listed.

Clients write meanwhile. What looks wrong only because of that is looked at again by those who mend
it, in the order of updates, and found to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from attrs import Factory, define

from sadik_causality import Dot
from sadik_machine import SECOND, FailureReason, GetRows, ScanRows
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import (
    DATA_RANGE,
    LEAVES,
    Key,
    index_row,
    leaf_row,
    lost_leaves,
    parse_leaf_row,
    record_key,
    row_leaf,
)
from sadik_vnode.outbox import OnLoaded
from sadik_vnode.record import DamagedRecord, Record, open_value
from sadik_vnode.requests import Result, Scrub, ScrubResult
from sadik_vnode.tree import SUM_MASK, hash_of

__all__ = ["Scrubbing"]

_FIRST_NS: Final = 3600 * SECOND
"""How long after the start the first pass begins, at the latest."""
_RETRY_NS: Final = SECOND
_RETRIES_MAX: Final = 10
_SCAN_ROWS: Final = 250
_SCAN_BYTES: Final = 128 * 1024
_LEAF_ROWS: Final = 4096
_LEAF_BYTES: Final = 1 << 20


@define(slots=True)
class _Pass:
    """Where a pass is, and what it has found. ``sums`` are those of leaves from ``leaf`` on."""

    at: bytes = DATA_RANGE[0]
    leaf: int = 0
    sums: dict[int, int] = Factory(dict)
    records: int = 0
    values: int = 0
    damaged: int = 0
    misplaced: int = 0
    sums_wrong: int = 0
    unlisted: int = 0
    failures: int = 0


class Scrubbing(Conversation):
    """Passes over this node's records, one at a time."""

    __slots__ = ("_again", "_began", "_mend_sum", "_pass", "_waiting", "damaged")

    is_background = True

    def __init__(
        self, desk: Desk, damaged: Callable[[Key], None], mend_sum: Callable[[int], None]
    ) -> None:
        super().__init__(desk)
        self.close()
        self.damaged = damaged
        self._mend_sum = mend_sum
        self._pass: _Pass | None = None
        self._again: Callable[[], None] = _nothing
        self._waiting: list[Callable[[Result], None]] = []
        self._began = 0

    def start(self) -> None:
        """Have the first pass begin some time after the start."""
        interval_ns = self.desk.config.scrub_interval_ns
        if interval_ns:
            self.wake("pass", self.desk.now + min(interval_ns, _FIRST_NS))

    def scrub(self, request: Scrub, done: Callable[[Result], None]) -> None:
        """Make a pass now, or join the one under way; answer when it is over, or when it is time
        to."""
        _Asking(self.desk, request.timeout_ns, self._waiting, self._figures, done)
        if self._pass is None:
            self._begin()

    def due(self, what: str) -> None:
        """Time for a pass, or for the next chunk of one."""
        if what == "pass":
            self.wake("pass", self.desk.now + self.desk.config.scrub_interval_ns)
            if self._pass is None:
                self._begin()
        elif what == "again":
            self._again()
        elif self._pass is not None:
            self._chunk(self._pass)

    def _begin(self) -> None:
        self._pass = _Pass()
        self._chunk(self._pass)

    def _figures(self, *, is_finished: bool) -> ScrubResult:
        found = self._pass or _Pass()
        return ScrubResult(
            found.records, found.values, found.damaged, found.misplaced, found.sums_wrong,
            found.unlisted, is_finished,
        )  # fmt: skip

    # One chunk: records, their large values, their index rows, their leaves

    def _chunk(self, found: _Pass) -> None:
        self._began = self.desk.now

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            outside = self._look_at(found, rows)
            stop = found.leaf
            if not rows:
                stop = LEAVES
            elif (last := row_leaf(rows[-1][0])) > stop:
                stop = last
            keys = [record_key(row) for row, _ in rows if not lost_leaves(row)]

            def values_done() -> None:
                self._check_index(found, keys, lambda: self._check_leaves(found, stop, ended))

            def ended() -> None:
                if not rows:
                    self._end()
                    return
                found.at = rows[-1][0] + b"\0"
                found.failures = 0
                now = self.desk.now
                self.wake("chunk", now + self.desk.admission.pause_ns(now, now - self._began))

            self._check_values(found, outside, values_done)

        self._load(ScanRows(found.at, DATA_RANGE[1], _SCAN_ROWS, _SCAN_BYTES), loaded)

    def _look_at(self, found: _Pass, rows: Sequence[tuple[bytes, bytes]]) -> dict[Key, list[Dot]]:
        """Check a chunk's records; the dots of their large values, by key."""
        outside: dict[Key, list[Dot]] = {}
        for row, value in rows:
            if leaves := lost_leaves(row):
                self._misplaced(found, row, leaves)
                continue
            key = record_key(row)
            found.records += 1
            try:
                record = Record.decode(value)
            except DamagedRecord:
                self._damaged(found, key)
                continue
            value_sum = found.sums.get(key.leaf, 0) + hash_of(key, record)
            found.sums[key.leaf] = value_sum & SUM_MASK
            if dots := [dot for dot, _ in record.bodies_outside()]:
                outside[key] = dots
        return outside

    def _damaged(self, found: _Pass, key: Key) -> None:
        found.damaged += 1
        self.desk.counters.damaged_records += 1
        self.damaged(key)

    def _misplaced(self, found: _Pass, row: bytes, leaves: Sequence[int]) -> None:
        """Remove a row whose key was damaged. The record that it was is missed in one leaf."""
        found.misplaced += 1
        self.desk.counters.damaged_records += 1

        def removed() -> None:
            for leaf in leaves:
                self._mend_sum(leaf)

        self.desk.outbox.store([(row, None)], (), removed, _ignore_failure)

    def _check_values(
        self, found: _Pass, keys: dict[Key, list[Dot]], done: Callable[[], None]
    ) -> None:
        """Check the large values of records, one key after the other."""
        if not keys:
            done()
            return
        key = next(iter(keys))

        dots = keys.pop(key)

        def loaded(rows: list[bytes | None]) -> None:
            # Record and values of one view: a value that a write has replaced is not missing.
            try:
                there = {dot for dot, _ in Record.decode(rows[0]).bodies_outside()}
                for dot, row in zip(dots, rows[1:], strict=True):
                    if dot in there:
                        open_value(row)
                        found.values += 1
            except DamagedRecord:
                self._damaged(found, key)
            self._check_values(found, keys, done)

        self._load(GetRows([key.record_row, *map(key.value_row, dots)]), loaded)

    def _check_index(self, found: _Pass, keys: list[Key], done: Callable[[], None]) -> None:
        """Write the index rows that are missing."""

        def loaded(rows: list[bytes | None]) -> None:
            for key, row in zip(keys, rows, strict=True):
                if row is None:
                    self._list_again(found, key)
            done()

        if keys:
            self._load(GetRows([index_row(key) for key in keys]), loaded)
        else:
            done()

    def _list_again(self, found: _Pass, key: Key) -> None:
        def make(before: Record) -> Change | None:
            if before.is_absent:
                return None
            found.unlisted += 1
            return Change(before, [(index_row(key), b"")], ())

        self.desk.replica.update(key, make, None, _ignore_failure)

    def _check_leaves(self, found: _Pass, stop: int, done: Callable[[], None]) -> None:
        """Compare the leaves before ``stop`` with the sums of their records."""
        first = found.leaf
        if stop <= first or self.desk.replica.tree.built < LEAVES:
            done()
            return

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            upto = stop if len(rows) < _LEAF_ROWS else parse_leaf_row(rows[-1][0]) + 1
            known: dict[int, int | None] = {}
            for row, value in rows:
                try:
                    known[parse_leaf_row(row)] = int.from_bytes(open_value(value), "big")
                except DamagedRecord:
                    known[parse_leaf_row(row)] = None
            for leaf in sorted(known.keys() | {leaf for leaf in found.sums if leaf < upto}):
                if known.get(leaf, 0) != found.sums.pop(leaf, 0):
                    found.sums_wrong += 1
                    self._mend_sum(leaf)
            found.leaf = upto
            self._check_leaves(found, stop, done)

        query = ScanRows(leaf_row(first), leaf_row(stop), _LEAF_ROWS, _LEAF_BYTES)
        self._load(query, loaded)

    def _load(self, query: GetRows | ScanRows, done: OnLoaded) -> None:
        """Read; where the disk cannot be read try again, but not for ever."""

        def failed(_reason: FailureReason) -> None:
            found = self._pass
            assert found is not None, "only a pass loads"
            found.failures += 1
            if found.failures > _RETRIES_MAX:
                self._end(is_finished=False)
            else:
                self._again = partial(self._load, query, done)
                self.wake("again", self.desk.now + _RETRY_NS)

        self.desk.outbox.load(query, done, failed)

    def _end(self, *, is_finished: bool = True) -> None:
        self.desk.counters.scrubs += is_finished
        result = self._figures(is_finished=is_finished)
        self._pass = None
        waiting, self._waiting[:] = self._waiting.copy(), []
        for done in waiting:
            done(result)


class _Asking(Conversation):
    """Somebody waits for the end of a pass, for a time."""

    __slots__ = ("_done", "_figures", "_waiting")

    is_background = True

    def __init__(
        self,
        desk: Desk,
        timeout_ns: int,
        waiting: list[Callable[[Result], None]],
        figures: Callable[..., ScrubResult],
        done: Callable[[Result], None],
    ) -> None:
        super().__init__(desk)
        self._waiting = waiting
        self._figures = figures
        self._done = done
        waiting.append(self._ended)
        self.wake("answer", desk.now + timeout_ns)

    def due(self, what: str) -> None:
        """It takes longer: answer with what was found so far."""
        self._waiting.remove(self._ended)
        self.close("answer")
        self._done(self._figures(is_finished=False))

    def _ended(self, result: Result) -> None:
        self.close("answer")
        self._done(result)


def _nothing() -> None:
    """Nothing has failed yet."""


def _ignore_failure(_reason: FailureReason) -> None:
    """The next pass finds it again."""
