"""The world: nodes, links, disks, clients' requests, and time, all from one seed.

It knows nothing of workloads or of fault schedules; those act on it. The same seed gives
the same history in any process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from sadik_causality import ContextSealer
from sadik_machine import MILLISECOND, SECOND, Codec, LinkState, NodeId, RequestId, Trace
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members import (
    ClusterJoined,
    ClusterSettings,
    HandshakeRefused,
    Identity,
    Membership,
    MemberState,
    Phase,
    RefusalReason,
    Register,
    Remove,
    Ring,
    is_stale_boot,
)
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_sim.checks import Checks
from sadik_sim.disk import Disk, DiskFaults
from sadik_sim.events import Events
from sadik_sim.network import Network
from sadik_sim.node import SimNode
from sadik_sim.streams import Streams
from sadik_vnode import MESSAGES as ENGINE_MESSAGES
from sadik_vnode import Counters, Engine, EngineConfig
from sadik_vnode.keyspace import Key

__all__ = ["INSIST_NS", "World"]

_START_NS: Final = SECOND
_WALL_START_NS: Final = 1_700_000_000 * SECOND
_FORMATION_NS: Final = 30 * SECOND
_LOOK_NS: Final = 10 * MILLISECOND
INSIST_NS: Final = 3 * SECOND
"""How long an operator waits before asking again."""
_CODEC: Final = Codec(MEMBERS_MESSAGES, REGISTER_MESSAGES, ENGINE_MESSAGES)


class World:
    """``sites`` names the site of each node; there are as many nodes as sites are given.

    With ``encode`` every message goes through the codec, as on a wire; without, which is
    faster, messages are handed over as they are (machines never change one).
    """

    def __init__(
        self,
        seed: int,
        sites: Sequence[str] = ("a",) * 3,
        *,
        partitions: int = 16,
        replicas: int = 3,
        config: EngineConfig | None = None,
        encode: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self.streams = Streams(seed)
        self.events = Events(_START_NS)
        self.partitions = partitions
        self.replicas = replicas
        self.config = config or EngineConfig()
        self.trace = trace
        self.wall_start_ns = _WALL_START_NS
        self.load_ns = 0
        """How long getting rows takes at most; 0 where it is done at once, as from a fast store."""
        self.happened: dict[str, int] = {}
        """How often each "sometimes" event happened."""
        self.has_changed = False
        """Whether members came or went since the cluster was formed."""
        self.departed: dict[NodeId, SimNode] = {}
        """Nodes that left, or were removed: nobody starts them again."""
        self.damaged: dict[tuple[NodeId, bytes], None] = {}
        """The rows in which a bit was flipped, by node; they may have been written anew since."""
        self.sealer: ContextSealer | None = None
        """Opens the contexts that nodes give to clients."""
        self.checks = Checks(self)
        self.network = Network(
            self.events,
            self.streams.network,
            alive=lambda node: node in self.nodes and self.nodes[node].is_running,
            admit=self._admit,
            linked=self._linked,
        )
        self.is_encoding = encode
        self._requests = 0
        self._owners: list[tuple[NodeId, ...]] = []
        self.nodes: dict[NodeId, SimNode] = {}
        for index, site in enumerate(sites):
            node_id = NodeId(self.streams.boots.getrandbits(64).to_bytes(8, "big"))
            disk = Disk(self.streams.disks, DiskFaults())
            node = SimNode(self, node_id, f"n{index + 1}", site, disk)
            self.nodes[node_id] = node
            self.network.receivers[node_id] = node.receive
        self._by_name = {node.name: node for node in self.nodes.values()}

    # Forming

    def form(self) -> None:
        """Start all nodes: the first founds the cluster, the others join; wait until all serve."""
        for node in self.nodes.values():
            node.start()
        expected = len(self.nodes)

        def is_formed() -> bool:
            return all(self._is_settled(node, expected) for node in self.nodes.values())

        assert self.wait_for(is_formed, _FORMATION_NS), "the cluster did not form"

    @staticmethod
    def _is_settled(node: SimNode, expected: int) -> bool:
        membership = node.membership
        if membership is None or not node.is_ready or membership.ring is None:
            return False
        if node.engine is None or not node.engine.is_ring_settled:
            return False
        if len(membership.members) < expected:
            return False
        states = [member.state for member in membership.members.values()]
        ring = membership.ring
        named = {owner: None for r in ring.registers for owner in r.owners}
        width = min(ring.replicas, expected)
        return (
            states.count(MemberState.UP) == expected
            and len(named) == expected
            and all(r.phase is Phase.DONE and len(r.owners) == width for r in ring.registers)
        )

    def seeds_of(self, node: SimNode) -> list[str]:
        """Whom a node is told to join: the first node, which itself is told nobody."""
        if self.has_changed and node.is_late:
            return [other.name for other in self.nodes.values() if other is not node]
        return [] if node.name == "n1" else ["n1"]

    def join(self, name: str) -> None:
        """A new node, on an empty disk, joins the cluster."""
        self.has_changed = True
        node_id = NodeId(self.streams.boots.getrandbits(64).to_bytes(8, "big"))
        node = SimNode(self, node_id, name, "a", Disk(self.streams.disks, DiskFaults()))
        node.is_late = True
        self.nodes[node_id] = node
        self._by_name[name] = node
        self.network.receivers[node_id] = node.receive
        node.start()

    def depart(self, node: SimNode) -> None:
        """A node is gone for good."""
        node.crash()
        node.is_gone = True
        self.nodes.pop(node.id, None)
        self.departed[node.id] = node

    def remove(self, node: SimNode) -> None:
        """An operator has the members remove a node that is gone, until all know."""

        def insist() -> None:
            members = [m for m in self.running if m.membership is not None and m.is_ready]
            known = [m.membership.members.get(node.id) for m in members if m.membership is not None]
            if all(entry is None or entry.state is MemberState.LEFT for entry in known) and known:
                return
            if members:
                members[0].tell(Remove(1, node.id, is_forced=False))
            self.events.after(INSIST_NS, insist)

        self.events.after(INSIST_NS, insist)

    def node(self, name: str) -> SimNode:
        """The node of a name."""
        return self._by_name[name]

    @property
    def running(self) -> list[SimNode]:
        """The nodes whose processes live and are not paused."""
        return [n for n in self.nodes.values() if n.is_running and not n.is_paused]

    def name_of(self, node_id: bytes) -> str:
        """The name of a node as people see it."""
        node = self.nodes.get(NodeId(node_id)) or self.departed.get(NodeId(node_id))
        return node.name if node is not None else node_id.hex()

    @property
    def ring(self) -> Ring:
        """The newest ring that a running node knows."""
        registers: dict[int, Register] = {}
        for node in self.nodes.values():
            ring = node.membership.ring if node.membership is not None else None
            for partition, register in enumerate(ring.registers if ring is not None else ()):
                known = registers.get(partition)
                if known is None or register.epoch > known.epoch:
                    known = register
                registers[partition] = known
        return Ring(self.replicas, tuple(registers[p] for p in range(len(registers))))

    def owners(self, key: Key) -> tuple[NodeId, ...]:
        """The owners of a key, as they are now."""
        if not self._owners or self.has_changed:
            self._owners = [register.owners for register in self.ring.registers]
        return self._owners[key.token >> (65 - len(self._owners).bit_length())]

    def readers(self, key: Key) -> tuple[NodeId, ...]:
        """The owners of a key that are read."""
        ring = self.ring
        return ring.registers[key.token >> (65 - ring.partitions.bit_length())].readers

    def discard(self) -> None:
        """The run is over: let go of most that is known, so that it need not be found by the
        collector of garbage, which would take a tenth of a run.
        """
        self.events.clear()
        self.checks.discard()
        for node in [*self.nodes.values(), *self.departed.values()]:
            node.discard()

    # What nodes need

    def make_engine(
        self,
        node_id: NodeId,
        instance: bytes,
        source: random.Random,
        rows: dict[bytes, bytes],
        spare: bytes | None,
    ) -> Engine:
        """A node's engine; planted bugs replace this."""
        return Engine(node_id, instance, self.config, source, rows, spare)

    def make_membership(
        self,
        identity: Identity,
        settings: ClusterSettings,
        rows: dict[bytes, bytes],
        source: random.Random,
    ) -> Membership:
        """A node's membership; benchmarks replace this."""
        return Membership(identity, settings, rows, source)

    def next_request_id(self) -> RequestId:
        """An id for a client's request."""
        self._requests += 1
        return RequestId(self._requests)

    def on_wire(self, message: object) -> object:
        """The message as it comes out at the other end."""
        return _CODEC.decode(_CODEC.encode(message))

    def dial(self, node: SimNode) -> None:
        """Keep streams to all that a node wants to reach."""
        names = [address.split(":")[0] for address in node.targets.seeds]
        wanted = [*node.targets.members, *(self.node(n).id for n in names if n in self._by_name)]
        for peer in wanted:
            if peer in self.nodes:
                self.network.want(node.id, peer)

    def stop_broken(self, node: SimNode) -> None:
        """A device failed: the process stops, and somebody starts it again on a sound disk."""
        node.crash()

    def joined(self, news: ClusterJoined) -> None:
        """A node tells of its cluster."""
        self.sealer = ContextSealer(news.cluster_key, news.cluster_id)

    def ended(self, node: SimNode, engine: Engine) -> None:
        """An engine is no more: keep what it counted."""
        for field in attrs.fields(Counters):
            count = getattr(engine.counters, field.name)
            if count:
                name = f"engine: {field.name.replace('_', ' ')}"
                self.happened[name] = self.happened.get(name, 0) + count

    def sometimes(self, what: str) -> None:
        """Count an event that a good workload makes happen now and then."""
        self.happened[what] = self.happened.get(what, 0) + 1

    def note(self, node: SimNode, text: str) -> None:
        """A line of the trace that is no step of a machine."""
        if self.trace is not None:
            self.trace.note(self.events.now, node.name, text)

    # What the network does

    def _admit(self, one: NodeId, other: NodeId) -> bool:
        """What a handshake decides, as `sadik_members.admission` does: both sides judge."""
        if one not in self.nodes or other not in self.nodes:
            return False
        if not (self._judge(one, other) and self._judge(other, one)):
            return False
        for judge_id, shown_id in ((one, other), (other, one)):
            shown = self.nodes[shown_id]
            self.nodes[judge_id].met.meet(shown_id, shown.boot_number, shown.boot_nonce)
        return True

    def _judge(self, judge_id: NodeId, shown_id: NodeId) -> bool:
        judge, shown = self.nodes[judge_id], self.nodes[shown_id]
        assert judge.membership is not None
        known = judge.membership.members.get(shown_id)
        if known is None:
            return True
        newer = judge.met.newer_than(shown_id, shown.boot_number, shown.boot_nonce)
        if newer is None and is_stale_boot(known, shown.boot_number, shown.boot_nonce):
            newer = known.boot_number
        if newer is None:
            return True
        refused = HandshakeRefused(
            f"{judge.name}:1", RefusalReason.STALE_BOOT, "", True, b"", "sim",
            by_peer=True, boot_number=newer,
        )  # fmt: skip
        boot = shown.boot

        def tell() -> None:
            if shown.boot == boot:
                shown.tell(refused)

        self.events.after(0, tell)
        return False

    def _linked(self, node_id: NodeId, peer: NodeId, is_up: bool) -> None:
        node = self.nodes.get(node_id)
        if node is None:
            return
        if node.is_running and is_up == self.network.has_session(node_id, peer):
            node.link(peer, LinkState.UP if is_up else LinkState.DOWN)
        if not is_up and node.is_running:
            self.dial(node)

    # Time

    def run(self, duration_ns: int) -> None:
        """Let time pass."""
        self.events.run_until(self.events.now + duration_ns)

    def answer(self, node: SimNode, request: object, within_ns: int = 20 * SECOND) -> object:
        """Ask a node and let time pass until it has answered."""
        answers: list[object] = []
        node.request(request, answers.append)
        end = self.events.now + within_ns
        assert self.events.run_while(lambda: not answers, end), f"{node.name} never answered"
        return answers[0]

    def wait_for(self, condition: Callable[[], bool], within_ns: int) -> bool:
        """Let time pass until ``condition`` holds, as one looks now and then; whether it did."""
        end = self.events.now + within_ns
        while not condition():
            if self.events.now >= end:
                return False
            self.run(_LOOK_NS)
        return True
