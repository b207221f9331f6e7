"""The acceptor's laws, one question at a time."""

from sadik_machine import NodeId
from sadik_register import AcceptorRecord, Ballot
from sadik_register.acceptor import answer
from sadik_register.messages import (
    Accept,
    Accepted,
    Ask,
    Chosen,
    Decision,
    Prepare,
    Promise,
    Rejected,
    State,
)
from sadik_register.records import EMPTY

ONE, TWO, THREE = (Ballot(round_, NodeId(b"n" * 8), 1) for round_ in (1, 2, 3))
HAS_TWO = AcceptorRecord(promised=TWO, accepted=TWO, value=b"two")


def test_a_promise_tells_what_was_accepted_and_binds() -> None:
    record, promise = answer(HAS_TWO, Prepare(b"r", 1, THREE))
    assert promise == Promise(b"r", 1, THREE, TWO, b"two")
    assert record == AcceptorRecord(promised=THREE, accepted=TWO, value=b"two")
    assert answer(record, Accept(b"r", 1, TWO, b"two")) == (record, Rejected(b"r", 1, TWO, THREE))


def test_nothing_below_a_promise_is_prepared_or_accepted() -> None:
    for question in (Prepare(b"r", 1, ONE), Accept(b"r", 1, ONE, b"one")):
        assert answer(HAS_TWO, question) == (HAS_TWO, Rejected(b"r", 1, ONE, TWO))


def test_accepting_is_promising() -> None:
    record, accepted = answer(EMPTY, Accept(b"r", 1, TWO, b"two"))
    assert (record, accepted) == (HAS_TWO, Accepted(b"r", 1, TWO))


def test_questions_that_come_twice_are_answered_alike_and_change_nothing() -> None:
    for question in (Prepare(b"r", 1, TWO), Accept(b"r", 1, TWO, b"two"), Ask(b"r", 1, 5)):
        once, first = answer(EMPTY, question)
        twice, second = answer(once, question)
        assert twice is once
        assert first == second


def test_one_ballot_has_one_value() -> None:
    question = Accept(b"r", 1, TWO, b"other")
    assert answer(HAS_TWO, question) == (HAS_TWO, Rejected(b"r", 1, TWO, TWO))


def test_asking_shows_and_changes_nothing() -> None:
    assert answer(HAS_TWO, Ask(b"r", 1, 5)) == (HAS_TWO, State(b"r", 1, 5, TWO, b"two"))


def test_a_decision_stays_and_answers_everything() -> None:
    decided, nothing = answer(HAS_TWO, Decision(b"r", 1, b"two"))
    assert (decided, nothing) == (AcceptorRecord(decided=b"two"), None)
    chosen = Chosen(b"r", 1, b"two")
    for question in (Prepare(b"r", 1, THREE), Accept(b"r", 1, THREE, b"x"), Ask(b"r", 1, 5)):
        assert answer(decided, question) == (decided, chosen)
    assert answer(decided, Decision(b"r", 1, b"other")) == (decided, None)
