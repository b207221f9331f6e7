"""Bugs of changing the ring."""

# ruff: noqa: ARG001 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_members import Phase, Register
from sadik_register import Quorums
from sadik_register.proposer import Proposal
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode import Engine
from sadik_vnode.reaping import answering
from sadik_vnode.reaping.rollback import CatchingUp
from sadik_vnode.ringchange.driver import RingChanges
from sadik_vnode.ringchange.voice import Voice

__all__ = ["BUGS"]


def _receiver_not_filled() -> list[Patch]:
    def at_once(self: Any, partition: int, change: Any, register: Any) -> bool:
        return True

    return [(RingChanges, "_is_filled", at_once)]


def _new_read_early() -> list[Patch]:
    def readers(self: Register) -> tuple[Any, ...]:
        return self.owners if self.phase is Phase.DONE else self.new

    return [(Register, "readers", property(readers))]


def _old_quorum_only() -> list[Patch]:
    def lists(self: Register) -> tuple[tuple[Any, ...], ...]:
        return (self.owners,) if self.phase is Phase.DONE else (self.old,)

    return [(Register, "lists", property(lists))]


def _accepted_ignored() -> list[Patch]:
    def own_value(self: Proposal, accepted: Any, value: bytes) -> None:
        pass

    return [(Proposal, "_adopt", own_value)]


def _adoption_not_awaited() -> list[Patch]:
    def nobody(self: Any, partition: int, register: Any, asks: Any) -> list[Any]:
        return []

    return [(RingChanges, "_not_adopted", nobody)]


def _rolled_back_votes() -> list[Patch]:
    def always(self: Any, partition: int, epoch: int, voters: Any) -> bool:
        return True

    def all_of_them(self: Any, partition: int, voters: Any) -> Quorums:
        return Quorums.majority(voters)

    return [(Voice, "may_answer", always), (Voice, "quorums", all_of_them)]


def _phase_untold() -> list[Patch]:
    def without(partition: int, register: Register) -> tuple[object, ...]:
        return partition, register.epoch, register.owners

    return [(answering, "register_to_plain", without)]


def _doubt_left_in_a_calm() -> list[Patch]:
    def only_noted(self: Engine, births: Any) -> None:
        self._changes.voice.lost()
        CatchingUp(self._desk, births).start()

    return [(Engine, "_is_behind", only_noted)]


BUGS = (
    PlantedBug(
        "old-quorum-only",
        30,
        "While owners change, a write needs a quorum of the old ones alone.",
        _old_quorum_only,
        {"profile": "membership"},
        found_by="test_planted.py::test_the_old_owners_are_not_enough_while_owners_change",
    ),
    PlantedBug(
        "accepted-ignored",
        30,
        "A proposer of the next register ignores what acceptors have accepted before.",
        _accepted_ignored,
        {"profile": "membership"},
        found_by="test_planted.py::test_a_proposer_takes_up_what_was_accepted",
    ),
    PlantedBug(
        "rolled-back-votes",
        30,
        "A node whose store was put back votes on registers that it may have voted on before.",
        _rolled_back_votes,
        found_by="test_planted.py::test_who_forgot_what_it_had_voted_does_not_vote_again",
    ),
    PlantedBug(
        "phase-untold",
        30,
        "Who tells of a register that is changing tells its owners, and not that they change.",
        _phase_untold,
        {"profile": "membership"},
    ),
    PlantedBug(
        "doubt-left-in-a-calm",
        30,
        "A node that finds its store put back has its voice decided when something else changes.",
        _doubt_left_in_a_calm,
        found_by="test_planted.py::test_a_doubt_ends_though_nothing_else_happens",
    ),
    PlantedBug(
        "adoption-not-awaited",
        30,
        "A phase of a change is left before its owners have its register on disk.",
        _adoption_not_awaited,
        {"profile": "membership"},
        found_by="test_planted.py::test_a_driver_waits_until_its_owners_have_adopted",
    ),
    PlantedBug(
        "receiver-not-filled",
        18,
        "A new owner is read before it has what the old one had.",
        _receiver_not_filled,
        {"profile": "membership"},
    ),
    PlantedBug(
        "new-read-early",
        18,
        "The new owners are read while they are being brought the data.",
        _new_read_early,
        {"profile": "membership"},
    ),
)
