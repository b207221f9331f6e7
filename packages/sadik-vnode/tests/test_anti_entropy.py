"""Owners that differ come to the same, both ways, for little more than what they lack."""

from __future__ import annotations

import attrs
import pytest

from sadik_causality import Container, Context
from sadik_machine import SECOND, NodeId, Observed, Received
from sadik_members import Register, RingChanged
from sadik_vnode import EngineConfig
from sadik_vnode.anti_entropy.messages import MiddlesTold, RootsTold
from sadik_vnode.counters import Counters
from sadik_vnode.keyspace import TREE_ROW, Key, index_row
from sadik_vnode.messages import ReplicaWrite
from sadik_vnode.record import Record
from sadik_vnode.requests import Put, Refused, Repair, RepairResult, Written
from sadik_vnode.version import Version, tombstone, version_of
from tree_oracle import check_tree
from vnode_world import World, WorldNode

ON_DEMAND = EngineConfig(anti_entropy_interval_ns=0)
MINUTE = 60 * SECOND


def ids(world: World) -> list[NodeId]:
    return list(world.nodes)


def record(*dots: int, seen: int = 0, actor: bytes = b"actor-of-tests", size: int = 20) -> Record:
    versions: dict[tuple[bytes, int], Version] = {
        (actor[:12], n): tombstone(n) if n % 5 == 0 else version_of(bytes(size), n, None, ())
        for n in dots
    }
    known = [*versions, *[(actor[:12], n) for n in range(1, seen + 1)]]
    return Record(Container(versions, Context.from_dots(known)))


def plant(world: World, node: WorldNode, records: dict[bytes, Record]) -> None:
    """Put records on a disk as if they had come long ago; the tree is built at the start."""
    for name, held in records.items():
        key = Key("b", name)
        rows = [*held.rows(key, Record(Container.empty())), (index_row(key), b"")]
        for row, value in rows:
            if value is not None:
                world._write(node, row, value)


def settled(records: list[dict[bytes, Record]], config: EngineConfig = ON_DEMAND) -> World:
    world = World(1, config=config)
    for node, theirs in zip(world.nodes.values(), records, strict=True):
        world.crash(node.id)
        node.disk.clear()
        plant(world, node, theirs)
    for node in world.nodes.values():
        world.start(node.id)
    world.run(5 * SECOND)
    for node in world.nodes.values():
        assert node.engine is not None
        check_tree(node.disk, node.engine._desk.replica.tree)
    return world


def counters(world: World) -> Counters:
    """Of all nodes together."""
    total = Counters()
    for node in world.nodes.values():
        assert node.engine is not None
        for field in attrs.fields(Counters):
            count = getattr(node.engine.counters, field.name)
            setattr(total, field.name, getattr(total, field.name) + count)
    return total


def live_dots(node: WorldNode) -> dict[bytes, list[tuple[bytes, int]]]:
    return {
        row: Record.decode(value).container.live_dots()
        for row, value in node.disk.items()
        if row.startswith(b"O") and Record.decode(value).container.versions
    }


def check_equal(world: World) -> None:
    one, *others = [live_dots(node) for node in world.nodes.values()]
    assert all(other == one for other in others)
    for node in world.nodes.values():
        assert node.engine is not None
        check_tree(node.disk, node.engine._desk.replica.tree)
        assert node.engine.counters.tree_leaves_mended == 0


DIFFERENT = [
    {b"both": record(1), b"one": record(2), b"new": record(2, seen=1), b"gone": record(3)},
    {b"both": record(1), b"two": record(4), b"new": record(1), b"gone": record(5, seen=4)},
    {
        b"both": record(1),
        b"sibling": record(1, actor=b"another-actor"),
        b"large": record(1, actor=b"a-third-actor", size=100_000),
    },
]


def test_a_repair_brings_all_owners_to_the_same_and_a_second_pass_sends_nothing() -> None:
    world = settled(DIFFERENT)
    first = world.answer(ids(world)[0], Repair(None, MINUTE))
    assert isinstance(first, RepairResult)
    assert (first.is_finished, first.partitions, first.partitions_done) == (True, 8, 8)
    assert first.repaired > 0
    assert first.unreachable == []
    check_equal(world)
    sent = counters(world)
    again = world.answer(ids(world)[1], Repair(None, MINUTE))
    assert (again.compared, again.differing, again.differences, again.repaired) == (16, 0, 0, 0)
    after = counters(world)
    assert after.anti_entropy_repaired == sent.anti_entropy_repaired
    assert after.anti_entropy_bytes - sent.anti_entropy_bytes == 2 * 8 * 16
    assert after.anti_entropy_races == 0


def test_the_schedule_does_it_without_being_asked() -> None:
    world = settled(DIFFERENT, EngineConfig(anti_entropy_interval_ns=2 * SECOND))
    world.run(30 * SECOND)
    check_equal(world)
    sent = counters(world)
    world.run(60 * SECOND)
    after = counters(world)
    assert after.anti_entropy_rounds > sent.anti_entropy_rounds + 60
    assert after.anti_entropy_repaired == sent.anti_entropy_repaired
    assert after.anti_entropy_differences == sent.anti_entropy_differences


def test_an_owner_that_missed_one_percent_receives_that_and_no_record_twice() -> None:
    common = {b"key-%05d" % n: record(1, size=1000) for n in range(1000)}
    missed = dict(list(common.items())[::100])
    lacking = {name: held for name, held in common.items() if name not in missed}
    world = settled([common, common, lacking])
    third = ids(world)[2]
    received: list[bytes] = []
    told_bytes = [0]
    deliver = world._deliver

    def spy(sender: NodeId, target: WorldNode, boot: int, payload: bytes) -> None:
        message = world.codec.decode(payload)
        if target.id == third:
            if isinstance(message, ReplicaWrite):
                received.append(message.key)
            elif type(message).__module__.endswith("anti_entropy.messages"):
                told_bytes[0] += len(payload)
        deliver(sender, target, boot, payload)

    world._deliver = spy  # type: ignore[method-assign]
    for node in ids(world):  # all at once: who is busy with another is tried again
        world.ask(node, Repair(None, MINUTE))
    world.run(MINUTE)
    check_equal(world)
    assert sorted(received) == sorted(missed)
    # All middles of the ring once, 32 KiB, and a little for each record.
    assert told_bytes[0] < 32 * 1024 + 400 * len(missed)


def test_siblings_that_the_other_has_are_not_sent_again() -> None:
    mine, theirs = record(1, 2, 3, size=5000), record(1, 2, size=5000)
    world = settled([{b"k": mine}, {b"k": theirs}, {b"k": mine}])
    world.answer(ids(world)[0], Repair(None, MINUTE))
    check_equal(world)
    assert counters(world).anti_entropy_repaired == 1
    assert 5000 < counters(world).anti_entropy_bytes < 10_000


def test_a_partition_is_repaired_by_an_owner_where_the_node_asked_is_none() -> None:
    world = World(3, nodes=5, config=ON_DEMAND)
    for number in range(40):
        answer = world.answer(ids(world)[0], Put("b", b"%d" % number, b"v", 5 * SECOND))
        assert isinstance(answer, Written)
    for partition in range(8):
        for node in ids(world):
            result = world.answer(node, Repair(partition, MINUTE))
            assert isinstance(result, RepairResult)
            assert (result.partitions_done, result.compared, result.is_finished) == (1, 2, True)
    assert isinstance(world.answer(ids(world)[0], Repair(8, MINUTE)), Refused)


def test_who_is_down_is_named_and_the_others_are_repaired() -> None:
    world = settled(DIFFERENT)
    one, two, three = ids(world)
    world.crash(three)
    world.run(SECOND)
    result = world.answer(one, Repair(None, MINUTE))
    assert isinstance(result, RepairResult)
    assert result.unreachable == [three]
    assert result.is_finished
    assert live_dots(world.nodes[one]) == live_dots(world.nodes[two])


def test_another_epoch_is_refused_and_a_newer_register_comes_with_it() -> None:
    world = settled([{}, {}, {}])
    one, two, _ = ids(world)
    owners = world.ring.registers[0].owners
    newer = attrs.evolve(
        world.ring, registers=(Register(2, owners[::-1]), *world.ring.registers[1:])
    )
    world.step(world.nodes[one], Observed(RingChanged(newer)))
    answers: list[object] = []
    send = world._send

    def spy(node: WorldNode, to: NodeId, message: object) -> None:
        if isinstance(message, MiddlesTold):
            answers.append(message)
        send(node, to, message)

    world._send = spy  # type: ignore[method-assign]
    roots = ((0, 1, bytes(8)), (1, 1, bytes(8)), (99, 1, bytes(8)))
    world.step(world.nodes[one], Received(two, RootsTold(1, roots)))
    assert answers == [MiddlesTold(1, 0, (), (0, 99), ((0, 2, owners[::-1]),))]
    world.step(world.nodes[ids(world)[2]], Observed(RingChanged(newer)))
    result = world.answer(two, Repair(0, MINUTE))  # it adopts the newer register and tries again
    assert isinstance(result, RepairResult)
    assert result.is_finished
    assert result.unreachable == []


@pytest.mark.parametrize("seed", range(2))
def test_writes_that_go_on_make_no_lasting_difference(seed: int) -> None:
    world = World(seed, config=EngineConfig(anti_entropy_interval_ns=SECOND // 5))
    for number in range(300):
        node = ids(world)[number % 3]
        world.ask(node, Put("b", b"%d" % (number % 7), b"v%d" % number, 5 * SECOND))
        world.run(SECOND // 20)
    world.run(5 * SECOND)
    check_equal(world)


def test_a_store_without_a_tree_is_built_once_while_writes_come() -> None:
    many = {b"old-%d" % n: record(1) for n in range(800)}
    world = World(5, config=ON_DEMAND)
    one = world.nodes[ids(world)[0]]
    world.crash(one.id)
    one.disk.clear()
    plant(world, one, many)
    one.disk[b"T\0\0\7"] = b"of another time"
    world.start(one.id)
    for number in range(200):
        world.ask(ids(world)[number % 3], Put("b", b"old-%d" % number, b"v", 5 * SECOND))
        world.run(SECOND // 200)
    world.run(10 * SECOND)
    assert one.engine is not None
    check_tree(one.disk, one.engine._desk.replica.tree)
    built = one.engine.counters.tree_leaves_built
    assert built > 750
    world.crash(one.id)
    world.run(SECOND)
    world.start(one.id)
    world.run(SECOND)
    assert one.engine.counters.tree_leaves_built == 0
    check_tree(one.disk, one.engine._desk.replica.tree)


def test_a_sum_that_went_wrong_is_found_and_mended() -> None:
    world = settled([{b"k%d" % n: record(1) for n in range(30)}] * 3)
    one = world.nodes[ids(world)[0]]
    world.crash(one.id)
    row, *_ = [row for row in one.disk if row.startswith(b"T")]
    del one.disk[row]
    world.start(one.id)
    world.run(SECOND)
    result = world.answer(one.id, Repair(None, MINUTE))
    assert (result.differing, result.differences) == (1, 0)  # mended before the other was asked
    world.run(SECOND)
    assert one.engine is not None
    check_tree(one.disk, one.engine._desk.replica.tree)
    assert one.engine.counters.tree_leaves_mended == 1


def test_what_is_not_counted_yet_is_not_sent_again() -> None:
    """A repair of a node whose tree is being built waits until it is there."""
    everywhere = {b"%d" % number: record(number + 1) for number in range(40)}
    world = settled([everywhere, everywhere, everywhere])
    one = world.nodes[ids(world)[0]]
    world.crash(one.id)
    del one.disk[TREE_ROW]
    world.start(one.id)
    assert one.engine is not None
    assert not one.engine.tree.is_known
    result = world.answer(one.id, Repair(None, MINUTE))
    assert (result.is_finished, result.unreachable) == (True, [])
    assert (result.differing, result.differences, result.repaired) == (0, 0, 0)
    assert counters(world).anti_entropy_repaired == 0


def test_a_tree_is_there_soon_on_a_clock_that_has_run_for_days() -> None:
    world = World(1, config=ON_DEMAND)
    for node in ids(world):
        world.crash(node)
        world.nodes[node].disk.clear()
    world.now = 90 * 86_400 * SECOND
    for node in ids(world):
        world.start(node)
    world.run(SECOND)
    for started in world.nodes.values():
        assert started.engine is not None
        assert started.engine.tree.is_known
