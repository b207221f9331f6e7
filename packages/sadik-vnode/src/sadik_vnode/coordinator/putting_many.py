"""Many puts at once: each is a put of its own, and what they have in common is done once.

Every key is coordinated, counted, retried and answered by itself (`sadik_vnode.coordinator.putting`
and `writing`), so one that meets with something unusual does not touch the others. But those that
this node coordinates load their records together and store them in one batch, and what begins
alike for another node, be it to store or to coordinate, travels in one message
(`sadik_vnode.together`), is stored there in one batch and answered in one message.

Large values go alone: a batch of the store, and a message, are not to grow beyond measure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sadik_vnode.coordinator.putting import Forwarding
from sadik_vnode.desk import Desk, overloaded
from sadik_vnode.messages import MANY_KEYS_MAX
from sadik_vnode.requests import PUTS_MAX, ManyWritten, PutMany, Result

__all__ = ["PuttingMany"]

assert PUTS_MAX <= MANY_KEYS_MAX, "the puts of one request fit one message to each replica"


class PuttingMany:
    """The puts of one request on the node that it asked."""

    def __init__(self, desk: Desk, request: PutMany, done: Callable[[Result], None]) -> None:
        assert 0 < len(request.puts) <= PUTS_MAX, "who wants more asks twice"
        self._desk = desk
        self._puts = request.puts
        self._done = done
        self._results: list[Result | None] = [None] * len(request.puts)
        self._left = len(request.puts)

    def start(self) -> None:
        """Begin all. May answer at once."""
        desk = self._desk
        large = []
        with desk.outbox.together(), desk.replica.together():
            for at, put in enumerate(self._puts):
                if len(put.value) > desk.config.message_bytes_max:
                    large.append(at)
                else:
                    self._begin(at)
        for at in large:
            self._begin(at)

    def _begin(self, at: int) -> None:
        """Begin one; refuse it where it would exceed a bound that the others before it did not."""
        settle = partial(self._settle, at)
        if self._desk.is_overloaded:
            settle(overloaded())
        else:
            Forwarding(self._desk, self._puts[at], settle).start()

    def _settle(self, at: int, result: Result) -> None:
        self._results[at] = result
        self._left -= 1
        if not self._left:
            self._done(ManyWritten(self._results))  # type: ignore[arg-type]
