"""Histories under faults: no acknowledged write is lost, none comes back, and no refusal lies.

The rules are those of `history_rules`. Clients go on through crashes, cuts, power loss of all nodes
at once, lost and doubled messages and full disks, all drawn from the seed.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from attrs import Factory, define

from history_rules import Write, judge
from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_vnode.requests import (
    BucketSet,
    Delete,
    Found,
    Get,
    Hints,
    Missing,
    Outcome,
    Put,
    Refused,
    Unavailable,
    Written,
)
from vnode_world import Faults, World

KEYS = [b"hot", b"warm", b"cold"]


@define(slots=True)
class Client:
    """A client that keeps, per key, the newest context it was given and what that covers."""

    name: int
    contexts: dict[bytes, tuple[str, tuple[bytes, ...]]] = Factory(dict)
    operations: int = 0
    busy: bool = False


class History:
    """Clients that go on through faults, and what they were told."""

    def __init__(self, seed: int, world: World, clients: int) -> None:
        self.source = random.Random(f"workload {seed}")
        self.world = world
        self.clients = [Client(name) for name in range(clients)]
        self.writes: list[Write] = []
        self.refused_reads = 0

    def act(self, client: Client) -> None:
        """One operation of one client through a random node that runs."""
        world, source = self.world, self.source
        up = [node.id for node in world.nodes.values() if node.engine is not None]
        if client.busy or not up:
            return
        node = source.choice(up)
        key = source.choice(KEYS)
        client.busy = True
        client.operations += 1
        number = client.operations
        world.at(2500 * MILLISECOND, lambda: self._give_up(client, number))
        dice = source.randrange(10)
        if dice < 4:
            options: dict[str, Any] = source.choice([{}, {"r": 1}, {"r": "all"}])
            request = Get("b", key, 2 * SECOND, **options)
            world.ask(node, request, lambda result: self._read(client, key, result))
        else:
            self._write(client, node, key, delete=dice == 9)

    def _give_up(self, client: Client, number: int) -> None:
        """The node died with the request: the client goes on without an answer."""
        if client.operations == number:
            client.busy = False

    def _read(self, client: Client, key: bytes, result: Any) -> None:
        client.busy = False
        if isinstance(result, Found):
            shown = tuple(version.value for version in result.versions)
            self._check_shown(key, shown)
            client.contexts[key] = (result.context, shown)
        elif isinstance(result, Missing):
            if result.context is not None:
                client.contexts[key] = (result.context, ())
        else:
            assert isinstance(result, Unavailable), result
            self.refused_reads += 1

    def _check_shown(self, key: bytes, shown: tuple[bytes, ...]) -> None:
        known = {w.value: w for w in self.writes if w.key == key}
        for value in shown:
            assert value in known, f"{value!r} was never written"
            assert known[value].outcome != "refused", f"{value!r} was refused and is seen"

    def _write(self, client: Client, node: NodeId, key: bytes, *, delete: bool) -> None:
        context, saw = client.contexts.get(key, (None, ()))
        if delete and context is None:
            client.busy = False
            return
        if not delete and self.source.randrange(4) == 0:
            context, saw = None, ()  # a blind write, which in this bucket adds a sibling
        value = None if delete else b"%d.%d" % (client.name, len(self.writes))
        write = Write(key, value, saw)
        self.writes.append(write)
        options: dict[str, Any] = self.source.choice(
            [{}, {}, {}, {"w": 1}, {"w": "all"}, {"sloppy": False}, {"pw": 2}, {"dw": 2}]
        )
        request: Put | Delete
        if value is None:
            request = Delete("b", key, 2 * SECOND, context=context, **options)
        else:
            request = Put("b", key, value, 2 * SECOND, context=context, **options)
        self.world.ask(node, request, lambda result: self._written(client, write, result))

    def _written(self, client: Client, write: Write, result: Any) -> None:
        client.busy = False
        if isinstance(result, Written):
            write.outcome = "acked"
            covered = write.saw if write.value is None else (*write.saw, write.value)
            client.contexts[write.key] = (result.context, covered)
        elif isinstance(result, Missing):
            write.outcome = "nothing"
        elif isinstance(result, Refused):
            write.outcome = "refused"
        else:
            assert isinstance(result, Unavailable), result
            lied = result.outcome is Outcome.NOT_APPLIED
            write.outcome = "refused" if lied else "indeterminate"


def run_history(seed: int, *, nodes: int, seconds: int) -> tuple[World, History]:
    """One seed: clients and faults for a while, then quiet, then the checks."""
    dice = random.Random(f"faults {seed}")
    faults = Faults(
        delay_max_ns=dice.choice([1, 5, 40]) * MILLISECOND,
        sync_max_ns=dice.choice([1, 10, 50]) * MILLISECOND,
        loss=dice.choice([0, 0, 20]),
        duplication=dice.choice([0, 50]),
        disk_full=dice.choice([0, 0, 30]),
        detect_ns=dice.choice([20, 300]) * MILLISECOND,
    )
    world = World(seed, nodes, faults=faults)
    history = History(seed, world, clients=6)
    first = next(iter(world.nodes))
    world.answer(first, BucketSet("b", {"blind_writes": "sibling"}))
    world.run(SECOND)
    kinds = dice.sample(["crash", "power", "cut"], dice.randrange(1, 4))
    end = world.now + seconds * SECOND
    while world.now < end:
        for client in history.clients:
            if dice.randrange(2):
                history.act(client)
        world.run(dice.randrange(1, 60) * MILLISECOND)
        if dice.randrange(30) == 0:
            _fault(world, dice, dice.choice(kinds))
        for node in world.nodes.values():
            if node.engine is None and dice.randrange(20) == 0:
                world.start(node.id)
        if dice.randrange(40) == 0:
            world.heal()
    _calm(world)
    return world, history


def _fault(world: World, dice: random.Random, kind: str) -> None:
    ids = list(world.nodes)
    if kind == "crash":
        world.crash(dice.choice(ids))
    elif kind == "power":
        for node in ids:
            world.crash(node)
    else:
        one, other = dice.sample(ids, 2)
        world.cut_off(one, other)


def _calm(world: World) -> None:
    """Faults stop; everybody is back; what must converge has time to."""
    world.faults.loss = world.faults.duplication = world.faults.disk_full = 0
    world.heal()
    for node in world.nodes.values():
        if node.engine is None:
            world.start(node.id)
    world.run(30 * SECOND)
    for key in KEYS:
        # Without anti-entropy it is reads that bring owners which no hint names up to date.
        for entry in world.nodes:
            world.answer(entry, Get("b", key, 5 * SECOND, r="all", sloppy=False))
            world.run(SECOND)


def check_history(world: World, history: History) -> None:
    for key in KEYS:
        finals = []
        for entry in world.nodes:
            result = world.answer(entry, Get("b", key, 5 * SECOND, r="all", sloppy=False))
            assert isinstance(result, Found | Missing), result
            found = result.versions if isinstance(result, Found) else []
            finals.append({version.value for version in found})
        assert all(final == finals[0] for final in finals), "the nodes disagree"
        verdict = judge(history.writes, key, sorted(finals[0]))
        assert verdict.is_clean, verdict
    first = next(iter(world.nodes))
    assert world.answer(first, Hints()).total == 0
    for node in world.nodes.values():
        assert node.engine is not None
        world.run(5 * SECOND)
        assert node.engine.conversations_open == 0, "a request never ended"


@pytest.mark.parametrize("seed", range(12))
def test_three_nodes_keep_what_they_acknowledged(seed: int) -> None:
    world, history = run_history(seed, nodes=3, seconds=8)
    try:
        check_history(world, history)
    except AssertionError:
        print("\n".join(world.trace.tail()[-60:]))
        raise
    assert sum(w.outcome == "acked" for w in history.writes) > 5


@pytest.mark.parametrize("seed", range(100, 110))
def test_five_nodes_with_fallbacks_keep_what_they_acknowledged(seed: int) -> None:
    world, history = run_history(seed, nodes=5, seconds=8)
    check_history(world, history)
    assert sum(w.outcome == "acked" for w in history.writes) > 5


def test_one_seed_gives_one_trace() -> None:
    traces = [run_history(7, nodes=3, seconds=2)[0].trace.digest for _ in range(2)]
    assert traces[0] == traces[1]
