"""Python's collector of cycles, in a process whose clients wait while it looks.

What a request makes goes with its last reference, so the collector finds next to nothing. But it
looks again and again at what has grown old, and that is what a node remembers on purpose: decoded
records, keys, hashes, some hundred thousand objects. To look at all of them takes up to a tenth of
a second, and even the youngest ten thousand take 5 to 10 ms.

So it looks at few objects at a time, and what has outlived two looks is set aside (`gc.freeze`):
it still goes with its last reference, but is not looked at any more. Garbage that was set aside
before it became garbage, in a cycle, waits for the full look that there is once an hour.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

__all__ = ["collecting_the_young", "look_at_all"]

_THRESHOLDS: Final = (2_000, 5, 1_000)
"""As `gc.set_threshold` has them: so many more objects than at the last look make for one at these;
every sixth looks also at what the five before have left, and what that leaves is set aside. So the
third, of looks at all that is old, hardly matters: little is old that is not set aside."""
_FULL_EVERY_SECONDS: Final = 3600


@contextmanager
def collecting_the_young() -> Iterator[None]:
    """Within the block the collector of this process works so. All that there is at its beginning
    is set aside: modules, classes and the node stay to the end.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(_looked)
    try:
        yield
    finally:
        gc.callbacks.remove(_looked)
        gc.set_threshold(*before)
        gc.unfreeze()


async def look_at_all() -> None:
    """Look at everything, once an hour, until cancelled."""
    while True:
        await trio.sleep(_FULL_EVERY_SECONDS)
        gc.unfreeze()
        gc.collect()
        gc.freeze()


def _looked(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"]:
        gc.freeze()
