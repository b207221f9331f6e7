"""Which nodes own a key, as far as the client knows.

It is a hint and never a promise: any node takes any request, and one that is asked for a key it
does not own forwards it. So what is known may be old or wrong, and costs a hop then. It is learned
from ``/v1/ring`` and ``/v1/members``, anew when an answer shows another coordinator than expected
and when it is old, and a failure to learn is only a reason to learn later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sadik_client.ring import Ring

__all__ = ["Router"]

_AGAIN_NS = 5_000_000_000


class Router:
    """The ring as last learned, and when to learn it next."""

    __slots__ = ("_age_ns", "_learned_ns", "_wanted_ns", "is_learning", "ring")

    def __init__(self, age_ns: int) -> None:
        self._age_ns = age_ns
        self._wanted_ns = 0
        self._learned_ns = 0
        self.is_learning = False
        """Whether some request is about to learn: no other does at the same time."""
        self.ring: Ring | None = None

    def owners(self, bucket: str, key: bytes) -> tuple[str, ...]:
        """The owners of a key, or nothing while no ring is known."""
        return () if self.ring is None else self.ring.owners(bucket, key)

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time to learn."""
        return not self.is_learning and now_ns >= self._wanted_ns

    def doubt(self, now_ns: int) -> None:
        """What is known seems wrong: learn soon, though at most every five seconds."""
        self._wanted_ns = min(self._wanted_ns, max(now_ns, self._learned_ns + _AGAIN_NS))

    def learn(self, ring: Ring, now_ns: int) -> None:
        """Take up a ring, unless it is older than one that was learned of late."""
        is_old = now_ns - self._learned_ns >= self._age_ns
        if self.ring is None or is_old or ring.epoch >= self.ring.epoch:
            self.ring = ring
        self._learned_ns = now_ns
        self._wanted_ns = now_ns + self._age_ns

    def failed(self, now_ns: int) -> None:
        """Learning failed: go on with what there is."""
        self._learned_ns = now_ns
        self._wanted_ns = now_ns + _AGAIN_NS
