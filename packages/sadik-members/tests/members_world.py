"""A small deterministic world of membership machines: a heap of events and virtual time.

It has what a real host has (a disk with fsync, streams that come up and break, a messenger that
dials) and the faults that touch membership: delay, reordering, loss, cuts, crashes
that lose what was not on disk, a stopped process. One seed, one run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from attrs import define, evolve, field

from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Codec,
    Effect,
    Input,
    Link,
    LinkState,
    NodeId,
    Observed,
    Received,
    Send,
    Store,
    Stored,
    Trace,
    Woke,
)
from sadik_members import (
    MESSAGES,
    BootsMet,
    ClusterJoined,
    ClusterSettings,
    DialTargets,
    Established,
    Handshake,
    HandshakeRefused,
    Hello,
    Identity,
    Liveness,
    LivenessChanged,
    Member,
    Membership,
    NewInstanceNeeded,
    Readiness,
    Refused,
    Ring,
    RingChanged,
    Role,
    StreamKind,
    admission_refusal,
)

CODEC = Codec(MESSAGES)
DIAL_EVERY = 50 * MILLISECOND


def node_id(number: int) -> NodeId:
    """The id of the node of that number; ids ascend with numbers."""
    return NodeId(number.to_bytes(8, "big"))


@define(eq=False)
class Node:
    """One node: its disk, and while it runs its machine."""

    number: int
    identity: Identity
    settings: ClusterSettings
    disk: dict[bytes, bytes] = field(factory=dict)
    boots: int = 0
    machine: Membership | None = None
    stopped: bool = False
    inbox: list[Callable[[], None]] = field(factory=list)
    woken_for: int | None = None
    cluster_id: bytes = b""
    targets: DialTargets = field(factory=lambda: DialTargets({}, ()))
    news: list[tuple[int, object]] = field(factory=list)
    slow_ns: int = 0
    """Every message from it takes this much longer."""

    @property
    def id(self) -> NodeId:
        return self.identity.node_id

    def of(self, kind: type) -> list[object]:
        """The news of one kind in this life of the node, in order."""
        return [news for _, news in self.news if isinstance(news, kind)]

    @property
    def readiness(self) -> Readiness:
        last = self.of(Readiness)[-1]
        assert isinstance(last, Readiness)
        return last

    @property
    def ring(self) -> Ring:
        last = self.of(RingChanged)[-1]
        assert isinstance(last, RingChanged)
        return last.ring

    def members(self) -> dict[NodeId, Member]:
        assert self.machine is not None
        return dict(self.machine.members)


class World:
    """Nodes by number, their network, and the clock."""

    def __init__(self, seed: int, *, loss: float = 0.0, traced: bool = False) -> None:
        self.random = random.Random(f"{seed}-network")
        self.seed = seed
        self.loss = loss
        self.now = 1000 * SECOND
        self.nodes: dict[int, Node] = {}
        self.cuts: dict[tuple[int, int], None] = {}
        self.links: dict[tuple[int, int], int] = {}
        """(lesser, greater) number -> the link's serial number."""
        self.messages = 0
        self.decided: dict[tuple[bytes, int, int], tuple[NodeId, ...]] = {}
        self.traced = traced
        self.trace = Trace(keep=300)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    # Building.

    def add(
        self,
        number: int,
        *,
        seeds: tuple[int | str, ...] = (),
        name: str = "",
        zone: str = "",
        cluster: str = "test",
        partitions: int | None = 16,
        replicas: int | None = None,
    ) -> Node:
        """A node that is not started yet. ``seeds`` are numbers or addresses."""
        addresses = tuple(f"h{seed}:1" if isinstance(seed, int) else seed for seed in seeds)
        identity = Identity(
            node_id(number), name or f"n{number}", f"h{number}:1", f"h{number}:2", zone, 1.0, 1, 1
        )
        settings = ClusterSettings(cluster, partitions, replicas, addresses)
        node = self.nodes[number] = Node(number, identity, settings)
        return node

    def start(self, number: int, *, peer: str = "", boot_number: int | None = None) -> Node:
        """Start, or start again, a node; ``peer`` changes its address."""
        node = self.nodes[number]
        node.boots += 1
        nonce = self.random.getrandbits(62)
        node.identity = evolve(
            node.identity,
            boot_number=boot_number or node.boots,
            boot_nonce=nonce,
            peer=peer or node.identity.peer,
        )
        node.machine = Membership(
            node.identity,
            node.settings,
            dict(node.disk),
            random.Random(f"{self.seed}-{number}-{node.boots}"),
        )
        node.cluster_id = b""
        node.targets = DialTargets({}, ())
        node.stopped = False
        node.inbox.clear()
        node.woken_for = None
        node.news.clear()
        self._schedule_wake(node)
        self._at(self.now + self.random.randint(0, DIAL_EVERY), self._dialler(node, node.boots))
        return node

    def crash(self, number: int) -> None:
        """Kill a node: what is not on disk is lost, its streams break."""
        node = self.nodes[number]
        node.machine = None
        for pair in [pair for pair in self.links if number in pair]:
            self._break(pair)

    def stop(self, number: int) -> None:
        """Like SIGSTOP: it takes and does nothing, its streams stay open."""
        self.nodes[number].stopped = True

    def resume(self, number: int) -> None:
        node = self.nodes[number]
        node.stopped = False
        inbox, node.inbox = node.inbox, []
        for act in inbox:
            act()
        node.woken_for = None
        self._schedule_wake(node)

    def cut(self, one: int, other: int) -> None:
        """Nothing passes between the two, in both directions; streams stay open."""
        self.cuts[(one, other)] = self.cuts[(other, one)] = None

    def heal(self) -> None:
        self.cuts.clear()
        self.loss = 0.0

    def restream(self) -> None:
        """Break every stream, as a network that was away for long does."""
        for pair in list(self.links):
            self._break(pair)

    # Running.

    def run(self, duration_ns: int) -> None:
        """Let time pass."""
        end = self.now + duration_ns
        while self._heap and self._heap[0][0] <= end:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = end

    def run_until(self, holds: Callable[[], bool], within_ns: int) -> int:
        """Run until ``holds``; how long it took. Fails after ``within_ns``."""
        start = self.now
        while not holds():
            assert self.now - start <= within_ns, self._views()
            self.run(10 * MILLISECOND)
        return self.now - start

    def observe(self, number: int, news: object) -> None:
        self._step(self.nodes[number], Observed(news))

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.machine is not None]

    def agree(self) -> bool:
        """Whether all running nodes are ready and have one table and one ring."""
        nodes = self.running
        if not all(node.of(Readiness) and node.readiness.ready for node in nodes):
            return False
        views = [
            (node.cluster_id, node.members(), node.machine.ring if node.machine else None)
            for node in nodes
        ]
        return all(view == views[0] for view in views)

    def _views(self) -> str:
        """Who believes what, for a test that fails."""
        views = []
        for node in self.running:
            assert node.machine is not None
            seen = node.machine.snapshot()
            table = [(m.name, m.state.name, m.incarnation, up.name) for m, up in seen.members]
            epoch = seen.ring.epoch if seen.ring else None
            views.append(f"n{node.number} {seen.not_ready_reason!r} epoch {epoch} {table}")
        return "\n".join(views)

    def liveness(self, of: int, by: int) -> Liveness:
        machine = self.nodes[by].machine
        assert machine is not None
        return machine.liveness(node_id(of))

    def when(self, by: int, of: int, liveness: Liveness, since: int) -> int | None:
        """When, after ``since``, node ``by`` first announced that belief of ``of``."""
        wanted = LivenessChanged(node_id(of), liveness)
        times = [at for at, news in self.nodes[by].news if at >= since and news == wanted]
        return times[0] if times else None

    # Inside.

    def _at(self, when: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._serial), act))

    def _schedule_wake(self, node: Node) -> None:
        assert node.machine is not None
        deadline = node.machine.deadline
        if deadline is None:
            return
        at = max(deadline, self.now)
        if node.woken_for is not None and self.now <= node.woken_for <= at:
            return
        node.woken_for = at
        machine = node.machine

        def wake() -> None:
            if node.machine is machine and node.woken_for == at and not node.stopped:
                node.woken_for = None
                self._step(node, Woke())

        self._at(at, wake)

    def _step(self, node: Node, event: Input) -> None:
        machine = node.machine
        if machine is None:
            return
        if node.stopped:
            node.inbox.append(lambda: self._step(node, event) if node.machine is machine else None)
            return
        effects = machine.step(self.now, event)
        if self.traced:
            self.trace.record(self.now, f"n{node.number}", event, effects)
        self._perform(node, effects)
        deadline = machine.deadline
        assert deadline is None or deadline > self.now, "a machine that never rests"
        self._check(node)
        self._schedule_wake(node)

    def _perform(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._send(node, to, message)
                case Store():
                    self._store(node, effect)
                case Announce(news):
                    self._announced(node, news)
                case _:
                    raise AssertionError(effect)

    def _store(self, node: Node, store: Store) -> None:
        machine = node.machine
        done = self.now + 2 * MILLISECOND + self.random.randint(0, MILLISECOND) // 1_000_000

        def commit() -> None:
            if node.machine is not machine:
                return
            for key, value in store.batch:
                assert value is not None
                node.disk[key] = value
            self._perform(node, list(store.then))
            self._step(node, Stored(store.ticket))

        self._at(done, commit)

    def _announced(self, node: Node, news: object) -> None:
        node.news.append((self.now, news))
        match news:
            case DialTargets():
                node.targets = news
            case ClusterJoined():
                node.cluster_id = news.cluster_id
            case _:
                pass

    def _check(self, node: Node) -> None:
        """One value per partition and epoch, whoever shows it; owners are distinct."""
        assert node.machine is not None
        ring = node.machine.ring
        if ring is None:
            return
        cluster = node.machine.snapshot().cluster_id
        for partition, register in enumerate(ring.registers):
            key = (cluster, partition, register.epoch)
            known = self.decided.setdefault(key, register.owners)
            assert known == register.owners, "two values of one epoch"
            assert len(dict.fromkeys(register.owners)) == len(register.owners)

    # Network.

    def _send(self, node: Node, to: NodeId, message: object) -> None:
        other = int.from_bytes(to, "big")
        pair = (min(node.number, other), max(node.number, other))
        serial = self.links.get(pair)
        if serial is None:
            return
        payload = CODEC.encode(message)
        self.messages += 1
        if (node.number, other) in self.cuts or self.random.random() < self.loss:
            return
        delay = self.random.randint(MILLISECOND // 5, 5 * MILLISECOND) + node.slow_ns

        def deliver() -> None:
            if self.links.get(pair) == serial and (node.number, other) not in self.cuts:
                self._step(self.nodes[other], Received(node.id, CODEC.decode(payload)))

        self._at(self.now + delay, deliver)

    def _break(self, pair: tuple[int, int]) -> None:
        del self.links[pair]
        for number, other in (pair, pair[::-1]):
            self._step(self.nodes[number], Link(node_id(other), LinkState.DOWN))

    def _dialler(self, node: Node, boot: int) -> Callable[[], None]:
        def dial() -> None:
            if node.machine is None or node.boots != boot:
                return
            if not node.stopped:
                addresses = [*node.targets.members.values(), *node.targets.seeds]
                for address in dict.fromkeys(addresses):
                    self._dial(node, address)
            self._at(self.now + DIAL_EVERY, dial)

        return dial

    def _dial(self, node: Node, address: str) -> None:
        for other in self.running:
            pair = (min(node.number, other.number), max(node.number, other.number))
            if other.identity.peer != address or other is node or pair in self.links:
                continue
            if (node.number, other.number) in self.cuts or other.stopped:
                continue
            if self._shake(node, other):
                serial = next(self._serial)
                self.links[pair] = serial
                self._step(node, Link(other.id, LinkState.UP))
                self._step(other, Link(node.id, LinkState.UP))

    def _shake(self, node: Node, other: Node) -> bool:
        """The real handshake, in no time; tells either side of a refusal."""
        assert node.machine is not None
        assert other.machine is not None
        table, other_table, met = node.members(), other.members(), BootsMet()
        ours = Handshake(
            Role.DIALLER,
            self._hello(node),
            self.now,
            lambda h: admission_refusal(h, table, met),
        )
        theirs = Handshake(
            Role.ACCEPTOR,
            self._hello(other),
            self.now,
            lambda h: admission_refusal(h, other_table, met),
        )
        pump(ours, theirs)
        for side, end, peer, outgoing in (
            (node, ours, other, True),
            (other, theirs, node, False),
        ):
            refused = end.outcome
            if isinstance(refused, Refused):
                news = HandshakeRefused(
                    peer.identity.peer,
                    refused.reason,
                    refused.detail,
                    outgoing,
                    refused.cluster_id,
                    refused.cluster_name,
                    refused.by_peer,
                    refused.boot_number,
                )
                self._step(side, Observed(news))
        return isinstance(ours.outcome, Established) and isinstance(theirs.outcome, Established)

    def _hello(self, node: Node) -> Hello:
        identity = node.identity
        return Hello(
            version_min=1,
            version_max=1,
            cluster_id=node.cluster_id,
            cluster_name=node.settings.name,
            node_id=node.id,
            boot_number=identity.boot_number,
            boot_nonce=identity.boot_nonce,
            kind=int(StreamKind.SMALL),
            peer=identity.peer,
            nonce=bytes(16),
            attempt=1,
            expected=b"",
            link=b"",
        )


def pump(one: Handshake, other: Handshake, step: int = 1 << 20) -> None:
    """Carry bytes between two handshakes, ``step`` at a time, until neither has more to say."""
    moved = True
    while moved:
        moved = False
        for source, target in ((one, other), (other, one)):
            data = source.data_to_send()
            for at in range(0, len(data), step):
                moved = True
                if target.outcome is None:
                    target.receive(data[at : at + step])


def needs_instance(node: Node) -> list[NewInstanceNeeded]:
    """Whether the node was told that its store went back in time."""
    return [news for news in node.of(NewInstanceNeeded) if isinstance(news, NewInstanceNeeded)]
