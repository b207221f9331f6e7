"""An engine survives whatever a member sends: nothing raises, and no row is beyond LMDB's keys."""

from __future__ import annotations

import random

import pytest

from sadik_machine import MILLISECOND, SECOND, Received
from sadik_vnode.messages import MESSAGES
from sadik_vnode.requests import Delete, Explain, Get, Hints, ListKeys, Put, Written
from vnode_values import drawn_message
from vnode_world import World

TIMEOUT = 5 * SECOND
REQUESTS = [
    Put("b", b"k", b"v", TIMEOUT), Get("b", b"k", TIMEOUT), Delete("b", b"k", TIMEOUT),
    ListKeys("b", b"", None, 10, TIMEOUT), Explain("b", b"k", TIMEOUT), Hints(),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_an_engine_survives_whatever_a_member_sends(seed: int) -> None:
    source = random.Random(seed)
    world = World(seed)
    ids = list(world.nodes)
    target = world.nodes[ids[0]]
    for _ in range(30):
        for request in REQUESTS:
            if source.randrange(3) == 0:
                world.ask(ids[0], request)
        world.run(source.randrange(3 * MILLISECOND))
        message = drawn_message(source.choice(list(MESSAGES.classes.values())), source)
        assert target.engine is not None
        conversations = list(target.engine._desk.conversations)
        if conversations and hasattr(message, "request") and source.randrange(3):
            message.request = source.choice(conversations)
        if hasattr(message, "status") and source.randrange(2):
            message.status = 0
        if hasattr(message, "key") and source.randrange(2):
            message.bucket, message.key = "b", b"k"
        if hasattr(message, "epoch"):
            message.epoch = source.choice([0, 1, 2])
        received = world.codec.decode(world.codec.encode(message))
        world.step(target, Received(source.choice(ids[1:]), received))
    world.run(20 * SECOND)
    for node in world.nodes.values():
        assert all(len(row) <= 511 for row in node.disk)
    world.crash(ids[0])
    world.run(SECOND)
    world.start(ids[0])
    world.run(SECOND)
    assert isinstance(world.answer(ids[0], Put("b", b"after", b"v", TIMEOUT)), Written)
