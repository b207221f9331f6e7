"""What routing can rely on: how soon a peer that is gone is left out, and that others are not."""

from __future__ import annotations

import pytest

from members_world import World
from sadik_machine import MILLISECOND, SECOND, Observed
from sadik_members import Heard, Liveness, LivenessChanged


def started(seed: int, size: int) -> World:
    world = World(seed)
    world.add(1)
    world.start(1)
    for number in range(2, size + 1):
        world.add(number, seeds=(1,))
        world.start(number)
    world.run_until(lambda: len(world.nodes[1].members()) == size and world.agree(), 5 * SECOND)
    world.run(3 * SECOND)
    return world


@pytest.mark.parametrize("size", [2, 3, 5, 12])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_stopped_peer_is_suspect_within_a_second_and_later_down(seed: int, size: int) -> None:
    world = started(seed, size)
    since = world.now
    world.stop(2)
    world.run(15 * SECOND)
    for other in range(1, size + 1):
        if other == 2:
            continue
        suspect = world.when(other, 2, Liveness.SUSPECT, since)
        down = world.when(other, 2, Liveness.DOWN, since)
        assert suspect is not None
        assert down is not None
        assert suspect - since <= SECOND
        assert 2 * SECOND <= down - suspect <= 12 * SECOND
    assert len(world.nodes[1].members()) == size
    assert world.nodes[1].ring == world.nodes[2].ring


def test_a_resumed_peer_is_up_as_soon_as_it_answers() -> None:
    world = started(3, 3)
    world.stop(2)
    world.run(10 * SECOND)
    since = world.now
    world.resume(2)
    world.run(SECOND)
    up = world.when(1, 2, Liveness.UP, since)
    assert up is not None
    assert up - since <= 500 * MILLISECOND
    # Its own silence is no reason for it to suspect the others.
    assert world.when(2, 1, Liveness.SUSPECT, since) is None


def test_a_broken_stream_is_suspicion_at_once() -> None:
    world = started(4, 3)
    since = world.now
    world.crash(2)
    assert world.when(1, 2, Liveness.SUSPECT, since) == since
    assert world.when(3, 2, Liveness.SUSPECT, since) == since
    world.run(2 * SECOND)
    since = world.now
    world.start(2)
    world.run(SECOND)
    assert world.when(1, 2, Liveness.UP, since) is not None


def test_a_slow_peer_does_not_flap() -> None:
    """Its answers take 700 ms: longer than the timeout of a peer that is not known to be slow."""
    world = started(5, 4)
    world.nodes[2].slow_ns = 700 * MILLISECOND
    since = world.now
    world.run(60 * SECOND)
    changes = [
        news
        for at, news in world.nodes[1].news
        if at >= since and isinstance(news, LivenessChanged) and news.peer == world.nodes[2].id
    ]
    assert len(changes) <= 4
    assert world.liveness(2, by=1) is Liveness.UP


def test_who_is_silent_to_us_alone_is_not_routed_to_and_not_called_down() -> None:
    world = started(6, 4)
    since = world.now
    world.cut(1, 2)
    world.run(20 * SECOND)
    suspect = world.when(1, 2, Liveness.SUSPECT, since)
    assert suspect is not None
    assert suspect - since <= 2 * SECOND
    assert world.liveness(2, by=1) is Liveness.SUSPECT
    assert world.liveness(2, by=3) is Liveness.UP
    world.heal()
    world.run(SECOND)
    assert world.liveness(2, by=1) is Liveness.UP


def test_suspicion_is_refuted_by_incarnation() -> None:
    world = started(7, 4)
    before = world.nodes[3].members()[world.nodes[2].id].incarnation
    world.cut(1, 2)
    world.run(5 * SECOND)
    assert world.nodes[3].members()[world.nodes[2].id].incarnation > before


def test_a_peer_never_heard_of_is_tried_for_two_seconds_and_then_down() -> None:
    world = started(8, 3)
    for number in (1, 2, 3):
        world.crash(number)
    since = world.now
    world.start(1)
    world.run(100 * MILLISECOND)
    assert world.liveness(2, by=1) is Liveness.UNKNOWN
    assert Liveness.UNKNOWN.is_routable
    assert not world.nodes[1].readiness.ready
    assert "n2, n3" in world.nodes[1].readiness.reason
    world.run(3 * SECOND)
    down = world.when(1, 2, Liveness.DOWN, since)
    assert down is not None
    assert 2 * SECOND <= down - since <= 2100 * MILLISECOND
    assert world.nodes[1].readiness.ready


def test_a_node_that_was_late_itself_does_not_suspect_everybody() -> None:
    world = started(9, 4)
    since = world.now
    for offset in range(20):
        # At some of these instants it waits for an answer.
        world.run((150 + offset) * MILLISECOND)
        world.stop(1)
        world.run(SECOND)
        inbox, world.nodes[1].inbox = world.nodes[1].inbox, []
        world.resume(1)
        # The host wakes the machine before it has read what came meanwhile.
        world.run(50 * MILLISECOND)
        for act in inbox:
            act()
        world.run(SECOND)
    suspected = [
        news
        for at, news in world.nodes[1].news
        if at >= since and isinstance(news, LivenessChanged) and news.liveness is Liveness.SUSPECT
    ]
    assert not suspected


def test_what_the_messenger_heard_keeps_a_busy_peer_up() -> None:
    world = started(10, 3)
    world.nodes[2].slow_ns = 3 * SECOND
    since = world.now
    for _ in range(100):
        world._step(world.nodes[1], Observed(Heard((world.nodes[2].id,))))
        world.run(100 * MILLISECOND)
    assert world.when(1, 2, Liveness.SUSPECT, since) is None


def test_a_quiet_cluster_costs_a_few_messages_a_second() -> None:
    world = started(11, 3)
    before = world.messages
    world.run(20 * SECOND)
    per_node_and_second = (world.messages - before) / 3 / 20
    assert per_node_and_second <= 12
