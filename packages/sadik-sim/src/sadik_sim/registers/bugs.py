"""Planted bugs of registers: how Paxos goes wrong when one of its rules is broken."""

# ruff: noqa: ARG001 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

import attrs

from sadik_machine import Reply
from sadik_register import acceptor as acceptor_module
from sadik_register import shelf as shelf_module
from sadik_register.keys import ZERO_BALLOT, Ballot
from sadik_register.learner import Inquiry
from sadik_register.messages import Accepted
from sadik_register.proposer import Proposal
from sadik_register.quorums import Quorums
from sadik_register.records import AcceptorRecord, record_row
from sadik_register.shelf import Shelf
from sadik_sim.planted.bug import Patch, PlantedBug

__all__ = ["REGISTER_BUGS"]


def _promise_forgotten() -> list[Patch]:
    def without(prefix: bytes, key: Any, record: AcceptorRecord) -> tuple[bytes, bytes]:
        kept = attrs.evolve(record, promised=record.accepted or ZERO_BALLOT)
        return record_row(prefix, key, kept)

    return [(shelf_module, "record_row", without)]


def _accepts_below_promise() -> list[Patch]:
    def accept(record: AcceptorRecord, question: Any) -> Any:
        ballot = Ballot(*question.ballot)
        kept = AcceptorRecord(max(ballot, record.promised), ballot, question.value)
        return kept, Accepted(question.name, question.epoch, ballot)

    return [(acceptor_module, "accept", accept)]


def _lowest_adopted() -> list[Patch]:
    def adopt(self: Any, accepted: Ballot, value: bytes) -> None:
        if self._found == ZERO_BALLOT or accepted < self._found:
            self._found = accepted
            self.value = value

    return [(Proposal, "_adopt", adopt)]


def _nothing_adopted() -> list[Patch]:
    def adopt(self: Any, accepted: Ballot, value: bytes) -> None:
        return

    return [(Proposal, "_adopt", adopt)]


def _quorums_apart() -> list[Patch]:
    def any_one(self: Quorums, answered: Any) -> bool:
        return len(answered) >= 1

    return [(Quorums, "has_phase1", any_one)]


def _decided_too_early() -> list[Patch]:
    def too_few(self: Quorums, answered: Any) -> bool:
        return len(answered) >= max(1, self.phase2 - 1)

    return [(Quorums, "has_phase2", too_few)]


def _answer_before_store() -> list[Patch]:
    store = Shelf._store

    def at_once(self: Any, key: Any, slot: Any, batch: Any, then: Any, own: Any) -> None:
        self.effects += then
        store(self, key, slot, batch, [], own)

    return [(Shelf, "_store", at_once)]


def _own_answer_before_store() -> list[Patch]:
    store = Shelf._store

    def at_once(self: Any, key: Any, slot: Any, batch: Any, then: Any, own: Any) -> None:
        if own is not None:
            self.to_self.append(own)
        store(self, key, slot, batch, then, None)

    return [(Shelf, "_store", at_once)]


def _ballot_reused() -> list[Patch]:
    begin = Proposal.begin

    def same_in_each_life(self: Proposal, proposer: Any, boot: int, above: int) -> Ballot:
        return begin(self, proposer, 0, above)

    return [(Proposal, "begin", same_in_each_life)]


def _rounds_begin_anew() -> list[Patch]:
    begin = Proposal.begin

    def from_one(self: Proposal, proposer: Any, boot: int, above: int) -> Ballot:
        return begin(self, proposer, boot, self.ballot.round)

    return [(Proposal, "begin", from_one)]


def _failed_store_kept() -> list[Patch]:
    def keep(self: Any, ticket: Any) -> None:
        key = self._loads.pop(ticket, None)
        if key is not None:
            del self._slots[key]
            return
        key, _ = self._stores.pop(ticket)
        self._slots[key].stores -= 1

    return [(Shelf, "failed", keep)]


def _proposal_denied() -> list[Patch]:
    promised = Proposal.promised

    def forget(self: Proposal, *args: Any) -> bool:
        is_time = promised(self, *args)
        self.was_proposed = False
        return is_time

    return [(Proposal, "promised", forget)]


def _vacant_too_early() -> list[Patch]:
    def any_empty(self: Any) -> bool:
        return any(accepted is None for accepted in self._accepted.values())

    return [(Inquiry, "is_vacant", property(any_empty))]


def _answers_twice() -> list[Patch]:
    from sadik_register.machine import Registers  # noqa: PLC0415 - beside what it breaks

    step = Registers.step

    def twice(self: Registers, now: int, event: Any) -> Any:
        effects = step(self, now, event)
        return effects + [each for each in effects if isinstance(each, Reply)]

    return [(Registers, "step", twice)]


def _never_retried() -> list[Patch]:
    from sadik_register.machine import Registers  # noqa: PLC0415 - beside what it breaks

    def give_up(self: Any, key: Any, proposal: Proposal) -> None:
        proposal.give_up_round()

    return [(Registers, "_back_off", give_up)]


_BUGS = (
    ("promise-forgotten", "An acceptor keeps its promises in memory only.", _promise_forgotten),
    (
        "accepts-below-promise",
        "An acceptor accepts a ballot below one that it promised.",
        _accepts_below_promise,
    ),
    ("lowest-adopted", "A proposer adopts the value of the least ballot.", _lowest_adopted),
    ("nothing-adopted", "A proposer proposes its own value whatever it is told.", _nothing_adopted),
    ("quorums-apart", "Quorums of the two phases need not intersect.", _quorums_apart),
    ("decided-too-early", "One acceptor less is enough for a decision.", _decided_too_early),
    ("promised-before-store", "An acceptor answers before it has stored.", _answer_before_store),
    (
        "own-word-before-store",
        "A proposer counts its own acceptor's word before it is stored.",
        _own_answer_before_store,
    ),
    ("ballot-reused", "A proposer's ballots do not tell its lives apart.", _ballot_reused),
    (
        "rounds-begin-anew",
        "A second proposal for a register begins with the ballots of the first.",
        _rounds_begin_anew,
    ),
    ("failed-store-kept", "An acceptor goes on from what could not be stored.", _failed_store_kept),
    ("proposal-denied", "A value that was proposed is called unwritten.", _proposal_denied),
    ("vacant-too-early", "One empty acceptor makes a register vacant.", _vacant_too_early),
    ("register-answers-twice", "A request is answered twice.", _answers_twice),
    ("round-not-retried", "A round that failed is not followed by another.", _never_retried),
)

# A seed that finds it needs three proposers who each get just so far.
_FOUND_BY = {
    "lowest-adopted": "test_registers.py::test_the_value_of_the_greatest_ballot_is_adopted",
}

REGISTER_BUGS: dict[str, PlantedBug] = {
    name: PlantedBug(name, 30, what, plant, found_by=_FOUND_BY.get(name, ""))
    for name, what, plant in _BUGS
}
"""All of them, by name."""
