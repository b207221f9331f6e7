"""Membership rows: what was saved is read again, and one bit off is no other member or epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import NodeId, decode_plain, encode_plain
from sadik_members import Document, Member, MemberState, Phase, Register
from sadik_members.rows import (
    Cluster,
    SavedState,
    cluster_row,
    document_row,
    load_rows,
    member_row,
    register_row,
)
from sadik_members.settings import SavedStateError

ONE, TWO = NodeId(b"1" * 8), NodeId(b"2" * 8)
CLUSTER = Cluster(b"i" * 16, b"k" * 32, "test", 8, 3, ONE, True)
MEMBERS = [
    Member(ONE, "n1", "h1:1", "h1:2", "a", 1.0, 3, MemberState.UP, 2, 77),
    Member(TWO, "n2", "h2:1", "h2:2", "b", 2.0, 1, MemberState.LEFT, 1, 78),
]
REGISTERS = [
    (0, Register(1, (ONE, TWO))),
    (3, Register.changing(2, Phase.WRITE_BOTH, (ONE,), (TWO, ONE))),
    (4, Register.changing(3, Phase.READ_NEW, (ONE,), (TWO,))),
    (7, Register(5, (TWO, ONE))),
]
DOCUMENTS = [Document("bucket/b", 5, b"properties")]
SAVED = SavedState(CLUSTER, MEMBERS, REGISTERS, DOCUMENTS)
ROWS = dict(
    [
        cluster_row(CLUSTER),
        *map(member_row, MEMBERS),
        *(register_row(*entry) for entry in REGISTERS),
        *map(document_row, DOCUMENTS),
    ]
)


def test_what_was_saved_is_read_again() -> None:
    assert load_rows(ROWS) == SAVED
    assert load_rows({}) is None


def test_rows_without_a_sum_are_read_too() -> None:
    """They are of the first format, whose content followed its number."""
    first = {key: encode_plain((1, *decode_plain(decode_plain(v)[2]))) for key, v in ROWS.items()}
    assert load_rows(first) == SAVED


@given(st.data())
def test_one_bit_off_is_never_taken_for_something_else(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(ROWS)))
    damaged = bytearray(ROWS[key])
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SavedStateError, match=r"damaged|format"):
        load_rows({**ROWS, key: bytes(damaged)})
