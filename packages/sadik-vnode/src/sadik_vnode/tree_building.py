"""Making sums from records: for a store that has none yet, and where one cannot be trusted.

A store that an older version wrote has records and no tree. It is built once, a chunk of leaves
after the other in token order, while the node serves; a row tells how far. The rows that say when a
record is due are written along with it. A single middle (32
leaves) is built anew when one of its rows is damaged, when a record turned out to be damaged, so
that nobody knows what it had added to its leaf, or when two replicas found sums that differ over
records that do not.

Updates of the leaves at hand wait meanwhile, for milliseconds, so what is summed is what is on disk
and stays so until the sums are there too. After each chunk others have their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sadik_machine import SECOND, FailureReason, ScanRows
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.due import due_ms
from sadik_vnode.keyspace import (
    LEAVES,
    LEAVES_RANGE,
    TREE_ROW,
    due_row,
    lost_leaves,
    record_key,
    records_range,
    row_leaf,
)
from sadik_vnode.record import DamagedRecord, Record, Rows, open_value, seal_value
from sadik_vnode.tree import LEAVES_PER_MIDDLE, SUM_MASK, hash_of, sum_row

__all__ = ["TreeBuilder", "built_in"]

_CURSOR_BYTES: Final = 4
_SCAN_ROWS: Final = 250
_SCAN_BYTES: Final = 128 * 1024
_CHUNK_ROWS: Final = 1000
_RETRY_NS: Final = SECOND
_BROKEN_MAX: Final = 4096


def built_in(saved: bytes | None) -> int:
    """Up to which leaf the tree is built, by the value of `TREE_ROW`; DamagedRecord if damaged."""
    return 0 if saved is None else int.from_bytes(open_value(saved), "big")


class TreeBuilder(Conversation):
    """Builds what has to be built, one chunk at a time. ``ready`` of `start` is called once."""

    __slots__ = (
        "_began", "_broken", "_dues", "_is_busy", "_is_started", "_stop", "_summed", "_sums",
        "_tree",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.close()
        self._tree = desk.replica.tree
        self._tree.on_broken = self.mend
        self._broken: dict[int, None] = {}
        self._is_started = False
        self._is_busy = False
        self._began = 0
        self._stop = 0
        self._sums: dict[int, int] = {}
        self._dues: dict[bytes, None] = {}
        self._summed = 0

    def start(self) -> None:
        """Build what was never built; then read the leaves."""
        self._is_started = True
        self._began = self.desk.now
        if self._tree.built == 0:
            self._is_busy = True
            self._shut(0, LEAVES, self._clear)
        else:
            self._next()

    def mend(self, leaf: int) -> None:
        """The sum of a leaf cannot be trusted: build its middle anew, soon."""
        if len(self._broken) < _BROKEN_MAX and leaf < self._tree.built:
            self._broken[leaf // LEAVES_PER_MIDDLE] = None
            if self._is_started and not self._is_busy:
                self._is_busy = True
                self.wake("next", self.desk.now)

    def due(self, what: str) -> None:
        """Time for the next chunk."""
        self._next()

    def _next(self) -> None:
        tree = self._tree
        self._is_busy = True
        self._began = self.desk.now
        if tree.built < LEAVES:
            self._shut(tree.built, LEAVES, self._build)
        elif not tree.is_known:
            tree.start(self._next, self._failed)
        elif self._broken:
            middle = next(iter(self._broken))
            first = middle * LEAVES_PER_MIDDLE
            self._shut(first, first + LEAVES_PER_MIDDLE, lambda: self._rebuild(middle))
        else:
            self._is_busy = False

    def _shut(self, first: int, stop: int, quiet: Callable[[], None]) -> None:
        self._stop = stop
        self._sums = {}
        self._dues = {}
        self._summed = 0
        self.desk.replica.shut(first, stop, quiet)

    # A store without a tree

    def _clear(self) -> None:
        """Remove what sums there are: nobody knows whose."""

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            if not rows:
                self._build()
                return
            batch: Rows = [(row, None) for row, _ in rows]
            self.desk.outbox.store(batch, (), self._clear, self._shut_failed)

        self.desk.outbox.load(
            ScanRows(*LEAVES_RANGE, 1000, _SCAN_BYTES, keys_only=True), loaded, self._shut_failed
        )

    def _build(self) -> None:
        """Sum the records from the first leaf that is not built, some whole middles of them."""
        self._scan(records_range(self._tree.built, LEAVES)[0], self._scanned)

    def _scanned(self, rows: list[tuple[bytes, bytes]]) -> None:
        if not rows:
            self._stop = LEAVES
        else:
            last = row_leaf(rows[-1][0])
            self._stop = last // LEAVES_PER_MIDDLE * LEAVES_PER_MIDDLE
            if self._stop <= self._tree.built or self._summed < _CHUNK_ROWS:
                self._scan(rows[-1][0] + b"\0", self._scanned)
                return
        first, stop = self._tree.built, self._stop
        sums = [(leaf, value) for leaf, value in self._sums.items() if leaf < stop]
        batch: Rows = [sum_row(leaf, value) for leaf, value in sums]
        batch += [(row, b"") for row in self._dues]
        batch.append((TREE_ROW, seal_value(stop.to_bytes(_CURSOR_BYTES, "big"))))

        def stored() -> None:
            assert self._tree.built == first, "one chunk is built at a time"
            self._tree.built = stop
            self.desk.counters.tree_leaves_built += len(sums)
            self._open()

        self.desk.outbox.store(batch, (), stored, self._shut_failed)

    # One middle

    def _rebuild(self, middle: int) -> None:
        first = middle * LEAVES_PER_MIDDLE
        start, stop = records_range(first, first + LEAVES_PER_MIDDLE)
        leaves = range(first, first + LEAVES_PER_MIDDLE)

        def scanned(rows: list[tuple[bytes, bytes]]) -> None:
            if rows:
                self._scan(rows[-1][0] + b"\0", scanned, stop)
            else:
                self._tree.read(leaves, compare, self._shut_failed)

        def compare(known: list[int]) -> None:
            sums = [self._sums.get(leaf, 0) for leaf in leaves]
            wrong = sum(one != other for one, other in zip(sums, known, strict=True))

            def stored() -> None:
                self.desk.counters.tree_leaves_mended += wrong
                self._tree.rebuilt(first, sums)
                del self._broken[middle]
                self._open()

            batch = [sum_row(leaf, value) for leaf, value in zip(leaves, sums, strict=True)]
            self.desk.outbox.store(batch, (), stored, self._shut_failed)

        self._scan(start, scanned, stop)

    # Both

    def _scan(
        self,
        start: bytes,
        done: Callable[[list[tuple[bytes, bytes]]], None],
        stop: bytes | None = None,
    ) -> None:
        """Add up a chunk of records; ``done`` gets its rows."""

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            self._add(rows)
            done(rows)

        self.desk.outbox.load(
            ScanRows(start, stop or records_range(0, LEAVES)[1], _SCAN_ROWS, _SCAN_BYTES),
            loaded,
            self._shut_failed,
        )

    def _add(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        for row, value in rows:
            if lost_leaves(row):
                continue  # its key is damaged: scrubbing removes it
            key = record_key(row)
            try:
                record = Record.decode(value)
            except DamagedRecord:
                continue  # to be mended like a record that is missing here, which it is as good as
            due = due_ms(record.container)
            if due is not None:
                self._dues[due_row(due, key)] = None
            self._sums[key.leaf] = (self._sums.get(key.leaf, 0) + hash_of(key, record)) & SUM_MASK
        self._summed += len(rows)

    def _open(self) -> None:
        self.desk.replica.open()
        now = self.desk.now
        self.wake("next", now + self.desk.admission.pause_ns(now, now - self._began))

    def _shut_failed(self, _reason: FailureReason) -> None:
        self.desk.replica.open()
        self._failed(_reason)

    def _failed(self, _reason: FailureReason) -> None:
        """The disk is full, or cannot be read: try again later."""
        self.wake("next", self.desk.now + _RETRY_NS)
