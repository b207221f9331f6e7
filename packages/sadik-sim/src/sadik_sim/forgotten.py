"""What was reaped: what nobody need know any more, and what must never come back.

A record goes from a disk for one of two reasons. An owner takes it away when it is proven that all
that is live in it is gone; what it covers beyond that must not be stored anywhere again. Who does
not own it hands it off; then every owner covers it, unless it was reaped meanwhile. One that is to
be an owner, and is not read yet, may not have heard of it, and hands off what it kept before: it is
brought the partition when it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from attrs import Factory, define

from sadik_causality import EMPTY, Context, Dot
from sadik_machine import SECOND, NodeId
from sadik_sim.violation import Violation, show
from sadik_vnode.keyspace import DATA_RANGE, Key, record_key
from sadik_vnode.record import DamagedRecord, Record
from sadik_vnode.version import Version
from sadik_vnode.view import timestamp_of

if TYPE_CHECKING:
    from sadik_sim.node import SimNode
    from sadik_sim.world import World

__all__ = ["Forgotten"]

_NAME_AT: Final = 5
"""Where the name begins in the key of a record's row: behind the token."""


@define(slots=True)
class _Reaped:
    """Of one key: all that its reaped records covered, what was live in them, and how late."""

    context: Context = EMPTY
    live: dict[Dot, None] = Factory(dict)
    timestamp: int = 0


class Forgotten:
    """Watches records go. ``is_excused`` tells of nodes whose disks lost what they had."""

    def __init__(self, world: World, is_excused: dict[NodeId, None]) -> None:
        self._world = world
        self._is_excused = is_excused
        self._reaped: dict[bytes, _Reaped] = {}

    def context(self, key: Key) -> Context:
        """All that was reaped of a key: nobody need cover it."""
        reaped = self._reaped.get(key.name)
        return EMPTY if reaped is None else reaped.context

    def timestamp(self, key: Key) -> int:
        """The latest timestamp of what was reaped of a key; 0 if nothing was."""
        reaped = self._reaped.get(key.name)
        return 0 if reaped is None else reaped.timestamp

    def storing(self, node: SimNode, batch: Sequence[tuple[bytes, bytes | None]]) -> None:
        """A batch is about to be on disk."""
        for row, value in batch:
            if value is None and row[:1] == DATA_RANGE[0]:
                self._goes(node, row)

    def _goes(self, node: SimNode, row: bytes) -> None:
        try:
            record = Record.decode(node.disk.durable.by_key.get(row))
        except DamagedRecord:
            return
        key, container = record_key(row), record.container
        if not container or node.id in self._is_excused:
            return
        if node.id in self._world.readers(key):
            self._is_reaped(node, key, record)
            return
        self._world.sometimes("foreign record handed off")
        nodes = self._world.nodes
        # A node that is still being brought the partition gets it from those that are read.
        for owner in [nodes[n] for n in self._world.readers(key) if n in nodes]:
            if owner.id in self._is_excused:
                continue
            has = _readable(owner.disk.durable.by_key.get(row)).container.context
            lacking = container.context.missing_from(has.join(self.context(key)))
            if lacking:
                actor, counter, _ = next(lacking.spans())
                raise Violation(
                    "a source goes when its owners have it",
                    f"{node.name} takes away what {owner.name} lacks: {show((actor, counter))}",
                    key.key,
                    ((actor, counter),),
                )

    def _is_reaped(self, node: SimNode, key: Key, record: Record) -> None:
        self._world.sometimes("record reaped")
        container = record.container
        for dot, version in container.versions.items():
            # What a node is told of the time is a second old at most.
            wall_ns = max(node.wall_ns(), node.wall_seen_max_ns) + SECOND
            if not version.is_gone(wall_ns):
                raise Violation(
                    "an acknowledged write is never lost",
                    f"{node.name} takes {show(dot)} away, which is neither deleted nor has expired",
                    key.key,
                    (dot,),
                )
        reaped = self._reaped.setdefault(key.name, _Reaped())
        reaped.context = reaped.context.join(container.context)
        reaped.live.update(dict.fromkeys(container.versions))
        latest = max(map(timestamp_of, container.versions.values()), default=0)
        reaped.timestamp = max(reaped.timestamp, latest)

    def stored(
        self, node: SimNode, row: bytes, versions: Iterable[tuple[bytes, int, bytes, object, int]]
    ) -> None:
        """A record is on disk: nothing in it was replaced by what was reaped."""
        reaped = self._reaped.get(row[_NAME_AT:])
        if reaped is None or node.id in self._is_excused:
            return
        for actor, counter, head, _, size in versions:
            dot = (actor, counter)
            if dot in reaped.live or not reaped.context.covers(dot):
                continue
            what = "a delete" if Version(head, None, size).is_deleted else "a value"
            raise Violation(
                "nothing covered comes back",
                f"{node.name} stores {what}, {show(dot)}, which was replaced by what was reaped",
                record_key(row).key,
                (dot,),
            )


def _readable(row: bytes | None) -> Record:
    try:
        return Record.decode(row)
    except DamagedRecord:
        return Record.decode(None)
