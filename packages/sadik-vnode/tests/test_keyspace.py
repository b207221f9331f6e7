"""The key space: every row in its place, in an order that scans rely on, within LMDB's length."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sadik_hashing import token_of
from sadik_machine import NodeId
from sadik_vnode.keyspace import (
    BIRTHS_ROW,
    DATA_RANGE,
    HINTS_RANGE,
    SAVED_RANGE,
    Key,
    hint_row,
    hint_slot_range,
    index_key,
    index_range,
    index_row,
    parse_hint_row,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
LMDB_KEY_BYTES_MAX = 511

BUCKETS = st.text(ALPHABET, min_size=1, max_size=64)
NEAR_BUCKETS = st.sampled_from(["b", "bb", "b-", "b.", "a", "c", "b" * 64])
# Zero bytes and 0xff are where ranges and separators break.
KEY_BYTES = st.binary(min_size=1, max_size=400) | st.lists(
    st.sampled_from([b"\x00", b"\xff", b"a", b"b"]), min_size=1, max_size=6
).map(b"".join)
KEYS = st.builds(Key, BUCKETS | NEAR_BUCKETS, KEY_BYTES)
SLOTS = st.binary(min_size=8, max_size=8).map(NodeId) | st.sampled_from(
    [NodeId(b"\xff" * 8), NodeId(b"\x00" * 8), NodeId(b"1234567\xff")]
)
DOTS = st.tuples(st.binary(min_size=12, max_size=12), st.integers(1, (1 << 63) - 1))


def is_in(row: bytes, bounds: tuple[bytes, bytes]) -> bool:
    return bounds[0] <= row < bounds[1]


@given(KEYS)
def test_a_key_is_known_again_by_its_rows(key: Key) -> None:
    assert Key.of_name(key.name) == key
    assert index_key(index_row(key)) == key
    assert index_key(index_row(key)).key == key.key
    assert hash(Key(key.bucket, key.key)) == hash(key)


@given(SLOTS, KEYS)
def test_a_note_is_known_again_by_its_row(slot: NodeId, key: Key) -> None:
    row = hint_row(slot, key)
    assert parse_hint_row(row) == (slot, key)
    assert is_in(row, HINTS_RANGE)
    assert is_in(row, hint_slot_range(slot))


@given(st.lists(st.tuples(SLOTS, KEYS), max_size=10), SLOTS)
def test_the_range_of_an_owners_notes_holds_its_notes_alone(
    notes: list[tuple[NodeId, Key]], slot: NodeId
) -> None:
    for other, key in notes:
        assert is_in(hint_row(other, key), hint_slot_range(slot)) == (other == slot)


@given(KEYS, DOTS, SLOTS)
@example(Key("b" * 64, b"\xff" * 400), (b"a" * 12, (1 << 63) - 1), NodeId(b"\xff" * 8))
def test_rows_are_disjoint_by_kind_and_short_enough(
    key: Key, dot: tuple[bytes, int], slot: NodeId
) -> None:
    rows = [BIRTHS_ROW, key.record_row, key.value_row(dot), index_row(key), hint_row(slot, key)]
    assert [row[:1] for row in rows] == [b"B", b"O", b"V", b"K", b"H"]
    assert all(len(row) <= LMDB_KEY_BYTES_MAX for row in rows)
    for bounds, kind in ((SAVED_RANGE, b"B"), (HINTS_RANGE, b"H"), (DATA_RANGE, b"O")):
        assert [row[:1] for row in rows if is_in(row, bounds)] == [kind]


def test_the_longest_row_is_as_long_as_the_documentation_says() -> None:
    key = Key("b" * 64, b"k" * 400)
    assert len(key.value_row((b"a" * 12, 1))) == 491


@given(st.lists(KEYS, max_size=10), DOTS)
def test_different_keys_have_different_rows(keys: list[Key], dot: tuple[bytes, int]) -> None:
    distinct = list(dict.fromkeys(keys))
    for rows in (
        [key.record_row for key in distinct],
        [index_row(key) for key in distinct],
        [key.value_row(dot) for key in distinct],
    ):
        assert len(dict.fromkeys(rows)) == len(distinct)


@given(st.lists(KEYS, max_size=20))
def test_records_lie_in_token_order_so_a_partition_is_one_range(keys: list[Key]) -> None:
    prefixes = [key.token >> 32 for key in sorted(keys, key=lambda key: key.record_row)]
    assert prefixes == sorted(prefixes)


@given(BUCKETS, KEY_BYTES)
def test_the_token_is_that_of_the_ring(bucket: str, key: bytes) -> None:
    assert Key(bucket, key).token == token_of(bucket, key)
    assert 0 <= Key(bucket, key).token < 1 << 64


@given(
    st.lists(st.builds(Key, NEAR_BUCKETS, KEY_BYTES), max_size=30),
    NEAR_BUCKETS,
    st.binary(max_size=2) | st.sampled_from([b"\xff", b"\xff\xff", b"a\xff", b"\x00"]),
    st.none() | KEY_BYTES | st.just(b""),
)
def test_a_range_of_the_index_is_what_a_listing_asks_for(
    keys: list[Key], bucket: str, prefix: bytes, after: bytes | None
) -> None:
    bounds = index_range(bucket, prefix, after)
    found = [index_key(row).key for row in sorted(map(index_row, keys)) if is_in(row, bounds)]
    wanted = [
        key.key
        for key in keys
        if key.bucket == bucket
        and key.key.startswith(prefix)
        and (after is None or key.key > after)
    ]
    assert found == sorted(wanted)


@given(st.lists(KEY_BYTES, max_size=20, unique=True), st.binary(max_size=1))
def test_going_on_after_each_key_in_turn_visits_every_key_once(
    keys: list[bytes], prefix: bytes
) -> None:
    rows = sorted(index_row(Key("b", key)) for key in keys)
    after: bytes | None = None
    visited = []
    while True:
        bounds = index_range("b", prefix, after)
        row = next((row for row in rows if is_in(row, bounds)), None)
        if row is None:
            break
        after = index_key(row).key
        visited.append(after)
    assert visited == sorted(key for key in keys if key.startswith(prefix))


def test_a_name_without_a_zero_byte_is_none() -> None:
    with pytest.raises(ValueError, match="zero byte"):
        Key.of_name(b"bucket")
    with pytest.raises(ValueError, match="utf-8"):
        Key.of_name(b"\xff\x00key")


def test_keys_compare_by_bucket_and_key() -> None:
    assert Key("b", b"k") == Key("b", b"k")
    assert Key("b", b"k") != Key("c", b"k")
    assert Key("b", b"k") != Key("b", b"l")
    assert Key("b", b"k") != b"b\x00k"
    assert repr(Key("b", b"k")) == "Key('b', b'k')"
