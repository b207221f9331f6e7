"""Tokens and partitions: fixed for ever, evenly spread, and bounds that fit without a gap."""

import hashlib
from collections import Counter

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sadik_hashing import BLAKE3, Partitions, partition_of, token_of

COUNTS = [8, 16, 256, 1024, 4096]
tokens = st.integers(0, 2**64 - 1)


class Sha:
    name = "sha"

    def digest(self, data: bytes, size: int = 32) -> bytes:
        return hashlib.shake_256(data).digest(size)

    def keyed(self, key: bytes, data: bytes, size: int = 32) -> bytes:
        return hashlib.shake_256(key + data).digest(size)


def test_a_token_is_the_beginning_of_the_hash_of_bucket_zero_byte_and_key() -> None:
    digest = blake3(b"users\0key\xff\0").digest()
    assert token_of("users", b"key\xff\0") == int.from_bytes(digest[:8], "big")


def test_tokens_never_change() -> None:
    """Data lies where these say; another value would lose sight of it."""
    assert token_of("users", b"alice") == 6846561797441804580
    assert token_of("b", b"") == 9835839636806386192


def test_another_algorithm_gives_other_tokens() -> None:
    assert token_of("b", b"k", Sha()) == int.from_bytes(hashlib.shake_256(b"b\0k").digest(8), "big")
    assert token_of("b", b"k", BLAKE3) == token_of("b", b"k")


def test_bucket_and_key_are_told_apart() -> None:
    assert token_of("a", b"bc") != token_of("ab", b"c")


@given(st.text(max_size=9), st.binary(max_size=9), st.sampled_from(COUNTS))
def test_a_keys_partition_is_the_top_bits_of_its_token(bucket: str, key: bytes, count: int) -> None:
    partitions = Partitions(count)
    token = token_of(bucket, key)
    assert partitions.of_key(bucket, key) == token * count // 2**64
    assert partitions.of_token(token) == partition_of(token, count) == token * count // 2**64


@pytest.mark.parametrize("count", COUNTS)
def test_ranges_follow_each_other_and_cover_all_tokens(count: int) -> None:
    partitions = Partitions(count)
    assert 2**partitions.bits == count
    expected = 0
    for partition in range(count):
        first, last = partitions.token_range(partition)
        assert first == expected
        assert partitions.of_token(first) == partitions.of_token(last) == partition
        expected = last + 1
    assert expected == 2**64


@pytest.mark.parametrize("count", [-8, 0, 1, 4, 7, 12, 1000, 8192])
def test_only_powers_of_two_in_bounds_are_partitions(count: int) -> None:
    with pytest.raises(ValueError, match="power of two from 8 to 4096"):
        Partitions(count)


@pytest.mark.parametrize("partition", [-1, 8])
def test_a_range_is_of_a_partition_that_exists(partition: int) -> None:
    with pytest.raises(IndexError):
        Partitions(8).token_range(partition)


def test_similar_keys_spread_evenly() -> None:
    partitions = Partitions(64)
    found = Counter(partitions.of_key("b", b"key-%d" % i) for i in range(64_00))
    assert len(found) == 64
    assert max(found.values()) < 150
    assert min(found.values()) > 60


def test_partitions_compare_by_their_count() -> None:
    assert Partitions(8) == Partitions(8) != Partitions(16)
    assert repr(Partitions(8)) == "Partitions(count=8, bits=3)"
