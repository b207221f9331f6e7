"""A store in memory: a sorted array cut into blocks, copied on write.

The idea: all rows in key order, in blocks of some hundreds, under one list of blocks. Nothing that
was published is ever changed: a commit copies the blocks that it touches and the list above them,
and then replaces one reference. So every reader has a consistent view by holding that reference: a
snapshot costs nothing, reads take no lock and never wait, and a batch appears all at once.

With a million keys a commit of one row copies a block (about 512 references) and the list of blocks
(about 2,000): some ten microseconds, once per batch. A get is two binary searches.

Nothing survives the process: `durable` is false however it was opened.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

import attrs

from sadik_storage.bounds import check_batch, key_error
from sadik_storage.options import Option, parse
from sadik_storage.trait import (
    KEY_BYTES_FLOOR,
    Batch,
    Row,
    Snapshot,
    Store,
    StoreClosed,
    StoreFull,
    StoreSize,
)

__all__ = ["MemoryStore"]

BLOCK_ROWS = 512
"""Rows of a block after a split; a block splits above twice as many."""

ROW_OVERHEAD_BYTES = 82
"""What CPython adds to a row: the headers of two `bytes` and two references."""

OPTIONS = (Option("bytes_max", 0, "the bound on the bytes held, 0 for none", minimum=0),)

_Block: TypeAlias = tuple[list[bytes], list[bytes]]
"""Keys in ascending order and their values, of equal length, never empty; never changed once
published."""


@attrs.frozen
class _View:
    """All rows at one moment. `firsts[i]` is the first key of `blocks[i]`."""

    firsts: list[bytes]
    blocks: list[_Block]
    keys: int
    bytes_used: int

    def get(self, key: bytes) -> bytes | None:
        at = bisect_right(self.firsts, key) - 1
        if at < 0:
            return None
        keys, values = self.blocks[at]
        row = bisect_left(keys, key)
        if row < len(keys) and keys[row] == key:
            return values[row]
        return None

    def scan(self, start: bytes, stop: bytes | None, limit: int, limit_bytes: int) -> list[Row]:
        assert limit >= 1
        rows: list[Row] = []
        size = 0
        for at in range(max(0, bisect_right(self.firsts, start) - 1), len(self.blocks)):
            keys, values = self.blocks[at]
            low = 0 if rows else bisect_left(keys, start)
            high = len(keys) if stop is None else bisect_left(keys, stop)
            end = min(high, low + limit - len(rows))
            for row in zip(keys[low:end], values[low:end], strict=True):
                size += len(row[0]) + len(row[1])
                if rows and size > limit_bytes:
                    return rows
                rows.append(row)
            if high < len(keys) or len(rows) == limit:
                break
        return rows

    def scan_keys(self, start: bytes, stop: bytes | None, limit: int) -> list[bytes]:
        assert limit >= 1
        found: list[bytes] = []
        for at in range(max(0, bisect_right(self.firsts, start) - 1), len(self.blocks)):
            keys = self.blocks[at][0]
            low = 0 if found else bisect_left(keys, start)
            high = len(keys) if stop is None else bisect_left(keys, stop)
            found += keys[low : min(high, low + limit - len(found))]
            if high < len(keys) or len(found) == limit:
                break
        return found


_EMPTY = _View(firsts=[], blocks=[], keys=0, bytes_used=0)


class MemoryStore(Store):
    """An ordered map in memory that keeps the trait's contract, but for the disk.

    For tests, simulations and clusters that may forget. Its limits on keys are those of the disk
    backends, so that what runs here runs there. Option: `bytes_max`, a bound above which a commit
    that grows the store raises `StoreFull`.
    """

    name: ClassVar[str] = "memory"
    reads_are_cheap: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = KEY_BYTES_FLOOR
    value_bytes_max: ClassVar[int] = 256 * 2**20

    def __init__(self, *, bytes_max: int | None = None) -> None:
        """Make an empty store, bounded by `bytes_max` if that is given."""
        self._view: _View | None = _EMPTY
        self._bytes_max = bytes_max

    @classmethod
    def open(
        cls, path: Path | None, options: Mapping[str, object], *, durable: bool
    ) -> MemoryStore:
        """As `Store.open`; `path` and `durable` change nothing, and the store begins empty."""
        del path, durable
        bytes_max = parse(cls.name, OPTIONS, options)["bytes_max"]
        assert isinstance(bytes_max, int)
        return cls(bytes_max=bytes_max or None)

    @property
    def durable(self) -> bool:
        """False."""
        return False

    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`."""
        if not 0 < len(key) <= self.key_bytes_max:
            raise key_error(key, self.key_bytes_max)
        return self._now().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Store.get_many`."""
        view = self._now()
        for key in keys:
            if not 0 < len(key) <= self.key_bytes_max:
                raise key_error(key, self.key_bytes_max)
        return [view.get(key) for key in keys]

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`."""
        return self._now().scan(start, stop, limit, limit_bytes)

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """As `Store.scan_keys`."""
        return self._now().scan_keys(start, stop, limit)

    def snapshot(self) -> Snapshot:
        """As `Store.snapshot`; it costs nothing, and holds only what was overwritten since."""
        return _MemorySnapshot(self._now())

    def commit(self, batch: Batch) -> None:
        """As `Store.commit`, but for the disk."""
        view = self._now()
        news = check_batch(batch, self.key_bytes_max, self.value_bytes_max)
        if not news:
            return
        after = _apply(view, news)
        full = self._bytes_max is not None and after.bytes_used > self._bytes_max
        if full and after.bytes_used > view.bytes_used:
            raise StoreFull(
                f"the store in memory would hold {after.bytes_used} bytes, but bytes_max is "
                f"{self._bytes_max}"
            )
        self._view = after

    def sync(self) -> None:
        """Do nothing: there is no disk."""
        self._now()

    def size(self) -> StoreSize:
        """As `Store.size`; `bytes_used` counts the rows and CPython's overhead on them."""
        view = self._now()
        return StoreSize(
            keys=view.keys,
            bytes_used=view.bytes_used,
            bytes_free_inside=0,
            bytes_limit=self._bytes_max,
        )

    def close(self) -> None:
        """As `Store.close`; all rows are gone."""
        self._view = None

    def _now(self) -> _View:
        if (view := self._view) is None:
            raise StoreClosed("the store in memory was closed")
        return view


class _MemorySnapshot(Snapshot):
    """A view held by its reference."""

    def __init__(self, view: _View) -> None:
        self._view: _View | None = view

    def get(self, key: bytes) -> bytes | None:
        if not 0 < len(key) <= MemoryStore.key_bytes_max:
            raise key_error(key, MemoryStore.key_bytes_max)
        return self._held().get(key)

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        return self._held().scan(start, stop, limit, limit_bytes)

    def close(self) -> None:
        self._view = None

    def _held(self) -> _View:
        if self._view is None:
            raise StoreClosed("the snapshot was closed")
        return self._view


def _apply(view: _View, news: Mapping[bytes, bytes | None]) -> _View:
    """The view after `news`; `view` is left as it was.

    Walks the changed keys in order, so that each block touched is copied once. The blocks behind
    the present one are done; new ones are appended to the copies of the lists.
    """
    firsts: list[bytes] = []
    blocks: list[_Block] = []
    order = sorted(news)
    keys, used = view.keys, view.bytes_used
    done = 0  # blocks of the old view that are in the new one
    at = 0
    while at < len(order):
        touched = max(0, bisect_right(view.firsts, order[at], done) - 1)
        firsts += view.firsts[done:touched]
        blocks += view.blocks[done:touched]
        done = touched + 1
        last = touched + 1 >= len(view.firsts)
        until = len(order) if last else bisect_left(order, view.firsts[touched + 1], at)
        old: _Block = view.blocks[touched] if view.blocks else ([], [])
        block = (old[0].copy(), old[1].copy())
        for key in order[at:until]:
            rows, size = _change(block, key, news[key])
            keys += rows
            used += size
        _append(firsts, blocks, block)
        at = until
    firsts += view.firsts[done:]
    blocks += view.blocks[done:]
    assert len(firsts) == len(blocks)
    return _View(firsts=firsts, blocks=blocks, keys=keys, bytes_used=used)


def _change(block: _Block, key: bytes, value: bytes | None) -> tuple[int, int]:
    """Set or delete one key in an unpublished block; return the rows and bytes gained."""
    keys, values = block
    row = bisect_left(keys, key)
    present = row < len(keys) and keys[row] == key
    if value is None:
        if not present:
            return 0, 0
        lost = len(key) + len(values[row]) + ROW_OVERHEAD_BYTES
        del keys[row], values[row]
        return -1, -lost
    if present:
        gained = len(value) - len(values[row])
        values[row] = value
        return 0, gained
    keys.insert(row, key)
    values.insert(row, value)
    return 1, len(key) + len(value) + ROW_OVERHEAD_BYTES


def _append(firsts: list[bytes], blocks: list[_Block], block: _Block) -> None:
    """Append an unpublished block: cut if it is long, joined to the one before if both are short.

    Joining keeps deletes from leaving a long list of short blocks behind.
    """
    keys, values = block
    if not keys:
        return
    if blocks and len(blocks[-1][0]) + len(keys) <= BLOCK_ROWS:
        blocks[-1] = (blocks[-1][0] + keys, blocks[-1][1] + values)
        return
    step = BLOCK_ROWS if len(keys) > 2 * BLOCK_ROWS else len(keys)
    for low in range(0, len(keys), step):
        firsts.append(keys[low])
        blocks.append((keys[low : low + step], values[low : low + step]))
