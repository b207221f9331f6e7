"""What is deleted or has expired is taken away by proof, and nothing of it comes back."""

from __future__ import annotations

import pytest

from sadik_machine import MILLISECOND, SECOND, GetRows, NodeId, Received, ScanRows
from sadik_vnode import Engine, EngineConfig
from sadik_vnode.keyspace import DUE_RANGE, Key, due_row
from sadik_vnode.messages import ReplicaAck, ReplicaWrite, Status
from sadik_vnode.record import Record
from sadik_vnode.requests import Delete, Found, Get, Missing, Put, Result, Unavailable, Written
from vnode_world import World, WorldNode

TIMEOUT = 5 * SECOND
KEY = Key("b", b"k")
KEPT_NS = 2 * SECOND
CONFIG = EngineConfig(
    tombstone_ns=KEPT_NS, reap_pace_ns=50 * MILLISECOND, anti_entropy_interval_ns=2 * SECOND
)
ENOUGH = 20 * SECOND


def a_world(seed: int = 1, nodes: int = 4) -> World:
    return World(seed, nodes=nodes, config=CONFIG)


def owners_of(world: World, key: Key = KEY) -> list[NodeId]:
    return list(world.ring.registers[key.token * world.ring.partitions >> 64].owners)


def stranger_to(world: World, key: Key = KEY) -> NodeId:
    """A node that does not own the key."""
    return next(node for node in world.nodes if node not in owners_of(world, key))


def engine_of(world: World, node: NodeId) -> Engine:
    engine = world.nodes[node].engine
    assert engine is not None
    return engine


def put(world: World, node: NodeId, value: bytes = b"v", **options: object) -> Written:
    result = world.answer(node, Put(KEY.bucket, KEY.key, value, TIMEOUT, **options))  # type: ignore[arg-type]
    assert isinstance(result, Written), result
    return result


def delete(world: World, node: NodeId, **options: object) -> Written:
    result = world.answer(node, Delete(KEY.bucket, KEY.key, TIMEOUT, **options))  # type: ignore[arg-type]
    assert isinstance(result, Written), result
    return result


def get(world: World, node: NodeId, **options: object) -> Result:
    result: Result = world.answer(node, Get(KEY.bucket, KEY.key, TIMEOUT, **options))  # type: ignore[arg-type]
    return result


def rows_of_data(node: WorldNode) -> list[bytes]:
    """All rows that a record has, or that tell of one."""
    return [row for row in node.disk if row[:1] in (b"O", b"K", b"V", b"D", b"T", b"H")]


def test_a_deleted_key_leaves_no_row_on_any_node_and_is_written_again_by_a_new_actor() -> None:
    world = a_world()
    first, *_ = owners_of(world)
    put(world, first, b"x" * 100_000)
    [before] = Record.decode(world.nodes[first].disk[KEY.record_row]).container.versions
    delete(world, first)
    assert due_row(0, KEY) in world.nodes[first].disk
    world.run(ENOUGH)
    for node in world.nodes.values():
        assert rows_of_data(node) == []
        assert engine_of(world, node.id).tombstones == 0
    assert engine_of(world, first).counters.reaped == 1
    result = get(world, first)
    assert isinstance(result, Missing)
    assert result.context is None
    put(world, first, b"again")
    record = Record.decode(world.nodes[first].disk[KEY.record_row])
    [after] = record.container.versions
    assert after[0] != before[0]
    assert record.own_actor == after[0]


def test_where_nothing_is_deleted_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[ScanRows] = []
    load = World._load

    def watched(self: World, node: WorldNode, query: GetRows | ScanRows) -> object:
        if isinstance(query, ScanRows) and query.start[:1] == DUE_RANGE[0]:
            looked.append(query)
        return load(self, node, query)

    monkeypatch.setattr(World, "_load", watched)
    world = a_world()
    first, *_ = owners_of(world)
    put(world, first)
    world.run(ENOUGH)
    looked.clear()
    world.run(60 * SECOND)
    assert looked == []
    delete(world, first)
    world.run(SECOND)
    assert looked


def test_what_is_proven_is_kept_a_while_longer() -> None:
    world = a_world()
    first, *_ = owners_of(world)
    put(world, first)
    delete(world, first)
    until = world.now + KEPT_NS
    while world.now < until:
        assert KEY.record_row in world.nodes[first].disk
        world.run(50 * MILLISECOND)


@pytest.mark.parametrize("is_owner", [True, False])
def test_a_member_that_is_down_holds_it_up_and_is_named(is_owner: bool) -> None:
    world = a_world()
    first, second, _ = owners_of(world)
    away = second if is_owner else stranger_to(world)
    put(world, first, w=3)
    world.crash(away)
    world.run(SECOND)
    delete(world, first)
    world.run(ENOUGH)
    assert KEY.record_row in world.nodes[first].disk
    engine = engine_of(world, first)
    assert engine.tombstones == 1
    assert engine.reaping_waits_for == [away]
    world.start(away)
    world.run(ENOUGH)
    assert engine.tombstones == 0
    assert engine.reaping_waits_for == []
    assert all(KEY.record_row not in node.disk for node in world.nodes.values())


def test_a_member_that_has_left_holds_up_nothing() -> None:
    world = a_world()
    first, *_ = owners_of(world)
    away = stranger_to(world)
    put(world, first)
    world.crash(away)
    delete(world, first)
    world.run(ENOUGH)
    assert engine_of(world, first).tombstones == 1
    world.leave(away)
    world.run(ENOUGH)
    assert engine_of(world, first).tombstones == 0


def test_what_has_expired_goes_when_all_owners_say_so() -> None:
    world = a_world()
    first, second, _ = owners_of(world)
    put(world, first, ttl_s=10)
    world.set_back(second, 60 * SECOND)
    world.run(30 * SECOND)
    assert isinstance(get(world, first, r=1), Missing)
    assert KEY.record_row in world.nodes[first].disk  # to one owner it is a value still
    world.set_back(second, 0)
    world.run(ENOUGH)
    assert all(KEY.record_row not in node.disk for node in world.nodes.values())


def test_nothing_moves_in_a_cluster_that_deletes_nothing() -> None:
    world = a_world()
    for node in world.nodes:
        put(world, node)
    world.run(ENOUGH)
    assert all(engine_of(world, node).reap_generation == 0 for node in world.nodes)
    assert not any(node.documents for node in world.nodes.values())


def test_a_fallback_hands_off_what_is_not_its_own_when_all_owners_can_be_reached() -> None:
    world = a_world()
    first, second, third = owners_of(world)
    stranger = stranger_to(world)
    world.crash(third)
    world.run(SECOND)
    put(world, first, b"x" * 50_000, w=3)
    world.run(ENOUGH)
    assert KEY.record_row in world.nodes[stranger].disk
    assert engine_of(world, stranger).may_hold_foreign
    world.start(third)
    world.run(ENOUGH)
    assert rows_of_data(world.nodes[stranger]) == []
    assert not engine_of(world, stranger).may_hold_foreign
    assert engine_of(world, stranger).counters.foreign_handed_off == 1
    assert sorted(world.holders(b"x" * 50_000)) == sorted(
        world.nodes[owner].name for owner in (first, second, third)
    )


def in_generation(world: World, least: int) -> None:
    """Delete something now and then until the generation has come."""
    first, *_ = owners_of(world)
    other = Key("b", b"other")
    for _ in range(20):
        if engine_of(world, first).reap_generation >= least:
            return
        assert isinstance(world.answer(first, Put(other.bucket, other.key, b"v", TIMEOUT)), Written)
        assert isinstance(world.answer(first, Delete(other.bucket, other.key, TIMEOUT)), Written)
        world.run(ENOUGH)
    raise AssertionError("the generation never came")


def test_what_was_read_two_generations_ago_is_refused() -> None:
    world = a_world()
    first, second, _ = owners_of(world)
    in_generation(world, 3)
    generation = engine_of(world, first).reap_generation
    for age, is_taken in ((0, True), (1, True), (2, False), (3, False)):
        actor = b"stranger\0\0\0" + bytes([age])
        head = bytes.fromhex("84000160" + "80")
        write = ReplicaWrite(
            5, 1, KEY.bucket, KEY.key, first, ((actor, 1, head, b"old", 3),), [[actor, 1]], 0,
            generation=generation - age,
        )  # fmt: skip
        answers = world.sent_by(first, Received(second, write))
        [ack] = [answer for answer in answers if isinstance(answer, ReplicaAck)]
        assert ack.status == (Status.OK if is_taken else Status.OLD_GENERATION)
        record = Record.decode(world.nodes[first].disk.get(KEY.record_row))
        assert ((actor, 1) in record.container.versions) == is_taken


def test_a_node_whose_store_was_put_back_contributes_nothing() -> None:
    world = a_world()
    first, second, third = owners_of(world)
    put(world, first, b"dead", w=3)
    in_generation(world, 1)
    node = world.nodes[third]
    copy, documents = dict(node.disk), dict(node.documents)
    assert world.holders(b"dead")
    delete(world, first, w=3)
    world.run(ENOUGH)
    assert rows_of_data(node) == []
    world.crash(third)
    node.disk.clear()
    node.disk.update(copy)
    node.documents = documents
    node.instance = b"restored"
    world.start(third)
    assert isinstance(world.answer(second, Get(KEY.bucket, KEY.key, TIMEOUT, r=2)), Missing)
    world.run(ENOUGH)
    engine = engine_of(world, third)
    assert engine.counters.rollbacks == 1
    assert engine.counters.rolled_back_versions == 1
    assert not engine.is_catching_up
    for asked in world.nodes:
        assert isinstance(get(world, asked, r=1), Missing)
    assert all(rows_of_data(node) == [] for node in world.nodes.values())
    put(world, third, b"new", w=3)
    assert len(world.holders(b"new")) == 3


def test_a_node_that_is_put_back_serves_nobody_before_it_has_caught_up() -> None:
    world = a_world()
    first, second, third = owners_of(world)
    put(world, first, b"dead", w=3)
    in_generation(world, 1)
    node = world.nodes[third]
    copy = dict(node.disk)
    delete(world, first, w=3)
    world.run(ENOUGH)
    world.crash(third)
    node.disk.clear()
    node.disk.update(copy)
    for owner in (first, second):
        world.cut_off(third, owner)
    world.start(third)
    world.run(SECOND)
    # It hears of the generation from a node that owns nothing of it.
    assert engine_of(world, third).is_catching_up
    assert isinstance(get(world, third, r=1), Unavailable)
    result = world.answer(third, Put(KEY.bucket, KEY.key, b"v", TIMEOUT, w=1))
    assert isinstance(result, Unavailable)
    world.heal()
    world.run(ENOUGH)
    assert not engine_of(world, third).is_catching_up
    assert isinstance(get(world, third, r=1), Missing)


def test_a_whole_cluster_that_is_put_back_keeps_all() -> None:
    world = a_world(nodes=3)
    first, *_ = owners_of(world)
    put(world, first, b"kept", w=3)
    in_generation(world, 1)
    copies = {node.id: (dict(node.disk), dict(node.documents)) for node in world.nodes.values()}
    in_generation(world, 8)
    for node in world.nodes.values():
        world.crash(node.id)
        node.disk.clear()
        disk, documents = copies[node.id]
        node.disk.update(disk)
        node.documents = documents
    for asked in world.nodes:
        world.start(asked)
    world.run(ENOUGH)
    for asked in world.nodes:
        result = get(world, asked, r=1)
        assert isinstance(result, Found)
        assert result.versions[0].value == b"kept"


def test_a_session_that_saw_what_was_reaped_is_not_behind() -> None:
    world = a_world()
    first, second, third = owners_of(world)
    put(world, first)
    seen = delete(world, first, w=3).context
    world.run(ENOUGH)
    for node in world.nodes:
        assert isinstance(get(world, node, at_least=seen), Missing)
    # As long as one member does not answer, nobody can tell that it was reaped.
    world.crash(third)
    world.run(SECOND)
    assert isinstance(get(world, second, at_least=seen), Unavailable)


def test_a_read_does_not_plant_a_tombstone_where_nothing_is() -> None:
    world = a_world()
    first, second, third = owners_of(world)
    put(world, first, w=3)
    delete(world, first, w=3)
    for row in rows_of_data(world.nodes[second]):
        del world.nodes[second].disk[row]
    assert isinstance(get(world, first, r=3), Missing)
    world.run(100 * MILLISECOND)
    assert KEY.record_row not in world.nodes[second].disk
    assert KEY.record_row in world.nodes[third].disk


def test_an_owner_that_did_not_answer_for_long_does_not_put_off_the_next_pass() -> None:
    """Some ten seconds of silence once held a node's reaping up for ten times as long."""
    world = a_world()
    first, silent, _ = owners_of(world)
    put(world, first)
    delete(world, first)
    world.run(100 * MILLISECOND)
    world.cut[first, silent] = None  # nobody has noticed
    world.run(12 * SECOND)
    world.cut.clear()
    world.run(ENOUGH)
    assert engine_of(world, first).counters.reaped == 1
