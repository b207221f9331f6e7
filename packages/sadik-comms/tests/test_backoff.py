"""Waits grow, stay within their bounds, repeat under one seed, and are not in step."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_comms import Backoff


@given(st.integers(0, 2**32), st.integers(1, 10**9), st.integers(1, 1000), st.integers(1, 30))
def test_the_wait_lies_in_the_upper_half_below_a_doubling_ceiling(
    seed: int, initial_ns: int, factor: int, tries: int
) -> None:
    maximum_ns = initial_ns * factor
    backoff = Backoff(Random(seed), initial_ns=initial_ns, maximum_ns=maximum_ns)
    for attempt in range(tries):
        ceiling_ns = min(initial_ns * 2**attempt, maximum_ns)
        wait_ns = backoff.next_ns()
        assert isinstance(wait_ns, int)
        assert ceiling_ns <= 2 * wait_ns <= 2 * ceiling_ns


def test_a_success_begins_again() -> None:
    backoff = Backoff(Random(1), initial_ns=100, maximum_ns=100_000)
    for _ in range(8):
        backoff.next_ns()
    assert backoff.next_ns() > 100
    backoff.reset()
    assert backoff.next_ns() <= 100


def test_one_seed_gives_one_sequence_and_two_seeds_two() -> None:
    one, same, other = (Backoff(Random(seed)) for seed in (1, 1, 2))
    waits = [one.next_ns() for _ in range(20)]
    assert waits == [same.next_ns() for _ in range(20)]
    assert waits != [other.next_ns() for _ in range(20)]


@pytest.mark.parametrize(("initial_ns", "maximum_ns"), [(0, 10), (-1, 10), (11, 10)])
def test_impossible_bounds_are_refused(initial_ns: int, maximum_ns: int) -> None:
    with pytest.raises(ValueError, match="initial_ns"):
        Backoff(Random(1), initial_ns=initial_ns, maximum_ns=maximum_ns)
