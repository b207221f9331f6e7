"""A get that counts agreeing answers by itself does what one does that begins with a reading."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from path_requests import delete, ids, put
from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_vnode import EngineConfig
from sadik_vnode.coordinator.getting import Getting
from sadik_vnode.messages import ReplicaState, Status
from sadik_vnode.record import INLINE_BYTES_MAX, Record
from sadik_vnode.replica import Replica
from sadik_vnode.requests import Get
from vnode_world import Faults, World, sent

_QUORUMS = (1, 2, 3, "one", "quorum", "all", None)
_SIZES = (0, 3, 3, 3, INLINE_BYTES_MAX + 1)
_TIMEOUTS = (3 * MILLISECOND, 60 * MILLISECOND, 5 * SECOND, 5 * SECOND)


def _happen(world: World, source: random.Random) -> None:
    """One thing that clients, the network or the disks do."""
    node = source.choice(ids(world))
    key = source.choice((b"k", b"l", b"m"))
    match source.randrange(24):
        case 0 | 1 | 2 | 3:
            size = source.choice(_SIZES)
            world.ask(node, put(source.randbytes(size), key=key, w=source.choice((1, 2, None))))
        case 4:
            world.ask(node, delete(key=key))
        case 5:
            world.cut_off(node, source.choice([n for n in ids(world) if n != node]))
        case 6 | 7:
            world.heal()
        case 8 if world.nodes[node].engine is not None:
            world.crash(node)
        case 8 | 9 | 10 if world.nodes[node].engine is None:
            world.start(node)
        case 11 | 12:
            world.run(source.randrange(100 * MILLISECOND))
        case _:
            read = Get(
                "b", key, source.choice(_TIMEOUTS), source.choice(_QUORUMS),
                source.choice((None, 0, 1, 3)), sloppy=source.random() < 0.8,
            )  # fmt: skip
            world.ask(node, read)
            world.run(source.randrange(4 * MILLISECOND))


def _world_of(seed: int, *, hedge_early: bool, faults: Faults) -> World:
    """A world in which much has happened."""
    world = World(
        seed, nodes=4, replicas=3, faults=faults,
        config=EngineConfig(anti_entropy_interval_ns=0, hedge_early=hedge_early),
    )  # fmt: skip
    world.run(SECOND)
    source = random.Random(seed)
    for _ in range(120):
        _happen(world, source)
    world.run(6 * SECOND)
    return world


def _story(seed: int, *, hedge_early: bool, faults: Faults) -> tuple[str, dict[NodeId, object]]:
    """What happens in a world: its trace, and what the nodes counted."""
    world = _world_of(seed, hedge_early=hedge_early, faults=faults)
    counters = {n.id: n.engine.counters for n in world.nodes.values() if n.engine is not None}
    return world.trace.digest, dict(counters)


@given(
    st.integers(0, 2**32), st.booleans(),
    st.sampled_from([Faults(), Faults(loss=30, duplication=30, disk_full=20)]),
)  # fmt: skip
@settings(max_examples=max(settings().max_examples // 2, 5), deadline=None)
def test_it_does_what_a_reading_does(seed: int, hedge_early: bool, faults: Faults) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replica, "known", lambda *_: None)
        quick = _story(seed, hedge_early=hedge_early, faults=faults)
        patch.setattr(Getting, "_ask_who_may_agree", lambda _: False)
        assert _story(seed, hedge_early=hedge_early, faults=faults) == quick


@given(
    st.integers(0, 2**32), st.booleans(),
    st.sampled_from([Faults(), Faults(loss=30, duplication=30, disk_full=20)]),
)  # fmt: skip
@settings(max_examples=max(settings().max_examples // 2, 5), deadline=None)
def test_who_holds_the_same_need_not_say_what(seed: int, hedge_early: bool, faults: Faults) -> None:
    """Answers are as they are where the questions have no sums, which older nodes do not know."""
    replies = _world_of(seed, hedge_early=hedge_early, faults=faults).replies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "sum", lambda _: b"")
        assert _world_of(seed, hedge_early=hedge_early, faults=faults).replies == replies


def test_a_value_travels_only_where_replicas_differ() -> None:
    world = World(1, config=EngineConfig(anti_entropy_interval_ns=0))
    one = ids(world)[0]
    read = Get("b", b"k", 5 * SECOND, 2)
    world.answer(one, put(b"v" * 1000, w=3))
    world.run(SECOND)
    told = sent(world, ReplicaState)
    assert len(world.answer(one, read).versions) == 1
    assert [(state.status, state.versions) for state in told] == [(Status.SAME, ())]
