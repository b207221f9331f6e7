"""Time as an argument: integer nanoseconds on a monotonic clock that the host owns.

No machine reads a clock. A host passes ``now`` to every `step` and asks a machine's ``deadline``
when to call again; waking a machine early, late or twice is harmless by contract.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MICROSECOND", "MILLISECOND", "SECOND", "earliest", "from_seconds", "to_seconds"]

MICROSECOND: Final = 1_000
MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000


def from_seconds(seconds: float) -> int:
    """Nanoseconds for ``seconds``, rounded to the nearest."""
    return round(seconds * SECOND)


def to_seconds(nanoseconds: int) -> float:
    """Seconds for ``nanoseconds``, for people and for Prometheus."""
    return nanoseconds / SECOND


def earliest(*deadlines: int | None) -> int | None:
    """The first of several optional instants, or None where none is set."""
    first: int | None = None
    for deadline in deadlines:
        if deadline is not None and (first is None or deadline < first):
            first = deadline
    return first
