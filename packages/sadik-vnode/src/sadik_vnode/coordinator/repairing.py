"""Read repair of keys whose late replicas turned out to differ.

A read answers as soon as R replicas have; when one that was asked answers later with something
else, the key comes here. One key at a time is read from all owners and every owner that has less
is brought up to date. The queue is bounded: what does not fit is left to the next read.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import SECOND, FailureReason
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
        self._reading: Reading | None = None

    def soon(self, key: Key) -> None:
        """Repair ``key`` when those before it are done."""
        is_under_way = self._reading is not None and self._reading.key == key
        if len(self._queue) < _QUEUE_MAX and not is_under_way:
            self._queue[key] = None
            self._next()

    def _next(self) -> None:
        if self._reading is not None or not self._queue:
            return
        desk = self._desk
        key = next(iter(self._queue))
        del self._queue[key]
        owners = desk.placement.register(desk.placement.partition(key)).owners
        live = sum(map(desk.placement.is_routable, owners))
        self._reading = Reading(
            desk,
            key,
            max(live, 1),
            0,
            sloppy=False,
            bodies=True,
            deadline=desk.now + _TIMEOUT_NS,
            done=self._read,
            failed=self._failed,
        )
        self._reading.start()

    def _read(self, reading: Reading) -> None:
        self._repair(reading)

    def _failed(self, _unavailable: Unavailable) -> None:
        """Not all owners could answer, perhaps this one with a damaged record: what did helps."""
        assert self._reading is not None
        self._repair(self._reading)

    def _repair(self, reading: Reading) -> None:
        desk = self._desk
        reading.repair()
        merged = reading.merged
        is_unread = (
            desk.self_id not in reading.answers.by_node and desk.self_id in reading.answers.owners
        )
        is_whole = all(version.body is not None for version in merged.versions.values())
        if is_unread and is_whole and merged:
            desk.counters.read_repairs += 1
            desk.replica.merge(reading.key, merged, list, (), None, _ignore_failure)
        reading.keep_dots_only()
        self._reading = None
        self._next()


def _ignore_failure(_reason: FailureReason) -> None:
    """The next read finds out."""
