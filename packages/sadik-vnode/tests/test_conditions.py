"""Conditional writes: judged by an R-merged read, and again where the dot is made."""

from __future__ import annotations

from typing import Any

import pytest

from path_requests import delete, get, ids, put, set_bucket, values
from sadik_machine import NodeId
from sadik_vnode.requests import (
    Condition,
    Found,
    Missing,
    Outcome,
    Refusal,
    Refused,
    Unavailable,
    Written,
)
from vnode_world import World

ABSENT = Condition(if_none_match=("*",))
PRESENT = Condition(if_match=("*",))


def matching(etag: str) -> Condition:
    return Condition(if_match=(etag,))


def is_failed(result: Any) -> bool:
    return isinstance(result, Refused) and result.refusal is Refusal.PRECONDITION_FAILED


@pytest.fixture
def world() -> World:
    return World(1)


@pytest.mark.parametrize(
    ("condition", "etag", "holds"),
    [
        (Condition(), None, True),
        (Condition(), "a", True),
        (ABSENT, None, True),
        (ABSENT, "a", False),
        (PRESENT, None, False),
        (PRESENT, "a", True),
        (matching("a"), "a", True),
        (matching("a"), "b", False),
        (matching("a"), None, False),
        (Condition(if_match=("b", "a")), "a", True),
        (Condition(if_none_match=("a", "b")), "b", False),
        (Condition(if_none_match=("a",)), "b", True),
        (Condition(if_match=("a",), if_none_match=("a",)), "a", False),
    ],
)
def test_a_condition_is_judged_as_http_has_it(
    condition: Condition, etag: str | None, holds: bool
) -> None:
    assert condition.holds(etag) is holds


def test_only_the_first_of_two_creations_is_done_wherever_they_enter(world: World) -> None:
    for index, node in enumerate(ids(world)):
        key = b"k%d" % index
        assert isinstance(world.answer(node, put(b"first", key=key, condition=ABSENT)), Written)
        for other in ids(world):
            assert is_failed(world.answer(other, put(b"second", key=key, condition=ABSENT)))
        assert values(world.answer(node, get(key))) == [b"first"]


def test_of_creations_at_the_same_time_one_is_done(world: World) -> None:
    """Both were judged before either was stored: the second finds out where its dot is made."""
    results: list[Any] = []
    for node in ids(world):
        world.ask(node, put(b"by " + node, condition=ABSENT), results.append)
    world.run(10**9)
    assert len(results) == 3
    assert sum(isinstance(result, Written) for result in results) == 1
    assert sum(map(is_failed, results)) == 2
    assert len(values(world.answer(ids(world)[0], get()))) == 1


def test_a_deleted_key_may_be_created_anew(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    world.answer(two, delete())
    assert isinstance(world.answer(three, put(b"w", condition=ABSENT)), Written)
    assert values(world.answer(one, get())) == [b"w"]


def test_a_write_of_what_was_read_is_done_once(world: World) -> None:
    one, two, three = ids(world)
    written = world.answer(one, put(b"1"))
    found = world.answer(two, get())
    assert isinstance(found, Found)
    assert found.etag == written.etag
    changed = world.answer(three, put(b"2", condition=matching(found.etag)))
    assert isinstance(changed, Written)
    assert is_failed(world.answer(two, put(b"3", condition=matching(found.etag))))
    assert isinstance(world.answer(two, put(b"3", condition=matching(changed.etag))), Written)
    assert values(world.answer(one, get())) == [b"3"]


def test_where_blind_writes_replace_a_match_of_all_siblings_replaces_all(world: World) -> None:
    one, two, three = ids(world)
    first = world.answer(one, put(b"0"))
    world.answer(one, put(b"x", first.context))
    world.answer(two, put(b"y", first.context))
    found = world.answer(three, get())
    assert sorted(values(found)) == [b"x", b"y"]
    assert isinstance(world.answer(one, put(b"z", condition=matching(found.etag))), Written)
    assert values(world.answer(two, get())) == [b"z"]


def test_with_a_context_it_replaces_what_the_context_covers(world: World) -> None:
    one, two, _ = ids(world)
    set_bucket(world, blind_writes="sibling")
    first = world.answer(one, put(b"x"))
    world.answer(two, put(b"y"))
    found = world.answer(two, get())
    result = world.answer(one, put(b"z", first.context, condition=matching(found.etag)))
    assert isinstance(result, Written)
    assert sorted(values(world.answer(two, get()))) == [b"y", b"z"]


def test_a_delete_may_be_conditional(world: World) -> None:
    one, two, three = ids(world)
    assert isinstance(world.answer(one, delete()), Missing)
    assert is_failed(world.answer(one, delete(condition=PRESENT)))
    written = world.answer(one, put(b"v"))
    assert is_failed(world.answer(two, delete(condition=matching("0" * 32))))
    assert values(world.answer(three, get())) == [b"v"]
    assert isinstance(world.answer(three, delete(condition=matching(written.etag))), Written)
    assert isinstance(world.answer(one, get()), Missing)


def test_a_condition_is_no_context(world: World) -> None:
    """It says when to write. What the write replaces, the bucket says where no context does."""
    one, two, _ = ids(world)
    set_bucket(world, blind_writes="sibling")
    written = world.answer(one, put(b"v", condition=ABSENT))
    assert isinstance(world.answer(two, put(b"w", condition=matching(written.etag))), Written)
    assert sorted(values(world.answer(one, get()))) == [b"v", b"w"]
    set_bucket(world, blind_writes="refuse")
    refused = world.answer(two, put(b"x", condition=PRESENT))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.CONTEXT_REQUIRED


def test_a_bucket_that_refuses_blind_writes_takes_new_keys(world: World) -> None:
    """Of a key that never was no read has a context: its writer says that there is nothing."""
    one, two, _ = ids(world)
    set_bucket(world, blind_writes="refuse")
    for expected in (b"v", b"again"):
        written = world.answer(one, put(expected, condition=ABSENT))
        assert isinstance(written, Written)
        late = world.answer(two, put(b"w", condition=ABSENT))
        assert isinstance(late, Refused)
        assert late.refusal is Refusal.PRECONDITION_FAILED
        assert values(world.answer(two, get())) == [expected]
        deleting = delete(context=written.context)
        assert isinstance(world.answer(two, deleting), Written)


def test_what_cannot_be_read_is_not_applied(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    world.crash(two)
    world.crash(three)
    world.run(10**9)
    result = world.answer(one, put(b"w", condition=PRESENT, sloppy=False))
    assert isinstance(result, Unavailable)
    assert result.outcome is Outcome.NOT_APPLIED


def test_a_judgement_by_fewer_replicas_than_have_the_value_is_a_judgement_of_what_they_have(
    world: World,
) -> None:
    """R decides what a condition sees, as for any read: with one replica it may be behind."""
    nodes: list[NodeId] = ids(world)
    world.cut_off(nodes[0], nodes[1])
    world.cut_off(nodes[0], nodes[2])
    world.run(10**9)
    world.answer(nodes[1], put(b"v"))
    assert is_failed(world.answer(nodes[2], put(b"w", condition=ABSENT)))
    refused = world.answer(nodes[0], put(b"w", condition=ABSENT, sloppy=False))
    assert isinstance(refused, Unavailable)
    assert refused.outcome is Outcome.NOT_APPLIED
