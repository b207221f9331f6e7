"""Buckets in which the last writer wins, and reads that want the latest of siblings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from path_requests import delete, get, ids, put, set_bucket, set_clock, values
from sadik_causality import Dot
from sadik_machine import SECOND, NodeId
from sadik_vnode.requests import Found, ListKeys, ListResult, Missing, Written
from sadik_vnode.version import Version, tombstone, version_of
from sadik_vnode.view import counting, last_written
from vnode_world import World


@pytest.fixture
def world() -> World:
    world = World(1)
    set_bucket(world, conflict="lww")
    return world


def cut_in_two(world: World) -> tuple[NodeId, NodeId]:
    """One node alone, and one of the two that are left."""
    one, two, three = ids(world)
    world.cut_off(one, two)
    world.cut_off(one, three)
    world.run(SECOND)
    return one, two


def listed(world: World, node: NodeId) -> list[bytes]:
    result = world.answer(node, ListKeys("b", b"", None, 100, 5 * SECOND))
    assert isinstance(result, ListResult), result
    return result.keys


def heal(world: World) -> None:
    world.heal()
    world.run(3 * SECOND)


def test_of_two_writes_on_both_sides_of_a_cut_the_later_is_seen_everywhere(world: World) -> None:
    alone, other = cut_in_two(world)
    world.answer(other, put(b"early"))
    world.run(SECOND)
    world.answer(alone, put(b"late", w=1))
    heal(world)
    for node in ids(world):
        found = world.answer(node, get())
        assert values(found) == [b"late"]
        assert found.siblings == 1
    assert listed(world, other) == [b"k"]


def test_a_later_delete_wins_over_an_earlier_value_and_the_other_way_round(world: World) -> None:
    world.answer(ids(world)[0], put(b"v"))
    alone, other = cut_in_two(world)
    world.answer(other, put(b"kept?"))
    world.run(SECOND)
    world.answer(alone, delete(w=1, r=1))
    heal(world)
    for node in ids(world):
        missing = world.answer(node, get())
        assert isinstance(missing, Missing)
        assert missing.context is not None
        assert listed(world, node) == []


def test_a_write_hides_what_its_context_never_saw(world: World) -> None:
    one, two, _ = ids(world)
    first = world.answer(one, put(b"1"))
    world.answer(two, put(b"2", first.context))
    world.answer(one, put(b"3", first.context))
    assert values(world.answer(two, get())) == [b"3"]
    world.run(SECOND)
    for node in world.nodes.values():
        assert len(world.live(node)[b"b\0k"]) == 1, "what lost is not kept where it was written"


def test_one_client_sees_its_last_write_though_clocks_differ_within_the_bound(world: World) -> None:
    one, two, three = ids(world)
    set_clock(world, one, 30 * SECOND)
    set_clock(world, three, -30 * SECOND)
    for index in range(9):
        node = (one, two, three)[index % 3]
        assert isinstance(world.answer(node, put(b"%d" % index)), Written)
        assert values(world.answer(node, get())) == [b"%d" % index]


def test_the_latest_of_siblings_is_shown_and_only_it_is_covered() -> None:
    world = World(1)
    set_bucket(world, blind_writes="sibling")
    one, two, three = ids(world)
    world.answer(one, put(b"x"))
    world.run(SECOND)
    world.answer(two, put(b"y"))
    world.run(SECOND)
    found = world.answer(three, get(latest=True))
    assert values(found) == [b"y"]
    assert found.siblings == 2
    whole = world.answer(three, get())
    assert found.etag == whole.etag, "the tag is of all siblings"
    world.answer(one, put(b"z", found.context))
    world.run(SECOND)
    assert sorted(values(world.answer(two, get()))) == [b"x", b"z"]


def test_of_one_version_the_latest_is_that(world: World) -> None:
    one = ids(world)[0]
    world.answer(one, put(b"v"))
    found = world.answer(one, get(latest=True))
    assert isinstance(found, Found)
    assert (values(found), found.siblings) == ([b"v"], 1)


DOTS = st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 3))


@given(st.dictionaries(DOTS, st.tuples(st.integers(0, 3), st.booleans()), min_size=1))
def test_all_nodes_agree_on_the_last_writer(given_: dict[Dot, tuple[int, bool]]) -> None:
    def version(timestamp: int, *, deleted: bool) -> Version:
        return tombstone(timestamp) if deleted else version_of(b"v", timestamp, None, ())

    versions = {dot: version(ts, deleted=gone) for dot, (ts, gone) in given_.items()}
    last = last_written(versions)
    assert last == last_written(dict(reversed(versions.items())))
    assert all((given_[last][0], last) >= (given_[dot][0], dot) for dot in versions)
    assert list(counting(versions, "lww", 0)) == [last]
    assert list(counting(versions, "siblings", 0)) == sorted(versions)
