"""The ring's registers among three nodes that crash, at their disks' and messages' worst: one value
an epoch, and no promise kept longer than it is of use."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Codec,
    Effect,
    FailureReason,
    GetRows,
    Load,
    NodeId,
    Send,
    Store,
    encode_plain,
)
from sadik_members import Member, MemberState, NewerRegister, Phase, Register, Ring
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_register import read_key
from sadik_vnode.births import Births
from sadik_vnode.config import EngineConfig
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import VOICE_ROW
from sadik_vnode.messages import MESSAGES
from sadik_vnode.record import seal_value
from sadik_vnode.ringchange.deciding import Deciding, voters
from sadik_vnode.ringchange.messages import RegistersTold
from sadik_vnode.ringchange.voice import Voice

IDS = [NodeId(bytes([number]) * 8) for number in (1, 2, 3)]
FIRST = Ring(3, (Register(1, tuple(IDS)),) * 8)
CODEC = Codec(MESSAGES, REGISTER_MESSAGES)


def member(node: NodeId, *, is_forced: bool = False) -> Member:
    state = MemberState.LEFT if is_forced else MemberState.UP
    return Member(node, f"n{node[0]}", "", "", "", 1.0, 1, state, 1, 1, is_forced)


class Node:
    """A life of `Deciding`, the rows and the ring on its disk, and what is not there yet."""

    def __init__(self, world: World, node: NodeId) -> None:
        self.world = world
        self.id = node
        self.rows: dict[bytes, bytes] = {}
        self.ring = FIRST
        self.unsynced: list[tuple[Store | None, Register | None, int]] = []
        self.is_up = True
        self.begin()

    def begin(self) -> None:
        source = random.Random(self.world.source.getrandbits(64))
        self.desk = Desk(self.id, EngineConfig(), Births(b"instance", None), source)
        self.desk.outbox.now = self.world.now
        self.desk.placement.set_members({node: member(node) for node in IDS})
        self.voice = Voice(self.desk, self.rows.get(VOICE_ROW))
        self.deciding = Deciding(self.desk, random.Random(source.getrandbits(64)), self.voice)
        self.desk.placement.adopt_ring(self.ring)
        self.desk.placement.durable = self.ring
        self.deciding.look()
        self.settle()

    def crash(self) -> None:
        self.is_up = False
        self.unsynced.clear()

    def doubts(self) -> bool:
        """Whether it may have forgotten what it promised."""
        return self.voice.is_in_doubt

    def epoch(self, of: int = 0) -> int:
        return self.desk.placement.register(of).epoch

    def propose(self, partition: int, proposed: NodeId) -> None:
        self.desk.outbox.now = self.world.now
        base = self.desk.placement.register(partition)
        rest = [node for node in IDS if node != proposed]
        value = Register(base.epoch + 1, (proposed, *rest))
        self.deciding.propose(partition, base, value, self.world.done.append)
        self.settle()

    def settle(self) -> None:
        self.perform(self.desk.outbox.take())

    def perform(self, effects: Any) -> None:
        effect: Effect
        for effect in effects:
            match effect:
                case Send(to, message):
                    self.world.wires.append((self.id, to, CODEC.encode(message)))
                case Load(ticket, query):
                    self.world.loads.append((self, self.desk, ticket, query))
                case Store():
                    self.unsynced.append((effect, None, 0))
                case Announce(NewerRegister(partition, register)):
                    self.world.said(partition, register)
                    self.unsynced.append((None, register, partition))
                case _:
                    pass

    def sync(self) -> None:
        """The oldest batch reaches the disk: the engine's, or the ring's."""
        if not self.unsynced:
            return
        store, register, partition = self.unsynced.pop(0)
        if store is None:
            assert register is not None
            if register.epoch > self.ring.registers[partition].epoch:
                registers = list(self.ring.registers)
                registers[partition] = register
                self.ring = attrs.evolve(self.ring, registers=tuple(registers))
            self.desk.placement.adopt_ring(self.ring)
            self.desk.placement.durable = self.ring
            self.deciding.look()
        else:
            for row, value in store.batch:
                if value is None:
                    self.rows.pop(row, None)
                else:
                    self.rows[row] = value
            self.perform(store.then)
            self.desk.outbox.stored(store.ticket)
        self.settle()

    def fail(self) -> None:
        """The disk is full: all that waits for it fails, but the ring, which comes again."""
        failed, self.unsynced = self.unsynced, []
        for store, _, _ in failed:
            if store is not None:
                self.desk.outbox.failed(store.ticket, FailureReason.FULL)
                self.settle()

    def wake(self) -> None:
        self.desk.outbox.now = self.world.now
        for conversation, what in self.desk.deadlines.due(self.world.now):
            conversation.due(what)
        self.settle()


class World:
    """Three nodes, and what is between them, which a schedule draws from."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.now = SECOND
        self.wires: list[tuple[NodeId, NodeId, bytes]] = []
        self.loads: list[tuple[Node, Desk, Any, Any]] = []
        self.done: list[bool] = []
        self.values: dict[tuple[int, int], Register] = {}
        self.copy: tuple[dict[bytes, bytes], Ring] = ({}, FIRST)
        """Of the third node's disk."""
        self.nodes = {node: Node(self, node) for node in IDS}

    def said(self, partition: int, register: Register) -> None:
        """One value an epoch, whoever says that it is decided, in whatever life."""
        known = self.values.setdefault((partition, register.epoch), register)
        assert known == register, "one value an epoch"

    def deliver(self, at: int, *, keep: bool = False) -> None:
        sender, to, payload = self.wires[at] if keep else self.wires.pop(at)
        node = self.nodes[to]
        if node.is_up:
            node.desk.outbox.now = self.now
            message = CODEC.decode(payload)
            if isinstance(message, RegistersTold):
                node.deciding.told(sender, message)
            else:
                assert node.deciding.serve(sender, message)
            node.settle()

    def read(self) -> None:
        while self.loads:
            node, desk, ticket, query = self.loads.pop(0)
            if node.desk is not desk or not node.is_up:
                continue
            view: dict[bytes, bytes | None] = dict(node.rows)
            for store, _, _ in node.unsynced:
                view.update(store.batch if store is not None else ())
            if isinstance(query, GetRows):
                result: Any = [view.get(key) for key in query.keys]
            else:
                found = [row for row, value in sorted(view.items()) if value is not None]
                stop = query.stop or b"\xff" * 64
                result = [(row, b"") for row in found if query.start <= row < stop]
            node.desk.outbox.loaded(ticket, result)
            node.settle()

    def calm(self, duration_ns: int = 5 * SECOND) -> None:
        """Everything goes well for a while."""
        end = self.now + duration_ns
        while self.now < end:
            self.now += 20 * MILLISECOND
            for node in self.nodes.values():
                if node.is_up:
                    node.wake()
            for _ in range(20):
                self.read()
                for node in self.nodes.values():
                    if node.is_up:
                        node.sync()
                for _ in range(len(self.wires)):
                    self.deliver(0)


def test_what_one_node_proposes_all_adopt_and_no_promise_stays() -> None:
    world = World(1)
    first, second, third = world.nodes.values()
    first.propose(3, IDS[1])
    world.calm(SECOND)
    assert world.done == [True]
    for node in (first, second, third):
        assert node.ring.registers[3] == Register(2, (IDS[1], IDS[0], IDS[2]))
        assert node.rows == {}


def test_who_did_not_hear_is_told_when_it_asks() -> None:
    world = World(2)
    first, second, third = world.nodes.values()
    third.crash()
    first.propose(0, IDS[1])
    world.calm(SECOND)
    third.is_up = True
    third.begin()
    assert third.epoch() == 1
    third.propose(0, IDS[2])
    world.calm(SECOND)
    assert world.done == [True, True]
    assert third.epoch() == 2
    assert third.ring.registers[0] == first.ring.registers[0] == second.ring.registers[0]


def test_promises_of_an_earlier_life_go_when_the_ring_has_passed_them() -> None:
    world = World(3)
    first, second, third = world.nodes.values()
    third.crash()
    first.propose(0, IDS[1])
    while not second.rows:  # the second node promises, and crashes before it hears more
        world.read()
        first.sync()
        second.sync()
        while world.wires:
            world.deliver(0)
    second.crash()
    second.is_up = True
    second.begin()
    assert second.rows
    world.calm(SECOND)
    second.deciding.told(IDS[0], RegistersTold(((0, 2, (IDS[1], IDS[0], IDS[2])),)))
    second.settle()
    world.calm(SECOND)
    assert second.epoch() == 2
    assert second.rows == {}


def test_a_value_of_another_partition_is_refused() -> None:
    world = World(4)
    first, second, _ = world.nodes.values()
    first.propose(0, IDS[1])
    world.read()
    first.sync()
    prepare = world.wires[0]
    message = CODEC.decode(prepare[2])
    accept = CODEC.decode(
        CODEC.encode(
            REGISTER_MESSAGES.classes[202](message.name, message.epoch, message.ballot, b"other")
        )
    )
    assert second.deciding.serve(IDS[0], accept)
    assert second.desk.counters.registers_refused == 1
    assert second.rows == {}
    assert not second.unsynced


def test_who_was_removed_by_force_has_no_voice() -> None:
    world = World(5)
    desk = world.nodes[IDS[0]].desk
    desk.placement.set_members(
        {IDS[0]: member(IDS[0]), IDS[1]: member(IDS[1]), IDS[2]: member(IDS[2], is_forced=True)}
    )
    assert voters(desk, FIRST.registers[0]) == (IDS[0], IDS[1])
    changing = Register.changing(2, Phase.WRITE_BOTH, (IDS[0], IDS[2]), (IDS[0], IDS[1]))
    assert voters(desk, changing) == (IDS[0],)


def rolled_back(world: World) -> None:
    """Owners of three: the second and the third decide, and nobody hears of it. Then the second is
    down, and the third's store is put back to what it was before, as its host found out.
    """
    first, second, third = world.nodes.values()
    copy, ring = dict(third.rows), third.ring
    first.crash()
    second.propose(0, IDS[1])
    while second.epoch() < 2:
        world.read()
        second.sync()
        third.sync()
        while world.wires:
            world.deliver(0)
    world.wires.clear()
    world.done.clear()
    second.crash()
    third.crash()
    third.rows, third.ring = {**copy, VOICE_ROW: b""}, ring
    for node in (first, third):
        node.is_up = True
        node.begin()
        assert node.epoch() == 1


def test_an_acceptor_that_was_rolled_back_does_not_help_to_decide_again() -> None:
    world = World(6)
    rolled_back(world)
    first, second, third = world.nodes.values()
    first.propose(0, IDS[2])
    third.propose(0, IDS[0])  # nor does it count itself
    world.calm()
    assert world.done == [False, False]
    assert third.desk.counters.registers_abstained > 0
    assert (first.epoch(), third.epoch()) == (1, 1)
    second.is_up = True
    second.begin()
    world.calm(10 * SECOND)
    decided = Register(2, (IDS[1], IDS[0], IDS[2]))
    assert world.values[0, 2] == decided
    assert [node.ring.registers[0].owners for node in (first, second, third)] == [
        decided.owners
    ] * 3


def test_a_doubt_ends_with_an_epoch_that_was_open_and_is_decided_without_it() -> None:
    world = World(7)
    rolled_back(world)
    first, second, third = world.nodes.values()
    assert third.doubts()
    second.is_up = True
    second.begin()
    world.calm(20 * SECOND)
    assert not third.doubts()
    assert third.rows == {}
    # Of the partition that was decided before it takes two epochs, of the others one.
    for node in (first, second, third):
        assert [register.epoch for register in node.ring.registers] == [3] + [2] * 7
        assert node.ring.registers[0].owners == (IDS[1], IDS[0], IDS[2])
        assert all(register.owners == tuple(IDS) for register in node.ring.registers[1:])
    # And it has a voice again: two of three decide, and it is one of them.
    second.crash()
    first.propose(0, IDS[2])
    world.calm(3 * SECOND)
    assert world.done == [True]
    assert third.epoch() == 4


def test_a_doubt_outlives_a_crash_until_it_is_settled() -> None:
    world = World(8)
    rolled_back(world)
    first, second, third = world.nodes.values()
    second.is_up = True
    second.begin()
    for _ in range(40):
        world.calm(60 * MILLISECOND)
        third.crash()
        third.is_up = True
        third.begin()
        known = third.voice
        assert known.is_in_doubt is (VOICE_ROW in third.rows)
        if not known.is_in_doubt:
            break
    world.calm(10 * SECOND)
    assert not third.doubts()
    assert first.ring.registers == second.ring.registers == third.ring.registers


def test_of_two_owners_the_one_that_was_rolled_back_speaks() -> None:
    """Whatever two majorities of two have in common is both: the other one remembers."""
    voters_of_two = (IDS[0], IDS[2])
    voice = World(9).nodes[IDS[2]].voice
    voice.lost()
    assert voice.may_answer(0, 2, voters_of_two)
    assert voice.quorums(0, voters_of_two).acceptors == voters_of_two
    assert not voice.needs_settling(0, voters_of_two)
    assert not voice.may_answer(0, 3, voters_of_two), "who votes on that is not known yet"
    assert voice.may_answer(0, 2, (IDS[2],))
    assert not voice.may_answer(0, 2, tuple(IDS))
    silent = voice.quorums(0, tuple(IDS))
    assert (silent.acceptors, silent.phase1, silent.phase2) == ((IDS[0], IDS[1]), 2, 2)


def test_when_the_other_owner_is_lost_meanwhile_force_gives_it_its_voice_back() -> None:
    world = World(11)
    first, second, third = world.nodes.values()
    second.crash()
    third.voice.lost()
    first.propose(0, IDS[2])
    world.calm(3 * SECOND)
    assert world.done == [False]
    left = {node: member(node, is_forced=node == IDS[1]) for node in IDS}
    for node in (first, third):
        node.desk.placement.set_members(left)
    first.propose(0, IDS[2])
    world.calm(3 * SECOND)
    assert world.done == [False, True]
    assert third.epoch() == 2


def test_a_damaged_row_of_doubts_is_a_doubt_of_all() -> None:
    desk = World(10).nodes[IDS[0]].desk
    for saved in (b"", b"damaged", seal_value(b"\xff"), seal_value(encode_plain(("a",)))):
        voice = Voice(desk, saved)
        assert not any(voice.may_answer(p, 2, tuple(IDS)) for p in range(8))
    voice = Voice(desk, seal_value(encode_plain((3,))))
    assert [voice.may_answer(p, 2, tuple(IDS)) for p in (2, 3, 4)] == [True, False, True]


WHAT = {
    "propose": 2, "deliver": 12, "sync": 8, "again": 1, "lose": 1, "crash": 1, "start": 2,
    "wake": 1, "fail": 1,
}  # fmt: skip
"""What happens, and how often."""

ROLLBACKS = {"copy": 2, "put back": 2}
"""Of the third node's store, once in a while. Two that forget are a majority that is lost."""


def happen(world: World, what: str, draw: int) -> None:
    node = world.nodes[IDS[draw % 3]]
    at = draw % len(world.wires) if world.wires else None
    if what in ("deliver", "again", "lose"):
        if at is None:
            return
        if what == "lose":
            world.wires.pop(at)
        else:
            world.deliver(at, keep=what == "again")
    elif what == "start":
        if not node.is_up:
            node.is_up = True
            node.begin()
    elif what == "wake":
        world.now += 100 * MILLISECOND
        for each in world.nodes.values():
            if each.is_up:
                each.wake()
    elif what == "copy":
        third = world.nodes[IDS[2]]
        world.copy = dict(third.rows), third.ring
    elif what == "put back":
        third = world.nodes[IDS[2]]
        third.crash()
        rows, third.ring = world.copy
        third.rows = {**rows, VOICE_ROW: b""}
        third.is_up = True
        third.begin()
    elif node.is_up:
        act: dict[str, Callable[[], None]] = {
            "propose": partial(node.propose, 0, IDS[draw // 3 % 3]),
            "sync": node.sync,
            "crash": node.crash,
            "fail": node.fail,
        }
        act[what]()
    world.read()


def one_value_an_epoch(seed: int, what: dict[str, int]) -> World:
    """A world after a schedule of this seed, in which all came to one ring."""
    world = World(seed)
    schedule = random.Random(seed)
    names = schedule.choices(list(what), list(what.values()), k=400)
    for name in names:
        happen(world, name, schedule.getrandbits(16))
    for node in world.nodes.values():
        if not node.is_up:
            node.is_up = True
            node.begin()
    world.calm()
    for node in world.nodes.values():
        node.propose(0, node.id)
    world.calm(20 * SECOND)
    rings = [node.ring.registers[0] for node in world.nodes.values()]
    assert rings[0].epoch > 1
    assert all(each == rings[0] for each in rings)
    kept = [read_key(b"A", row) for node in world.nodes.values() for row in node.rows]
    assert all(key.epoch > rings[0].epoch for key in kept), "of use only beyond the ring"
    return world


@pytest.mark.property
@given(seed=st.integers(0, 1 << 32))
@settings(deadline=None)
def test_one_value_an_epoch_whatever_happens(seed: int) -> None:
    one_value_an_epoch(seed, WHAT)


@pytest.mark.property
@given(seed=st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=settings().max_examples // 2)
def test_one_value_an_epoch_though_a_store_is_put_back(seed: int) -> None:
    world = one_value_an_epoch(seed, WHAT | ROLLBACKS)
    assert not any(node.doubts() for node in world.nodes.values())
