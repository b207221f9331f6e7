"""Births: no actor is ever drawn twice, whatever of the batches was lost in a crash."""

from __future__ import annotations

import random

import attrs

from sadik_machine import Link, LinkState, NodeId, Observed
from sadik_members import Liveness, LivenessChanged, Member, MembersChanged, MemberState
from sadik_vnode import Engine, EngineConfig
from sadik_vnode.births import BIRTH_BLOCK, Births
from sadik_vnode.keyspace import BIRTHS_ROW

INSTANCE = b"instance"


def test_an_actor_is_the_instance_and_a_birth() -> None:
    actor, _ = Births(INSTANCE, None).draw()
    assert actor[:8] == INSTANCE
    assert len(actor) == 12


def test_the_first_birth_of_a_block_carries_its_reservation_and_the_others_nothing() -> None:
    births = Births(INSTANCE, None)
    rows = [births.draw()[1] for _ in range(2 * BIRTH_BLOCK + 1)]
    assert [index for index, row in enumerate(rows) if row] == [0, BIRTH_BLOCK, 2 * BIRTH_BLOCK]
    assert all(len(row) == 1 and row[0][0] == BIRTHS_ROW for row in rows if row)


def test_a_start_goes_on_beyond_all_that_was_reserved() -> None:
    births = Births(INSTANCE, None)
    drawn = [births.draw() for _ in range(10)]
    [(_, saved)] = drawn[0][1]
    again = Births(INSTANCE, saved)
    actors = [actor for actor, _ in drawn] + [again.draw()[0] for _ in range(10)]
    assert len(dict.fromkeys(actors)) == 20


def test_another_instance_is_told_apart() -> None:
    births = Births(INSTANCE, None)
    actor, _ = births.draw()
    assert births.is_of_this_instance(actor)
    assert not births.is_of_this_instance(Births(b"another!", None).draw()[0])
    assert not births.is_of_this_instance(b"")


def test_an_instance_of_before_is_not_used_until_it_is_proven() -> None:
    own, _ = Births(INSTANCE, None).draw()
    births = Births(INSTANCE, None, b"a spare.")
    spare, _ = births.draw()
    assert spare.startswith(b"a spare.")
    assert births.may_go_on(spare)
    assert not births.may_go_on(own)
    births.is_proven = True
    assert births.may_go_on(own)
    assert births.may_go_on(spare)
    assert births.draw()[0].startswith(INSTANCE)
    assert births.is_of_this_instance(own)
    assert births.is_of_this_instance(spare)
    assert not births.may_go_on(b"")


def test_an_instance_of_this_life_is_proven_from_the_start() -> None:
    births = Births(INSTANCE, None)
    assert births.is_proven
    assert births.may_go_on(births.draw()[0])


def member(name: str) -> Member:
    node = NodeId(name.encode() * 8)
    return Member(node, name, f"{name}:1", f"{name}:2", "z", 1.0, 1, MemberState.UP, 1, 1)


def test_it_is_proven_when_every_other_member_was_met() -> None:
    me, one, other = map(member, "abc")
    members = {each.id: each for each in (me, one, other)}
    engine = Engine(me.id, INSTANCE, EngineConfig(), random.Random(1), {}, b"a spare.")
    engine.step(1, Link(one.id, LinkState.UP))
    assert not engine.is_instance_proven, "who else there is it does not know"
    engine.step(2, Observed(MembersChanged(members)))
    engine.step(3, Link(one.id, LinkState.DOWN))
    engine.step(4, Observed(LivenessChanged(other.id, Liveness.DOWN)))
    assert not engine.is_instance_proven
    engine.step(5, Link(other.id, LinkState.UP))
    assert engine.is_instance_proven


def test_who_has_left_need_not_be_met() -> None:
    me, one, gone = map(member, "abc")
    members = {each.id: each for each in (me, one, gone)}
    engine = Engine(me.id, INSTANCE, EngineConfig(), random.Random(1), {}, b"a spare.")
    engine.step(1, Observed(MembersChanged(members)))
    engine.step(2, Link(one.id, LinkState.UP))
    assert not engine.is_instance_proven
    left = {**members, gone.id: attrs.evolve(gone, state=MemberState.LEFT)}
    engine.step(3, Observed(MembersChanged(left)))
    assert engine.is_instance_proven


def test_over_crashes_and_failed_batches_no_birth_that_reached_the_disk_is_drawn_twice() -> None:
    """Batches become durable in order; a failed one takes all later ones with it."""
    source = random.Random(3)
    for _ in range(300):
        saved: bytes | None = None
        durable: dict[bytes, None] = {}
        for _boot in range(4):
            births = Births(INSTANCE, saved)
            queue: list[tuple[bytes, list[tuple[bytes, bytes | None]]]] = []
            for _ in range(source.randrange(40)):
                what = source.randrange(10)
                if what < 6:
                    queue.append(births.draw())
                elif what < 9 and queue:
                    actor, rows = queue.pop(0)
                    for _, value in rows:
                        saved = value
                    assert actor not in durable
                    durable[actor] = None
                elif what == 9 and queue:
                    queue.clear()
                    births.reservation_failed()
                if source.randrange(8) == 0:
                    # As if a block were nearly used up.
                    births._next = max(births._next, births._reserved - source.randrange(3))
            # A crash: what is still queued is lost.
        assert durable
        assert all(
            int.from_bytes(actor[8:], "big") < int.from_bytes(saved or b"", "big")
            for actor in durable
        )
