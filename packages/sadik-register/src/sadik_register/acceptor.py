"""The acceptor's laws: pure functions from a record and a message to the next record and the
answer.

An acceptor promises never to accept a ballot below the greatest that it was asked to prepare, and
accepts what it has not promised not to. Both must be on disk before anybody hears of it, which is
the caller's part. A decided record answers everything with the decision.
"""

from __future__ import annotations

from attrs import evolve

from sadik_register.keys import Ballot
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
from sadik_register.records import AcceptorRecord

__all__ = ["Answer", "Question", "answer"]

Question = Prepare | Accept | Ask | Decision
Answer = Promise | Accepted | Rejected | State | Chosen


def answer(record: AcceptorRecord, question: Question) -> tuple[AcceptorRecord, Answer | None]:
    """The record after ``question``, and what to answer once that record is on disk."""
    match question:
        case Decision(value=value):
            if record.decided is None:
                return AcceptorRecord(decided=value), None
            return record, None
        case _ if record.decided is not None:
            return record, Chosen(question.name, question.epoch, record.decided)
        case Prepare():
            return prepare(record, question)
        case Accept():
            return accept(record, question)
        case Ask(name, epoch, inquiry):
            return record, State(name, epoch, inquiry, record.accepted, record.value)


def prepare(record: AcceptorRecord, question: Prepare) -> tuple[AcceptorRecord, Answer]:
    """Phase 1, the acceptor's side."""
    ballot = Ballot(*question.ballot)
    if ballot < record.promised:
        return record, _rejected(record, question)
    if ballot != record.promised:
        record = evolve(record, promised=ballot)
    promise = Promise(question.name, question.epoch, ballot, record.accepted, record.value)
    return record, promise


def accept(record: AcceptorRecord, question: Accept) -> tuple[AcceptorRecord, Answer]:
    """Phase 2, the acceptor's side."""
    ballot = Ballot(*question.ballot)
    if ballot < record.promised:
        return record, _rejected(record, question)
    if ballot == record.accepted and question.value != record.value:
        # No correct proposer says two values in one ballot; accepting the second could undo a
        # decision.
        return record, _rejected(record, question)
    if ballot != record.accepted:
        record = AcceptorRecord(promised=ballot, accepted=ballot, value=question.value)
    return record, Accepted(question.name, question.epoch, ballot)


def _rejected(record: AcceptorRecord, question: Prepare | Accept) -> Rejected:
    return Rejected(question.name, question.epoch, question.ballot, record.promised)
