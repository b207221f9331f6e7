"""The hash tree over a node's records: leaves on disk, what lies above them in memory.

A leaf is the sum of the hashes of its records (key and sorted live dots, tombstones included;
`sadik_hashing.tree` says why a sum). Whoever changes a record changes its leaf's row in the same
batch by the difference of two hashes, so a tree is never behind its records, not even after a
crash, and knows nothing of their history. The row's old value is read along with the record.

A leaf that is being changed has two sums here. *Pending* is what the next change builds on, as a
record's pending state is. *Durable* is what is on disk: it alone goes into the middles and roots
and leaves this node. When a store fails, pending falls back to durable.

Middles are sums of 32 leaves and stay in memory, 4096 of them whatever the partitions; at the start
they are read from the leaf rows, not from the records. Middle m of the ring covers leaves 32 m to
32 m + 31; a partition has a contiguous share of both.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

from attrs import Factory, define

from sadik_hashing import SUM_BYTES, record_hash
from sadik_machine import FailureReason, GetRows, ScanRows
from sadik_vnode.keyspace import LEAVES, LEAVES_RANGE, Key, leaf_row, parse_leaf_row
from sadik_vnode.outbox import OnFailed, Outbox
from sadik_vnode.recent import Recent
from sadik_vnode.record import DamagedRecord, Record, open_value, seal_value

__all__ = ["LEAVES_PER_MIDDLE", "MIDDLES", "SUM_MASK", "HashTree", "HeldLeaf", "hash_of", "sum_row"]

LEAVES_PER_MIDDLE: Final = 32
MIDDLES: Final = LEAVES // LEAVES_PER_MIDDLE

SUM_MASK: Final = (1 << 8 * SUM_BYTES) - 1
_BROKEN: Final = b"?"
"""In place of a leaf's sum: it has to be built anew from the records. No sealed sum is so short."""
_RECENT_LEAVES_MAX: Final = 32768
_SCAN_ROWS: Final = 4096
_SCAN_BYTES: Final = 1 << 20


def hash_of(key: Key, record: Record) -> int:
    """What a record adds to its leaf: 0 where nothing is live in it."""
    return record_hash(key.name, record.live_dots())


def sum_row(leaf: int, value: int) -> tuple[bytes, bytes | None]:
    """The row of a leaf with this sum; a sum of 0 needs no row."""
    return leaf_row(leaf), seal_value(value.to_bytes(SUM_BYTES, "big")) if value else None


def _sum_in(row: bytes | None) -> int | None:
    """The sum in a leaf's row; None where the leaf is broken."""
    if row is None:
        return 0
    try:
        return int.from_bytes(open_value(row), "big")
    except DamagedRecord:
        return None


@define(slots=True, eq=False)
class HeldLeaf:
    """A leaf that keys which are being updated belong to. The sums are None until it is loaded."""

    number: int
    users: int = 0
    durable: int | None = None
    pending: int | None = None
    is_broken: bool = False


@define(slots=True, eq=False)
class _Watch:
    """What leaves came to have on disk while a load of them was under way, by leaf."""

    sums: dict[int, int] = Factory(dict)


class HashTree:
    """The tree of one node. `sadik_vnode.replica` changes it, and nobody else changes records."""

    __slots__ = (
        "_held", "_known", "_middles", "_outbox", "_recent", "_roots", "_watches", "built",
        "on_broken",
    )  # fmt: skip

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._held: dict[int, HeldLeaf] = {}
        self._recent: Recent[int, HeldLeaf] = Recent(_RECENT_LEAVES_MAX)
        """What leaves that were updated lately have on disk: they need not be read again."""
        self._middles = [0] * MIDDLES
        self._roots: list[int] = []
        """Sums of middles by partition, for as many partitions as were last asked for."""
        self._known = 0
        self._watches: list[_Watch] = []
        self.built = LEAVES
        """Leaves from here on have no true rows yet: an older version wrote the records there."""
        self.on_broken: Callable[[int], None] = _ignore
        """Called with a leaf whose sum must be built anew."""

    def discard(self) -> None:
        """Let go of what is remembered; nothing is updated any more."""
        self._recent.clear()

    # What updates do

    def hold(self, number: int) -> HeldLeaf | None:
        """A key of this leaf is going to be updated. None where there is no tree to keep yet."""
        if number >= self.built:
            return None
        leaf = self._held.get(number)
        if leaf is None:
            leaf = self._recent.get(number) or HeldLeaf(number)
            self._held[number] = leaf
        leaf.users += 1
        return leaf

    def release(self, leaf: HeldLeaf | None) -> None:
        """The update that held the leaf is over."""
        if leaf is not None:
            leaf.users -= 1
            if not leaf.users:
                del self._held[leaf.number]
                self._remember(leaf)

    def _remember(self, leaf: HeldLeaf) -> None:
        if leaf.durable is None or leaf.is_broken:
            self._recent.drop(leaf.number)
        else:
            assert leaf.pending == leaf.durable, "nobody updates it"
            self._recent.put(leaf.number, leaf)

    def loaded(self, leaf: HeldLeaf, row: bytes | None) -> None:
        """The leaf's row, read when no store of this leaf was under way."""
        if leaf.pending is None:
            value = _sum_in(row)
            if value is None:
                self.broken(leaf)
            else:
                leaf.durable = leaf.pending = value

    def broken(self, leaf: HeldLeaf) -> None:
        """What the leaf's records were is not known: have the sum built anew, and mark it so."""
        if leaf.pending is None:
            leaf.durable = leaf.pending = 0
        leaf.is_broken = True
        self.on_broken(leaf.number)

    def change(self, leaf: HeldLeaf, old: int, new: int) -> tuple[int, tuple[bytes, bytes | None]]:
        """A record's hash changes: the leaf's sum then, and its row for the batch."""
        assert leaf.pending is not None, "a sum is loaded before it is changed"
        leaf.pending = (leaf.pending + new - old) & SUM_MASK
        return self.row(leaf)

    def add(self, leaf: HeldLeaf, value: int) -> None:
        """A record with this hash is made; `row` is wanted when that is known of all others."""
        assert leaf.pending is not None, "a sum is loaded before it is changed"
        leaf.pending = (leaf.pending + value) & SUM_MASK

    def row(self, leaf: HeldLeaf) -> tuple[int, tuple[bytes, bytes | None]]:
        """The leaf's sum now, and its row for the batch."""
        value = leaf.pending
        assert value is not None, "a sum is loaded before it is changed"
        if leaf.is_broken:
            return value, (leaf_row(leaf.number), _BROKEN)
        return value, sum_row(leaf.number, value)

    def stored(self, leaf: HeldLeaf, value: int) -> None:
        """A change is on disk. The leaf is held until all its changes are, or have failed."""
        assert leaf.durable is not None, "a sum is loaded before it is changed"
        self._now_durable(leaf.number, leaf.durable, value)
        leaf.durable = value

    def drop_pending(self) -> None:
        """A store failed, and with it all that are pending."""
        for leaf in self._held.values():
            leaf.pending = leaf.durable

    def rebuilt(self, first: int, sums: Sequence[int]) -> None:
        """Whole middles that nobody updates have these sums on disk, from leaf ``first`` on."""
        for start in range(0, len(sums), LEAVES_PER_MIDDLE):
            leaf = first + start
            for number in range(leaf, leaf + LEAVES_PER_MIDDLE):
                self._recent.drop(number)
            known = sums[start : start + max(0, min(LEAVES_PER_MIDDLE, self._known - leaf))]
            middle = leaf // LEAVES_PER_MIDDLE
            self._add(middle, sum(known) - self._middles[middle])
        for watch in self._watches:
            watch.sums.update(enumerate(sums, first))

    def _now_durable(self, number: int, old: int, new: int) -> None:
        if number < self._known:
            self._add(number // LEAVES_PER_MIDDLE, new - old)
        for watch in self._watches:
            watch.sums[number] = new

    def _add(self, middle: int, difference: int) -> None:
        self._middles[middle] = (self._middles[middle] + difference) & SUM_MASK
        if self._roots:
            partition = middle * len(self._roots) // MIDDLES
            self._roots[partition] = (self._roots[partition] + difference) & SUM_MASK

    # What the other replicas are told

    @property
    def is_known(self) -> bool:
        """Whether all middles are: the leaves are built and have been read."""
        return self._known == LEAVES and self.built == LEAVES

    def middle(self, number: int) -> int:
        """The sum of a middle, as it is on disk."""
        return self._middles[number]

    def middles(self, start: int, stop: int) -> list[int]:
        """The sums of the middles from ``start`` up to, not including, ``stop``."""
        return self._middles[start:stop]

    def root(self, partition: int, partitions: int) -> int:
        """The sum of all records of a partition, as they are on disk."""
        if len(self._roots) != partitions:
            share = MIDDLES // partitions
            self._roots = [
                sum(self._middles[start : start + share]) & SUM_MASK
                for start in range(0, MIDDLES, share)
            ]
        return self._roots[partition]

    def start(self, done: Callable[[], None], failed: OnFailed) -> None:
        """Read all leaf rows, a chunk at a time."""
        watch = _Watch()
        first = self._known

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            self._watches.remove(watch)
            is_last = len(rows) < _SCAN_ROWS
            stop = LEAVES if is_last else parse_leaf_row(rows[-1][0]) + 1
            sums = {parse_leaf_row(row): _sum_in(value) for row, value in rows}
            sums |= self._durable_over(watch, range(first, stop))
            self._known = stop
            for number, value in sums.items():
                if value is None:
                    self.on_broken(number)
                elif number < stop:
                    self._add(number // LEAVES_PER_MIDDLE, value)
            if is_last:
                done()
            else:
                self.start(done, failed)

        def gone(reason: FailureReason) -> None:
            self._watches.remove(watch)
            failed(reason)

        self._watches.append(watch)
        self._outbox.load(
            ScanRows(leaf_row(first), LEAVES_RANGE[1], _SCAN_ROWS, _SCAN_BYTES), loaded, gone
        )

    def read(
        self, leaves: Sequence[int], done: Callable[[list[int]], None], failed: OnFailed
    ) -> None:
        """Give the sums of leaves as they are on disk; a broken one is 0 until it is built anew."""
        watch = _Watch()

        def loaded(rows: list[bytes | None]) -> None:
            self._watches.remove(watch)
            over = self._durable_over(watch, dict.fromkeys(leaves))
            found = []
            for number, row in zip(leaves, rows, strict=True):
                value = over[number] if number in over else _sum_in(row)
                if value is None:
                    self.on_broken(number)
                found.append(value or 0)
            done(found)

        def gone(reason: FailureReason) -> None:
            self._watches.remove(watch)
            failed(reason)

        self._watches.append(watch)
        self._outbox.load(GetRows([leaf_row(number) for number in leaves]), loaded, gone)

    def _durable_over(self, watch: _Watch, leaves: Container[int]) -> dict[int, int]:
        """What is known better than a load tells: it may show what is not on disk, or no more."""
        over = {number: value for number, value in watch.sums.items() if number in leaves}
        for number, leaf in self._held.items():
            if leaf.durable is not None and number in leaves:
                over[number] = leaf.durable
        return over


def _ignore(_leaf: int) -> None:
    """Nobody builds."""
