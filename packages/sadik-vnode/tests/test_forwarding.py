"""Forwarding: every result of a write comes back, and what carries none is told apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import Codec, NodeId
from sadik_vnode.forwarding import NOT_TAKEN, answer_of, not_taken, result_from_answer
from sadik_vnode.messages import MESSAGES, ForwardWriteAnswer
from sadik_vnode.requests import (
    Missing,
    Outcome,
    Refusal,
    Refused,
    Result,
    Tally,
    Unavailable,
    Written,
)

CODEC = Codec(MESSAGES)

COUNTS = st.integers(0, 9)
TALLIES = st.builds(Tally, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
NODES = st.binary(min_size=8, max_size=8).map(NodeId)
RESULTS: st.SearchStrategy[Result] = st.one_of(
    st.builds(Written, st.text(), st.text(), TALLIES, NODES),
    st.builds(Missing, st.none() | st.text(), TALLIES, NODES),
    st.builds(Refused, st.sampled_from(Refusal), st.text()),
    st.builds(Unavailable, st.sampled_from(Outcome), st.text(), TALLIES, COUNTS),
)


@given(st.integers(0, (1 << 63) - 1), RESULTS)
def test_a_result_comes_back_over_the_wire(request: int, result: Result) -> None:
    answer = CODEC.decode(CODEC.encode(answer_of(request, result)))
    assert answer.request == request
    assert result_from_answer(answer) == result


@given(RESULTS, st.lists(st.integers() | st.text(max_size=3), max_size=3))
def test_fields_that_a_newer_version_added_are_ignored(result: Result, more: list[Any]) -> None:
    answer = answer_of(1, result)
    longer = ForwardWriteAnswer(1, answer.kind, (*answer.fields, *more))
    assert result_from_answer(longer) == result


def test_a_refusal_to_coordinate_is_no_result() -> None:
    answer = CODEC.decode(CODEC.encode(not_taken(5)))
    assert (answer.request, answer.kind) == (5, NOT_TAKEN)
    with pytest.raises(ValueError, match="kind 4"):
        result_from_answer(answer)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=8)
)
PLAIN = SCALARS | st.lists(SCALARS, max_size=6).map(tuple)


def checked(answer: ForwardWriteAnswer) -> None:
    """The answer carries a result whose fields are of their types, or is refused."""
    try:
        result = result_from_answer(answer)
    except (ValueError, TypeError):
        return
    assert isinstance(result, Written | Missing | Refused | Unavailable)
    again = answer_of(1, result)
    assert result_from_answer(CODEC.decode(CODEC.encode(again))) == result


@given(st.integers(-1, 6), st.lists(PLAIN, max_size=6).map(tuple))
def test_arbitrary_fields_are_a_result_or_refused(kind: int, fields: tuple[Any, ...]) -> None:
    checked(ForwardWriteAnswer(1, kind, fields))


@given(RESULTS, PLAIN, st.data())
def test_a_result_with_one_wrong_field_is_refused_or_of_its_types(
    result: Result, wrong: Any, data: st.DataObject
) -> None:
    answer = answer_of(1, result)
    fields = list(answer.fields)
    fields[data.draw(st.integers(0, len(fields) - 1))] = wrong
    checked(ForwardWriteAnswer(1, answer.kind, tuple(fields)))


@pytest.mark.parametrize("wrong", [True, 1.0, "1", None, b"1"])
def test_a_count_is_an_integer_and_nothing_like_it(wrong: Any) -> None:
    answer = answer_of(1, Unavailable(Outcome.NOT_APPLIED, "", Tally(2, 1, 1, 1, 0)))
    outcome, detail, _, retry = answer.fields
    for fields in (
        (outcome, detail, (2, 1, wrong, 1, 0), retry),
        (outcome, detail, (2, 1, 1, 1, 0), wrong),
    ):
        with pytest.raises(TypeError):
            result_from_answer(ForwardWriteAnswer(1, answer.kind, fields))


@given(RESULTS)
def test_a_result_with_a_field_missing_is_refused(result: Result) -> None:
    answer = answer_of(1, result)
    with pytest.raises((ValueError, TypeError)):
        result_from_answer(ForwardWriteAnswer(1, answer.kind, answer.fields[:-1]))
