"""Clients of a bucket in which the last writer wins, some of whose values expire.

All writes are blind, so one replaces nothing but what has an earlier timestamp: what is left in the
end is at least as late as every write that was acknowledged, and every node shows it, or that it
has expired by that node's own clock.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import Factory, define

from sadik_causality import Container
from sadik_machine import MILLISECOND, SECOND
from sadik_sim.checks import value_id
from sadik_sim.node import SimNode
from sadik_sim.promises import owners_promised
from sadik_sim.violation import Violation
from sadik_sim.world import World
from sadik_vnode.keyspace import Key
from sadik_vnode.record import Record
from sadik_vnode.requests import Found, Get, Missing, Put, Written
from sadik_vnode.version import Version
from sadik_vnode.view import last_written, timestamp_of

__all__ = ["LAST_BUCKET", "LastWriter"]

LAST_BUCKET: Final = "sim-last"

_READ_NS: Final = 10 * SECOND
_LATE_NS: Final = 5 * SECOND
"""How old an answer is at most, and what its node was told of the time."""
_WINS: Final = "the last writer wins"


@define(slots=True)
class _Key:
    """What is known of one key: its values, and the latest timestamp that was acknowledged by at
    least so many owners.
    """

    values: dict[bytes, None] = Factory(dict)
    acked: dict[int, int] = Factory(dict)


class LastWriter:
    """What the clients of the bucket were told, and what they must find."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[bytes, _Key] = {}

    def put(self, key: bytes, name: bytes, timeout_ns: int, options: dict[str, Any]) -> Put:
        """The request that writes the value ``name``."""
        self._keys.setdefault(key, _Key()).values[name] = None
        return Put(LAST_BUCKET, key, name, timeout_ns, **options)

    def wrote(self, key: bytes, options: dict[str, Any], result: object) -> None:
        """A put is answered."""
        if isinstance(result, Written):
            acked = self._keys[key].acked
            for owners in range(owners_promised(options, self._world.replicas, write=True) + 1):
                acked[owners] = max(acked.get(owners, 0), result.timestamp)

    def due(self, key: bytes, options: dict[str, Any]) -> int:
        """The least timestamp that a read which begins now must show; 0: it may find nothing."""
        replicas = self._world.replicas
        asked = owners_promised(options, replicas, write=False)
        known = self._keys.get(key)
        if known is None or not asked or self._world.checks.has_rolled_back:
            return 0
        return known.acked.get(replicas - asked + 1, 0)

    def read(self, key: bytes, due: int, result: object) -> None:
        """A get is answered; ``due`` is from its begin."""
        reaped = self._world.checks.forgotten.timestamp(Key(LAST_BUCKET, key))
        if isinstance(result, Missing) and due > reaped and result.context is None:
            raise Violation(_WINS, f"a read of {key!r} knows nothing of it", key)
        if not isinstance(result, Found):
            return
        if len(result.versions) > 1:
            raise Violation(_WINS, f"{key!r} has siblings", key)
        [version] = result.versions
        name = value_id(version.value)
        dots = self._world.checks.dots_of([name])
        if name not in self._keys[key].values:
            raise Violation("nothing from nowhere", f"{key!r} shows {name!r}", key, dots)
        wall_ns = min(node.wall_ns() for node in self._world.nodes.values()) - _LATE_NS
        if version.expires_ms is not None and version.expires_ms * MILLISECOND <= wall_ns:
            raise Violation("what expired is gone", f"{key!r} shows {name!r} late", key, dots)
        if version.timestamp < due and not self._world.checks.has_rolled_back:
            raise Violation(_WINS, f"{key!r} shows {name!r}, older than what is due", key, dots)

    def judge(self) -> None:
        """When all is quiet: every node shows the last written value, until it has expired."""
        world = self._world
        for name in self._keys:
            key = Key(LAST_BUCKET, name)
            for node in world.running:
                result = world.answer(
                    node, Get(LAST_BUCKET, name, _READ_NS, r="all", sloppy=False), 2 * _READ_NS
                )
                # What an owner lacked it has been sent; but what counts is what all have together.
                self._judge_at(node, key, self._merged(key), result)

    def _merged(self, key: Key) -> Container[Version]:
        merged: Container[Version] = Container.empty()
        for owner in self._world.owners(key):
            rows = self._world.nodes[owner].disk.durable.by_key
            merged = merged.merge(Record.decode(rows.get(key.record_row)).container)
        return merged

    def _judge_at(
        self, node: SimNode, key: Key, merged: Container[Version], result: object
    ) -> None:
        acked = 0 if self._world.checks.has_rolled_back else self._keys[key.key].acked.get(0, 0)
        if not merged.versions:
            if acked > self._world.checks.forgotten.timestamp(key):
                raise Violation("an acknowledged write is never lost", f"{key}", key.key)
            return
        dot = last_written(merged.versions)
        last = merged.versions[dot]
        if timestamp_of(last) < acked:
            raise Violation(_WINS, f"{key} ends older than what was acknowledged", key.key, (dot,))
        if last.is_gone(node.wall_ns()):
            self._world.sometimes("value expired")
            if not isinstance(result, Missing):
                raise Violation("what expired is gone", f"{node.name}: {result}", key.key, (dot,))
            return
        if not isinstance(result, Found) or result.versions[0].value != last.body:
            raise Violation(_WINS, f"{node.name} shows {result} of {key}", key.key, (dot,))
