"""Python's collector of cycles, in a process whose clients wait while it looks.

What a request makes goes with its last reference, so the collector finds next to nothing. But it
looks again and again at what has grown old, and that is what a node remembers on purpose: decoded
records, keys, hashes, some hundred thousand objects. To look at all of them takes up to a tenth of
a second, and even the youngest ten thousand take as long as some twenty gets.

So it looks at few objects at a time, and what has outlived two looks is set aside (`gc.freeze`):
it still goes with its last reference, but is not looked at any more. Garbage that was set aside
before it became garbage, in a cycle, waits for the full look that there is once an hour.
"""

from __future__ import annotations

import gc
from typing import Final

import trio

__all__ = ["Collector"]

_THRESHOLDS: Final = (2_000, 5, 1_000)
"""New objects that there are more than at the last look; looks at these before one at those that
were left, too; and such before one at all that is not set aside, which is then no more."""
_FULL_EVERY_SECONDS: Final = 3600


class Collector:
    """The collector of this process, from `start` to `stop`."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()

    def start(self) -> None:
        """Set aside all that there is: modules, classes and the node stay to the end."""
        self._before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        gc.callbacks.append(self._looked)

    def stop(self) -> None:
        """As it was before."""
        gc.callbacks.remove(self._looked)
        gc.set_threshold(*self._before)
        gc.unfreeze()

    async def look_at_all(self) -> None:
        """Look at everything, once an hour, until cancelled."""
        while True:
            await trio.sleep(_FULL_EVERY_SECONDS)
            gc.unfreeze()
            gc.collect()
            gc.freeze()

    def _looked(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"]:
            gc.freeze()
