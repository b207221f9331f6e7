"""Rows that do not match their checksums: noticed, never served, mended by the other owners."""

import pytest

from sadik_machine import SECOND, NodeId
from sadik_vnode import EngineConfig
from sadik_vnode.keyspace import Key, hint_row
from sadik_vnode.record import DamagedRecord, Record, open_value
from sadik_vnode.requests import Found, Get, Hints, Missing, Put
from vnode_world import World

TIMEOUT = 5 * SECOND
KEY = Key("b", b"k")
SMALL, LARGE = b"v", b"v" * 40_000


def flip(world: World, node: NodeId, row: bytes) -> None:
    """One bit of a row is another."""
    disk = world.nodes[node].disk
    damaged = bytearray(disk[row])
    damaged[len(damaged) // 2] ^= 4
    disk[row] = bytes(damaged)


def restart(world: World, node: NodeId) -> None:
    """Nothing is known of what is on its disk any more."""
    world.crash(node)
    world.start(node)
    world.run(SECOND)


def is_whole(world: World, node: NodeId, value: bytes) -> bool:
    """Whether the record and its one value are as they were written."""
    disk = world.nodes[node].disk
    try:
        record = Record.decode(disk.get(KEY.record_row))
        [(dot, version)] = record.container.versions.items()
        held = version.body if version.body is not None else open_value(disk[KEY.value_row(dot)])
    except (DamagedRecord, ValueError):
        return False
    return held == value


def value_rows(world: World, node: NodeId) -> list[bytes]:
    return [row for row in world.nodes[node].disk if row.startswith(b"V")]


@pytest.mark.parametrize("value", [SMALL, LARGE])
def test_a_read_heals_a_damaged_record(value: bytes) -> None:
    world = World(1)
    one, two, _three = world.nodes
    world.answer(two, Put("b", b"k", value, TIMEOUT))
    world.run(SECOND)
    restart(world, one)
    flip(world, one, KEY.record_row)
    found = world.answer(one, Get("b", b"k", TIMEOUT))
    assert isinstance(found, Found)
    assert [version.value for version in found.versions] == [value]
    world.run(SECOND)
    assert is_whole(world, one, value)
    assert damage_noticed(world, one) >= 1


def test_a_read_heals_a_damaged_large_value() -> None:
    world = World(1)
    one, two, _three = world.nodes
    world.answer(two, Put("b", b"k", LARGE, TIMEOUT))
    world.run(SECOND)
    [row] = value_rows(world, one)
    flip(world, one, row)
    assert not is_whole(world, one, LARGE)
    found = world.answer(one, Get("b", b"k", TIMEOUT))
    assert isinstance(found, Found)
    assert [version.value for version in found.versions] == [LARGE]
    world.run(SECOND)
    assert is_whole(world, one, LARGE)


def damage_noticed(world: World, node: NodeId) -> int:
    """How often a node met a damaged row."""
    engine = world.nodes[node].engine
    assert engine is not None
    return engine.counters.damaged_records


def missed_by_an_owner(world: World) -> tuple[NodeId, NodeId]:
    """A write that an owner missed: (that owner, which is down; the fallback with the note)."""
    owners = world.ring.registers[KEY.token * 8 >> 64].owners
    [fallback] = [node for node in world.nodes if node not in owners]
    world.crash(owners[2])
    world.run(SECOND)
    world.answer(owners[0], Put("b", b"k", SMALL, TIMEOUT))
    world.run(SECOND)
    assert hint_row(owners[2], KEY) in world.nodes[fallback].disk
    return owners[2], fallback


def test_a_note_beside_a_damaged_record_is_delivered_when_the_owners_have_mended_it() -> None:
    world = World(1, nodes=4)
    owner, fallback = missed_by_an_owner(world)
    flip(world, fallback, KEY.record_row)
    world.start(owner)
    world.run(30 * SECOND)
    assert is_whole(world, owner, SMALL)
    assert world.answer(fallback, Hints()).total == 0


def test_a_damaged_record_that_the_owners_know_nothing_of_is_given_up() -> None:
    world = World(1, nodes=4)
    owner, fallback = missed_by_an_owner(world)
    for node in world.nodes.values():
        if node.id not in (fallback, owner):
            node.disk.pop(KEY.record_row, None)
            restart(world, node.id)
    flip(world, fallback, KEY.record_row)
    world.start(owner)
    world.run(30 * SECOND)
    assert world.answer(fallback, Hints()).total == 0
    assert KEY.record_row not in world.nodes[fallback].disk


def test_a_note_beside_what_cannot_be_mended_yet_does_not_keep_the_node_busy() -> None:
    world = World(1, nodes=4, config=EngineConfig(anti_entropy_interval_ns=0))
    owner, fallback = missed_by_an_owner(world)
    flip(world, fallback, KEY.record_row)
    owners = world.ring.registers[KEY.token * 8 >> 64].owners
    for silent in owners[:2]:
        world.cut_off(fallback, silent)
    world.start(owner)
    before = damage_noticed(world, fallback)
    world.run(20 * SECOND)
    tries = damage_noticed(world, fallback) - before
    assert 1 <= tries <= 30
    assert world.answer(fallback, Hints()).total >= 1
    world.heal()
    world.run(30 * SECOND)
    assert is_whole(world, owner, SMALL)


def test_a_damaged_record_that_the_other_owners_have_reaped_goes_too() -> None:
    """They take it away once all hold it alike; here a bit flips just then."""
    world = World(1)
    one, *others = world.nodes
    world.answer(one, Put("b", b"k", SMALL, TIMEOUT))
    world.run(SECOND)
    for other in others:
        del world.nodes[other].disk[KEY.record_row]
        restart(world, other)
    restart(world, one)
    flip(world, one, KEY.record_row)
    world.answer(one, Get("b", b"k", TIMEOUT))
    world.run(SECOND)
    assert KEY.record_row not in world.nodes[one].disk
    assert isinstance(world.answer(one, Get("b", b"k", TIMEOUT)), Missing)


def test_the_only_copy_is_not_given_up_whatever_became_of_it() -> None:
    world = World(1, nodes=1, replicas=1)
    [one] = world.nodes
    world.answer(one, Put("b", b"k", SMALL, TIMEOUT))
    world.run(SECOND)
    flip(world, one, KEY.record_row)
    world.answer(one, Get("b", b"k", TIMEOUT))
    world.run(5 * SECOND)
    assert KEY.record_row in world.nodes[one].disk


def test_a_damaged_record_waits_for_every_other_owner_to_say_that_it_has_nothing() -> None:
    world = World(1)
    one, two, three = world.nodes
    world.answer(one, Put("b", b"k", SMALL, TIMEOUT))
    world.run(SECOND)
    del world.nodes[two].disk[KEY.record_row]
    flip(world, one, KEY.record_row)
    world.crash(three)
    world.run(SECOND)
    world.answer(one, Get("b", b"k", TIMEOUT))
    world.run(SECOND)
    assert KEY.record_row in world.nodes[one].disk
    world.start(three)
    world.run(SECOND)
    world.answer(one, Get("b", b"k", TIMEOUT))
    world.run(SECOND)
    assert is_whole(world, one, SMALL)
