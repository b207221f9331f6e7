"""Identities: node ids that people can copy, request ids that no boot repeats."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import (
    NODE_ID_BYTES,
    NodeId,
    RequestIds,
    node_id_from_hex,
    node_id_hex,
    random_node_id,
)


@given(st.binary(min_size=NODE_ID_BYTES, max_size=NODE_ID_BYTES))
def test_a_node_id_survives_the_way_through_its_digits(raw: bytes) -> None:
    digits = node_id_hex(NodeId(raw))
    assert len(digits) == 16
    assert node_id_from_hex(digits) == raw
    assert node_id_from_hex(digits.upper()) == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "0011223344556677aa",
        "001122334455667",
        "001122334455667g",
        "00 11 22 33 44 5",
        "00 11 22 33 44 55 66 77",
        " 0011223344556677",
        "0011223344556677\n",
        "٠٠١١٢٢٣٣٤٤٥٥٦٦٧٧",
    ],
)
def test_what_is_not_sixteen_digits_is_no_node_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"digits|hexadecimal"):
        node_id_from_hex(text)


def test_node_ids_are_drawn_from_the_source_given() -> None:
    drawn = [random_node_id(random.Random(seed)) for seed in range(1000)]
    assert drawn == [random_node_id(random.Random(seed)) for seed in range(1000)]
    assert len(dict.fromkeys(drawn)) == 1000
    assert all(len(node_id) == NODE_ID_BYTES for node_id in drawn)


@given(st.integers())
def test_request_ids_of_one_boot_differ_and_fit_63_bits(seed: int) -> None:
    ids = RequestIds(random.Random(seed))
    drawn = [ids.next() for _ in range(200)]
    assert len(dict.fromkeys(drawn)) == 200
    assert all(0 <= request_id < 1 << 63 for request_id in drawn)


def test_two_boots_share_no_request_id() -> None:
    boots = [RequestIds(random.Random(seed)) for seed in range(100)]
    drawn = [ids.next() for ids in boots for _ in range(100)]
    assert len(dict.fromkeys(drawn)) == 100 * 100


class LastNumber(random.Random):
    """Draws the greatest number that there is."""

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) - 1


def test_request_ids_go_on_from_zero_after_the_greatest() -> None:
    ids = RequestIds(LastNumber())
    assert [ids.next() for _ in range(3)] == [(1 << 63) - 1, 0, 1]
