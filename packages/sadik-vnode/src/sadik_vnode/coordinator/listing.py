"""A listing: the live keys of a bucket in byte order, as R owners of every partition know them.

Every live owner scans its own keys in bounded chunks and sends names, live dots and contexts,
never values. The chunks are merged key by key: a key is listed if, after merging all that is known
of it by causality, a version with a value counts by the bucket's rule (`sadik_vnode.view`); expiry
is judged where the version lies. A partition that fewer than R owners speak for makes the whole
answer a refusal, never a shorter list. An owner that is slow is left out where R others speak for
all of its partitions.

An owner is told which partitions it is counted on for, and by which register. One that is no reader
of them any more has nothing to say of their keys: it answers with the newer registers, and the
listing goes on under those, behind what it has listed. Who still reads a partition answers though
the register has changed: by DESIGN's phases its answer and R - 1 others meet every write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import Factory, define

from sadik_causality import Container, Context, ContextError
from sadik_machine import MILLISECOND, FailureReason, NodeId, ScanRows
from sadik_vnode.adoption import adopt_all, newer_of
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key, index_key, index_range
from sadik_vnode.messages import KeysScanned, Newer, ScanKeys, Status
from sadik_vnode.quorum import resolve
from sadik_vnode.record import Record
from sadik_vnode.requests import ListKeys, ListResult, Outcome, Result, Tally, Unavailable
from sadik_vnode.view import LWW, timestamp_of

__all__ = ["Entry", "Listing", "registers_beyond", "scan_keys"]

EntryVersion = tuple[bytes, int, bool] | tuple[bytes, int, bool, int]
"""(actor, counter, is it gone, its timestamp where the last writer wins)"""

Entry = tuple[bytes, object, tuple[EntryVersion, ...]]
"""(key, plain context, its live versions)"""

_Listed = tuple[int, bool]
"""What a listing knows of a version: its timestamp, or 0, and whether it is gone."""

_SLOW_NS: Final = 200 * MILLISECOND
_NEWER_MAX: Final = 64


def scan_keys(
    desk: Desk,
    bucket: str,
    prefix: bytes,
    after: bytes | None,
    limit: int,
    done: Callable[[list[Entry], bytes | None], None],
    failed: Callable[[FailureReason], None],
) -> None:
    """One chunk of the keys of ``bucket`` that this node owns: entries, and up to which key."""
    start, stop = index_range(bucket, prefix, after)
    dated = desk.buckets.get(bucket).conflict == LWW
    rows_max = min(limit, desk.config.scan_rows)

    def indexed(rows: list[tuple[bytes, bytes]]) -> None:
        keys = [index_key(row) for row, _ in rows]
        if not keys:
            done([], None)
            return
        desk.replica.read_many(keys, lambda records: entries(keys, records), failed)

    def entries(keys: list[Key], records: list[Record]) -> None:
        found: list[Entry] = []
        for key, record in zip(keys, records, strict=True):
            register = desk.placement.register(desk.placement.partition(key))
            if desk.self_id in register.owners and not record.is_absent:
                found.append(_entry(key, record, desk.wall_ns, dated=dated))
        # A chunk that is cut by bytes may be short without being the last: only none is.
        done(found, keys[-1].key)

    desk.outbox.load(
        ScanRows(start, stop, rows_max, desk.config.scan_bytes, keys_only=True), indexed, failed
    )


def registers_beyond(desk: Desk, counted: Iterable[tuple[int, int]]) -> list[Newer]:
    """Of the ``(partition, epoch)`` that this node is counted on for, the newer registers by which
    it is no reader any more.
    """
    ring = desk.placement.ring
    assert ring is not None, "a node without a ring takes no requests"
    beyond = [
        partition
        for partition, epoch in counted
        if 0 <= partition < ring.partitions
        and ring.registers[partition].epoch > epoch
        and desk.self_id not in ring.registers[partition].readers
    ]
    return [(partition, *newer_of(desk, partition)) for partition in beyond[:_NEWER_MAX]]


def _entry(key: Key, record: Record, wall_ns: int, *, dated: bool) -> Entry:
    container = record.container
    versions: tuple[EntryVersion, ...]
    live = sorted(container.versions.items())
    if dated:
        versions = tuple((*dot, v.is_gone(wall_ns), timestamp_of(v)) for dot, v in live)
    else:
        versions = tuple((*dot, v.is_gone(wall_ns)) for dot, v in live)
    return key.key, container.context.to_plain(), versions


@define(slots=True)
class _Source:
    """What one owner has sent that is not merged yet. ``upto`` None: it has no more."""

    partitions: tuple[tuple[int, int], ...]
    """It is counted on for these, by registers of these epochs."""
    upto: bytes | None
    entries: list[tuple[bytes, Container[_Listed]]] = Factory(list)
    waiting: bool = True
    position: int = 0


class Listing(Conversation):
    """One page of a listing, on the node that a client asked."""

    __slots__ = (
        "_deadline", "_done", "_is_slow", "_keys", "_last_wins", "_r", "_request", "_ring",
        "_sources",
    )  # fmt: skip

    def __init__(self, desk: Desk, request: ListKeys, done: Callable[[Result], None]) -> None:
        super().__init__(desk)
        assert desk.placement.ring is not None, "a node without a ring takes no requests"
        self._ring = desk.placement.ring
        self._request = request
        self._done = done
        self._deadline = desk.now + request.timeout_ns
        self._keys: list[bytes] = []
        self._is_slow = False
        self._sources: dict[NodeId, _Source] = {}
        properties = desk.buckets.get(request.bucket)
        self._r: int | str = properties.r
        self._last_wins = properties.conflict == LWW

    def start(self) -> None:
        """Ask every live owner for its first chunk."""
        counted: dict[NodeId, list[tuple[int, int]]] = {}
        for partition, register in enumerate(self._ring.registers):
            for owner in register.readers:
                counted.setdefault(owner, []).append((partition, register.epoch))
        after = self._keys[-1] if self._keys else self._request.after
        live = [owner for owner in sorted(counted) if self.desk.placement.is_routable(owner)]
        self._sources = {node: _Source(tuple(counted[node]), after) for node in live}
        short = self._short_of(live)
        if short is not None:
            self._refuse(short)
            return
        self.wake("deadline", self._deadline)
        for node in live:
            self._ask(node)

    def received(self, sender: NodeId, message: object) -> None:
        """A chunk of one owner."""
        source = self._sources.get(sender)
        if not isinstance(message, KeysScanned) or source is None or not source.waiting:
            return
        if message.status == Status.NEWER_EPOCH:
            adopt_all(self.desk, message.newer, [partition for partition, _ in source.partitions])
            self._is_no_reader(sender)
            return
        if message.status != Status.OK:
            self._drop(sender)
            return
        self._took(sender, message.entries, message.upto)

    def unsent(self, to: NodeId, message: object) -> None:
        """That owner cannot be asked now."""
        self._drop(to)

    def peer_lost(self, peer: NodeId) -> None:
        """Go on without it, if R owners of each of its partitions are left."""
        self._drop(peer)

    def due(self, what: str) -> None:
        """The request is late, or some owners are slow."""
        if what == "slow":
            self._is_slow = True
            self._leave_slow_ones_out()
            return
        self._finish(Unavailable(Outcome.INDETERMINATE, "the owners did not answer in time", _NO))

    def _ask(self, node: NodeId) -> None:
        source = self._sources[node]
        source.waiting = True
        self._is_slow = False
        self.wake("slow", self.desk.now + _SLOW_NS)
        request = self._request
        limit = request.limit - len(self._keys) + 1
        if node != self.desk.self_id:
            self.desk.outbox.send(
                node,
                ScanKeys(
                    self.id, request.bucket, request.prefix, source.upto, limit, request.trace,
                    source.partitions,
                ),
            )  # fmt: skip
            return

        def done(entries: list[Entry], upto: bytes | None) -> None:
            if self._sources.get(node) is source and registers_beyond(self.desk, source.partitions):
                self._is_no_reader(node)
            else:
                self._took(node, entries, upto)

        def failed(_reason: FailureReason) -> None:
            self._drop(node)

        scan_keys(self.desk, request.bucket, request.prefix, source.upto, limit, done, failed)

    def _is_no_reader(self, node: NodeId) -> None:
        """A node is counted on for a partition that it does not read any more."""
        if self.desk.placement.ring is self._ring:
            self._drop(node)  # it told of nothing newer
            return
        self.close("deadline", "slow")
        self._sources = {}
        # Another conversation, so that what is still on its way answers nobody.
        again = Listing(self.desk, self._request, self._done)
        again._keys, again._deadline = self._keys, self._deadline
        again.start()

    def _leave_slow_ones_out(self) -> None:
        fast = [node for node, source in self._sources.items() if not source.waiting]
        if self._short_of(fast) is None:
            self._sources = {node: self._sources[node] for node in fast}
            self._merge()

    def _took(self, node: NodeId, entries: Sequence[Entry], upto: bytes | None) -> None:
        source = self._sources.get(node)
        if source is None or not source.waiting:
            return
        try:
            source.entries = [(key, _container(context, dots)) for key, context, dots in entries]
        except ContextError:
            self.desk.counters.malformed_messages += 1
            self._drop(node)
            return
        source.position = 0
        source.upto, source.waiting = upto, False
        if self._is_slow:
            self._leave_slow_ones_out()
        else:
            self._merge()

    def _drop(self, node: NodeId) -> None:
        if self._sources.pop(node, None) is None:
            return
        short = self._short_of(list(self._sources))
        if short is not None:
            self._refuse(short)
        else:
            self._merge()

    def _short_of(self, nodes: list[NodeId]) -> Unavailable | None:
        """Why ``nodes`` do not speak for R owners of every partition; None if they do."""
        speaking = dict.fromkeys(nodes)
        for partition, register in enumerate(self._ring.registers):
            r = resolve(None, self._r, len(register.readers), self._ring.replicas)
            have = sum(owner in speaking for owner in register.readers)
            if have < r:
                return Unavailable(
                    Outcome.NOT_APPLIED,
                    f"partition {partition} has {have} reachable owners; a listing needs {r}",
                    Tally(r, have, 0, have, 0),
                )
        return None

    def _refuse(self, why: Unavailable) -> None:
        self._finish(why)

    def _merge(self) -> None:
        """Emit every key that no owner can still add to; then ask for more where it is needed."""
        while not any(source.waiting for source in self._sources.values()):
            heads = [
                source.entries[source.position][0]
                for source in self._sources.values()
                if source.position < len(source.entries)
            ]
            # An owner whose chunk is used up, but that has more, must speak before any key after
            # its chunk may be emitted.
            used_up = [
                node
                for node, source in self._sources.items()
                if source.position == len(source.entries) and source.upto is not None
            ]
            if used_up and len(self._keys) < self._request.limit:
                for node in used_up:
                    self._ask(node)
                return
            if not heads or len(self._keys) == self._request.limit:
                self._end(more=bool(heads or used_up))
                return
            self._emit(min(heads))

    def _emit(self, key: bytes) -> None:
        merged: Container[_Listed] = Container.empty()
        for source in self._sources.values():
            if source.position < len(source.entries):
                found, container = source.entries[source.position]
                if found == key:
                    source.position += 1
                    merged = merged.merge(container)
        versions = merged.versions
        if self._last_wins and versions:
            last = max(versions, key=lambda dot: (versions[dot][0], dot))
            is_listed = not versions[last][1]
        else:
            is_listed = any(not is_gone for _, is_gone in versions.values())
        if is_listed:
            self._keys.append(key)

    def _end(self, *, more: bool) -> None:
        last = self._keys[-1] if more and self._keys else None
        self._finish(ListResult(self._keys, last))

    def _finish(self, result: Result) -> None:
        self.close("deadline", "slow")
        self._sources = {}
        self._done(result)


def _container(context: object, live: Sequence[EntryVersion]) -> Container[_Listed]:
    versions = {(v[0], v[1]): (v[3] if len(v) > 3 else 0, v[2]) for v in live}
    return Container.checked(versions, Context.from_plain(context))


_NO: Final = Tally(0, 0, 0, 0, 0)
