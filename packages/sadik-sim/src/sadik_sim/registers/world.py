"""Nodes with a register machine each, on the simulator's links and disks."""

from __future__ import annotations

import random
from functools import partial

from attrs import Factory, define

from sadik_machine import (
    MILLISECOND,
    Announce,
    Codec,
    Effect,
    Failed,
    FailureReason,
    Input,
    Load,
    Loaded,
    NodeId,
    Received,
    Reply,
    Requested,
    RequestId,
    Send,
    Store,
    Stored,
    Woke,
)
from sadik_register import (
    MESSAGES,
    Conflict,
    Learn,
    Limits,
    Propose,
    Quorums,
    RegisterKey,
    Registers,
)
from sadik_sim.disk import Disk, DiskFaults
from sadik_sim.events import Events
from sadik_sim.network import Network
from sadik_sim.registers.truth import Truth
from sadik_sim.streams import Streams, chance
from sadik_sim.violation import Violation

__all__ = ["RegisterNode", "RegisterWorld"]

_LIMITS = Limits(round_ns=60 * MILLISECOND, back_off_ns=8 * MILLISECOND, records=3)


@define(eq=False)
class RegisterNode:
    """One node: its machine while it runs, its disk, and what waits for the disk."""

    id: NodeId
    disk: Disk
    machine: Registers | None = None
    boot: int = 0
    unsynced: list[Store] = Factory(list)
    is_syncing: bool = False


@define
class _Asked:
    key: RegisterKey
    value: bytes | None
    was_decided: bool


class RegisterWorld:
    """So many nodes, all acceptors of every register."""

    def __init__(self, seed: int, count: int, phase1: int, phase2: int) -> None:
        self.streams = Streams(seed)
        self.events = Events(0)
        ids = [NodeId(bytes([number + 1]) * 8) for number in range(count)]
        self.quorums = Quorums(tuple(ids), phase1, phase2)
        self.truth = Truth(self.quorums)
        self.nodes = {n: RegisterNode(n, Disk(self.streams.disks, DiskFaults())) for n in ids}
        self._codec = Codec(MESSAGES)
        self._asked: dict[RequestId, _Asked] = {}
        self._requests = 0
        self.answers = 0
        self.network = Network(
            self.events,
            self.streams.network,
            alive=lambda node: self.nodes[node].machine is not None,
            admit=lambda *_: True,
            linked=self._linked,
        )
        for node_id in ids:
            self.network.receivers[node_id] = partial(self._receive, node_id)
        for node in self.nodes.values():
            self.start(node)

    # Lives

    def start(self, node: RegisterNode) -> None:
        """Boot on the disk as it is."""
        node.boot += 1
        source = random.Random(self.streams.boots.getrandbits(64))
        node.machine = Registers(node.id, node.boot, source, limits=_LIMITS)
        for other in self.nodes:
            self.network.want(node.id, other)

    def crash(self, node: RegisterNode) -> None:
        """kill -9, or the power: what is not on the disk is gone, as are all requests."""
        if node.machine is None:
            return
        node.machine = None
        if node.is_syncing and chance(self.streams.disks, 500):
            self._on_disk(node, node.unsynced[0])  # it was, and nobody was told
        node.unsynced.clear()
        node.is_syncing = False
        node.disk.forget_unsynced()
        self.network.crashed(node.id, [n for n in self.nodes if n != node.id])

    def _linked(self, node: NodeId, peer: NodeId, is_up: bool) -> None:
        if not is_up and self.nodes[node].machine is not None:
            self.network.want(node, peer)

    def _receive(self, node: NodeId, sender: NodeId, message: object) -> None:
        self.feed(node, Received(sender, message))

    # Clients

    def ask(self, node: RegisterNode, request: Propose | Learn) -> None:
        """A client asks a node, if it runs."""
        if node.machine is None:
            return
        value = request.value if isinstance(request, Propose) else None
        if value is not None:
            self.truth.proposed.setdefault(request.key, {})[value] = None
        self._requests += 1
        request_id = RequestId(self._requests)
        asked = _Asked(request.key, value, request.key in self.truth.decided)
        self._asked[request_id] = asked
        self.feed(node.id, Requested(request_id, request))

    # What hosts do

    def feed(self, node_id: NodeId, event: Input) -> None:
        """Give a machine an input, and perform what comes of it."""
        node = self.nodes[node_id]
        if node.machine is None:
            return
        machine = node.machine
        self._perform(node, machine.step(self.events.now, event))
        if machine.deadline is not None:
            self.events.at(machine.deadline, self._wake, node, machine)

    def _wake(self, node: RegisterNode, machine: Registers) -> None:
        deadline = machine.deadline
        if node.machine is machine and deadline is not None and deadline <= self.events.now:
            self.feed(node.id, Woke())

    def _perform(self, node: RegisterNode, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self.truth.leaves(node.id, message, node.disk.durable)
                    wired = self._codec.decode(self._codec.encode(message))
                    self.network.send(node.id, to, wired)
                case Reply(request_id, result):
                    asked = self._asked.pop(request_id, None)
                    if asked is None:
                        raise Violation("a request is answered once", f"{result}")
                    self.answers += 1
                    self.truth.answered(asked.key, asked.value, result, asked.was_decided)
                case Load(ticket, query):
                    loaded = Loaded(ticket, node.disk.load(query))
                    self.events.after(
                        self.streams.disks.randrange(1, MILLISECOND),
                        partial(self._loaded, node, node.boot, loaded),
                    )
                case Store():
                    node.disk.begin(effect.batch)
                    node.unsynced.append(effect)
                    self._sync(node)
                case Announce(news):
                    if isinstance(news, Conflict):
                        raise Violation("a register has one value", f"{news}")

    def _loaded(self, node: RegisterNode, boot: int, event: Loaded) -> None:
        if node.boot == boot:
            self.feed(node.id, event)

    def _sync(self, node: RegisterNode) -> None:
        if node.is_syncing or not node.unsynced:
            return
        node.is_syncing = True
        boot = node.boot

        def synced() -> None:
            if node.boot == boot and node.machine is not None:
                self._synced(node)

        self.events.after(node.disk.sync_ns(), synced)

    def _synced(self, node: RegisterNode) -> None:
        """The oldest batch is on the disk, or the disk is full and all batches fail."""
        node.is_syncing = False
        if chance(self.streams.disks, node.disk.faults.full):
            failed, node.unsynced = node.unsynced, []
            node.disk.forget_unsynced()
            for store in failed:
                self.feed(node.id, Failed(store.ticket, FailureReason.FULL))
        else:
            store = node.unsynced.pop(0)
            self._on_disk(node, store)
            self._perform(node, list(store.then))
            self.feed(node.id, Stored(store.ticket))
        self._sync(node)

    def _on_disk(self, node: RegisterNode, store: Store) -> None:
        node.disk.finish(store.batch)
        for row, value in store.batch:
            self.truth.stored(node.id, row, value)
