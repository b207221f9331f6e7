"""A node that leaves ends when others have that on disk, whatever happens to its streams."""

from __future__ import annotations

from attrs import evolve

from members_world import World, node_id
from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Failed,
    FailureReason,
    Observed,
    Received,
    Send,
    Store,
    Stored,
)
from sadik_members import FarewellEnded, Leave, Left, MembersChanged, MemberState, Remove
from sadik_members.farewell import FAREWELL_NS
from sadik_members.messages import Farewell, FarewellHeard
from sadik_members.rows import load_rows
from sadik_members.table import member_to_plain
from test_membership import cluster


def leaving(size: int, seed: int = 1) -> World:
    """A cluster of that size whose last node is leaving, as all know."""
    world = World(seed)
    cluster(world, size, within_ns=4 * SECOND)
    world.observe(size, Leave())
    world.run(3 * SECOND)
    assert [states(world, number)[-1] for number in world.nodes] == [MemberState.LEAVING] * size
    return world


def states(world: World, number: int) -> list[MemberState]:
    """In what states a node has all, by number."""
    return [member.state for member in world.nodes[number].members().values()]


def on_disk(world: World, number: int, of: int) -> MemberState:
    """In what state a node has another one on its disk."""
    saved = load_rows(world.nodes[number].disk)
    assert saved is not None
    return next(member.state for member in saved.members if member.id == node_id(of))


def ended(world: World, number: int) -> list[FarewellEnded]:
    found = world.nodes[number].of(FarewellEnded)
    return [news for news in found if isinstance(news, FarewellEnded)]


def test_it_ends_at_once_when_a_majority_has_it_on_disk() -> None:
    world = leaving(5)
    world.observe(5, Left())
    took_ns = world.run_until(lambda: bool(ended(world, 5)), SECOND)
    assert took_ns < 100 * MILLISECOND
    [end] = ended(world, 5)
    assert end == FarewellEnded(end.heard, 4, is_enough=True)
    assert end.heard >= 3
    knowing = [on_disk(world, number, 5) is MemberState.LEFT for number in (1, 2, 3, 4)]
    assert sum(knowing) >= end.heard
    world.crash(5)
    world.run(5 * SECOND)
    assert all(states(world, number)[-1] is MemberState.LEFT for number in (1, 2, 3, 4))


def test_a_stream_that_breaks_at_the_wrong_moment_loses_nothing() -> None:
    world = leaving(3)
    world.observe(3, Left())
    world.restream()
    world.run_until(lambda: bool(ended(world, 3)), FAREWELL_NS)
    world.crash(3)
    assert ended(world, 3)[0].is_enough
    assert [on_disk(world, number, 3) for number in (1, 2)] == [MemberState.LEFT] * 2


def test_messages_that_are_lost_are_said_again() -> None:
    for seed in range(10):
        world = leaving(4, seed)
        world.loss = 0.6
        world.observe(4, Left())
        world.run_until(lambda: bool(ended(world, 4)), FAREWELL_NS + SECOND)  # noqa: B023
        heard = ended(world, 4)[0].heard
        assert heard <= sum(on_disk(world, n, 4) is MemberState.LEFT for n in (1, 2, 3))
        assert heard > 0


def test_it_does_not_wait_for_one_that_crashes_meanwhile() -> None:
    world = leaving(3)
    world.stop(2)
    world.observe(3, Left())
    world.run(SECOND)
    assert ended(world, 3) == []
    world.crash(2)
    took_ns = world.run_until(lambda: bool(ended(world, 3)), FAREWELL_NS)
    assert SECOND // 2 < took_ns < 2 * SECOND
    assert ended(world, 3) == [FarewellEnded(1, 2, is_enough=True)]
    assert on_disk(world, 1, 3) is MemberState.LEFT


def test_who_is_known_to_be_down_is_not_counted() -> None:
    world = leaving(3)
    world.crash(2)
    world.run(10 * SECOND)
    world.observe(3, Left())
    assert world.run_until(lambda: bool(ended(world, 3)), SECOND) < 100 * MILLISECOND
    assert ended(world, 3) == [FarewellEnded(1, 2, is_enough=True)]


def test_nobody_to_be_heard_by_is_given_up_and_said() -> None:
    world = leaving(3)
    for other in (1, 2):
        world.cut(3, other)
    world.observe(3, Left())
    took_ns = world.run_until(lambda: bool(ended(world, 3)), 2 * FAREWELL_NS)
    assert FAREWELL_NS <= took_ns < FAREWELL_NS + SECOND
    assert ended(world, 3) == [FarewellEnded(0, 2, is_enough=False)]
    world.crash(3)
    world.heal()
    world.run(10 * SECOND)
    assert states(world, 1)[-1] is MemberState.LEAVING
    world.observe(1, Remove(1, node_id(3), is_forced=False))
    world.run(3 * SECOND)
    assert states(world, 2)[-1] is MemberState.LEFT


def test_one_that_crashes_before_anybody_heard_says_it_in_its_next_life() -> None:
    world = leaving(3)
    for other in (1, 2):
        world.cut(3, other)
    world.observe(3, Left())
    world.run(100 * MILLISECOND)
    world.crash(3)
    world.heal()
    world.start(3)
    world.run_until(lambda: bool(ended(world, 3)), FAREWELL_NS)
    assert ended(world, 3)[0].is_enough
    world.crash(3)
    world.run(3 * SECOND)
    assert [states(world, number)[-1] for number in (1, 2)] == [MemberState.LEFT] * 2


def test_the_last_of_a_cluster_need_not_be_heard() -> None:
    world = leaving(2)
    world.observe(1, Remove(1, node_id(2), is_forced=True))
    world.observe(1, Leave())
    world.observe(1, Left())
    world.run(100 * MILLISECOND)
    assert ended(world, 1) == [FarewellEnded(0, 0, is_enough=True)]


def farewell(world: World, sender: int, about: int) -> Received:
    machine = world.nodes[1].machine
    assert machine is not None
    member = machine.members[node_id(about)]
    entry = evolve(member, state=MemberState.LEFT, incarnation=member.incarnation + 1)
    cluster_id = machine.snapshot().cluster_id
    return Received(node_id(sender), Farewell(cluster_id, member_to_plain(entry)))


def test_the_answer_rests_on_the_store_and_leaves_before_the_streams_are_ended() -> None:
    world = leaving(3)
    machine = world.nodes[1].machine
    assert machine is not None
    message = farewell(world, 3, 3)
    [store] = machine.step(world.now, message)
    assert isinstance(store, Store)
    told, *news = store.then
    assert told == Send(node_id(3), FarewellHeard())
    assert any(isinstance(e, Announce) and isinstance(e.news, MembersChanged) for e in news)
    # Once more, while that store is under way: the answer waits for it, too.
    [barrier] = machine.step(world.now, message)
    assert isinstance(barrier, Store)
    assert (list(barrier.batch), list(barrier.then)) == ([], [told])
    machine.step(world.now, Stored(store.ticket))
    machine.step(world.now, Stored(barrier.ticket))
    assert machine.step(world.now, message) == [told]


def test_a_disk_that_is_full_answers_nothing() -> None:
    world = leaving(3)
    machine = world.nodes[1].machine
    assert machine is not None
    [store] = machine.step(world.now, farewell(world, 3, 3))
    assert isinstance(store, Store)
    assert machine.step(world.now, Failed(store.ticket, FailureReason.FULL)) == []
    [again] = machine.step(world.now + 2 * SECOND, Observed(None))[-1:]
    assert isinstance(again, Store)
    assert not any(isinstance(effect, Send) for effect in again.then)


def test_nobody_says_farewell_for_another() -> None:
    world = leaving(4)
    machine = world.nodes[1].machine
    assert machine is not None
    assert machine.step(world.now, farewell(world, 3, 4)) == []
    assert machine.counters["hearsay"] == 1
    bad = farewell(world, 3, 3)
    assert isinstance(bad.message, Farewell)
    bad.message.member = (1, 2, 3)
    assert machine.step(world.now, bad) == []
    assert states(world, 1)[2:] == [MemberState.UP, MemberState.LEAVING]
