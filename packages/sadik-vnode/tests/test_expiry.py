"""Expiry: the instant is fixed at the write, and each node judges it by its own wall clock."""

from __future__ import annotations

import pytest

from path_requests import delete, get, ids, put, set_bucket, set_clock, values
from sadik_machine import SECOND
from sadik_vnode.record import INLINE_BYTES_MAX
from sadik_vnode.requests import (
    Condition,
    Explain,
    ExplainResult,
    Found,
    ListKeys,
    ListResult,
    Missing,
    Written,
)
from sadik_vnode.version import EXPIRES, MalformedVersion, Version, version_of
from vnode_world import World


@pytest.fixture
def world() -> World:
    return World(1)


def listed(world: World) -> list[bytes]:
    result = world.answer(ids(world)[0], ListKeys("b", b"", None, 100, 5 * SECOND))
    assert isinstance(result, ListResult), result
    return result.keys


def test_a_value_is_there_until_its_time_and_gone_after_it(world: World) -> None:
    one, two, three = ids(world)
    written = world.answer(one, put(b"v", ttl_s=10))
    assert isinstance(written, Written)
    world.run(9 * SECOND)
    found = world.answer(two, get())
    assert values(found) == [b"v"]
    assert found.versions[0].expires_ms == written.expires_ms
    assert listed(world) == [b"k"]
    world.run(2 * SECOND)
    missing = world.answer(three, get())
    assert isinstance(missing, Missing)
    assert missing.context is not None, "there was something"
    assert listed(world) == []
    assert isinstance(world.answer(one, delete()), Missing), "there is nothing to delete"
    for node in world.nodes.values():
        assert world.live(node)[b"b\0k"] == [b"v"], "expiry is a view and writes nothing"


def test_a_key_that_expired_may_be_created_anew(world: World) -> None:
    one, two, _ = ids(world)
    world.answer(one, put(b"v", ttl_s=1))
    absent = Condition(if_none_match=("*",))
    assert not isinstance(world.answer(two, put(b"w", condition=absent)), Written)
    world.run(2 * SECOND)
    assert isinstance(world.answer(two, put(b"w", condition=absent)), Written)
    world.run(60 * SECOND)
    assert values(world.answer(one, get())) == [b"w"]


def test_a_bucket_may_say_when_its_versions_expire_and_a_write_otherwise(world: World) -> None:
    one = ids(world)[0]
    set_bucket(world, ttl_seconds=5)
    world.answer(one, put(b"v", key=b"short"))
    world.answer(one, put(b"v", key=b"long", ttl_s=50))
    world.run(6 * SECOND)
    assert isinstance(world.answer(one, get(b"short")), Missing)
    assert values(world.answer(one, get(b"long"))) == [b"v"]


def test_of_siblings_those_that_expired_are_left_out_and_change_the_tag(world: World) -> None:
    one, two, _ = ids(world)
    set_bucket(world, blind_writes="sibling")
    world.answer(one, put(b"stays"))
    world.answer(two, put(b"goes", ttl_s=5))
    world.run(SECOND)
    both = world.answer(one, get())
    assert sorted(values(both)) == [b"goes", b"stays"]
    world.run(6 * SECOND)
    left = world.answer(one, get())
    assert values(left) == [b"stays"]
    assert left.etag != both.etag


def test_each_node_judges_by_its_own_clock_and_nobody_elses(world: World) -> None:
    one, two, three = ids(world)
    world.answer(two, put(b"v", ttl_s=20))
    set_clock(world, one, 30 * SECOND)
    world.answer(one, put(b"drags the hybrid clocks of all", key=b"other"))
    assert isinstance(world.answer(one, get()), Missing), "by its clock it is past"
    for node in (two, three):
        assert values(world.answer(node, get())) == [b"v"]


def test_the_last_writer_wins_and_then_expires_and_nothing_older_comes_back(world: World) -> None:
    one, two, _ = ids(world)
    set_bucket(world, conflict="lww")
    world.answer(one, put(b"older"))
    world.answer(two, put(b"newer", ttl_s=5))
    world.run(6 * SECOND)
    for node in ids(world):
        assert isinstance(world.answer(node, get()), Missing)
        assert listed(world) == []


def test_large_values_that_expired_are_not_fetched(world: World) -> None:
    one, two, _ = ids(world)
    set_bucket(world, blind_writes="sibling")
    large = b"x" * (INLINE_BYTES_MAX + 1)
    world.answer(one, put(large, ttl_s=5))
    world.answer(one, put(b"small"))
    world.run(6 * SECOND)
    assert values(world.answer(two, get())) == [b"small"]


def test_explain_shows_what_expires_and_when(world: World) -> None:
    one = ids(world)[0]
    written = world.answer(one, put(b"v", ttl_s=7))
    assert isinstance(written, Written)
    explained = world.answer(one, Explain("b", b"k", 5 * SECOND))
    assert isinstance(explained, ExplainResult)
    shown = [version for replica in explained.replicas for version in replica.versions]
    assert {version.expires_ms for version in shown} == {written.expires_ms}


def test_a_head_that_expires_says_when() -> None:
    version = version_of(b"v", 7, None, (), expires_ms=5)
    assert version.parsed().flags == EXPIRES
    assert version.is_gone(5_000_000)
    assert not version.is_gone(4_999_999)
    damaged = Version(version.head[:-1] + b"\xf6", b"v", 1)
    with pytest.raises(MalformedVersion):
        damaged.parsed()
    assert not damaged.is_gone(1 << 62), "what is damaged is reported, not hidden"


def test_a_version_without_a_time_never_expires(world: World) -> None:
    one = ids(world)[0]
    world.answer(one, put(b"v"))
    world.run(3600 * SECOND)
    assert isinstance(world.answer(one, get()), Found)
