"""Simulated disks: ordered rows that are durable only once they were synced.

A disk has two pictures of its rows: what is durable, and the view that loads see, which has the
batches under way on top. Batches are atomic, as every backend's are (its log or its second root
page makes a torn one as good as none): a crash in the middle of a sync leaves the whole batch or
nothing of it, and nobody was told which. What bits rot afterwards is another matter. Faults are
drawn from the disk's own stream; a copy can be kept and put back later, as an operator with an old
backup does.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Sequence

from attrs import define

from sadik_machine import MILLISECOND, GetRows, Query, ScanRows
from sadik_sim.streams import between, chance

__all__ = ["Disk", "DiskFaults", "Rows"]

Batch = Sequence[tuple[bytes, bytes | None]]


@define(slots=True)
class DiskFaults:
    """How a disk misbehaves; chances in thousandths of a sync."""

    sync_min_ns: int = MILLISECOND // 4
    sync_max_ns: int = 2 * MILLISECOND
    full: int = 0
    """The commit fails as full; nothing of it is applied."""
    broken: int = 0
    """The device fails; what is on disk is unknown and the host stops the node."""
    slow: int = 0
    """The sync takes ``slow_ns`` longer."""
    slow_ns: int = 200 * MILLISECOND


class Rows:
    """A dictionary of rows with its keys in order."""

    __slots__ = ("_keys", "by_key")

    def __init__(self) -> None:
        self.by_key: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def apply(self, batch: Batch) -> None:
        """Write rows in order; None deletes."""
        by_key, keys = self.by_key, self._keys
        for key, value in batch:
            if value is None:
                if by_key.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
            else:
                if key not in by_key:
                    insort(keys, key)
                by_key[key] = value

    def copy(self) -> Rows:
        """The same rows, on their own."""
        rows = Rows()
        rows.by_key = dict(self.by_key)
        rows._keys = list(self._keys)
        return rows

    def scan(
        self,
        start: bytes,
        stop: bytes | None,
        limit: int,
        *,
        limit_bytes: int = 1 << 62,
        keys_only: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """Rows in ascending order from ``start`` up to, not including, ``stop``.

        No more than ``limit`` rows; the one that reaches ``limit_bytes`` is the last.
        """
        keys, by_key = self._keys, self.by_key
        found: list[tuple[bytes, bytes]] = []
        size = 0
        for index in range(bisect_left(keys, start), len(keys)):
            key = keys[index]
            if len(found) == limit or size >= limit_bytes or (stop is not None and key >= stop):
                break
            row = (key, b"" if keys_only else by_key[key])
            size += len(row[0]) + len(row[1])
            found.append(row)
        return found


class Disk:
    """One node's disk."""

    __slots__ = ("durable", "faults", "source", "view")

    def __init__(self, source: random.Random, faults: DiskFaults) -> None:
        self.source = source
        self.faults = faults
        self.durable = Rows()
        self.view = Rows()

    def load(self, query: Query) -> object:
        """What a machine's load finds: durable rows and those under way."""
        if isinstance(query, GetRows):
            return list(map(self.view.by_key.get, query.keys))
        assert isinstance(query, ScanRows)
        return self.view.scan(
            query.start,
            query.stop,
            query.limit_rows,
            limit_bytes=query.limit_bytes,
            keys_only=query.keys_only,
        )

    def begin(self, batch: Batch) -> None:
        """A batch is under way: loads see it."""
        self.view.apply(batch)

    def finish(self, batch: Batch) -> None:
        """A batch is durable."""
        self.durable.apply(batch)

    def forget_unsynced(self) -> None:
        """A crash, or a failed commit: loads see what is durable and nothing else."""
        self.view = self.durable.copy()

    def put_back(self, rows: Rows) -> None:
        """Have these rows instead of one's own: an old copy, or none."""
        self.durable = rows.copy()
        self.view = rows.copy()

    def sync_ns(self) -> int:
        """How long the next sync takes."""
        faults = self.faults
        duration = between(self.source, faults.sync_min_ns, faults.sync_max_ns)
        if faults.slow and chance(self.source, faults.slow):
            duration += faults.slow_ns
        return duration

    def flip_bit(self, prefix: bytes, where: int) -> tuple[bytes, bytes] | None:
        """Flip one bit in one of the durable rows that start with ``prefix``; its key, and what its
        value was.

        ``where`` is any number from 0; it says which row and which bit of it. None where no such
        row has a value. A batch under way that writes the row anew is not touched.
        """
        rows = [row for row in self.durable.scan(prefix, prefix + b"\xff", 1 << 30) if row[1]]
        if not rows:
            return None
        where, row = divmod(where, len(rows))
        key, value = rows[row]
        damaged = bytearray(value)
        bit = where % (8 * len(value))
        damaged[bit // 8] ^= 1 << bit % 8
        for picture in (self.durable, self.view):
            if picture.by_key.get(key) == value:
                picture.apply([(key, bytes(damaged))])
        return key, value
