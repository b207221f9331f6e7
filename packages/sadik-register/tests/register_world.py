"""A small world for register machines: links that lose, repeat and reorder, disks that sync late.

One seed, one run. A crash drops the machine, all batches that were not synced, and their effects.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from functools import partial

from attrs import Factory, define

from sadik_machine import (
    MILLISECOND,
    Announce,
    Codec,
    Effect,
    Failed,
    FailureReason,
    GetRows,
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
    Ticket,
    Woke,
)
from sadik_register import MESSAGES, Conflict, Decided, Limits, RegisterKey, Registers

CODEC = Codec(MESSAGES)


def node_id(number: int) -> NodeId:
    return NodeId(bytes([number]) * 8)


@define
class Faults:
    """Chances in a hundred of each message; times in nanoseconds."""

    loss: int = 0
    duplication: int = 0
    delay_ns: int = 2 * MILLISECOND
    sync_ns: int = 1 * MILLISECOND


@define(eq=False)
class Host:
    """One node: the machine of its present life, what is on its disk, and what is not yet."""

    machine: Registers | None
    boot: int = 1
    rows: dict[bytes, bytes] = Factory(dict)
    unsynced: list[Store] = Factory(list)
    is_full: bool = False


class World:
    def __init__(
        self, seed: int, nodes: int, faults: Faults | None = None, limits: Limits | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.limits = limits
        self.now = 0
        self.hosts: dict[NodeId, Host] = {}
        self.decided: dict[RegisterKey, bytes] = {}
        """What any node ever said was decided."""
        self.answers: dict[RequestId, object] = {}
        self.news: list[object] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        for number in range(1, nodes + 1):
            self.hosts[node_id(number)] = Host(self._machine(node_id(number), 1))

    @property
    def nodes(self) -> list[NodeId]:
        return list(self.hosts)

    def _machine(self, node: NodeId, boot: int) -> Registers:
        source = random.Random(self.random.getrandbits(32))
        return Registers(node, boot, source, limits=self.limits)

    # Time

    def at(self, when: int, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, what))

    def run(self, duration_ns: int) -> None:
        end = self.now + duration_ns
        while self._heap and self._heap[0][0] <= end:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = end

    # Clients

    def request(self, node: NodeId, request: object) -> RequestId:
        self._count += 1
        request_id = RequestId(self._count)
        self.step(node, Requested(request_id, request))
        return request_id

    # Nodes

    def step(self, node: NodeId, event: Input) -> None:
        host = self.hosts[node]
        if host.machine is None:
            return
        self._perform(node, host.machine.step(self.now, event))
        deadline = host.machine.deadline
        if deadline is not None:
            machine = host.machine
            self.at(max(deadline, self.now), lambda: self._wake(node, machine))

    def _wake(self, node: NodeId, machine: Registers) -> None:
        is_due = machine.deadline is not None and machine.deadline <= self.now
        if self.hosts[node].machine is machine and is_due:
            self.step(node, Woke())

    def crash(self, node: NodeId) -> None:
        host = self.hosts[node]
        host.machine = None
        host.unsynced.clear()

    def restart(self, node: NodeId) -> None:
        host = self.hosts[node]
        host.boot += 1
        host.machine = self._machine(node, host.boot)

    def _perform(self, node: NodeId, effects: Sequence[Effect]) -> None:
        host = self.hosts[node]
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._send(node, to, message)
                case Reply(request_id, result):
                    assert request_id not in self.answers, "one answer a request"
                    self.answers[request_id] = result
                    self._said(result)
                case Announce(news):
                    self.news.append(news)
                    self._said(news)
                case Store():
                    host.unsynced.append(effect)
                    self.at(
                        self.now + self._between(self.faults.sync_ns), partial(self._sync, node)
                    )
                case Load(ticket, GetRows(keys)):
                    view = dict(host.rows)
                    for store in host.unsynced:
                        _apply(view, store)
                    rows = [view.get(key) for key in keys]
                    self.at(self.now, partial(self._loaded, node, host.machine, ticket, rows))
                case _:
                    raise AssertionError(effect)

    def _loaded(
        self,
        node: NodeId,
        machine: Registers | None,
        ticket: Ticket,
        rows: list[bytes | None],
    ) -> None:
        if self.hosts[node].machine is machine:
            self.step(node, Loaded(ticket, rows))

    def _sync(self, node: NodeId) -> None:
        """The oldest batch reaches the disk, or the disk is full and all fail."""
        host = self.hosts[node]
        if not host.unsynced:
            return
        if host.is_full:
            failed, host.unsynced = host.unsynced, []
            for store in failed:
                self.step(node, Failed(store.ticket, FailureReason.FULL))
            return
        store = host.unsynced.pop(0)
        _apply(host.rows, store)
        self._perform(node, store.then)
        self.step(node, Stored(store.ticket))

    def _send(self, sender: NodeId, to: NodeId, message: object) -> None:
        payload = CODEC.encode(message)
        copies = 2 if self._chance(self.faults.duplication) else 1
        for _ in range(copies):
            if not self._chance(self.faults.loss):
                arrives = self.now + self._between(self.faults.delay_ns)
                self.at(arrives, lambda: self.step(to, Received(sender, CODEC.decode(payload))))

    def _said(self, what: object) -> None:
        """Agreement, whenever anybody says that something was decided."""
        assert not isinstance(what, Conflict), what
        if isinstance(what, Decided):
            assert self.decided.setdefault(what.key, what.value) == what.value, what

    def _between(self, most: int) -> int:
        return self.random.randint(most // 10, most)

    def _chance(self, per_cent: int) -> bool:
        return self.random.randrange(100) < per_cent


def _apply(rows: dict[bytes, bytes], store: Store) -> None:
    for key, value in store.batch:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
