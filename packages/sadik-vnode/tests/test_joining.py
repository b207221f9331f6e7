"""A host that joins what several steps have sent changes nothing but the number of messages."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from many_requests import KEYS, a_world, asked_in_trouble
from path_requests import get, ids, put, values
from sadik_machine import MILLISECOND, SECOND, Effect, NodeId, Send
from sadik_vnode.messages import ForwardWrite, ReplicaAck, ReplicaWrite, WriteRows
from sadik_vnode.requests import Put, Written
from vnode_world import World, WorldNode

_TURN_NS = 2 * MILLISECOND


def in_turns(world: World) -> None:
    """From now on nodes send at the end of turns, joined, as the host does."""
    gathered: dict[tuple[NodeId, int], list[Effect]] = {}
    send = world._send

    def gather(node: WorldNode, to: NodeId, message: object) -> None:
        turn = (node.id, node.boot)
        if turn not in gathered:
            gathered[turn] = []
            world.at(_TURN_NS, lambda: end(node, turn))
        gathered[turn].append(Send(to, message))

    def end(node: WorldNode, turn: tuple[NodeId, int]) -> None:
        effects = gathered.pop(turn)
        if node.engine is None or node.boot != turn[1]:
            return
        for effect in node.engine.join(effects):
            assert isinstance(effect, Send)
            send(node, effect.to, effect.message)

    world._send = gather  # type: ignore[method-assign]


def counting(world: World) -> Counter[type]:
    """Counts the messages that go out from now on, by class."""
    seen: Counter[type] = Counter()
    send = world._send

    def count(node: Any, to: NodeId, message: object) -> None:
        seen[type(message)] += 1
        send(node, to, message)

    world._send = count  # type: ignore[method-assign]
    return seen


def puts_at_once(world: World, node: NodeId, value: bytes) -> list[Any]:
    """The answers to single puts of all keys, which come to a node one right after the other."""
    answers: list[Any] = []
    for key in KEYS:
        world.ask(node, put(value, key=key), answers.append)
    world.run(2 * SECOND)
    return answers


def test_puts_of_different_clients_share_messages() -> None:
    world = a_world()
    seen = counting(world)
    in_turns(world)
    for node in ids(world):
        puts_at_once(world, node, b"before")  # they find out that all know the messages of many
    seen.clear()
    answers = puts_at_once(world, ids(world)[0], b"v")
    assert len(answers) == len(KEYS)
    assert all(isinstance(each, Written) for each in answers)
    assert seen[WriteRows] > 0
    assert sum(seen[kind] for kind in (ReplicaWrite, ReplicaAck, ForwardWrite)) < len(KEYS)
    assert sum(seen.values()) < 2 * len(KEYS), "where there were more than four for each"
    for key in KEYS:
        assert values(world.answer(ids(world)[1], get(key=key))) == [b"v"]


@given(st.integers(0, 2**32))
@settings(max_examples=max(settings().max_examples // 4, 3), deadline=None)
def test_all_are_answered_and_nothing_is_left_behind_whatever_happens(seed: int) -> None:
    def a_put(source: random.Random, timeout_ns: int) -> Put:
        return Put("b", source.choice(KEYS), source.randbytes(4), timeout_ns)

    def more(world: World, node: NodeId) -> None:
        for key in KEYS:
            world.ask(node, put(b"more", key=key))
        world.ask(node, get(key=KEYS[seed % len(KEYS)]))

    answers, asked, nodes = asked_in_trouble(seed, a_put, more, in_turns)
    assert len(answers) == asked
    for node in nodes:
        assert node.engine is not None
        assert node.engine.requests_open == 0
        assert node.engine._desk.request_bytes == 0
