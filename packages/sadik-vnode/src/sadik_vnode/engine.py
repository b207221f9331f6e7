"""The engine: one node's part in keeping data, as one pure machine.

`step` is a table of contents: one input, one handler. Client requests become conversations, which
send messages and wait for answers; messages of other nodes' conversations are served by this
node's replica; news of members, ring and liveness go to the placement. What must be on disk before
something may leave rides in a store, so no order of crashes can show what was not kept.

All state outside of the store is lost in a crash and nothing depends on it: hint notes, records
and births are rows, and the rest is learned again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from sadik_causality import ContextSealer
from sadik_machine import (
    SECOND,
    Cancelled,
    Deadlines,
    Draining,
    Effect,
    Failed,
    FailureReason,
    Input,
    Link,
    LinkState,
    Loaded,
    NodeId,
    Observed,
    Received,
    Requested,
    RequestId,
    ScanRows,
    Stored,
    Unsent,
    WallTime,
    Woke,
)
from sadik_members import (
    ClusterJoined,
    DocumentsChanged,
    LivenessChanged,
    MembersChanged,
    Publish,
    RingChanged,
    Seal,
    Sealed,
)
from sadik_vnode.anti_entropy import AntiEntropy
from sadik_vnode.births import Births
from sadik_vnode.buckets import TTL_SECONDS_MAX, BadProperties
from sadik_vnode.config import EngineConfig
from sadik_vnode.coordinator.counting import CountingHints
from sadik_vnode.coordinator.explaining import Explaining
from sadik_vnode.coordinator.getting import Getting
from sadik_vnode.coordinator.listing import Listing
from sadik_vnode.coordinator.putting import Coordinating, Forwarding, route
from sadik_vnode.coordinator.repairing import Repairs
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.copying import CopyingRecords, copy_body, copy_sums, take_records
from sadik_vnode.counters import Counters
from sadik_vnode.desk import Desk
from sadik_vnode.forwarding import answer_of, not_taken
from sadik_vnode.hints import HintNotes
from sadik_vnode.keyspace import BIRTHS_ROW, DATA_RANGE, TREE_ROW, Key, is_name
from sadik_vnode.messages import (
    FetchBody,
    ForwardWrite,
    GoingAway,
    HintCountsAsked,
    Inspect,
    ReplicaRead,
    ReplicaWrite,
    ScanKeys,
)
from sadik_vnode.news import Touched
from sadik_vnode.requests import (
    BucketList,
    BucketReset,
    BucketResult,
    BucketSet,
    BucketShow,
    BucketsResult,
    Condition,
    CopyBody,
    CopyRecords,
    CopySums,
    Delete,
    Explain,
    Get,
    Hints,
    ListKeys,
    Outcome,
    Put,
    Refusal,
    Refused,
    Repair,
    Result,
    TakeRecords,
    Tally,
    Unavailable,
)
from sadik_vnode.serving import Serving
from sadik_vnode.tree import HashTree
from sadik_vnode.tree_building import TreeBuilder, built_in

__all__ = ["Engine"]

_FORWARD_MEMORY_NS = 10 * SECOND
"""How long past its own timeout a forwarded write is remembered, so that it is carried out once."""
_FORWARDS_MAX = 200_000
_TIMEOUT_MAX_NS = 60 * SECOND

_NOBODY = Tally(0, 0, 0, 0, 0)

_TRACE_CHARS_MAX = 128
_SERVED = {
    ReplicaWrite: "write",
    ReplicaRead: "read",
    FetchBody: "fetch",
    ScanKeys: "scan",
    Inspect: "inspect",
    ForwardWrite: "coordinate",
}
"""What a message of another node's conversation asks for, as `Touched` names it."""


class Engine:
    """See `sadik_machine.Machine` for how to drive it.

    ``instance`` is the storage instance, 8 random bytes made with the store. ``saved_rows`` is
    what `SAVED_RANGE` held at the start. ``source`` must be seeded anew at every boot.

    Raises:
        DamagedRecord: a saved row is damaged: start with a new instance and without the row.
    """

    def __init__(
        self,
        node_id: NodeId,
        instance: bytes,
        config: EngineConfig,
        source: random.Random,
        saved_rows: Mapping[bytes, bytes],
    ) -> None:
        births = Births(instance, saved_rows.get(BIRTHS_ROW))
        self._desk = Desk(node_id, config, births, source)
        self._desk.hints = HintNotes(self._desk)
        self._desk.repairs = Repairs(self._desk)
        self._desk.replica.on_damaged = self._desk.repairs.damaged
        self._desk.replica.tree.built = built_in(saved_rows.get(TREE_ROW))
        self._builder = TreeBuilder(self._desk)
        self._anti_entropy = AntiEntropy(self._desk, random.Random(source.getrandbits(64)))
        self._serving = Serving(self._desk)
        self._started = False
        self._is_draining = False
        self._holds_data: bool | None = None
        self._seals: list[Seal] = []
        self._clients: dict[RequestId, Getting] = {}
        self._forwards: dict[tuple[NodeId, int], None] = {}
        self._forwards_expiry: Deadlines[tuple[NodeId, int]] = Deadlines()
        self._bucket_changes: list[tuple[str, int, RequestId]] = []
        self._messages: dict[type, Callable[[NodeId, Any], None]] = {
            ReplicaWrite: self._serving.write,
            ReplicaRead: self._serving.read,
            FetchBody: self._serving.fetch,
            ScanKeys: self._serving.scan,
            Inspect: self._serving.inspect,
            ForwardWrite: self._forwarded,
        }
        self._requests: dict[type, Callable[[RequestId, Any], None]] = {
            Get: self._get,
            Put: self._write,
            Delete: self._write,
            ListKeys: self._list,
            Explain: self._explain,
            Hints: self._count_hints,
            BucketShow: self._bucket_show,
            BucketSet: self._bucket_set,
            BucketReset: self._bucket_reset,
            BucketList: self._bucket_list,
            Repair: self._repair,
            CopySums: self._copy_sums,
            CopyRecords: self._copy_records,
            CopyBody: self._copy_body,
            TakeRecords: self._take_records,
        }

    # What the host reads, at any time between steps

    @property
    def counters(self) -> Counters:
        """Totals since the start."""
        return self._desk.counters

    @property
    def tree(self) -> HashTree:
        """The hash tree over this node's records; only to be read."""
        return self._desk.replica.tree

    @property
    def hints_pending(self) -> int:
        """Hint notes that wait on this node."""
        return self._desk.hints.notes_pending

    @property
    def hints_pending_bytes(self) -> int:
        """The bytes of their rows."""
        return self._desk.hints.bytes_pending

    @property
    def conversations_open(self) -> int:
        """Requests under way that this node takes part in as a coordinator."""
        return len(self._desk.conversations)

    @property
    def requests_open(self) -> int:
        """Conversations for clients and other nodes: all but background work."""
        return sum(not c.is_background for c in self._desk.conversations.values())

    @property
    def clock_refused_count(self) -> int:
        """Remote timestamps that were too far ahead of the local wall clock to be adopted."""
        return self._desk.clock.refused_count

    @property
    def deadline(self) -> int | None:
        """When to wake next."""
        return self._desk.deadlines.first

    def step(self, now: int, event: Input) -> list[Effect]:
        """Take one input; return what is wanted, in order."""
        desk = self._desk
        desk.outbox.now = now
        if not self._started:
            self._start()
        match event:
            case Received(sender, message):
                self._received(sender, message)
            case Loaded(ticket, value):
                desk.outbox.loaded(ticket, value)
            case Stored(ticket):
                desk.outbox.stored(ticket)
            case Requested(request_id, request):
                self._requested(request_id, request)
            case Woke():
                self._woke()
            case Failed(ticket, reason):
                desk.outbox.failed(ticket, reason)
            case Observed(news):
                self._observed(news)
            case Link(peer, state):
                if state is LinkState.DOWN:
                    self._peer_lost(peer)
                elif state is LinkState.UP:
                    desk.placement.set_going(peer, is_going=False)
                    desk.hints.deliver(peer)
            case Cancelled(request_id):
                getting = self._clients.pop(request_id, None)
                if getting is not None:
                    getting.cancel()
            case _:
                assert_never(event)
        return desk.outbox.take()

    def _start(self) -> None:
        """Count what hint notes there are, and see whether there are data at all."""
        self._started = True
        self._desk.hints.start()
        self._builder.start()
        self._anti_entropy.start()

        def looked(rows: list[tuple[bytes, bytes]]) -> None:
            self._holds_data = bool(rows)
            self._answer_seals()

        def failed(_reason: FailureReason) -> None:
            self._holds_data = True

        self._desk.outbox.load(
            ScanRows(*DATA_RANGE, limit_rows=1, limit_bytes=1, keys_only=True), looked, failed
        )

    def _woke(self) -> None:
        for conversation, what in self._desk.deadlines.due(self._desk.now):
            conversation.due(what)

    # Messages

    def _received(self, sender: NodeId, message: object) -> None:
        desk = self._desk
        if not desk.placement.members:
            # Just started: who is a member is not known yet, and whoever asks need not wait.
            self._not_ready(sender, message)
            return
        if not desk.placement.is_member(sender):
            desk.counters.strangers += 1
            return
        if type(message) is HintCountsAsked:
            self._serving.count_hints(sender, message)
            return
        if type(message) is GoingAway:
            desk.placement.set_going(sender, is_going=True)
            return
        serve = self._messages.get(type(message))
        if serve is None and self._anti_entropy.serve(sender, message):
            return
        if serve is not None:
            if not is_name(message.bucket, getattr(message, "key", b"k")):  # type: ignore[attr-defined]
                desk.counters.malformed_messages += 1
                return
            trace = message.trace  # type: ignore[attr-defined]
            if trace:
                what = _SERVED[type(message)]
                key = getattr(message, "key", b"")
                touched = Touched(trace[:_TRACE_CHARS_MAX], what, message.bucket, key, sender)  # type: ignore[attr-defined]
                desk.outbox.announce(touched)
            if desk.placement.ring is not None:
                serve(sender, message)
            else:
                self._not_ready(sender, message)
            return
        conversation = desk.conversations.get(getattr(message, "request", None))  # type: ignore[arg-type]
        if conversation is None:
            desk.counters.stale_answers += 1
        else:
            conversation.received(sender, message)

    def _not_ready(self, sender: NodeId, message: object) -> None:
        if isinstance(message, ForwardWrite):
            self._desk.outbox.send(sender, not_taken(message.request))
        else:
            self._serving.not_ready(sender, message)

    def _forwarded(self, sender: NodeId, message: ForwardWrite) -> None:
        """Coordinate for another node: each request id at most once."""
        desk = self._desk
        identity = (sender, message.request)
        for expired in self._forwards_expiry.due(desk.now):
            self._forwards.pop(expired, None)
        if identity in self._forwards:
            desk.counters.duplicate_forwards += 1
            return
        if not self._takes(message):
            desk.outbox.send(sender, not_taken(message.request))
            return
        self._forwards[identity] = None
        timeout_ns = min(max(message.timeout_ns, 1), _TIMEOUT_MAX_NS)
        memory_ns = timeout_ns + _FORWARD_MEMORY_NS
        self._forwards_expiry.set(identity, desk.now + memory_ns)
        r, w, pw, dw = message.quorums[:4]
        request: Put | Delete
        condition = None
        if message.if_match is not None or message.if_none_match is not None:
            condition = Condition(message.if_match, message.if_none_match)
        if message.value is None:
            request = Delete(
                message.bucket, message.key, message.timeout_ns, message.context,
                r, w, pw, dw, message.sloppy, message.trace, condition,
            )  # fmt: skip
        else:
            request = Put(
                message.bucket, message.key, message.value, message.timeout_ns,
                message.content_type, message.meta, message.context,
                w, pw, dw, message.sloppy, message.trace, condition, message.ttl_s,
            )  # fmt: skip

        def done(result: Result) -> None:
            desk.outbox.send(sender, answer_of(message.request, result))

        Coordinating(desk, request, desk.now + timeout_ns, done).start()

    def _takes(self, message: ForwardWrite) -> bool:
        """Whether this node coordinates a write for another; if not it is tried elsewhere."""
        desk = self._desk
        return (
            not self._is_draining
            and len(self._forwards) < _FORWARDS_MAX
            and len(message.quorums) >= 4
            and (message.ttl_s is None or 0 < message.ttl_s <= TTL_SECONDS_MAX)
            and self._refusal_of_write() is None
            # Believed down by the sender and up here, an owner coordinates, not a fallback.
            and desk.self_id
            in route(desk, Key.of(message.bucket, message.key), blind=True, sloppy=message.sloppy)
        )

    # Requests

    def _requested(self, request_id: RequestId, request: object) -> None:
        desk = self._desk
        refusal: Result | None = None
        if desk.placement.ring is None or desk.sealer is None:
            refusal = Unavailable(
                Outcome.NOT_APPLIED, "this node is not yet a member of a cluster", _NOBODY
            )
        elif desk.is_overloaded:
            refusal = Refused(Refusal.OVERLOADED, "this node has too many requests in flight")
        elif isinstance(request, Put | Delete | TakeRecords):
            refusal = self._refusal_of_write()
        if refusal is not None:
            desk.outbox.reply(request_id, refusal)
            return
        self._requests[type(request)](request_id, request)

    def _refusal_of_write(self) -> Result | None:
        desk = self._desk
        if desk.is_overloaded:
            return Refused(Refusal.OVERLOADED, "this node has too many requests in flight")
        if desk.is_sealed:
            return Unavailable(
                Outcome.NOT_APPLIED, "the ring is changing; try again in a moment", _NOBODY
            )
        return None

    def _replier(self, request_id: RequestId, *, served: bool = False) -> Callable[[Result], None]:
        """Answers a client. ``served``: how long it took tells how busy this node is."""
        desk = self._desk
        began = desk.now

        def done(result: Result) -> None:
            if served:
                desk.admission.served(desk.now, desk.now - began)
            desk.outbox.reply(request_id, result)

        return done

    def _get(self, request_id: RequestId, request: Get) -> None:
        reply = self._replier(request_id, served=True)

        def done(result: Result) -> None:
            if self._clients.pop(request_id, None) is not None:
                reply(result)

        getting = Getting(self._desk, request, done)
        self._clients[request_id] = getting
        getting.start()

    def _write(self, request_id: RequestId, request: Put | Delete) -> None:
        Forwarding(self._desk, request, self._replier(request_id, served=True)).start()

    def _list(self, request_id: RequestId, request: ListKeys) -> None:
        Listing(self._desk, request, self._replier(request_id)).start()

    def _explain(self, request_id: RequestId, request: Explain) -> None:
        Explaining(self._desk, request, self._replier(request_id)).start()

    def _count_hints(self, request_id: RequestId, _request: Hints) -> None:
        CountingHints(self._desk, self._replier(request_id)).start()

    def _repair(self, request_id: RequestId, request: Repair) -> None:
        self._anti_entropy.repair(request, self._replier(request_id))

    # Copies, for backups

    def _copy_sums(self, request_id: RequestId, request: CopySums) -> None:
        self._desk.outbox.reply(request_id, copy_sums(self._desk, request))

    def _copy_records(self, request_id: RequestId, request: CopyRecords) -> None:
        CopyingRecords(self._desk, request, self._replier(request_id)).start()

    def _copy_body(self, request_id: RequestId, request: CopyBody) -> None:
        copy_body(self._desk, request, self._replier(request_id))

    def _take_records(self, request_id: RequestId, request: TakeRecords) -> None:
        take_records(self._desk, request, self._replier(request_id))

    # Buckets

    def _bucket_show(self, request_id: RequestId, request: BucketShow) -> None:
        self._desk.outbox.reply(request_id, self._desk.buckets.result(request.bucket))

    def _bucket_list(self, request_id: RequestId, _request: BucketList) -> None:
        self._desk.outbox.reply(request_id, BucketsResult(self._desk.buckets.all()))

    def _bucket_set(self, request_id: RequestId, request: BucketSet) -> None:
        buckets = self._desk.buckets
        try:
            properties = buckets.changed(request.bucket, request.changes)
        except BadProperties as error:
            self._desk.outbox.reply(request_id, Refused(Refusal.BAD_PROPERTIES, str(error)))
            return
        self._publish(request_id, request.bucket, BucketResult(request.bucket, properties, 0))

    def _bucket_reset(self, request_id: RequestId, request: BucketReset) -> None:
        self._publish(request_id, request.bucket, None)

    def _publish(self, request_id: RequestId, bucket: str, result: BucketResult | None) -> None:
        """Spread a change; the client is answered when it is on disk here."""
        desk = self._desk
        properties = None if result is None else result.properties
        document = desk.buckets.document(bucket, properties, desk.clock.tick(desk.now))
        self._bucket_changes.append((bucket, document.stamp, request_id))
        desk.outbox.announce(Publish(document))

    def _documents_changed(self, news: DocumentsChanged) -> None:
        desk = self._desk
        for document in news.documents:
            bucket = desk.buckets.adopt(document)
            if bucket is None:
                continue
            waiting = []
            for change in self._bucket_changes:
                if change[0] == bucket and change[1] <= document.stamp:
                    desk.outbox.reply(change[2], desk.buckets.result(bucket))
                else:
                    waiting.append(change)
            self._bucket_changes = waiting

    # News

    def _observed(self, news: object) -> None:
        desk = self._desk
        match news:
            case LivenessChanged(peer, liveness):
                desk.placement.set_liveness(peer, liveness)
                if liveness.is_routable:
                    desk.hints.deliver(peer)
                else:
                    self._peer_lost(peer)
            case Unsent(to, messages):
                for message in messages:
                    self._unsent(to, message)
            case Draining():
                self._drain()
            case WallTime(wall_ns):
                desk.clock.set_wall(desk.now, wall_ns)
            case MembersChanged(members):
                desk.placement.set_members(members)
                desk.hints.deliver_all()
            case RingChanged(ring):
                desk.placement.set_ring(ring)
                desk.buckets.replicas = ring.replicas
                desk.sealed_until = None
                desk.hints.deliver_all()
            case ClusterJoined(cluster_id, cluster_key):
                desk.sealer = ContextSealer(cluster_key, cluster_id)
            case DocumentsChanged():
                self._documents_changed(news)
            case Seal():
                self._seals.append(news)
                self._answer_seals()
            case _:
                pass  # news for somebody else

    def _drain(self) -> None:
        """Tell all peers that this node is about to stop, so that they turn to others at once."""
        self._is_draining = True
        self._anti_entropy.stop()
        desk = self._desk
        for node in sorted(desk.placement.members):
            if node != desk.self_id and desk.placement.is_member(node):
                desk.outbox.send(node, GoingAway())

    def _answer_seals(self) -> None:
        """Say whether this node is empty; if so take no writes until the ring has changed.

        A write under way makes the node not empty, for it may yet be acknowledged under the present
        ring.
        """
        if self._holds_data is None:
            return
        desk = self._desk
        empty = not (
            self._holds_data
            or desk.replica.has_written
            or any(isinstance(c, Forwarding | Writing) for c in desk.conversations.values())
        )
        for seal in self._seals:
            if empty:
                desk.sealed_until = max(seal.until, desk.sealed_until or 0)
            desk.outbox.announce(Sealed(seal.number, empty))
        self._seals.clear()

    def _unsent(self, to: NodeId, message: object) -> None:
        conversation = self._desk.conversations.get(getattr(message, "request", None))  # type: ignore[arg-type]
        if conversation is not None:
            conversation.unsent(to, message)

    def _peer_lost(self, peer: NodeId) -> None:
        for conversation in list(self._desk.conversations.values()):
            conversation.peer_lost(peer)
