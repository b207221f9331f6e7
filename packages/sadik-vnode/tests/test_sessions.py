"""Session reads: never older than the context that they bring, or no answer."""

from __future__ import annotations

import pytest

from path_requests import delete, get, ids, put, values
from sadik_machine import SECOND, Observed
from sadik_members import Liveness, LivenessChanged
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Found, Missing, Outcome, Refusal, Refused, Unavailable, Written
from vnode_world import World


@pytest.fixture
def world() -> World:
    return World(1)


def test_a_read_at_one_replica_that_is_behind_asks_those_that_are_not(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"old"))
    world.run(SECOND)
    world.cut_off(one, three)
    world.cut_off(two, three)
    world.run(SECOND)
    written = world.answer(one, put(b"new"))
    assert isinstance(written, Written)
    # The cut ends for who reads; those that have hints for it do not know yet.
    world.cut.clear()
    for other in (one, two):
        world.step(world.nodes[three], Observed(LivenessChanged(other, Liveness.UP)))
    assert values(world.answer(three, get(r=1))) == [b"old"]
    for node in (one, two, three):
        assert values(world.answer(node, get(r=1, at_least=written.context))) == [b"new"]


def test_what_nobody_in_reach_has_seen_is_not_made_up_for_by_something_older(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"old"))
    world.run(SECOND)
    for node in (two, three):
        world.cut_off(one, node)
    world.run(SECOND)
    written = world.answer(one, put(b"new", w=1))
    assert isinstance(written, Written)
    late = world.answer(two, get(at_least=written.context))
    assert isinstance(late, Unavailable)
    assert late.outcome is Outcome.INDETERMINATE
    assert values(world.answer(two, get())) == [b"old"]
    world.heal()
    world.run(SECOND)
    assert values(world.answer(two, get(at_least=written.context))) == [b"new"]


def test_the_maker_of_a_missing_dot_is_asked_though_it_is_no_owner() -> None:
    """A fallback that coordinated while all owners were away is the only one that has it."""
    world = World(1, nodes=5, replicas=2)
    nodes = ids(world)
    partition = Key("b", b"k").token >> 61
    owned_by = world.ring.registers[partition].owners
    others = [node for node in nodes if node not in owned_by]
    for other in others:
        for owner in owned_by:
            world.cut_off(owner, other)
    world.run(SECOND)
    written = world.answer(others[0], put(b"v", w=1))
    assert isinstance(written, Written)
    assert written.tally.primaries == 0
    world.cut.clear()
    for node in nodes:
        for other in nodes:
            world.step(world.nodes[node], Observed(LivenessChanged(other, Liveness.UP)))
    found = world.answer(owned_by[0], get(at_least=written.context, sloppy=False))
    assert values(found) == [b"v"]
    assert found.tally.needed <= found.tally.primaries, "who made it does not count as an owner"


def test_a_deleted_key_is_new_enough_for_who_deleted_it(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    deleted = world.answer(two, delete())
    assert isinstance(deleted, Written)
    for node in (one, two, three):
        missing = world.answer(node, get(at_least=deleted.context))
        assert isinstance(missing, Missing)
        assert missing.context is not None


def test_a_forged_context_is_refused(world: World) -> None:
    one = ids(world)[0]
    written = world.answer(one, put(b"v"))
    assert isinstance(written, Written)
    refused = world.answer(one, get(b"other", at_least=written.context))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.BAD_CONTEXT


def test_a_context_that_is_covered_costs_no_question_more(world: World) -> None:
    one = ids(world)[0]
    written = world.answer(one, put(b"v", w="all"))
    found = world.answer(one, get(at_least=written.context, r=1))
    assert isinstance(found, Found)
    assert found.tally.got == 1
