"""Early hedges: after what is high for a peer, and never more of them than a share of the reads."""

from __future__ import annotations

import pytest

from path_requests import get, ids, put
from sadik_machine import MILLISECOND, NodeId
from sadik_vnode.latency import Latencies
from sadik_vnode.requests import Found
from vnode_world import World

PEER, OTHER = NodeId(b"1" * 8), NodeId(b"2" * 8)
LATEST = 50 * MILLISECOND


def learnt(*samples_ns: int, peer: NodeId = PEER) -> Latencies:
    latencies = Latencies()
    for sample in samples_ns:
        latencies.add(peer, sample)
    return latencies


def test_nothing_is_known_of_a_peer_that_rarely_answered() -> None:
    latencies = learnt(*[5 * MILLISECOND] * 15)
    assert latencies.high_ns(PEER) is None
    assert latencies.hedge_after_ns([PEER], LATEST) == LATEST


def test_what_nearly_all_answers_were_within_is_high() -> None:
    latencies = learnt(*[n * MILLISECOND for n in range(1, 129)])
    assert latencies.high_ns(PEER) == 122 * MILLISECOND


def test_old_samples_are_forgotten() -> None:
    latencies = learnt(*[90 * MILLISECOND] * 128, *[3 * MILLISECOND] * 128)
    assert latencies.high_ns(PEER) == 3 * MILLISECOND


@pytest.mark.parametrize(("sample", "after"), [(1, 2), (9, 9), (400, 50)])
def test_a_hedge_is_neither_too_early_nor_later_than_the_fixed_one(sample: int, after: int) -> None:
    latencies = learnt(*[sample * MILLISECOND] * 16)
    assert latencies.hedge_after_ns([PEER], LATEST) == after * MILLISECOND


def test_the_fastest_of_those_asked_decides() -> None:
    latencies = learnt(*[20 * MILLISECOND] * 16)
    for _ in range(16):
        latencies.add(OTHER, 4 * MILLISECOND)
    assert latencies.hedge_after_ns([PEER, OTHER], LATEST) == 4 * MILLISECOND


def test_when_everything_is_slow_few_reads_are_hedged_early() -> None:
    latencies = learnt(*[3 * MILLISECOND] * 16)
    early = 0
    for _ in range(1000):
        if latencies.hedge_after_ns([PEER], LATEST) < LATEST:
            early += 1
            latencies.hedged()
    assert 100 <= early <= 111, "a tenth, and what was saved up"


def test_a_read_of_a_peer_that_stalls_does_not_wait_for_the_fixed_hedge() -> None:
    world = World(1)
    one, *_ = ids(world)
    world.answer(one, put(b"v", w="all"))
    for _ in range(64):
        assert isinstance(world.answer(one, get()), Found)
    engine = world.nodes[one].engine
    assert engine is not None
    before = engine.counters.hedged_reads
    world.faults.loss = 1000
    began = world.now
    request = world.ask(one, get())
    world.faults.loss = 0
    while request not in world.replies:
        world.run(MILLISECOND)
    assert isinstance(world.replies[request], Found)
    assert world.now - began < LATEST / 2
    assert engine.counters.hedged_reads == before + 1
