"""How far a change of the ring is, from one look at ``/v1/transfers`` after another.

A transfer that is done is listed no more: what was last seen of it stays counted, as done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["Movement"]

_WINDOW_S: Final = 15.0
"""The rate is that of so long: shorter, and it jumps; longer, and it tells of what is over."""
_MINUTE_S: Final = 60


class Movement:
    """Sums of all transfers. ``now_s`` are seconds of any steady clock."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str | None], int] = {}
        self._looks: deque[tuple[float, int]] = deque()
        self.replicas = 0
        """That have moved or are to move."""
        self.replicas_done = 0
        self.bytes_done = 0
        self.bytes_total = 0

    def look(self, now_s: float, transfers: Sequence[Mapping[str, Any]]) -> None:
        """What is listed now."""
        listed = {(each["partition"], each["to"]): each for each in transfers}
        for key, each in listed.items():
            self._seen[key] = each["bytes_total"]
        self.replicas = len(self._seen)
        self.replicas_done = len(self._seen) - len(listed)
        self.bytes_total = sum(self._seen.values())
        lacking = sum(each["bytes_total"] - each["bytes_done"] for each in listed.values())
        self.bytes_done = self.bytes_total - lacking
        self._looks.append((now_s, self.bytes_done))
        while len(self._looks) > 2 and now_s - self._looks[0][0] > _WINDOW_S:
            self._looks.popleft()

    @property
    def rate(self) -> float | None:
        """Bytes a second lately; None while that cannot be told."""
        if len(self._looks) < 2:
            return None
        (began_s, before), (now_s, after) = self._looks[0], self._looks[-1]
        return max(after - before, 0) / (now_s - began_s) if now_s > began_s else None

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this rate; None where that cannot be told."""
        rate = self.rate
        return (self.bytes_total - self.bytes_done) / rate if rate else None

    def __str__(self) -> str:
        told = [f"{self.replicas_done} of {self.replicas} replicas"]
        if self.bytes_total:
            percent = 100 * self.bytes_done // self.bytes_total
            done, total = megabytes(self.bytes_done), megabytes(self.bytes_total)
            told.append(f"{done} of {total} ({percent}%)")
        if self.rate:
            told.append(f"{megabytes(self.rate)}/s")
        if self.left_s:
            told.append(f"about {_duration(self.left_s)} left")
        return ", ".join(told)


def megabytes(count: float) -> str:
    """Bytes as people read them here."""
    return f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / _MINUTE_S)
    return f"{minutes} min" if minutes < _MINUTE_S else f"{minutes // 60} h {minutes % 60} min"
