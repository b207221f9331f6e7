"""One heap of deadlines for everything that a machine waits for.

Moving or dropping a deadline leaves its old entry in the heap, to be skipped when it surfaces:
most deadlines of a store are dropped because the answer came. The heap is rebuilt when more than
half of it is stale, so setting and dropping stay cheap on average, and memory, with the keys that
it keeps alive, stays within twice what is live.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Any, Final, Generic, TypeAlias, TypeVar

__all__ = ["Deadlines"]

K = TypeVar("K", bound=Hashable)

_REBUILD_BEYOND: Final = 64

_Entry: TypeAlias = list[Any]
"""Instant, count (which is unique, so that keys are never compared), key, and whether it counts."""


class Deadlines(Generic[K]):
    """Instants by key. Keys that fall due at one instant come in the order they were set."""

    __slots__ = ("_at", "_count", "_heap")

    def __init__(self) -> None:
        self._at: dict[K, _Entry] = {}
        self._heap: list[_Entry] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at: int) -> None:
        """Wake for ``key`` at instant ``at``, and no longer at an earlier or later one."""
        self._count += 1
        before = self._at.get(key)
        if before is not None:
            before[3] = False
        self._at[key] = entry = [at, self._count, key, True]
        heapq.heappush(self._heap, entry)
        if len(self._heap) > _REBUILD_BEYOND:
            self._shrink()

    def drop(self, key: K) -> None:
        """Forget the deadline of ``key``; harmless where there is none."""
        entry = self._at.pop(key, None)
        if entry is not None:
            entry[3] = False
            if len(self._heap) > _REBUILD_BEYOND:
                self._shrink()

    def clear(self) -> None:
        """Forget every deadline."""
        self._at.clear()
        self._heap.clear()

    @property
    def first(self) -> int | None:
        """The earliest instant, or None."""
        heap = self._heap
        while heap:
            at, _, _, counts = heap[0]
            if counts:
                return at  # type: ignore[no-any-return]  # as `_Entry` says
            heapq.heappop(heap)
        return None

    def due(self, now: int) -> list[K]:
        """Take out all keys whose instant is at or before ``now``, earliest first."""
        return list(self.each_due(now))

    def each_due(self, now: int) -> Iterator[K]:
        """Take out the keys that are due one at a time: for who does something for each.

        What is done for one may drop the next, or move it, and it does not come then. What is set
        meanwhile comes the next time, however early it is. Go through all of them.
        """
        heap = self._heap
        if not heap or heap[0][0] > now:
            return
        entries = []
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            if entry[3]:
                entries.append(entry)
        for entry in entries:
            if entry[3]:
                entry[3] = False
                del self._at[entry[2]]
                yield entry[2]
        self._shrink()

    def _shrink(self) -> None:
        if len(self._heap) > max(_REBUILD_BEYOND, 2 * len(self._at)):
            self._heap = list(self._at.values())
            heapq.heapify(self._heap)
