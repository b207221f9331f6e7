"""While the disk is short of room: values of clients are refused, all else goes on."""

from sadik_machine import SECOND, DiskShort, NodeId, Observed
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Delete, Found, Get, Missing, Put, Refusal, Refused, Written
from vnode_world import World

TIMEOUT = 5 * SECOND
KEY = Key("b", b"k")


def short(world: World, node: NodeId, *, is_short: bool = True) -> None:
    world.step(world.nodes[node], Observed(DiskShort(is_short)))


def test_a_coordinator_refuses_values_and_takes_reads_and_deletes() -> None:
    world = World(1)
    one = next(iter(world.nodes))
    assert isinstance(world.answer(one, Put("b", b"k", b"v", TIMEOUT)), Written)
    for node in world.nodes:
        short(world, node)
    refused = world.answer(one, Put("b", b"k", b"w", TIMEOUT))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.DISK_FULL
    found = world.answer(one, Get("b", b"k", TIMEOUT))
    assert isinstance(found, Found)
    assert isinstance(world.answer(one, Delete("b", b"k", TIMEOUT)), Written)
    assert isinstance(world.answer(one, Get("b", b"k", TIMEOUT)), Missing)
    for node in world.nodes:
        short(world, node, is_short=False)
    assert isinstance(world.answer(one, Put("b", b"k", b"x", TIMEOUT)), Written)


def test_an_owner_that_is_short_is_stood_in_for_and_repaired_later() -> None:
    world = World(1, nodes=4)
    owners = world.ring.registers[KEY.token * 8 >> 64].owners
    short(world, owners[2])
    written = world.answer(owners[0], Put("b", b"k", b"v", TIMEOUT))
    assert isinstance(written, Written)
    # A hint is no client's write: it is delivered though the owner is short of room.
    world.run(30 * SECOND)
    assert KEY.record_row in world.nodes[owners[2]].disk


def test_another_owner_coordinates_for_one_that_is_short() -> None:
    world = World(1, nodes=4)
    owners = world.ring.registers[KEY.token * 8 >> 64].owners
    outsider = next(node for node in world.nodes if node not in owners)
    short(world, owners[0])
    for number, asked in enumerate((outsider, owners[0], owners[1])):
        written = world.answer(asked, Put("b", b"k", b"v%d" % number, TIMEOUT))
        assert isinstance(written, Written)
        assert written.coordinator == owners[1]
        context = written.context
        again = world.answer(asked, Put("b", b"k", b"w%d" % number, TIMEOUT, context=context))
        assert isinstance(again, Written)
        assert again.coordinator != owners[0]
    for owner in owners[1:]:
        short(world, owner)
    refused = world.answer(outsider, Put("b", b"k", b"x", TIMEOUT))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.DISK_FULL
    found = world.answer(outsider, Get("b", b"k", TIMEOUT))
    assert isinstance(found, Found)
