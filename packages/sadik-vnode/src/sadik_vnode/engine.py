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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, assert_never

from sadik_causality import ContextSealer
from sadik_machine import (
    Cancelled,
    DiskShort,
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
    ScanRows,
    Stored,
    Unsent,
    WallTime,
    Woke,
)
from sadik_members import (
    ClusterJoined,
    DocumentRefused,
    DocumentsChanged,
    LivenessChanged,
    MembersChanged,
    Ring,
    RingChanged,
)
from sadik_vnode.anti_entropy import AntiEntropy
from sadik_vnode.births import Births
from sadik_vnode.bucket_requests import BucketRequests
from sadik_vnode.client_requests import ClientRequests
from sadik_vnode.config import EngineConfig
from sadik_vnode.coordinator.repairing import Repairs
from sadik_vnode.coordinator.taking import TakenForwards
from sadik_vnode.counters import Counters
from sadik_vnode.desk import Desk
from sadik_vnode.foreign import ForeignRecords
from sadik_vnode.forwarding import not_taken
from sadik_vnode.hints import HintNotes
from sadik_vnode.keyspace import (
    BIRTHS_ROW,
    DATA_RANGE,
    REAP_ROWS,
    TREE_ROW,
    VOICE_ROW,
    Key,
    is_name,
)
from sadik_vnode.messages import (
    ANSWERS,
    MANY_KEYS_MAX,
    FetchBody,
    ForwardWrite,
    GoingAway,
    HintCountsAsked,
    Inspect,
    KnowsMany,
    ReadMany,
    ReplicaRead,
    ReplicaWrite,
    ScanKeys,
    Status,
)
from sadik_vnode.news import Damage, Touched
from sadik_vnode.reaping import Answering, CatchingUp, Generations, Reaper
from sadik_vnode.record import DamagedRecord
from sadik_vnode.requests import (
    Transfer,
)
from sadik_vnode.ringchange import RingChanges
from sadik_vnode.scrub import Scrubbing
from sadik_vnode.serving import Serving
from sadik_vnode.serving_many import ServingMany
from sadik_vnode.spread import Spread
from sadik_vnode.together import MANY, singles
from sadik_vnode.tree import HashTree
from sadik_vnode.tree_building import TreeBuilder, built_in

__all__ = ["Engine"]

_TRACE_CHARS_MAX: Final = 128
_SERVED: Final = {
    ReplicaWrite: "write",
    ReplicaRead: "read",
    FetchBody: "fetch",
    ScanKeys: "scan",
    Inspect: "inspect",
    ForwardWrite: "coordinate",
}
"""What a message of another node's conversation asks for, as `Touched` names it."""


@contextmanager
def _naming(row: bytes) -> Iterator[None]:
    """Say of a saved row that is damaged which it is."""
    try:
        yield
    except DamagedRecord as error:
        error.row = row
        raise


class Engine:
    """See `sadik_machine.Machine` for how to drive it.

    ``instance`` is the storage instance, 8 random bytes made with the store, or after a stop that
    was not clean. ``spare_instance`` are 8 others where it is older than this life, else None: see
    `sadik_vnode.births`. ``saved_rows`` is what `SAVED_RANGE` held at the start. ``source`` must be
    seeded anew at every boot.

    Raises:
        DamagedRecord: a saved row, which it names, is damaged: start with a new instance and
            without the row.
    """

    def __init__(
        self,
        node_id: NodeId,
        instance: bytes,
        config: EngineConfig,
        source: random.Random,
        saved_rows: Mapping[bytes, bytes],
        spare_instance: bytes | None = None,
    ) -> None:
        with _naming(BIRTHS_ROW):
            births = Births(instance, saved_rows.get(BIRTHS_ROW), spare_instance)
        self._births = births
        self._met: dict[NodeId, None] = {}
        self._desk = Desk(node_id, config, births, source)
        self._desk.hints = HintNotes(self._desk)
        self._desk.repairs = Repairs(self._desk)
        self._desk.replica.on_damaged = self._damaged
        with _naming(TREE_ROW):
            self._desk.replica.tree.built = built_in(saved_rows.get(TREE_ROW))
        self._builder = TreeBuilder(self._desk)
        self._scrubbing = Scrubbing(self._desk, self._damaged, self._builder.mend)
        self._anti_entropy = AntiEntropy(self._desk, random.Random(source.getrandbits(64)))
        self._changes = RingChanges(
            self._desk, random.Random(source.getrandbits(64)), saved_rows.get(VOICE_ROW)
        )
        self._serving = Serving(self._desk)
        life = source.getrandbits(63)
        copies = [saved_rows.get(row) for row in REAP_ROWS]
        generations = Generations(self._desk, copies, life)
        self._desk.generations = generations
        self._desk.foreign = ForeignRecords(self._desk)
        self._desk.reaper = Reaper(self._desk)
        generations.on_behind = lambda: self._is_behind(births)
        generations.on_entered = self._entered
        self._reaping = Answering(self._desk)
        self._started = False
        self._holds_data: bool | None = None
        self._is_draining = False
        self._serving_many = ServingMany(self._desk, _TRACE_CHARS_MAX)
        self._forwards = TakenForwards(self._desk, self._may_take)
        self._buckets = BucketRequests(self._desk)
        self._messages: dict[type, Callable[[NodeId, Any], None]] = {
            ReplicaWrite: self._serving.write,
            ReplicaRead: self._serving.read,
            FetchBody: self._serving.fetch,
            ScanKeys: self._serving.scan,
            Inspect: self._serving.inspect,
            ForwardWrite: self._forwards.take,
        }
        self._requests = ClientRequests(
            self._desk, self._buckets, self._anti_entropy, self._changes, self._scrubbing
        )

    # What the host reads, at any time between steps

    @property
    def counters(self) -> Counters:
        """Totals since the start."""
        return self._desk.counters

    @property
    def spread(self) -> Spread:
        """How long after writes their copies were there."""
        return self._desk.spread

    @property
    def tree(self) -> HashTree:
        """The hash tree over this node's records; only to be read."""
        return self._desk.replica.tree

    def knows(self, key: Key) -> bool:
        """Whether a client's read of ``key`` is answered without looking at the disk."""
        return self._desk.replica.known(key) is not None

    @property
    def hints_pending(self) -> int:
        """Hint notes that wait on this node."""
        return self._desk.hints.notes_pending

    @property
    def hints_pending_bytes(self) -> int:
        """The bytes of their rows."""
        return self._desk.hints.bytes_pending

    @property
    def tombstones(self) -> int:
        """Records of nothing but deletes on this node, owner or not."""
        return self._desk.replica.tombstones

    @property
    def reap_generation(self) -> int:
        """The reap generation that this node has entered."""
        return self._desk.generations.generation

    @property
    def reaping_waits_for(self) -> list[NodeId]:
        """The members that hold up what this node is to reap, by id."""
        return self._desk.reaper.waits_for()

    @property
    def is_catching_up(self) -> bool:
        """Whether this node's store was rolled back, so that it serves nobody for now."""
        return self._desk.generations.is_behind

    @property
    def may_hold_foreign(self) -> bool:
        """Whether there may be records here of partitions that this node does not own."""
        return self._desk.foreign.may_hold

    @property
    def conversations_open(self) -> int:
        """Requests under way that this node takes part in as a coordinator."""
        return len(self._desk.conversations)

    @property
    def requests_open(self) -> int:
        """Conversations for clients and other nodes: all but background work."""
        return sum(not c.is_background for c in self._desk.conversations.values())

    @property
    def transfers_active(self) -> int:
        """Partitions that are being brought to this node."""
        return self._changes.transfers_active

    @property
    def transfers(self) -> list[Transfer]:
        """The changes of the ring that this node drives, planned ones too."""
        return self._changes.transfers()

    @property
    def has_doubts(self) -> bool:
        """Whether this node's store was put back, and it waits for the others to decide registers
        of the ring without it."""
        return self._changes.has_doubts

    @property
    def is_ring_settled(self) -> bool:
        """Whether the ring is where it should be, as far as it is for this node to see to it."""
        return self._changes.is_settled

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
        # In the order of how often they come: to match each by its fields takes five times as long.
        if isinstance(event, Received):
            self._received(event.sender, event.message)
        elif isinstance(event, Loaded):
            desk.outbox.loaded(event.ticket, event.value)
        elif isinstance(event, Stored):
            desk.outbox.stored(event.ticket)
        elif isinstance(event, Observed):
            self._observed(event.news)
        elif isinstance(event, Requested):
            self._requests.requested(event.request_id, event.request)
        elif isinstance(event, Woke):
            self._woke()
        elif isinstance(event, Failed):
            desk.outbox.failed(event.ticket, event.reason)
        elif isinstance(event, Link):
            self._link(event.peer, event.state)
        elif isinstance(event, Cancelled):
            self._requests.cancelled(event.request_id)
        else:
            assert_never(event)
        return desk.outbox.take()

    @property
    def is_instance_proven(self) -> bool:
        """Whether the next life may go on under this instance, if this one ends in good order."""
        return self._births.is_proven

    def join(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        """The same effects with fewer messages, and in nearly the same order.

        A host that takes several steps before it sends may pass all that they have wanted sent.
        """
        return self._desk.together.join(effects)

    def discard(self) -> None:
        """Let go of what is remembered. Nobody may step this engine any more.

        Its parts know each other, so the collector of garbage has to find them; it need not look
        through all that they hold as well. For who makes many engines in one process.
        """
        self._desk.deadlines.clear()
        self._desk.replica.discard()
        self._desk.hints.discard()
        self._forwards.discard()

    def _start(self) -> None:
        """Count what hint notes there are, and begin the background work."""
        self._started = True
        self._desk.hints.start()
        self._builder.start()
        self._anti_entropy.start()
        self._desk.foreign.start()
        self._desk.reaper.start()
        self._scrubbing.start()

        def looked(rows: list[tuple[bytes, bytes]]) -> None:
            self._holds_data = bool(rows)
            self._desk.generations.start(self._is_empty)

        def failed(_reason: FailureReason) -> None:
            self._holds_data = True
            self._desk.generations.start(self._is_empty)

        self._desk.outbox.load(
            ScanRows(*DATA_RANGE, limit_rows=1, limit_bytes=1, keys_only=True), looked, failed
        )

    def _is_empty(self) -> bool:
        return not (self._holds_data or self._desk.replica.has_written)

    def _entered(self) -> None:
        self._desk.reaper.look()
        self._desk.hints.deliver_all()

    def _damaged(self, key: Key) -> None:
        self._desk.outbox.announce(Damage(key.bucket, key.key))
        self._desk.generations.lost_something()
        self._desk.repairs.damaged(key)

    def _link(self, peer: NodeId, state: LinkState) -> None:
        desk = self._desk
        if state is LinkState.DOWN:
            desk.together.forget(peer)
            self._peer_lost(peer)
        elif state is LinkState.UP:
            self._met[peer] = None
            self._prove_instance()
            desk.placement.set_going(peer, is_going=False)
            desk.versed.forget(peer)
            desk.hints.deliver(peer)
            desk.reaper.look_again()

    def _woke(self) -> None:
        for conversation, what in self._desk.deadlines.each_due(self._desk.now):
            conversation.due(what)

    # Messages

    def _received(self, sender: NodeId, message: object) -> None:
        desk = self._desk
        if type(message) in MANY:
            self._received_many(sender, message)
            return
        if not desk.placement.members:
            # Just started: who is a member is not known yet, and whoever asks need not wait.
            self._not_ready(sender, message)
            return
        if not desk.placement.is_member(sender):
            desk.counters.strangers += 1
            return
        if type(message) in ANSWERS:
            self._answered(sender, message)
            return
        if type(message) is HintCountsAsked:
            self._serving.count_hints(sender, message)
            return
        if type(message) is KnowsMany:
            desk.together.heard(sender, message)
            return
        if type(message) is GoingAway:
            desk.placement.set_going(sender, is_going=True)
            return
        if type(message) is ReadMany:
            if self._is_able():
                self._serving_many.read(sender, message)
            else:
                self._not_ready(sender, message)
            return
        serve = self._messages.get(type(message))
        if serve is None and (
            self._anti_entropy.serve(sender, message)
            or self._changes.serve(sender, message)
            or self._reaping.serve(sender, message)
        ):
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
            if self._is_able(is_write=type(message) is ReplicaWrite):
                serve(sender, message)
            else:
                self._not_ready(sender, message)
            return
        self._answered(sender, message)

    def _received_many(self, sender: NodeId, message: object) -> None:
        """Take each message of several as if it had come alone; what comes of them goes together,
        to the disk and to others.
        """
        desk = self._desk
        parts = singles(message, sender, desk.self_id)
        if len(parts) > MANY_KEYS_MAX:
            desk.counters.malformed_messages += 1
            return
        if desk.placement.is_member(sender):
            desk.together.heard(sender, message)
        with desk.outbox.together(), desk.replica.together():
            for part in parts:
                self._received(sender, part)

    def _is_able(self, *, is_write: bool = False) -> bool:
        """Whether this node serves others now."""
        placement = self._desk.placement
        is_able = is_write or not self._desk.generations.is_behind
        return placement.ring is not None and is_able and not placement.has_left(self._desk.self_id)

    def _answered(self, sender: NodeId, message: object) -> None:
        """What answers a conversation of this node: all that is none of the questions."""
        desk = self._desk
        conversation = desk.conversations.get(getattr(message, "request", None))  # type: ignore[arg-type]
        if conversation is None:
            desk.counters.stale_answers += 1
        else:
            conversation.received(sender, message)

    def _not_ready(self, sender: NodeId, message: object) -> None:
        if isinstance(message, ForwardWrite):
            self._desk.outbox.send(sender, not_taken(message.request))
        elif isinstance(message, ReadMany):
            self._serving_many.refuse(sender, message, Status.NOT_READY)
        else:
            self._serving.not_ready(sender, message)

    def _may_take(self) -> bool:
        """Whether this node coordinates writes for others now."""
        return not self._is_draining and not self._desk.is_overloaded

    # News

    def _observed(self, news: object) -> None:
        desk = self._desk
        if isinstance(news, DocumentsChanged):  # nearly all of them
            for document in news.documents:
                desk.generations.adopt(document)
            self._buckets.documents_changed(news)
            return
        match news:
            case LivenessChanged(peer, liveness):
                desk.placement.set_liveness(peer, liveness)
                if liveness.is_routable:
                    desk.hints.deliver(peer)
                    desk.foreign.reachable()
                else:
                    self._peer_lost(peer)
                desk.reaper.look_again()
                self._changes.poke()
            case Unsent(to, messages):
                for message in messages:
                    self._unsent(to, message)
            case Draining():
                self._drain()
            case DiskShort(is_short):
                desk.is_disk_short = is_short
            case WallTime(wall_ns):
                desk.clock.set_wall(desk.now, wall_ns)
            case MembersChanged(members):
                desk.placement.set_members(members)
                self._prove_instance()
                desk.generations.view_changed()
                desk.reaper.look_again()
                desk.hints.deliver_all()
                self._changes.poke()
            case RingChanged(ring):
                self._ring_changed(ring)
                desk.buckets.replicas = ring.replicas
                desk.foreign.ring_changed()
                desk.generations.view_changed()
                desk.reaper.look_again()
                desk.hints.deliver_all()
                self._changes.poke()
            case ClusterJoined(cluster_id, cluster_key):
                desk.sealer = ContextSealer(cluster_key, cluster_id)
            case DocumentRefused():
                self._buckets.refused(news)
            case _:
                pass  # news for somebody else

    def _ring_changed(self, ring: Ring) -> None:
        """Adopt it, and count it as adopted when what was stored under the ring before is on disk.

        The ring itself may be there sooner: membership stores it before this engine hears of it.
        """
        desk = self._desk

        def adopted() -> None:
            desk.placement.durable = ring
            self._changes.poke()

        desk.placement.adopt_ring(ring)
        if desk.outbox.stores_pending:
            desk.outbox.store((), (), adopted, lambda _: adopted())
        else:
            desk.placement.durable = ring

    def _prove_instance(self) -> None:
        """See whether all members were met, who would know of a later life."""
        births, placement = self._births, self._desk.placement
        if not births.is_proven and placement.is_member(placement.self_id):
            others = (node for node in placement.present if node != placement.self_id)
            births.is_proven = all(node in self._met for node in others)

    def _is_behind(self, births: Births) -> None:
        """This node's store is an older state of itself."""
        self._changes.voice.lost()
        self._changes.poke()
        CatchingUp(self._desk, births).start()

    def _drain(self) -> None:
        """Tell all peers that this node is about to stop, so that they turn to others at once."""
        self._is_draining = True
        self._anti_entropy.stop()
        desk = self._desk
        desk.foreign.stop()
        desk.reaper.stop()
        for node in sorted(desk.placement.members):
            if node != desk.self_id and desk.placement.is_member(node):
                desk.outbox.send(node, GoingAway())

    def _unsent(self, to: NodeId, message: object) -> None:
        desk = self._desk
        for part in singles(message, desk.self_id, to):
            conversation = desk.conversations.get(getattr(part, "request", None))  # type: ignore[arg-type]
            if conversation is not None:
                conversation.unsent(to, part)

    def _peer_lost(self, peer: NodeId) -> None:
        for conversation in list(self._desk.conversations.values()):
            conversation.peer_lost(peer)
