"""Plans: what moves between two assignments, and the figures of balance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_hashing import (
    Assignment,
    Balance,
    Claimant,
    Load,
    Move,
    balance_of,
    minimum_moves,
    moves,
    reordered,
)

A, B, C, D = b"a", b"b", b"c", b"d"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((A, B, C), (A, B, C), []),
        ((A, B, C), (C, B, A), []),
        ((A, B, C), (A, D, C), [Move(0, 1, B, D)]),
        ((A, B, C), (D, A, C), [Move(0, 0, B, D)]),
        ((A, B), (A, B, C), [Move(0, 2, None, C)]),
        ((A, B), (C, A, B), [Move(0, 0, None, C)]),
        ((A, B, C), (A, C), [Move(0, 1, B, None)]),
        ((), (A,), [Move(0, 0, None, A)]),
        ((A, B), (C, D), [Move(0, 0, A, C), Move(0, 1, B, D)]),
    ],
)
def test_moves(before: tuple[bytes, ...], after: tuple[bytes, ...], expected: list[Move]) -> None:
    assert moves((before,), (after,)) == expected


rows = st.lists(st.sampled_from([b"%d" % i for i in range(6)]), max_size=4, unique=True).map(tuple)


@given(st.lists(st.tuples(rows, rows), max_size=5))
def test_moves_turn_one_set_of_owners_into_the_other(
    pairs: list[tuple[tuple[bytes, ...], tuple[bytes, ...]]],
) -> None:
    before = tuple(old for old, _ in pairs)
    after = tuple(new for _, new in pairs)
    owners = [set(old) for old in before]
    for move in moves(before, after):
        if move.giver is not None:
            owners[move.partition].remove(move.giver)
        if move.receiver is not None:
            assert move.receiver not in owners[move.partition]
            assert after[move.partition][move.position] == move.receiver
            owners[move.partition].add(move.receiver)
    assert owners == [set(new) for new in after]


def test_reordered_lists_are_told_from_moved_ones() -> None:
    assert reordered(((A, B), (A, B), (A, B)), ((B, A), (A, B), (B, C))) == [0]


def test_different_partition_counts_do_not_compare() -> None:
    with pytest.raises(ValueError, match="argument"):
        moves(((A,),), ())
    with pytest.raises(ValueError, match="argument"):
        reordered(((A,),), ())


def test_balance_counts_slots_first_owners_and_zones() -> None:
    claimants = [Claimant(A, "x"), Claimant(B, "y"), Claimant(C, "y"), Claimant(D, "z")]
    assert balance_of(((A, B), (A, C), (B, C)), claimants) == Balance(
        replica=Load(mean=1.5, most=2.0),
        first=Load(mean=0.75, most=2.0),
        zones_min=1,
        zones_max=2,
    )


def test_efficiency_is_mean_by_maximum() -> None:
    assert Load(mean=3.0, most=4.0).efficiency == 0.75
    assert Load(mean=0.0, most=0.0).efficiency == 1.0


def test_balance_is_per_weight() -> None:
    claimants = [Claimant(A, weight=2.0), Claimant(B)]
    assert balance_of(((A,), (A,), (B,)), claimants).replica.efficiency == 1.0


def test_balance_needs_partitions_and_known_owners() -> None:
    with pytest.raises(ValueError, match="partition"):
        balance_of((), [Claimant(A)])
    with pytest.raises(KeyError):
        balance_of(((B,),), [Claimant(A)])


@pytest.mark.parametrize(
    ("present", "claimants", "replicas", "least"),
    [
        (((A, B),) * 8, [Claimant(A), Claimant(B)], 2, 0),
        (((A, B),) * 8, [Claimant(A)], 1, 0),
        (((A, C),) * 8, [Claimant(A), Claimant(B)], 2, 8),
        (((A,),) * 8, [Claimant(A), Claimant(B)], 2, 8),
        (((A,),) * 8, [Claimant(A), Claimant(B)], 1, 4),
        (((A,),) * 8, [Claimant(A), Claimant(B), Claimant(C)], 1, 5),
        # Both owners in one zone, a node elsewhere: one of them must go everywhere.
        (((A, B),) * 8, [Claimant(A), Claimant(B), Claimant(C, "z")], 2, 8),
    ],
)
def test_minimum_moves(
    present: Assignment, claimants: list[Claimant], replicas: int, least: int
) -> None:
    assert minimum_moves(claimants, 8, replicas, present) == least


def test_minimum_moves_needs_the_same_partitions() -> None:
    with pytest.raises(ValueError, match="4 partitions"):
        minimum_moves([Claimant(A)], 8, 1, ((A,),) * 4)
