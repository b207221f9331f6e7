"""One heap of deadlines for everything that a machine waits for.

Moving or dropping a deadline leaves its old entry in the heap, to be skipped when it surfaces:
most deadlines of a store are dropped because the answer came. The heap is rebuilt when more than
half of it is stale, so setting and dropping stay cheap on average, and memory, with the keys that
it keeps alive, stays within twice what is live.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

K = TypeVar("K", bound=Hashable)

_REBUILD_BEYOND = 64


class Deadlines(Generic[K]):
    """Instants by key. Keys that fall due at one instant come in the order they were set."""

    __slots__ = ("_at", "_count", "_heap")

    def __init__(self) -> None:
        self._at: dict[K, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at: int) -> None:
        """Wake for ``key`` at instant ``at``, and no longer at an earlier or later one."""
        self._count += 1
        self._at[key] = (at, self._count)
        heapq.heappush(self._heap, (at, self._count, key))
        self._shrink()

    def drop(self, key: K) -> None:
        """Forget the deadline of ``key``; harmless where there is none."""
        if self._at.pop(key, None) is not None:
            self._shrink()

    @property
    def first(self) -> int | None:
        """The earliest instant, or None."""
        heap = self._heap
        while heap:
            at, count, key = heap[0]
            if self._at.get(key) == (at, count):
                return at
            heapq.heappop(heap)
        return None

    def due(self, now: int) -> list[K]:
        """Take out all keys whose instant is at or before ``now``, earliest first."""
        heap = self._heap
        if not heap or heap[0][0] > now:
            return []
        keys = []
        while heap and heap[0][0] <= now:
            at, count, key = heapq.heappop(heap)
            if self._at.get(key) == (at, count):
                del self._at[key]
                keys.append(key)
        self._shrink()
        return keys

    def _shrink(self) -> None:
        size = len(self._heap)
        if size > _REBUILD_BEYOND and size > 2 * len(self._at):
            self._heap = [(at, count, key) for key, (at, count) in self._at.items()]
            heapq.heapify(self._heap)
