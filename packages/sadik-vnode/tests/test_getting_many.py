"""Many gets at once are answered as each would have been alone, whatever the replicas hold."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from many_requests import KEYS, a_world, asked_in_trouble, running
from path_requests import delete, get, ids, put, set_bucket, values
from sadik_machine import MILLISECOND, SECOND, Cancelled, Loaded, NodeId, Received
from sadik_vnode import EngineConfig
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ManyStates, ReadMany, ReplicaRead, Status
from sadik_vnode.record import INLINE_BYTES_MAX
from sadik_vnode.requests import Found, Get, GetMany, ManyFound, Missing, Refused
from vnode_world import World, sent


def ask(world: World, node: NodeId, gets: list[Get]) -> list[Any]:
    """The results of gets that are asked for at once."""
    found = world.answer(node, GetMany(gets))
    assert isinstance(found, ManyFound)
    return found.results


# As each alone


def _changed(world: World, source: random.Random) -> None:
    """Writes, deletes and cuts, after which replicas may differ."""
    for _ in range(30):
        node = source.choice(running(world))
        key = source.choice(KEYS)
        match source.randrange(10):
            case 0:
                world.ask(node, delete(key=key))
            case 1:
                world.cut_off(node, source.choice([n for n in ids(world) if n != node]))
            case 2:
                world.heal()
            case 3 if sum(n.engine is None for n in world.nodes.values()) == 0:
                world.crash(node)
            case _:
                value = source.randbytes(source.choice((0, 5, 100, INLINE_BYTES_MAX + 1)))
                ttl_s = source.choice((None, None, 1))
                world.ask(node, put(value, key=key, w=1, ttl_s=ttl_s))
        world.run(source.randrange(300 * MILLISECOND))
    world.run(3 * SECOND)


def _asked(seed: int, *, together: bool, conflict: str) -> list[Any]:
    """What a node answers to gets of all keys, in a world in which replicas may differ."""
    world = a_world(seed, nodes=4)
    if conflict == "lww":
        set_bucket(world, conflict=conflict, blind_writes="replace")
    else:
        set_bucket(world, blind_writes="sibling")
    source = random.Random(seed)
    _changed(world, source)
    node = source.choice(running(world))
    gets = [
        Get(
            "b", key, 5 * SECOND, source.choice((None, 1, 2, 3, "all", 9)),
            source.choice((None, 0, 1)), sloppy=source.random() < 0.8,
            latest=source.random() < 0.3,
        )
        for key in KEYS
    ]  # fmt: skip
    source.shuffle(gets)
    if together:
        return ask(world, node, gets)
    found: dict[int, Any] = {}
    for at, each in enumerate(gets):
        world.ask(node, each, partial(found.__setitem__, at))
    world.run(6 * SECOND)
    return [found[at] for at in range(len(gets))]


@given(st.integers(0, 2**32), st.sampled_from(["siblings", "lww"]))
@settings(max_examples=max(settings().max_examples // 2, 5), deadline=None)
def test_each_key_is_answered_as_it_would_have_been_alone(seed: int, conflict: str) -> None:
    together = _asked(seed, together=True, conflict=conflict)
    assert together == _asked(seed, together=False, conflict=conflict)


@given(st.integers(0, 2**32))
@settings(max_examples=max(settings().max_examples // 4, 3), deadline=None)
def test_all_are_answered_and_nothing_is_left_behind_whatever_happens(seed: int) -> None:
    def gets(source: random.Random, timeout_ns: int) -> GetMany:
        return GetMany([Get("b", key, timeout_ns) for key in source.sample(KEYS, 5)])

    def change(world: World, node: NodeId) -> None:
        world.ask(node, put(b"v", key=KEYS[seed % len(KEYS)]))

    answers, asked, nodes = asked_in_trouble(seed, gets, change)
    assert len(answers) == asked
    assert all(len(answer.results) == 5 and None not in answer.results for answer in answers)
    for node in nodes:
        assert node.engine is not None
        assert node.engine.requests_open == 0
        assert node.engine._desk.keys_beyond == 0


# What it costs


def test_one_question_to_each_owner_and_no_value_comes_back() -> None:
    world = a_world()
    one, _, _ = ids(world)
    for key in KEYS:
        world.answer(one, put(b"v" * 100, key=key))
    world.run(SECOND)
    questions, single, answers = (
        sent(world, ReadMany),
        sent(world, ReplicaRead),
        sent(world, ManyStates),
    )
    found = ask(world, one, [get(key=key) for key in KEYS])
    assert [values(each) for each in found] == [[b"v" * 100]] * len(KEYS)
    assert len(questions) <= 2
    assert sum(len(question.keys) for question in questions) == len(KEYS)
    assert not single
    assert all(state is None for answer in answers for state in answer.states)


def test_what_is_asked_of_one_replica_asks_nobody() -> None:
    world = a_world()
    one, _, _ = ids(world)
    world.answer(one, put(b"v"))
    world.run(SECOND)
    questions, single = sent(world, ReadMany), sent(world, ReplicaRead)
    found = ask(world, one, [get(r=1), get(key=b"none", r=1)])
    assert values(found[0]) == [b"v"]
    assert isinstance(found[1], Missing)
    assert not questions
    assert not single


def test_each_key_counts_as_a_request_under_way() -> None:
    world = a_world()
    one, two, three = ids(world)
    for node in (two, three):
        world.crash(node)
    engine = world.nodes[one].engine
    assert engine is not None
    world.ask(one, GetMany([get(key=key) for key in KEYS]))
    assert engine._desk.keys_beyond == len(KEYS) - 1
    world.step(world.nodes[one], Cancelled(world._requests))  # type: ignore[arg-type]
    assert engine._desk.keys_beyond == 0
    assert engine.requests_open == 0


def test_a_get_that_is_none_does_not_spoil_the_others() -> None:
    world = a_world()
    one, _, _ = ids(world)
    world.answer(one, put(b"v"))
    found = ask(world, one, [get(r=9), get(at_least="nonsense"), get()])
    assert [type(each) for each in found] == [Refused, Refused, Found]


# Slow, older and odd peers


def test_a_disk_that_does_not_answer_is_not_waited_for() -> None:
    world = a_world()
    one, two, _ = ids(world)
    for key in KEYS:
        world.answer(two, put(b"v", key=key))
    world.run(SECOND)
    later = world._later

    def stuck(node: Any, boot: int, event: Any) -> Any:
        return (
            (lambda: None) if type(event) is Loaded and node.id == one else later(node, boot, event)
        )

    world._later = stuck  # type: ignore[method-assign]
    began = world.now
    for r in (1, 2):
        found = ask(world, one, [get(key=key, r=r) for key in KEYS])
        assert [values(each) for each in found] == [[b"v"]] * len(KEYS)
    assert world.now - began < 2 * SECOND


def test_an_older_node_is_asked_key_by_key_and_then_not_asked_for_many_for_a_while() -> None:
    world = a_world()
    one, _, _ = ids(world)
    for key in KEYS:
        world.answer(one, put(b"v", key=key))
    world.run(SECOND)
    deliver = world._deliver

    def deaf(sender: NodeId, target: Any, boot: int, payload: bytes) -> None:
        if type(world.codec.decode(payload)) is not ReadMany:
            deliver(sender, target, boot, payload)

    world._deliver = deaf  # type: ignore[method-assign]
    questions = sent(world, ReadMany)
    gets = [get(key=key) for key in KEYS]
    assert [values(each) for each in ask(world, one, gets)] == [[b"v"]] * len(KEYS)
    assert questions
    questions.clear()
    began = world.now
    assert [values(each) for each in ask(world, one, gets)] == [[b"v"]] * len(KEYS)
    assert not questions
    assert world.now - began < 50 * MILLISECOND
    world.run(11 * SECOND)
    world._deliver = deliver  # type: ignore[method-assign]
    ask(world, one, gets)
    assert questions


def test_where_an_owner_is_slow_the_next_one_is_asked_for_all_keys_at_once() -> None:
    world = a_world()
    one, two, _ = ids(world)
    for key in KEYS:
        world.answer(one, put(b"v", key=key))
    world.run(SECOND)
    for _ in range(16):
        ask(world, one, [get(key=key) for key in KEYS])  # that it is known how long that takes
    send = world._send

    def lose(node: Any, to: NodeId, message: object) -> None:
        if not (type(message) is ReadMany and to == two):
            send(node, to, message)

    world._send = lose  # type: ignore[method-assign]
    single = sent(world, ReplicaRead)
    found = ask(world, one, [get(key=key) for key in KEYS])
    assert [values(each) for each in found] == [[b"v"]] * len(KEYS)
    assert not single


@pytest.mark.parametrize(
    "answer",
    [
        lambda request, _: ManyStates(request, Status.OK, ()),
        lambda request, n: ManyStates(request, Status.OK, (None,) * n),
        lambda request, n: ManyStates(request, Status.OK, ((Status.FAILED, (), ()),) * n),
        lambda request, n: ManyStates(request, Status.OK, ((Status.OK, (), 7),) * n),
        lambda request, n: ManyStates(request, Status.OK, ((99, (), ()),) * n),
        lambda request, _: ManyStates(request, 99, ()),
    ],
)
def test_whatever_a_peer_answers_each_key_is_read(answer: Any) -> None:
    """The node that is asked owns none of it, so that nobody can say "as you have it"."""
    world = World(1, nodes=4, config=EngineConfig(anti_entropy_interval_ns=0, hedge_early=False))
    world.run(SECOND)
    one, _, _, four = ids(world)
    keys = [k for k in KEYS if four not in world.ring.registers[Key("b", k).token >> 61].owners]
    assert keys
    for key in keys:
        world.answer(one, put(b"v", key=key))
    world.run(SECOND)
    send = world._send

    def lie(node: Any, to: NodeId, message: object) -> None:
        if type(message) is ReadMany:
            odd = answer(message.request, len(message.keys))
            world.at(1, lambda: world.step(node, Received(to, odd)))
        else:
            send(node, to, message)

    world._send = lie  # type: ignore[method-assign]
    found = ask(world, four, [get(key=key) for key in keys])
    assert [values(each) for each in found] == [[b"v"]] * len(keys)
