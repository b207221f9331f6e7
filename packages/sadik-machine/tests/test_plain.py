"""Plain values: what was encoded comes back, and nothing else comes out of bytes from outside."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Mapping
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sadik_machine import DEPTH_MAX, PlainError, decode_plain, encode_plain, plain

# What CBOR has and no option of the decoder refuses: callers check exact types.
FOREIGN = (type(cbor2.undefined), cbor2.CBORSimpleValue)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=40)
    | st.text(max_size=20)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if isinstance(value, tuple):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, Mapping):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


def parts(value: Any) -> list[Any]:
    """The value and everything in it."""
    if isinstance(value, tuple):
        return [value, *(part for item in value for part in parts(item))]
    if isinstance(value, Mapping):
        return [value, *value, *(part for item in value.values() for part in parts(item))]
    return [value]


def assert_plain(value: Any) -> None:
    assert depth(value) <= DEPTH_MAX
    for part in parts(value):
        allowed = (type(None), bool, int, float, bytes, str, tuple, cbor2.frozendict, *FOREIGN)
        assert type(part) in allowed
        if type(part) is int:
            assert -(1 << 64) <= part < 1 << 64
        if type(part) is cbor2.frozendict:
            assert all(type(key) in (str, bytes) for key in part)
    hash(value)  # immutable throughout


@given(PLAIN.filter(lambda value: depth(value) <= DEPTH_MAX))
def test_a_plain_value_comes_back_as_it_was(value: Any) -> None:
    decoded = decode_plain(encode_plain(value))
    assert decoded == value
    assert list(map(type, parts(decoded))) == [
        cbor2.frozendict if isinstance(part, dict) else type(part) for part in parts(value)
    ]
    assert_plain(decoded)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 4090, 4096, 65_530, 65_536, 70_000, 5_000_000])
@pytest.mark.parametrize("kind", [bytes, str])
def test_strings_of_any_size_come_back(size: int, kind: type) -> None:
    value = (b"x" * size if kind is bytes else "ä" * size, 1)
    assert decode_plain(encode_plain(value)) == value


@given(PLAIN)
@example([1, [b"", ["", [None, [1.5, True, -1]]]], {"a": (1 << 64,)}])
@example((*range(22, 26), 255, 256, 65_535, 65_536, 1 << 32, (1 << 64) - 1, -(1 << 64)))
def test_the_bytes_are_those_of_the_library(value: Any) -> None:
    assert encode_plain(value) == cbor2.dumps(value)


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_heads_of_any_size_are_those_of_the_library(size: int) -> None:
    for value in (b"x" * size, "ä" * size, (0,) * size):
        assert encode_plain(value) == cbor2.dumps(value)


def test_lists_come_back_as_tuples() -> None:
    assert decode_plain(encode_plain([1, [2, [3]]])) == (1, (2, (3,)))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xf7")
@example(b"\xe0")
@example(b"\xff")
@example(b"\x1c")
@example(bytes.fromhex("a1f97e0001"))
def test_arbitrary_bytes_are_a_plain_value_or_refused(data: bytes) -> None:
    try:
        value = decode_plain(data)
    except PlainError:
        return
    assert_plain(value)


@given(PLAIN.filter(lambda value: depth(value) <= DEPTH_MAX), st.data())
def test_a_damaged_encoding_is_a_plain_value_or_refused(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode_plain(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_plain(bytes(encoded))
    except PlainError:
        return
    assert_plain(decoded)


@given(PLAIN.filter(lambda value: depth(value) <= DEPTH_MAX), st.data())
def test_an_encoding_that_is_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = encode_plain(value)
    with pytest.raises(PlainError):
        decode_plain(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(PLAIN.filter(lambda value: depth(value) <= DEPTH_MAX), st.binary(min_size=1, max_size=50))
def test_anything_after_the_value_is_refused(value: Any, more: bytes) -> None:
    with pytest.raises(PlainError):
        decode_plain(encode_plain(value) + more)


@pytest.mark.parametrize("size", [4080, 4090, 4095, 4096, 4097, 8192, 65_536, 100_000])
@pytest.mark.parametrize("more", [b"\x00", b"\xf6", b"\x00" * 5000])
def test_anything_after_a_longer_value_is_refused_too(size: int, more: bytes) -> None:
    with pytest.raises(PlainError, match="left over"):
        decode_plain(encode_plain((1, b"x" * size)) + more)


def test_nesting_is_bounded() -> None:
    assert depth(decode_plain(b"\x81" * DEPTH_MAX + b"\x00")) == DEPTH_MAX
    assert depth(decode_plain(b"\xa1\x60" * DEPTH_MAX + b"\x00")) == DEPTH_MAX
    for levels in (DEPTH_MAX + 1, 1000, 60_000, 1_000_000):
        with pytest.raises(PlainError):
            decode_plain(b"\x81" * levels + b"\x00")
        with pytest.raises(PlainError):
            decode_plain(b"\xa1\x60" * levels + b"\x00")


def head(kind: int, number: int) -> bytes:
    """The head of a CBOR item, in its longest form."""
    return bytes([kind << 5 | 27]) + number.to_bytes(8, "big")


CONTENTS = (
    b"\x00",
    b"\x41\x01",
    b"\x61a",
    b"\x80",
    b"\x82\x01\x02",
    b"\x83\x01\x41\x01\x61a",
    b"\xa0",
    b"\xf6",
    b"\xfb" + bytes(8),
    b"\x78\x19" + b"2020-01-01T00:00:00+00:00",
)


@pytest.mark.parametrize(
    "tags",
    [range(1200), range(43_000, 43_001), range(55_799, 55_800), range((1 << 64) - 5, 1 << 64)],
)
def test_every_tag_is_refused(tags: range) -> None:
    for tag in tags:
        for content in CONTENTS:
            with pytest.raises(PlainError):
                decode_plain(head(6, tag) + content)
            with pytest.raises(PlainError):
                decode_plain(b"\x82\x00" + head(6, tag) + content)


def test_an_integer_that_needs_a_tag_is_refused() -> None:
    for number in (1 << 64, -(1 << 64) - 1, 1 << 5000):
        with pytest.raises(PlainError):
            decode_plain(encode_plain(number))


@pytest.mark.parametrize(
    "text",
    [
        "a2 6161 00 6161 01",  # the key "a" twice
        "a2 4161 00 4161 01",
        "a1 01 02",  # integers collide at will
        "a1 f6 02",
        "a1 80 02",
        "a1 fb3ff0000000000000 02",
        "5f 4161 ff",  # indefinite lengths
        "7f 6161 ff",
        "9f 00 ff",
        "bf 6161 00 ff",
        "81 9f ff",
        "ff",
        "61 ff",  # not UTF-8
        "62 c328",
        "63 eda080",  # half of a surrogate pair
        "1c",
        "3d",
        "f8 18",
        "fc",
        "9b ffffffffffffffff 00",  # lengths that are not there
        "bb ffffffffffffffff 00",
        "5b ffffffffffffffff 00",
        "7b 7fffffffffffffff 00",
        "9a ffffffff",
        "ba 7fffffff",
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(text: str) -> None:
    for before in (b"", b"\x81"):
        with pytest.raises(PlainError):
            decode_plain(before + bytes.fromhex(text))


def peak_bytes(data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(PlainError):
            decode_plain(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [2, 3, 4, 5])
@pytest.mark.parametrize("number", [1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 64) - 1])
def test_a_length_that_is_not_there_takes_no_memory(kind: int, number: int) -> None:
    assert peak_bytes(head(kind, number) + b"\x00" * 100) < 1_000_000


@pytest.mark.parametrize("size", [1_000_000, 8_000_000, 64_000_000])
def test_megabytes_of_empty_maps_are_refused_before_they_are_made(size: int) -> None:
    assert peak_bytes(head(4, size) + b"\xa0" * size) < 100_000


@pytest.mark.parametrize("item", [b"\x80", b"\x81\x00", b"\x81\xa0", b"\xf9\x00\x00"])
def test_megabytes_of_small_values_are_refused(item: bytes) -> None:
    count = 8_000_000 // len(item)
    with pytest.raises(PlainError, match="more than 1048576 values"):
        decode_plain(head(4, count) + item * count)


@pytest.mark.parametrize("item", [b"\xa0", b"\x81\x00", b"\xa1\x60\x00"])
def test_what_is_too_short_to_be_counted_takes_little_memory(item: bytes) -> None:
    count = 65_000 // len(item)
    tracemalloc.start()
    try:
        decode_plain(head(4, count) + item * count)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_many_values_are_taken_where_a_correct_peer_may_send_them() -> None:
    listed = tuple(
        (b"key %d" % n, ((b"actor", n),), (((b"actor", n, False),) * 50)) for n in range(1000)
    )
    assert decode_plain(encode_plain(listed)) == listed


def test_counting_is_not_misled_by_what_is_inside_of_strings() -> None:
    value = (b"\xa0" * 2_000_000, "\x00" * 2_000_000, 1 << 63, 1.5)
    assert decode_plain(encode_plain(value)) == value


@pytest.mark.parametrize("make", [lambda n: n * ((1 << 61) - 1), float, lambda n: -n - 1])
def test_keys_made_to_collide_are_refused_at_once(make: Any) -> None:
    count = 20_000
    data = head(5, count) + b"".join(encode_plain(make(n)) + b"\x00" for n in range(count))
    before = time.process_time()
    with pytest.raises(PlainError):
        decode_plain(data)
    assert time.process_time() - before < 1


def test_a_float_may_be_no_number_so_callers_look() -> None:
    assert math.isnan(decode_plain(bytes.fromhex("f97e00")))
    assert decode_plain(bytes.fromhex("f9fc00")) == -math.inf


@given(st.lists(st.binary(max_size=30) | PLAIN.map(cbor2.dumps), max_size=8))
def test_what_was_decoded_before_makes_no_difference(inputs: list[bytes]) -> None:
    """A decoder is used again: by what it refused, and what it took, nothing else is changed."""
    for data in inputs:
        outcomes = []
        for is_new in (False, True):
            if is_new:
                plain._idle.clear()
            try:
                outcomes.append(decode_plain(data))
            except PlainError as error:
                outcomes.append(str(error))
        again, new = outcomes
        assert repr(again) == repr(new)


def test_a_long_value_is_not_kept_by_what_decoded_it() -> None:
    decode_plain(encode_plain(b"x" * 1_000_000))
    assert all(len(decoder.fp.getvalue()) < 100_000 for decoder in plain._idle)  # type: ignore[attr-defined]
    assert len(plain._idle) <= 1
