"""Read repair of keys whose late replicas turned out to differ.

A read answers as soon as R replicas have; when one that was asked answers later with something
else, the key comes here. One key at a time is read from all owners and every owner that has less
is brought up to date. The queue is bounded: what does not fit is left to the next read.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import SECOND
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Unavailable

__all__ = ["Repairs"]

_QUEUE_MAX: Final = 1000
_TIMEOUT_NS: Final = 2 * SECOND


class Repairs:
    """Keys that wait for repair, in the order in which they were noticed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._queue: dict[Key, None] = {}
        self._busy = False

    def soon(self, key: Key) -> None:
        """Repair ``key`` when those before it are done."""
        if len(self._queue) < _QUEUE_MAX:
            self._queue[key] = None
            self._next()

    def _next(self) -> None:
        if self._busy or not self._queue:
            return
        desk = self._desk
        key = next(iter(self._queue))
        del self._queue[key]
        owners = desk.placement.register(desk.placement.partition(key)).owners
        live = sum(map(desk.placement.is_routable, owners))
        self._busy = True
        Reading(
            desk,
            key,
            max(live, 1),
            0,
            sloppy=False,
            bodies=True,
            deadline=desk.now + _TIMEOUT_NS,
            done=self._read,
            failed=self._failed,
        ).start()

    def _read(self, reading: Reading) -> None:
        reading.repair()
        reading.keep_dots_only()
        self._busy = False
        self._next()

    def _failed(self, _unavailable: Unavailable) -> None:
        self._busy = False
        self._next()
