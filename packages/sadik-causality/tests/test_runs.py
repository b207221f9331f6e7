"""Runs behave as the set of integers that they stand for, and each set has one form."""

from hypothesis import given
from hypothesis import strategies as st

from sadik_causality.runs import Runs, contains, difference, includes, union

numbers = st.frozensets(st.integers(1, 24))


def runs_of(members: frozenset[int]) -> Runs:
    """The naive twin: a boundary wherever membership changes."""
    return tuple(n for n in range(1, 26) if (n in members) != (n - 1 in members))


@given(numbers, numbers)
def test_operations_are_those_of_sets(one: frozenset[int], two: frozenset[int]) -> None:
    assert union(runs_of(one), runs_of(two)) == runs_of(one | two)
    assert difference(runs_of(one), runs_of(two)) == runs_of(one - two)
    assert includes(runs_of(one), runs_of(two)) == (one >= two)


@given(numbers)
def test_membership(members: frozenset[int]) -> None:
    assert {n for n in range(26) if contains(runs_of(members), n)} == members


def test_a_long_history_costs_what_its_holes_cost() -> None:
    whole = (1, 10**18)
    assert difference(whole, (500, 501)) == (1, 500, 501, 10**18)
    assert union((1, 500, 501, 10**18), (500, 501)) == whole
