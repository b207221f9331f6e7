"""Durations are tables: the quantiles that a study names come out, the same everywhere."""

from decimal import Decimal, getcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadik_machine import MILLISECOND
from sadik_sim.study.durations import STEPS, BadDuration, durations_from


def quantile_ms(table: tuple[int, ...], percent: float) -> float:
    return table[int(len(table) * percent / 100)] / MILLISECOND


def test_fixed_is_always_the_same() -> None:
    assert set(durations_from({"shape": "fixed", "ms": 3})) == {3 * MILLISECOND}


def test_uniform_lies_evenly_between_its_ends() -> None:
    table = durations_from({"shape": "uniform", "low_ms": 1, "high_ms": 3})
    assert sum(table) == 2 * MILLISECOND * STEPS
    assert table[0] > MILLISECOND
    assert table[-1] < 3 * MILLISECOND


def test_exponential_has_its_mean() -> None:
    table = durations_from({"shape": "exponential", "low_ms": 5, "mean_ms": 2})
    assert sum(table) / STEPS / MILLISECOND == pytest.approx(7, rel=0.01)


def test_pareto_has_its_tail() -> None:
    table = durations_from({"shape": "pareto", "low_ms": 1, "alpha": 2})
    assert quantile_ms(table, 75) == pytest.approx(2, rel=0.01)  # 4 ** (1/2)


def test_loglogistic_has_the_two_quantiles_that_it_was_given() -> None:
    table = durations_from({"shape": "loglogistic", "median_ms": 40, "p99_ms": 60})
    assert quantile_ms(table, 50) == pytest.approx(40, rel=0.01)
    assert quantile_ms(table, 99) == pytest.approx(60, rel=0.02)


def test_quantiles_are_joined_by_straight_lines() -> None:
    table = durations_from({"quantiles": [[0, 1], [50, Decimal("1.5")], [100, 9]]})
    assert quantile_ms(table, 25) == pytest.approx(1.25, rel=0.01)
    assert quantile_ms(table, 75) == pytest.approx(5.25, rel=0.01)


@settings(max_examples=20)
@given(
    low=st.integers(1, 1000), more=st.integers(1, 1000), shape=st.sampled_from(["uniform", "log"])
)
def test_every_table_ascends(low: int, more: int, shape: str) -> None:
    names = ("low_ms", "high_ms") if shape == "uniform" else ("median_ms", "p99_ms")
    kind = "uniform" if shape == "uniform" else "loglogistic"
    table = durations_from({"shape": kind, names[0]: low, names[1]: low + more})
    assert len(table) == STEPS
    assert list(table) == sorted(table)
    assert all(type(value) is int and value > 0 for value in table)


def test_the_precision_that_a_program_sets_changes_nothing() -> None:
    described = {"shape": "loglogistic", "median_ms": 40, "p99_ms": 60}
    usual = durations_from(described)
    before = getcontext().prec
    getcontext().prec = 5
    try:
        assert durations_from(described) == usual
    finally:
        getcontext().prec = before


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ({}, "shape: one of fixed"),
        ({"shape": "gauss"}, "shape: one of fixed"),
        ({"shape": "fixed"}, "fixed takes ms"),
        ({"shape": "fixed", "ms": 1, "p99_ms": 2}, "fixed takes ms"),
        ({"shape": "fixed", "ms": True}, "a number"),
        ({"shape": "fixed", "ms": -1}, "0 to"),
        ({"shape": "uniform", "low_ms": 2, "high_ms": 2}, "lies below"),
        ({"shape": "pareto", "low_ms": 2, "alpha": 0}, "above 0"),
        ({"quantiles": [[0, 1]]}, "two or more"),
        ({"quantiles": [[0, 1], [90, 2]]}, "from 0 percent to 100"),
        ({"quantiles": [[0, 3], [100, 2]]}, "never fall"),
        ({"quantiles": [[0, 3], [100, 4]], "shape": "fixed"}, "stand alone"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(
    described: dict[str, object], why: str
) -> None:
    with pytest.raises(BadDuration, match=why):
        durations_from(described)
