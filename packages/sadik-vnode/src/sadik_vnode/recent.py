"""What was met lately, within a bound: for what can be had again, at a price.

Two generations, of which a full one takes the other's place: so what is forgotten was not put in
for as long as half of the bound took to fill, and nobody keeps an order. What is forgotten is let
go of a little with each value that is put in: to free ten thousand records at once takes 15 ms.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_FREED_AT_ONCE: Final = 4


class Recent(Generic[K, V]):
    """Values by key; ``size_max`` bounds the sum of the sizes that they are put in with."""

    __slots__ = ("_forgotten", "_half", "_new", "_old", "_size")

    def __init__(self, size_max: int) -> None:
        self._half: Final = size_max // 2
        self._new: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._forgotten: dict[K, tuple[V, int]] = {}
        self._size = 0
        """Of what is in the new generation."""

    def get(self, key: K) -> V | None:
        """What was put in last under ``key``, or None where that was forgotten."""
        found = self._new.get(key) or self._old.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, size: int = 1) -> None:
        """Know ``value``, which is at most half of the bound in size, under ``key``."""
        before = self._new.get(key)
        if before is None:
            self._size += size
        elif before[1] != size:
            self._size += size - before[1]
        elif before[0] is value:
            return
        if self._size > self._half:
            self._forgotten, self._old, self._new = self._old, self._new, {}
            self._size = size
        self._new[key] = (value, size)
        if self._forgotten:
            self._free_some()

    def drop(self, key: K) -> None:
        """Forget what was put in under ``key``; harmless where there is nothing."""
        before = self._new.pop(key, None)
        if before is not None:
            self._size -= before[1]
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._new.clear()
        self._old.clear()
        self._forgotten.clear()
        self._size = 0

    def _free_some(self) -> None:
        forgotten = self._forgotten
        for _ in range(min(_FREED_AT_ONCE, len(forgotten))):
            forgotten.popitem()
