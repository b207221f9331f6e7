"""The host's two clocks: a monotonic one for machines, and the wall for people and timestamps."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Nanoseconds of both kinds."""

    def now(self) -> int:
        """Monotonic; it goes on at the pace of the event loop's own clock."""
        ...

    def wall(self) -> int:
        """Since the epoch; it may jump."""
        ...


class SystemClock:
    """The machine's clocks."""

    # Not methods: one is called for every input of a machine, and costs more than the clock itself.
    now = staticmethod(time.monotonic_ns)
    wall = staticmethod(time.time_ns)
