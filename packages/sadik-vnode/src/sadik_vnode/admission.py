"""Admission control: how much background work may be done beside the requests of clients.

Hint delivery and anti-entropy work in units (a window of records, a batch of leaves). After each
they ask here how long to pause, and are told in proportion to how long the unit took. Half of the
time is theirs while nobody else is served, and 15 % while clients are: a request that comes
while a unit is at work waits for it, so the share is also how many of them wait. When clients'
requests take longer than they usually do, the share is halved every tenth of a second, down to a
fiftieth; while they take as long as ever it grows back by a fiftieth each time. (Dynamo, section
6.5, has such a controller; additive growth and multiplicative retreat are TCP's.)

What requests usually take is the mean of the calmest windows: it falls at once and rises slowly, so
that a load that is here to stay is taken for the usual after some time.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import MILLISECOND, SECOND

__all__ = ["Admission"]

_WINDOW_NS: Final = 100 * MILLISECOND
_SHARE_MAX: Final = 0.5
_SHARE_SERVING: Final = 0.15
"""At most, in a window in which clients were served."""
_SHARE_MIN: Final = 0.02
_SHARE_GROWTH: Final = 0.02
_SLOWER: Final = 2.0
"""Foreground counts as slowed down when a window's mean is so many times the usual."""
_SLOWER_BY_NS: Final = 2 * MILLISECOND
"""And by so much at least: a mean that doubles from half a millisecond is noise."""
_USUAL_RISES: Final = 0.01
_PAUSE_MAX_NS: Final = 5 * SECOND
_UNIT_MIN_NS: Final = MILLISECOND // 2
"""A unit counts for so much at least: a virtual clock stands still while one computes."""


class Admission:
    """Sees how long foreground requests take; says how long background work is to pause."""

    __slots__ = ("_count", "_share", "_sum_ns", "_usual_ns", "_window_at")

    def __init__(self) -> None:
        self._share = _SHARE_MAX
        self._usual_ns = 0.0
        self._window_at = 0
        self._sum_ns = 0
        self._count = 0

    @property
    def share(self) -> float:
        """The share of time that background work may take now."""
        return self._share

    def served(self, now: int, took_ns: int) -> None:
        """A client's request was answered after ``took_ns``."""
        if now - self._window_at >= _WINDOW_NS:
            self._close_window(now)
        self._sum_ns += took_ns
        self._count += 1

    def pause_ns(self, now: int, took_ns: int) -> int:
        """How long to wait after a unit of background work that took so long."""
        if now - self._window_at >= _WINDOW_NS:
            self._close_window(now)
        took_ns = max(took_ns, _UNIT_MIN_NS)
        return min(int(took_ns * (1 - self._share) / self._share), _PAUSE_MAX_NS)

    def _close_window(self, now: int) -> None:
        windows = (now - self._window_at) // _WINDOW_NS
        self._window_at = now
        if not self._count:
            self._grow(windows, _SHARE_MAX)
            return
        mean = self._sum_ns / self._count
        self._sum_ns = self._count = 0
        if not self._usual_ns or mean < self._usual_ns:
            self._usual_ns = mean
        slowed_ns = max(self._usual_ns * _SLOWER, self._usual_ns + _SLOWER_BY_NS)
        if mean > slowed_ns:
            self._share = max(min(self._share, _SHARE_SERVING) / 2, _SHARE_MIN)
        else:
            self._grow(1, _SHARE_SERVING)
            self._grow(windows - 1, _SHARE_MAX)  # nobody came in those that followed
        self._usual_ns += (mean - self._usual_ns) * _USUAL_RISES

    def _grow(self, windows: int, most: float) -> None:
        self._share = min(self._share + _SHARE_GROWTH * windows, most)
