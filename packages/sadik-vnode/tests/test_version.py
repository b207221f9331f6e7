"""Versions: heads pass verbatim, and what no correct node makes is told apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import ACTOR_BYTES_MAX, COUNTER_MAX
from sadik_machine import encode_plain
from sadik_vnode.version import (
    DEFAULT_CONTENT_TYPE,
    DELETED,
    HEAD_BYTES_MAX,
    MalformedVersion,
    Version,
    tombstone,
    version_from_plain,
    version_of,
)
from vnode_values import DOTS

META = st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), max_size=4).map(tuple)
TIMESTAMPS = st.integers(0, (1 << 63) - 1)


@given(st.binary(max_size=50), TIMESTAMPS, st.text(max_size=30), META)
def test_a_version_says_what_it_was_made_of(
    value: bytes, timestamp: int, content_type: str, meta: tuple[tuple[str, str], ...]
) -> None:
    version = version_of(value, timestamp, content_type, meta)
    head = version.parsed()
    assert (version.body, version.size) == (value, len(value))
    assert (head.timestamp, head.meta) == (timestamp, meta)
    assert head.content_type == (content_type or DEFAULT_CONTENT_TYPE)
    assert not head.is_deleted
    assert not version.is_deleted


def test_a_version_without_a_content_type_has_the_default_one() -> None:
    assert version_of(b"x", 1, None, ()).parsed().content_type == DEFAULT_CONTENT_TYPE


@given(TIMESTAMPS)
def test_a_tombstone_is_a_delete_with_and_without_decoding(timestamp: int) -> None:
    version = tombstone(timestamp)
    assert version.is_deleted
    assert version.parsed().is_deleted
    assert version.parsed().timestamp == timestamp
    assert (version.body, version.size) == (b"", 0)


def test_an_empty_value_is_not_a_delete() -> None:
    assert not version_of(b"", 1, None, ()).is_deleted


@given(st.lists(st.binary(max_size=5) | st.integers(0, 9) | st.none(), max_size=19))
def test_fields_that_a_newer_version_added_pass_verbatim_and_harm_nothing(more: list[Any]) -> None:
    head = encode_plain([DELETED, 5, "x", [], *more])
    dot, version = version_from_plain((b"a", 1, head, b"", 0))
    assert version.to_plain(dot) == (b"a", 1, head, b"", 0)
    assert version.is_deleted
    assert version.parsed().timestamp == 5


@given(DOTS, st.binary(max_size=20), st.booleans())
def test_a_version_comes_back_from_its_plain_form(
    dot: tuple[bytes, int], value: bytes, with_body: bool
) -> None:
    version = version_of(value, 7, "text/plain", (("a", "b"),))
    plain = version.to_plain(dot, body=with_body)
    received_dot, received = version_from_plain(plain)
    assert received_dot == dot
    assert (received.head, received.size) == (version.head, version.size)
    assert received.body == (value if with_body else None)


GOOD_HEAD = version_of(b"xyz", 1, None, ()).head


@pytest.mark.parametrize(
    "plain",
    [
        (b"", 1, GOOD_HEAD, b"xyz", 3),
        (b"a" * (ACTOR_BYTES_MAX + 1), 1, GOOD_HEAD, b"xyz", 3),
        (b"a", 0, GOOD_HEAD, b"xyz", 3),
        (b"a", -1, GOOD_HEAD, b"xyz", 3),
        (b"a", COUNTER_MAX + 1, GOOD_HEAD, b"xyz", 3),
        (b"a", 1, b"", b"xyz", 3),
        (b"a", 1, b"\x84", b"xyz", 3),
        (b"a", 1, GOOD_HEAD + b"x" * HEAD_BYTES_MAX, b"xyz", 3),
        (b"a", 1, encode_plain([0, 1, "x"]), b"xyz", 3),
        (b"a", 1, encode_plain({"flags": 0}), b"xyz", 3),
        (b"a", 1, encode_plain([24, 1, "x", []]), b"xyz", 3),
        (b"a", 1, encode_plain([None, 1, "x", []]), b"xyz", 3),
        (b"a", 1, GOOD_HEAD, b"xyz", 2),
        (b"a", 1, GOOD_HEAD, b"xyz", -1),
        (b"a", 1, GOOD_HEAD, None, -1),
        ("a", 1, GOOD_HEAD, b"xyz", 3),
        (b"a", 1.0, GOOD_HEAD, b"xyz", 3),
        (b"a", True, GOOD_HEAD, b"xyz", 3),
        (b"a", 1, tuple(GOOD_HEAD), b"xyz", 3),
        (b"a", 1, GOOD_HEAD, "xyz", 3),
        (b"a", 1, GOOD_HEAD, (1, 2, 3), 3),
        (b"a", 1, GOOD_HEAD, b"xyz", 3.0),
    ],
)
def test_what_no_correct_node_makes_is_malformed(plain: Any) -> None:
    with pytest.raises(MalformedVersion):
        version_from_plain(plain)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [0, 1, "x"],
        ["0", 1, "x", []],
        [0, "1", "x", []],
        [0, 1, b"x", []],
        [0, 1, "x", "meta"],
        [0, 1, "x", [["a"]]],
        [0, 1, "x", [["a", "b", "c"]]],
        [0, 1, "x", [["a", 1]]],
        [0, 1, "x", [[b"a", "b"]]],
        [True, 1, "x", []],
    ],
)
def test_a_head_with_fields_of_other_types_is_malformed(fields: list[Any]) -> None:
    with pytest.raises(MalformedVersion):
        Version(encode_plain(fields), b"", 0).parsed()


@given(st.binary(max_size=60))
def test_a_head_of_arbitrary_bytes_is_parsed_or_malformed(head: bytes) -> None:
    try:
        parsed = Version(head, b"", 0).parsed()
    except MalformedVersion:
        return
    assert type(parsed.timestamp) is int
