"""Parts of a container: they fit, they merge back in any order, and none erases anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import Container, Context
from sadik_machine import Codec, NodeId, RequestId
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import MESSAGES, ReplicaWrite
from sadik_vnode.parts import container_from_plain, container_to_plain, parts_of, replica_write
from sadik_vnode.version import Version, version_of
from vnode_values import CONTAINERS, contents, same

CODEC = Codec(MESSAGES)
KEY = Key("bucket", b"key\x00\xff")


def sent(part: Container[Version]) -> Container[Version]:
    """A part after its way over the wire."""
    write = replica_write(RequestId(1), 7, KEY, NodeId(b"12345678"), part, 99, 0)
    received = CODEC.decode(CODEC.encode(write))
    assert isinstance(received, ReplicaWrite)
    assert (received.bucket, received.key, received.epoch) == ("bucket", b"key\x00\xff", 7)
    return container_from_plain(received.versions, received.context)


@given(CONTAINERS)
def test_a_container_survives_the_wire(container: Container[Version]) -> None:
    assert same(sent(container), container)


@given(CONTAINERS)
def test_without_bodies_everything_else_is_told(container: Container[Version]) -> None:
    plain = container_to_plain(container, bodies=False)
    bare = container_from_plain(plain, container.context.to_plain())
    assert bare.context == container.context
    assert {dot: (v.head, v.size) for dot, v in bare.versions.items()} == {
        dot: (v.head, v.size) for dot, v in container.versions.items()
    }
    assert all(v.body is None for v in bare.versions.values())


@given(CONTAINERS, st.integers(0, 500), CONTAINERS, st.data())
def test_parts_merge_to_the_whole_in_any_order_and_with_repeats(
    container: Container[Version], bytes_max: int, before: Container[Version], data: st.DataObject
) -> None:
    parts = parts_of(container, bytes_max)
    order = data.draw(st.permutations(parts))
    repeats = data.draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
    merged = before
    for part in [*order, *repeats]:
        merged = merged.merge(sent(part))
    if parts:
        assert same(merged, before.merge(container))
    else:
        assert not container


@given(CONTAINERS, st.integers(0, 500), st.data())
def test_some_of_the_parts_erase_no_version_of_the_container(
    container: Container[Version], bytes_max: int, data: st.DataObject
) -> None:
    parts = parts_of(container, bytes_max)
    some = [part for part in parts if data.draw(st.booleans())]
    merged = container
    for part in some:
        merged = merged.merge(part)
    assert contents(merged) == contents(container)


@given(CONTAINERS, st.integers(0, 2000))
def test_a_container_that_fits_travels_whole_and_a_larger_one_version_by_version(
    container: Container[Version], bytes_max: int
) -> None:
    parts = parts_of(container, bytes_max)
    size = sum(version.size for version in container.versions.values())
    if len(parts) == 1 and parts[0] is container:
        assert size <= bytes_max or len(container.versions) <= 1
    else:
        assert all(len(part.versions) <= 1 for part in parts)
        assert [list(part.versions) for part in parts[: len(container.versions)]] == [
            [dot] for dot in container.live_dots()
        ]


def test_no_part_of_several_versions_is_beyond_the_bound() -> None:
    versions = {(b"a", n): version_of(b"x" * 1000, n, None, ()) for n in (1, 2, 3)}
    container = Container(versions, Context.from_dots(versions))
    assert parts_of(container, 10_000) == [container]
    for bytes_max in (0, 1000, 2000, 2999):
        assert [len(part.versions) for part in parts_of(container, bytes_max)] == [1, 1, 1]


def test_a_message_is_made_only_with_all_bodies_in_hand() -> None:
    version = Version(version_of(b"x", 1, None, ()).head, None, 1)
    part = Container({(b"a", 1): version}, Context.from_dots([(b"a", 1)]))
    with pytest.raises(AssertionError, match="bodies are in hand"):
        replica_write(RequestId(1), 1, KEY, NodeId(b"12345678"), part, 1, 0)


HEAD = version_of(b"x", 1, None, ()).head


@pytest.mark.parametrize(
    ("versions", "context"),
    [
        ([(b"a", 1, HEAD, b"x", 1)], []),
        ([(b"a", 2, HEAD, b"x", 1)], [[b"a", 1]]),
        ([(b"a", 0, HEAD, b"x", 1)], [[b"a", 1]]),
        ([(b"a", 1, HEAD, b"xy", 1)], [[b"a", 1]]),
        ([], [[b"b", 1], [b"a", 1]]),
        ([], [[b"a", 0]]),
        ([], None),
        ([], 5),
        ([], {"a": 1}),
        ([], [[b"a", True]]),
    ],
)
def test_what_is_no_container_is_refused(versions: list[Any], context: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds, each with its own words
        container_from_plain(versions, context)
