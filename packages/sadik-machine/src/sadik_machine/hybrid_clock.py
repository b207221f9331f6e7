"""A hybrid logical clock: close to wall time, never going back, ahead of all that it has seen.

After Kulkarni, Demirbas et al., "Logical Physical Clocks" (OPODIS 2014), in the compact form of
one integer: the upper bits are wall milliseconds, the lower 16 a counter. Wall time comes in
as an argument, as every other time does; between two readings it is carried on by the monotonic
clock. A remote timestamp far ahead of the local wall clock is not adopted but counted,
so that one node's clock a year ahead cannot drag the cluster along.
"""

from __future__ import annotations

from typing import Final

from sadik_machine.times import MILLISECOND, SECOND

__all__ = ["AHEAD_MAX_NS", "HybridClock", "timestamp_wall_ns"]

AHEAD_MAX_NS: Final = 60 * SECOND
"""How far ahead of the local wall clock a remote timestamp may be and still be adopted."""

_COUNTER_BITS: Final = 16


def timestamp_wall_ns(timestamp: int) -> int:
    """The wall time, in nanoseconds since the epoch, that a hybrid timestamp stands for."""
    return (timestamp >> _COUNTER_BITS) * MILLISECOND


class HybridClock:
    """Timestamps are 64-bit integers that grow strictly within a node.

    ``refused_count`` counts remote timestamps that were too far ahead; ``ahead_ns`` is the greatest
    lead seen among them, for the operator.
    """

    __slots__ = ("_last", "_offset_ns", "ahead_ns", "refused_count")

    def __init__(self) -> None:
        self._last = 0
        self._offset_ns = 0
        self.refused_count = 0
        self.ahead_ns = 0

    def set_wall(self, now: int, wall_ns: int) -> None:
        """At monotonic ``now`` the wall clock shows ``wall_ns``."""
        self._offset_ns = wall_ns - now

    def wall_ns(self, now: int) -> int:
        """The local wall clock, in nanoseconds since the epoch: never the hybrid one."""
        return now + self._offset_ns

    def tick(self, now: int) -> int:
        """A new timestamp, greater than every one made or adopted here before."""
        wall = (max(self.wall_ns(now), 0) // MILLISECOND) << _COUNTER_BITS
        self._last = max(wall, self._last + 1)
        return self._last

    def adopt(self, now: int, timestamp: int) -> bool:
        """Move past a remote timestamp. False, and counted, where it is too far ahead."""
        ahead_ns = timestamp_wall_ns(timestamp) - self.wall_ns(now)
        if ahead_ns > AHEAD_MAX_NS:
            self.refused_count += 1
            self.ahead_ns = max(self.ahead_ns, ahead_ns)
            return False
        self._last = max(self._last, timestamp)
        return True
