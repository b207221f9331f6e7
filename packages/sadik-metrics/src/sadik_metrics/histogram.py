"""A histogram that hot code can afford: a list of integers and one bisection.

An observation costs a few hundred nanoseconds, against some microseconds for a library's labelled
histogram with its locks. One thread writes; a scrape on the same thread reads.
"""

from __future__ import annotations

from bisect import bisect_left

from attrs import define, field

__all__ = ["Histogram"]


@define(slots=True)
class Histogram:
    """Observations counted by buckets; ``bounds`` are inclusive upper bounds, ascending."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    """By bucket, not cumulative; one more than there are bounds: the last is above all of them."""
    sum: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        assert list(self.bounds) == sorted(set(self.bounds)), "bounds ascend"
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)
