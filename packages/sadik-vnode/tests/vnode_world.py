"""A small world for engines: a heap of events, disks that forget what was not synced, and faults.

It runs real engines under virtual time. Every run is a function of its seed. While it runs it
checks what must hold after every step (no dot names two values, nothing leaves a node before it is
on that node's disk, an acknowledgement counts nodes that have the version on disk). Whole histories
under faults are the business of ``sadik-sim``; this is for tests that set one scene.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from attrs import Factory, define

from sadik_causality import Dot
from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Codec,
    Effect,
    Failed,
    FailureReason,
    GetRows,
    Input,
    Link,
    LinkState,
    Load,
    Loaded,
    NodeId,
    Observed,
    Received,
    Reply,
    Requested,
    RequestId,
    ScanRows,
    Send,
    Store,
    Stored,
    Trace,
    Unsent,
    WallTime,
    Woke,
)
from sadik_members import (
    ClusterJoined,
    Document,
    DocumentsChanged,
    Liveness,
    LivenessChanged,
    Member,
    MembersChanged,
    MemberState,
    Publish,
    Register,
    Ring,
    RingChanged,
)
from sadik_vnode import MESSAGES, Engine, EngineConfig
from sadik_vnode.messages import ReplicaState, ReplicaWrite
from sadik_vnode.record import INLINE_BYTES_MAX, Record, open_value
from sadik_vnode.together import singles

CLUSTER_ID = b"a cluster of 16B"
CLUSTER_KEY = b"a cluster key of thirty-two byte"


@define(slots=True)
class Faults:
    """How strongly the network and the disks misbehave; chances are out of a thousand."""

    delay_min_ns: int = MILLISECOND // 5
    delay_max_ns: int = 3 * MILLISECOND
    sync_min_ns: int = MILLISECOND // 5
    sync_max_ns: int = 2 * MILLISECOND
    loss: int = 0
    duplication: int = 0
    disk_full: int = 0
    detect_ns: int = 100 * MILLISECOND


@define(slots=True)
class WorldNode:
    """One node: its disk survives a crash, its engine does not."""

    id: NodeId
    name: str
    instance: bytes
    disk: dict[bytes, bytes] = Factory(dict)
    documents: dict[str, Document] = Factory(dict)
    engine: Engine | None = None
    boot: int = 0
    queue: list[Store] = Factory(list)
    syncing: bool = False
    wake_at: int | None = None
    synced_dots: dict[Dot, None] = Factory(dict)


class World:
    """Nodes, links, disks and time. ``run`` moves time on; everything else happens at once."""

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        *,
        replicas: int = 3,
        partitions: int = 8,
        faults: Faults | None = None,
        config: EngineConfig | None = None,
    ) -> None:
        self.network = random.Random(f"network {seed}")
        self.disks = random.Random(f"disks {seed}")
        self.boots = random.Random(f"boots {seed}")
        self.faults = faults or Faults()
        self.config = attrs.evolve(config or EngineConfig(), changes_ring=False)
        self.trace = Trace(keep=4000)
        self.codec = Codec(MESSAGES)
        self.now = SECOND
        self.cut: dict[tuple[NodeId, NodeId], None] = {}
        self.replies: dict[RequestId, Any] = {}
        self._waiting: dict[RequestId, Callable[[Any], None]] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._requests = 0
        self._links: dict[tuple[NodeId, NodeId], int] = {}
        self._values: dict[Dot, tuple[bytes, int]] = {}
        self.nodes: dict[NodeId, WorldNode] = {}
        for index in range(nodes):
            node_id = NodeId(bytes([index + 1]) * 8)
            node = WorldNode(node_id, f"n{index + 1}", bytes([0x40 + index]) * 8)
            self.nodes[node_id] = node
        self.members = {
            n.id: Member(n.id, n.name, "", "", "z", 1.0, 1, MemberState.UP, 1, 1)
            for n in self.nodes.values()
        }
        ids = list(self.nodes)
        owners = [
            tuple(ids[(p + slot) % nodes] for slot in range(min(replicas, nodes)))
            for p in range(partitions)
        ]
        self.ring = Ring(replicas, tuple(Register(1, o) for o in owners))
        for node in self.nodes.values():
            self.start(node.id)

    # Time

    def at(self, delay_ns: int, what: Callable[[], None]) -> None:
        """Do ``what`` after a while."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_ns, self._count, what))

    def run(self, duration_ns: int) -> None:
        """Let time pass."""
        end = self.now + duration_ns
        while self._heap and self._heap[0][0] <= end:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = end

    # Nodes and faults

    def start(self, node_id: NodeId) -> None:
        """Boot a node on the disk that it has."""
        node = self.nodes[node_id]
        assert node.engine is None
        node.boot += 1
        saved = {key: value for key, value in node.disk.items() if key.startswith(b"B")}
        source = random.Random(self.boots.getrandbits(64))
        node.engine = Engine(node_id, node.instance, self.config, source, saved)
        self.trace.note(self.now, node.name, f"boot {node.boot}")
        self.step(node, Observed(WallTime(1_700_000_000 * SECOND + self.now)))
        self.step(node, Observed(ClusterJoined(CLUSTER_ID, CLUSTER_KEY)))
        self.step(node, Observed(MembersChanged(self.members)))
        self.step(node, Observed(RingChanged(self.ring)))
        self.step(node, Observed(DocumentsChanged(tuple(node.documents.values()))))
        for other in self.nodes.values():
            if other is not node and other.engine is not None:
                self._believe(other, node, Liveness.UP)
                self._believe(node, other, Liveness.UP)

    def leave(self, node_id: NodeId) -> None:
        """A node is no member any more, as all others hear."""
        left = attrs.evolve(self.members[node_id], state=MemberState.LEFT)
        self.members = {**self.members, node_id: left}
        for node in self.nodes.values():
            self.step(node, Observed(MembersChanged(self.members)))

    def set_back(self, node_id: NodeId, by_ns: int) -> None:
        """From now on a node's wall clock shows an earlier time."""
        wall_ns = 1_700_000_000 * SECOND + self.now - by_ns
        self.step(self.nodes[node_id], Observed(WallTime(wall_ns)))

    def crash(self, node_id: NodeId) -> None:
        """Kill a node: what was not synced is gone, and with it what waited for it."""
        node = self.nodes[node_id]
        if node.engine is None:
            return
        self.trace.note(self.now, node.name, f"crash, {len(node.queue)} stores lost")
        node.engine = None
        node.queue = []
        node.syncing = False
        node.wake_at = None
        for other in self.nodes.values():
            self._believe(other, node, Liveness.SUSPECT)

    def cut_off(self, one: NodeId, other: NodeId) -> None:
        """Nothing passes between two nodes, in both directions, and both notice after a while."""
        for a, b in ((one, other), (other, one)):
            self.cut[a, b] = None
            self._believe(self.nodes[a], self.nodes[b], Liveness.SUSPECT)

    def heal(self) -> None:
        """All links work again and all nodes that run notice."""
        pairs = list(self.cut)
        self.cut.clear()
        for a, b in pairs:
            if self.nodes[b].engine is not None:
                self._believe(self.nodes[a], self.nodes[b], Liveness.UP)

    def _believe(self, who: WorldNode, whom: WorldNode, liveness: Liveness) -> None:
        boot, boot_of_whom = who.boot, whom.boot

        def notice() -> None:
            if who.engine is None or who.boot != boot or who is whom:
                return
            still = whom.engine is not None and (who.id, whom.id) not in self.cut
            if liveness is Liveness.UP:
                if still and whom.boot == boot_of_whom:
                    self.step(who, Link(whom.id, LinkState.UP))
                    self.step(who, Observed(LivenessChanged(whom.id, liveness)))
            elif not still or whom.boot != boot_of_whom:
                self.step(who, Link(whom.id, LinkState.DOWN))
                if not still:
                    self.step(who, Observed(LivenessChanged(whom.id, liveness)))

        self.at(self.network.randrange(self.faults.detect_ns), notice)

    # Steps and effects

    def step(self, node: WorldNode, event: Input) -> None:
        """One step of a node's engine, and all that it wants."""
        if node.engine is None:
            return
        effects = node.engine.step(self.now, event)
        self.trace.record(self.now, node.name, event, effects)
        self._perform(node, effects)
        deadline = node.engine.deadline
        if deadline is not None and (node.wake_at is None or deadline < node.wake_at):
            self._wake_at(node, max(deadline, self.now))

    def _wake_at(self, node: WorldNode, at: int) -> None:
        node.wake_at = at
        boot = node.boot

        def wake() -> None:
            if node.boot == boot and node.wake_at == at:
                node.wake_at = None
                self.step(node, Woke())

        self.at(at - self.now, wake)

    def _perform(self, node: WorldNode, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    for part in singles(message, node.id, to):
                        self._check_sent(node, part)
                    self._send(node, to, message)
                case Reply(request_id, result):
                    self._check_reply(result)
                    assert request_id not in self.replies, "a request is answered once"
                    self.replies[request_id] = result
                    self._waiting.pop(request_id, lambda _: None)(result)
                case Load(ticket, query):
                    value = self._load(node, query)
                    boot = node.boot
                    self.at(0, self._later(node, boot, Loaded(ticket, value)))
                case Store():
                    node.queue.append(effect)
                    self._sync(node)
                case Announce(news):
                    if isinstance(news, Publish):
                        self._publish(news.document)

    def _later(self, node: WorldNode, boot: int, event: Input) -> Callable[[], None]:
        def happen() -> None:
            if node.boot == boot and node.engine is not None:
                self.step(node, event)

        return happen

    def _publish(self, document: Document) -> None:
        for node in self.nodes.values():
            node.documents[document.name] = document
            self.at(
                self.network.randrange(self.faults.delay_max_ns),
                self._later(node, node.boot, Observed(DocumentsChanged((document,)))),
            )

    def _load(self, node: WorldNode, query: GetRows | ScanRows) -> Any:
        rows: dict[bytes, bytes | None] = dict(node.disk)
        for store in node.queue:
            rows.update(store.batch)
        if isinstance(query, GetRows):
            return [rows.get(key) for key in query.keys]
        found = sorted(
            (key, b"" if query.keys_only else value)
            for key, value in rows.items()
            if value is not None and query.start <= key and (query.stop is None or key < query.stop)
        )
        size = count = 0
        for key, value in found[: query.limit_rows]:
            size += len(key) + len(value)
            if count and size > query.limit_bytes:
                break
            count += 1
        return found[:count]

    def _sync(self, node: WorldNode) -> None:
        """Group commit: what is queued when a sync begins becomes durable together."""
        if node.syncing or not node.queue:
            return
        node.syncing = True
        boot = node.boot
        count = len(node.queue)
        is_full = self.disks.randrange(1000) < self.faults.disk_full

        def synced() -> None:
            if node.boot != boot or node.engine is None:
                return
            node.syncing = False
            if is_full:
                failed, node.queue = node.queue, []
                for store in failed:
                    self.step(node, Failed(store.ticket, FailureReason.FULL))
                return
            done, node.queue = node.queue[:count], node.queue[count:]
            for store in done:
                for key, value in store.batch:
                    self._write(node, key, value)
            for store in done:
                self._perform(node, list(store.then))
                self.step(node, Stored(store.ticket))
            self._sync(node)

        faults = self.faults
        self.at(self.disks.randrange(faults.sync_min_ns, faults.sync_max_ns), synced)

    def _write(self, node: WorldNode, key: bytes, value: bytes | None) -> None:
        if value is None:
            node.disk.pop(key, None)
            return
        node.disk[key] = value
        if key.startswith(b"O"):
            for dot, version in Record.decode(value).container.versions.items():
                node.synced_dots[dot] = None
                named = (version.head, version.size)
                assert self._values.setdefault(dot, named) == named, f"{dot} names two values"

    # Network

    def _send(self, node: WorldNode, to: NodeId, message: object) -> None:
        payload = self.codec.encode(message)
        target = self.nodes[to]
        if (node.id, to) in self.cut or target.engine is None:
            # What was written to a broken stream is neither delivered nor provably unsent, half of
            # the time.
            if self.network.randrange(2):
                self.at(0, self._later(node, node.boot, Observed(Unsent(to, [message]))))
            return
        if self.network.randrange(1000) < self.faults.loss:
            return
        copies = 2 if self.network.randrange(1000) < self.faults.duplication else 1
        boot = target.boot
        for copy in range(copies):
            delay = self.network.randrange(self.faults.delay_min_ns, self.faults.delay_max_ns)
            arrives = self.now + delay
            if not copy:
                # Streams keep their order.
                arrives = max(arrives, self._links.get((node.id, to), 0) + 1)
                self._links[node.id, to] = arrives
            self.at(arrives - self.now, lambda: self._deliver(node.id, target, boot, payload))

    def _deliver(self, sender: NodeId, target: WorldNode, boot: int, payload: bytes) -> None:
        if target.boot == boot and (sender, target.id) not in self.cut:
            self.step(target, Received(sender, self.codec.decode(payload)))

    def sent_by(self, node_id: NodeId, event: Input) -> list[object]:
        """What a node sends in the second after an input."""
        node = self.nodes[node_id]
        sent: list[object] = []
        send = self._send

        def keep(sender: WorldNode, to: NodeId, message: object) -> None:
            if sender is node:
                sent.append(message)
            send(sender, to, message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "_send", keep)
            self.step(node, event)
            self.run(SECOND)
        return sent

    # Clients

    def ask(
        self, node_id: NodeId, request: object, then: Callable[[Any], None] | None = None
    ) -> RequestId:
        """A client asks a node; ``then`` is called with the answer, if there is one."""
        self._requests += 1
        request_id = RequestId(self._requests)
        if then is not None:
            self._waiting[request_id] = then
        self.step(self.nodes[node_id], Requested(request_id, request))
        return request_id

    def answer(self, node_id: NodeId, request: object, patience_ns: int = 10 * SECOND) -> Any:
        """Ask and let time pass until the answer is there."""
        request_id = self.ask(node_id, request)
        end = self.now + patience_ns
        while request_id not in self.replies:
            assert self._heap, "no answer, and nothing that could bring one"
            assert self._heap[0][0] <= end, "no answer in time"
            self.run(max(self._heap[0][0] - self.now, 0))
        return self.replies[request_id]

    # What must hold after every step

    def _check_sent(self, node: WorldNode, message: object) -> None:
        """A replica's own state, and a version that it made, are on its disk; a repair may carry on
        what another replica has on its own.
        """
        if isinstance(message, ReplicaWrite | ReplicaState):
            dots = [(actor, counter) for actor, counter, *_ in message.versions]
            if isinstance(message, ReplicaWrite) and message.row:
                dots = Record.received(message.row).live_dots()
            for dot in dots:
                is_own = isinstance(message, ReplicaState) or dot[0].startswith(node.instance)
                anywhere = [node] if is_own else list(self.nodes.values())
                assert any(dot in n.synced_dots for n in anywhere), "sent before it was on disk"

    def _check_reply(self, result: object) -> None:
        for each in getattr(result, "results", ()):
            self._check_reply(each)
        tally = getattr(result, "tally", None)
        if tally is not None and type(result).__name__ == "Written":
            assert tally.got >= tally.needed

    # What holds in the end

    def holders(self, value: bytes) -> list[str]:
        """The names of the nodes that have ``value`` live on disk."""
        return [
            node.name
            for node in self.nodes.values()
            if any(value in values for values in self.live(node).values())
        ]

    def live(self, node: WorldNode) -> dict[bytes, list[bytes | None]]:
        """The live values on one node's disk by name of the key; None is a delete."""
        found: dict[bytes, list[bytes | None]] = {}
        for row, data in node.disk.items():
            if row.startswith(b"O"):
                name = row[5:]
                versions = Record.decode(data).container.versions
                values: list[bytes | None] = []
                for (actor, counter), version in sorted(versions.items()):
                    if version.is_deleted:
                        values.append(None)
                    elif version.size > INLINE_BYTES_MAX:
                        at = b"V" + row[1:] + b"\0" + actor + counter.to_bytes(8, "big")
                        values.append(open_value(node.disk[at]))
                    else:
                        values.append(version.body)
                found[name] = values
        return found


def sent(world: World, kind: type) -> list[Any]:
    """Collects the messages of a class that nodes send from now on."""
    seen: list[Any] = []
    send = world._send

    def watch(node: Any, to: NodeId, message: object) -> None:
        if type(message) is kind:
            seen.append(message)
        send(node, to, message)

    world._send = watch  # type: ignore[method-assign]
    return seen
