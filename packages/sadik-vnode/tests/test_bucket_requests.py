"""A change of a bucket's properties is answered, whatever becomes of its document."""

from __future__ import annotations

import pytest

from sadik_machine import SECOND, NodeId, Observed
from sadik_members import Document, DocumentRefused
from sadik_vnode.requests import (
    BucketResult,
    BucketSet,
    BucketShow,
    Outcome,
    Refusal,
    Refused,
    Unavailable,
)
from vnode_world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """What is published stays where it is until a test says what comes of it."""
    world = World(1)
    monkeypatch.setattr(world, "_publish", published.append)
    published.clear()
    return world


published: list[Document] = []


def first(world: World) -> NodeId:
    return next(iter(world.nodes))


def test_a_change_that_is_not_taken_is_refused_and_the_bucket_is_as_it_was(world: World) -> None:
    one = first(world)
    asked = [world.ask(one, BucketSet("b", {"r": n})) for n in (1, 2)]
    other = world.ask(one, BucketSet("other", {"r": 1}))
    world.step(world.nodes[one], Observed(DocumentRefused(published[0].name, "it is full")))
    for request in asked:
        answer = world.replies[request]
        assert isinstance(answer, Refused)
        assert answer.refusal is Refusal.TOO_MANY_BUCKETS
        assert "it is full" in answer.detail
    assert other not in world.replies
    shown = world.answer(one, BucketShow("b"))
    assert isinstance(shown, BucketResult)
    assert shown.properties.r == "quorum"


def test_a_change_that_is_not_on_disk_in_time_is_indeterminate(world: World) -> None:
    one = first(world)
    early = world.ask(one, BucketSet("b", {"r": 1}))
    world.run(3 * SECOND)
    late = world.ask(one, BucketSet("c", {"r": 1}))
    world.run(5 * SECOND // 2)
    answer = world.replies[early]
    assert isinstance(answer, Unavailable)
    assert answer.outcome is Outcome.INDETERMINATE
    assert late not in world.replies
    World._publish(world, published[1])
    world.run(SECOND)
    assert isinstance(world.replies[late], BucketResult)
    world.run(10 * SECOND)
    assert world.replies[early] is answer
