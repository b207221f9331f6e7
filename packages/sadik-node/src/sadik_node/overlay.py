"""Rows that are being written: what a load must see though the disk does not have them yet.

Every row of a store that was emitted and is not committed stands here with the number of the last
group of commits that holds it. When that group is on disk the row goes; when a group fails, all
rows go, because every later group fails with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from sadik_machine import Batch
from sadik_storage import Row, Store
from sadik_storage.merged_scan import scan_over

__all__ = ["Overlay", "scan_store_over"]


class Overlay:
    """Uncommitted rows by key, in front of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[bytes, tuple[bytes | None, int]] = {}
        self._last_group = 0
        """The last group of which rows were added."""
        self._sorted: list[bytes] | None = []
        """The keys in order; None when they must be sorted anew."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, batch: Batch, group: int) -> None:
        """These rows are written in group number ``group``."""
        rows = self._rows
        before = len(rows)
        self._last_group = group
        for key, value in batch:
            rows[key] = (value, group)
        if len(rows) != before:
            self._sorted = None

    def committed(self, batch: Batch, group: int) -> None:
        """Group ``group``, which held this batch, is on disk."""
        rows = self._rows
        if group == self._last_group:
            self.clear()  # groups get there in order
            return
        for key, _ in batch:
            found = rows.get(key)
            if found is not None and found[1] == group:
                del rows[key]
        self._sorted = None if rows else []

    def clear(self) -> None:
        """Nothing is uncommitted: all is on disk, or a group failed, and all later ones with it."""
        self._rows.clear()
        self._sorted = []

    def get(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], list[int]]:
        """The values that stand here, and the positions of the keys that the store must tell."""
        found: list[bytes | None] = []
        absent: list[int] = []
        rows = self._rows
        for position, key in enumerate(keys):
            row = rows.get(key)
            if row is None:
                absent.append(position)
                found.append(None)
            else:
                found.append(row[0])
        return found, absent

    def between(self, start: bytes, stop: bytes | None) -> list[tuple[bytes, bytes | None]]:
        """The uncommitted rows of a range, in order; None is a deletion."""
        if not self._rows:
            return []
        if self._sorted is None:
            self._sorted = sorted(self._rows)
        keys = self._sorted
        first = bisect_left(keys, start)
        last = len(keys) if stop is None else bisect_left(keys, stop)
        return [(key, self._rows[key][0]) for key in keys[first:last]]


def scan_store_over(
    store: Store,
    pending: list[tuple[bytes, bytes | None]],
    start: bytes,
    stop: bytes | None,
    limit_rows: int,
    limit_bytes: int,
    *,
    keys_only: bool,
) -> list[Row]:
    """A chunk of the store's rows with ``pending`` (of the same range, in order) laid over it."""
    if not keys_only:
        return scan_over(store.scan, pending, start, stop, limit_rows, limit_bytes)

    def scan(start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        assert limit_bytes, "keys alone are bounded by their number"
        return [(key, b"") for key in store.scan_keys(start, stop, limit=limit)]

    keys = [(key, None if value is None else b"") for key, value in pending]
    return scan_over(scan, keys, start, stop, limit_rows, limit_bytes)
