"""How long after a write its copies were there: what a read that asks too few replicas can miss.

The coordinator of a write sees every owner acknowledge, so it can tell when the first copy was on a
disk, when a majority were, and when the last was; all by one clock, from the making of the dot.
An owner that was away gets its copy by a hint or by anti-entropy; how old that was when it got
there is told by wall clocks, since nobody was there for the whole time.

These are the figures behind "probabilistically bounded staleness" (Bailis et al., VLDB 2012),
measured instead of modelled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from sadik_machine import SECOND, timestamp_wall_ns
from sadik_vnode.version import Version
from sadik_vnode.view import timestamp_of

__all__ = ["AGE_BOUNDS", "SPREAD_BOUNDS", "Durations", "Spread", "newest"]

SPREAD_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds from a dot to a copy; a coordinator waits for five seconds as a rule."""

AGE_BOUNDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0,
              604800.0)  # fmt: skip
"""Seconds of age of what an owner had missed."""


class Durations:
    """A histogram: ``counts`` by bucket, not cumulative, one more than there are bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, took_ns: int) -> None:
        """Count one duration."""
        seconds = max(took_ns, 0) / SECOND
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Spread:
    """What one node measured of the writes that it coordinated and of what it brought to others."""

    __slots__ = ("anti_entropy", "first", "hint", "last", "majority")

    def __init__(self) -> None:
        self.first = Durations(SPREAD_BOUNDS)
        """From the dot to the first owner that had it on its disk."""
        self.majority = Durations(SPREAD_BOUNDS)
        self.last = Durations(SPREAD_BOUNDS)
        """Of writes that every owner acknowledged by itself; the others show up as late copies."""
        self.hint = Durations(AGE_BOUNDS)
        """The age of the newest version of a record that a hint brought."""
        self.anti_entropy = Durations(AGE_BOUNDS)
        """The same of anti-entropy."""

    def copied(self, copies: int, owners: int, took_ns: int) -> None:
        """One more owner acknowledged a write: ``copies`` of ``owners`` now have it."""
        if copies == 1:
            self.first.add(took_ns)
        if copies == owners // 2 + 1:
            self.majority.add(took_ns)
        if copies == owners:
            self.last.add(took_ns)


def newest(versions: Iterable[Version]) -> int:
    """The wall time, in nanoseconds, of the version that was written last; 0 if none can tell."""
    latest = max(map(timestamp_of, versions), default=-1)
    return timestamp_wall_ns(latest) if latest > 0 else 0
