"""Times: integer nanoseconds, and the first of several optional instants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import MICROSECOND, MILLISECOND, SECOND, earliest, from_seconds, to_seconds


def test_units_are_nanoseconds() -> None:
    assert MICROSECOND == 1_000
    assert MILLISECOND == 1_000 * MICROSECOND
    assert SECOND == 1_000 * MILLISECOND


@pytest.mark.parametrize(
    ("seconds", "nanoseconds"),
    [(0, 0), (1.5, 1_500_000_000), (1e-9, 1), (0.4e-9, 0), (0.6e-9, 1), (-2.5, -2_500_000_000)],
)
def test_seconds_become_the_nearest_nanosecond(seconds: float, nanoseconds: int) -> None:
    result = from_seconds(seconds)
    assert result == nanoseconds
    assert type(result) is int


@given(st.integers(min_value=-(1 << 50), max_value=1 << 50))
def test_nanoseconds_of_thirteen_days_survive_the_way_through_seconds(nanoseconds: int) -> None:
    assert from_seconds(to_seconds(nanoseconds)) == nanoseconds


@given(st.lists(st.none() | st.integers()))
def test_the_earliest_is_the_least_instant_that_is_set(deadlines: list[int | None]) -> None:
    least = earliest(*deadlines)
    assert least == min((d for d in deadlines if d is not None), default=None)


def test_an_instant_of_zero_is_set() -> None:
    assert earliest(None, 0, 5) == 0
