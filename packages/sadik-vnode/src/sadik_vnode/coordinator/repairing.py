"""Read repair of keys whose late replicas turned out to differ, or whose record is damaged here.

A read answers as soon as R replicas have; when one that was asked answers later with something
else, the key comes here. One key at a time is read from all owners and every owner that has less
is brought up to date. The queue is bounded: what does not fit is left to the next read.

A record or a large value that does not match its checksum is made whole again from what the owners
have, on an owner and on a fallback alike, so that a note beside it can be delivered. One of which
the other owners know nothing is given up: nobody was ever promised that it is kept, or all was
reaped, and it was damaged after it had been proven to be gone.
"""

from __future__ import annotations

from typing import Final

from sadik_causality import Container, Dot
from sadik_machine import SECOND, FailureReason
from sadik_vnode.coordinator.bodies import Bodies
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Unavailable
from sadik_vnode.version import Version

__all__ = ["Repairs"]

_QUEUE_MAX: Final = 1000
_TIMEOUT_NS: Final = 2 * SECOND


class Repairs:
    """Keys that wait for repair, in the order in which they were noticed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._queue: dict[Key, bool] = {}
        self._reading: Reading | None = None
        self._is_damaged = False

    def soon(self, key: Key, *, is_damaged: bool = False) -> None:
        """Repair ``key`` when those before it are done; ``is_damaged`` if it is damaged here."""
        is_under_way = self._reading is not None and self._reading.key == key
        if len(self._queue) < _QUEUE_MAX and not is_under_way:
            self._queue[key] = is_damaged or self._queue.get(key, False)
            self._next()

    def damaged(self, key: Key) -> None:
        """What this node has of ``key`` does not match its checksum."""
        self.soon(key, is_damaged=True)

    def _next(self) -> None:
        if self._reading is not None or not self._queue:
            return
        desk = self._desk
        key = next(iter(self._queue))
        self._is_damaged = self._queue.pop(key)
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
        reading.repair()
        desk = self._desk
        me, answers = desk.self_id, reading.answers
        is_lacking = me not in answers.by_node and me in answers.owners
        if not (is_lacking or self._is_damaged):
            self._done(reading)
            return
        lacking = [dot for dot, version in answers.merged.versions.items() if version.body is None]
        if not lacking:
            self._mend(reading, {})
            return

        def fetched(bodies: dict[Dot, bytes]) -> None:
            self._mend(reading, bodies)

        Bodies(desk, reading, lacking, desk.now + _TIMEOUT_NS, "", fetched).start()

    def _mend(self, reading: Reading, bodies: dict[Dot, bytes]) -> None:
        """Bring this node's own record up to date; ``bodies`` are the large ones."""
        replica, key, merged = self._desk.replica, reading.key, reading.merged
        if merged:
            versions = {
                dot: Version(version.head, bodies.get(dot, version.body), version.size)
                for dot, version in merged.versions.items()
            }
            if all(version.body is not None for version in versions.values()):
                self._desk.counters.read_repairs += 1
                whole = Container(versions, merged.context)
                replica.mend(key, whole, reading.is_recent, _ignore_failure)
        else:
            answers, me = reading.answers, self._desk.self_id
            others = [owner for owner in answers.owners if owner != me]
            if others and all(owner in answers.by_node for owner in others):
                replica.mend(key, merged, reading.is_recent, _ignore_failure)
        self._done(reading)

    def _done(self, reading: Reading) -> None:
        reading.keep_dots_only()
        self._reading = None
        self._next()


def _ignore_failure(_reason: FailureReason) -> None:
    """The next read finds out."""
