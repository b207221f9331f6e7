"""The heap of events: virtual time moves from one to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["Events"]

T = TypeVar("T")


class Events:
    """What happens when, in virtual nanoseconds; simultaneous events in the order they were set.

    What is to be done comes with its arguments, since to bind them costs more than an entry.
    """

    __slots__ = ("_count", "_heap", "happened", "now")

    def __init__(self, now: int) -> None:
        self.now = now
        self.happened = 0
        """Events so far."""
        self._count = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when: int, what: Callable[..., None], *args: Any) -> None:
        """Do ``what`` at instant ``when``, or now if that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, what, args))

    def after(self, delay_ns: int, what: Callable[..., None], *args: Any) -> None:
        """Do ``what`` after a while."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_ns, self._count, what, args))

    def at_each(self, series: Iterable[tuple[int, T]], what: Callable[[T], None]) -> None:
        """Do ``what`` with each item of ``series`` at its instant; they come in ascending order.

        Only the next of them is in the heap, whose every turn takes longer the more is in it.
        """
        items = iter(series)

        def go_on() -> None:
            following = next(items, None)
            if following is not None:
                when, item = following
                self.at(when, happen, item)

        def happen(item: T) -> None:
            go_on()
            what(item)

        go_on()

    def clear(self) -> None:
        """Nothing happens any more."""
        self._heap.clear()

    def run_until(self, end: int) -> None:
        """Let everything happen that is due by ``end``; it is ``end`` then."""
        heap, pop, before = self._heap, heapq.heappop, self._count
        pending = len(heap)
        try:
            while heap and heap[0][0] <= end:
                self.now, _, what, args = pop(heap)
                what(*args)
        finally:
            self.happened += pending + self._count - before - len(heap)
        self.now = max(self.now, end)

    def run_while(self, condition: Callable[[], bool], end: int) -> bool:
        """Let things happen while ``condition`` holds, not beyond ``end``; whether it ceased."""
        heap = self._heap
        while condition():
            if not heap or heap[0][0] > end:
                self.now = max(self.now, end)
                return not condition()
            self.now, _, what, args = heapq.heappop(heap)
            self.happened += 1
            what(*args)
        return True
