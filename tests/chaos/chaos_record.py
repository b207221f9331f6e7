"""What a scenario did, what its clients saw, and what was checked: for a reader to judge."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from itertools import pairwise

from attrs import Factory, define
from history_load import Operation

__all__ = ["Check", "Event", "Record", "Series", "longest_gap_s", "percentile_ms"]


@define
class Event:
    """Something that was done to the cluster, ``at`` seconds after the scenario began."""

    at: float
    what: str


@define
class Check:
    """A figure and its bound: it holds where the figure is at most (or at least) the bound."""

    what: str
    figure: float
    bound: float
    unit: str
    is_most: bool

    @property
    def holds(self) -> bool:
        """Whether the figure keeps to its bound."""
        return self.figure <= self.bound if self.is_most else self.figure >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.is_most else "≥"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.what}: {self.figure:.6g}{unit} ({sign} {self.bound:.6g})"


@define
class Series:
    """A quantity over time."""

    what: str
    unit: str
    points: list[tuple[float, float]] = Factory(list)
    """Seconds after the scenario began, and the value then."""

    def add(self, at: float, value: float) -> None:
        """Take a sample."""
        self.points.append((at, value))

    def slope_per_s(self, since_s: float) -> float:
        """How fast it grows from ``since_s`` on, by least squares; 0 where that is too short."""
        points = [point for point in self.points if point[0] >= since_s]
        if len(points) < 10:
            return 0.0
        return statistics.linear_regression(*zip(*points, strict=True)).slope


@define
class Record:
    """One scenario."""

    name: str
    title: str
    began: float = Factory(time.monotonic)
    events: list[Event] = Factory(list)
    checks: list[Check] = Factory(list)
    operations: list[Operation] = Factory(list)
    """What clients were answered; instants are of the monotonic clock, as ``began`` is."""
    series: list[Series] = Factory(list)
    outcome: str = "unfinished"

    def event(self, what: str) -> None:
        """Note what is being done now."""
        self.events.append(Event(time.monotonic() - self.began, what))

    def at_most(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        """Note a figure, and fail where it exceeds its bound."""
        self._check(Check(what, figure, bound, unit, is_most=True))

    def at_least(self, what: str, figure: float, bound: float, unit: str = "") -> None:
        """Note a figure, and fail where it falls short of its bound."""
        self._check(Check(what, figure, bound, unit, is_most=False))

    def _check(self, check: Check) -> None:
        self.checks.append(check)
        assert check.holds, str(check)


def longest_gap_s(
    operations: Iterable[Operation], began: float, ended: float, statuses: Iterable[int]
) -> float:
    """The longest time between two instants between which nobody was answered with one of
    ``statuses``, from ``began`` to ``ended`` (monotonic seconds).
    """
    good = set(statuses)
    instants = [began]
    instants += sorted(
        at
        for each in operations
        if each.status in good and began < (at := each.began + each.seconds) < ended
    )
    instants.append(ended)
    return max(later - sooner for sooner, later in pairwise(instants))


def percentile_ms(operations: Iterable[Operation], part: float) -> float:
    """A percentile of the latencies of what was answered; 0 where nothing was."""
    taken = sorted(each.seconds for each in operations if each.status)
    return 1e3 * taken[min(int(part * len(taken)), len(taken) - 1)] if taken else 0.0
