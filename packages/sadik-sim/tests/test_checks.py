"""The checks themselves: what they hold against what crosses a node's boundary."""

from typing import Any

import attrs
import pytest

from sadik_machine import NodeId
from sadik_members import RingChanged
from sadik_sim.plan import Options, draw_plan
from sadik_sim.promises import owners_promised
from sadik_sim.run import execute
from sadik_sim.violation import INVARIANTS, Violation, show
from sadik_sim.world import World
from sadik_vnode.messages import ReplicaAck, ReplicaState, ReplicaWrite, Status
from sadik_vnode.requests import Found, Get, Missing, Put, Tally, Written


@pytest.fixture(scope="module")
def world() -> World:
    world = World(1, ("a",) * 3, partitions=8)
    world.form()
    return world


def test_a_quiet_run_breaks_nothing_and_says_what_it_did() -> None:
    result = execute(draw_plan(2, Options(seconds=4, operations=120, profile="quiet")))
    assert result.invariant == ""
    assert result.acked > 30
    assert result.counts["put acked"] > 20
    assert result.happened["replica answered OK"] > 30


def test_what_a_client_is_told_is_what_is_on_disk(world: World) -> None:
    node = world.running[0]
    written = world.answer(node, Put("b", b"k", b"value", 10**9))
    assert isinstance(written, Written)
    found = world.answer(node, Get("b", b"k", 10**9, r="all"))
    assert isinstance(found, Found)
    dot = world.checks.dot_of(b"value")
    assert dot is not None
    assert show(dot).endswith(":1:1")
    assert world.checks.names_of([dot]) == [f"{show(dot)} (value)"]


def test_a_state_that_is_on_no_disk_may_not_leave(world: World) -> None:
    node, other = world.running[:2]
    state = ReplicaState(1, 0, ((b"x" * 12, 1, b"\x84\x00", b"v", 1),), [])
    with pytest.raises(Violation, match="nothing leaves before it is on disk"):
        world.checks.sending(node, other.id, state)


@pytest.mark.parametrize(
    "tally",
    [Tally(2, 1, 1, 1, 0), Tally(2, 4, 4, 4, 0), Tally(2, 2, 2, 2, 1), Tally(1, 1, 2, 1, 0)],
)
def test_a_tally_that_cannot_be_is_told(world: World, tally: Tally) -> None:
    node = world.running[0]
    with pytest.raises(Violation, match="a quorum counts owner slots"):
        world.checks.replying(node, Written("token", "etag", tally, node.id))


def test_a_read_of_too_few_is_told(world: World) -> None:
    node = world.running[0]
    with pytest.raises(Violation, match="a quorum counts owner slots"):
        world.checks.replying(node, Missing(None, Tally(2, 1, 0, 1, 0), node.id))


def test_a_second_value_of_an_epoch_is_told(world: World) -> None:
    node = world.running[0]
    assert node.membership is not None
    ring = node.membership.ring
    assert ring is not None
    first = ring.registers[0]
    other = attrs.evolve(first, owners=first.owners[::-1])
    with pytest.raises(Violation, match="one value an epoch"):
        world.checks.announced(
            node, RingChanged(attrs.evolve(ring, registers=(other, *ring.registers[1:])))
        )


def test_a_violation_has_a_known_name() -> None:
    with pytest.raises(AssertionError):
        Violation("something nobody knows", "")
    violation = Violation("replicas converge", "they do not", b"k", ((b"a" * 12, 3),))
    assert str(violation) == "replicas converge: they do not"
    assert "replicas converge" in INVARIANTS


@pytest.mark.parametrize(
    ("options", "write", "owners"),
    [
        ({}, True, 0),
        ({"sloppy": False}, True, 2),
        ({"sloppy": False}, False, 2),
        ({"sloppy": False, "w": "all"}, True, 3),
        ({"w": "all"}, True, 0),
        ({"pw": 2}, True, 2),
        ({"pr": 2}, True, 0),
        ({"pr": 2}, False, 2),
        ({"sloppy": False, "r": 1, "pr": 2}, False, 2),
        ({"sloppy": False, "r": "one"}, False, 1),
    ],
)
def test_what_a_request_promises(options: dict[str, Any], write: bool, owners: int) -> None:
    assert owners_promised(options, 3, write=write) == owners


def test_names_are_told_for_ids(world: World) -> None:
    node = world.running[0]
    assert world.name_of(node.id) == node.name
    assert world.name_of(NodeId(b"\x01" * 8)) == "01" * 8


def part_of(request: int, slot: NodeId, counter: int, *, actor: bytes = b"x" * 12) -> ReplicaWrite:
    """A part of a write, with one version."""
    versions = ((actor, counter, b"\x84\x00", b"v", 1),)
    return ReplicaWrite(request, 1, "b", b"k", slot, versions, [], 1)


def test_parts_are_acknowledged_in_any_order_but_none_that_is_on_no_disk(world: World) -> None:
    node, other = world.running[:2]
    written = world.answer(node, Put("b", b"k", b"parts", 10**9, w="all"))
    assert isinstance(written, Written)
    dot = world.checks.dot_of(b"parts")
    assert dot is not None
    there = part_of(7, node.id, dot[1], actor=dot[0])
    for part in (part_of(7, node.id, 1), there, part_of(7, node.id, 2)):
        world.checks.received(node, other.id, part)
    refused = ReplicaAck(7, node.id, Status.NEWER_EPOCH, False)
    acknowledged = ReplicaAck(7, node.id, Status.OK, True)
    world.checks.sending(node, other.id, refused)
    world.checks.sending(node, other.id, acknowledged)
    with pytest.raises(Violation, match="nothing leaves before it is on disk"):
        world.checks.sending(node, other.id, acknowledged)
