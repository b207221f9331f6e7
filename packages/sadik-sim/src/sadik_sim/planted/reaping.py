"""Bugs of reaping: what is gone goes too early, or comes back with a node that was away."""

# ruff: noqa: ARG001, ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode import foreign
from sadik_vnode.desk import Desk
from sadik_vnode.foreign import ForeignRecords
from sadik_vnode.reaping import Generations, answering, asking, reaper
from sadik_vnode.reaping.messages import CoversTold, GoneTold

__all__ = ["BUGS"]


def _by_age_alone() -> list[Patch]:
    def believe(self: asking.Asking) -> None:
        self.close("answer")
        self._done(self._proof)

    def at_once(self: reaper._Taking) -> None:
        self._take_away()

    return [
        (asking.Asking, "start", believe),
        (reaper, "_PROVEN_AFTER", -(1 << 60)),
        (reaper._Taking, "_tell", at_once),
    ]


def _one_owner_is_enough() -> list[Patch]:
    received = asking.Asking.received

    def agree(self: asking.Asking, sender: Any, message: object) -> None:
        if isinstance(message, GoneTold):
            message.verdicts = (True,) * len(message.verdicts)
        received(self, sender, message)

    return [(asking.Asking, "received", agree)]


def _without_generations() -> list[Patch]:
    return [(reaper, "_PROVEN_AFTER", -(1 << 60))]


def _down_member_ignored() -> list[Patch]:
    others = Generations._others

    def reachable(self: Generations) -> Any:
        return [node for node in others(self) if self.desk.placement.is_routable(node)]

    def ahead(self: Generations, is_empty: Any) -> None:
        self._save(self._most_heard, self._most_heard)

    return [(Generations, "_others", reachable), (Generations, "_follow", ahead)]


def _foreign_records_ignored() -> list[Patch]:
    return [(ForeignRecords, "when_clear", lambda self, then: then())]


def _old_generation_taken() -> list[Patch]:
    def takes(self: Generations, generation: int) -> bool:
        self.heard(generation)
        return not self.is_behind

    return [(Generations, "takes", takes)]


def _rolled_back_contributes() -> list[Patch]:
    def follow(self: Generations, is_empty: Any) -> None:
        self._save(self._most_heard, self._most_heard)

    return [(Generations, "_follow", follow)]


def _foreign_deleted_when_told() -> list[Patch]:
    received = foreign._HandingOff.received

    def hasty(self: foreign._HandingOff, sender: Any, message: object) -> None:
        if isinstance(message, CoversTold):
            message.verdicts = (True,) * len(message.verdicts)
        received(self, sender, message)

    return [(foreign._HandingOff, "received", hasty)]


def _foreign_never_handed_off() -> list[Patch]:
    return [(ForeignRecords, "_begin", lambda self: None)]


def _expired_by_one_clock() -> list[Patch]:
    def gone(container: Any, wall_ns: int) -> bool:
        return bool(container.versions)

    return [(answering, "is_gone", gone)]


def _life_ignored() -> list[Patch]:
    make = Generations.__init__

    def init(self: Generations, desk: Desk, saved: Any, life: int) -> None:
        make(self, desk, saved, 0)

    return [(Generations, "__init__", init), (Generations, "lost_something", lambda self: None)]


def _never_reaped() -> list[Patch]:
    return [(Generations, "want", lambda self, generation: None)]


BUGS = (
    PlantedBug(
        "reaped-by-age",
        13,
        "What is gone goes when it is old enough, whatever the other owners hold.",
        _by_age_alone,
    ),
    PlantedBug(
        "one-owner-is-enough",
        13,
        "What is gone goes though another owner holds it otherwise.",
        _one_owner_is_enough,
    ),
    PlantedBug(
        "reaped-without-generations",
        31,
        "What all owners hold as gone goes at once: an older value may still be on its way.",
        _without_generations,
    ),
    PlantedBug(
        "down-member-ignored",
        13,
        "A member that is down does not hold up a reap generation.",
        _down_member_ignored,
        found_by="test_planted.py::test_a_member_that_is_down_holds_up_a_generation",
    ),
    PlantedBug(
        "foreign-records-ignored",
        13,
        "A generation is cleared though what fallbacks hold has not been handed off.",
        _foreign_records_ignored,
    ),
    PlantedBug(
        "old-generation-taken",
        31,
        "What was read generations ago is merged like anything else.",
        _old_generation_taken,
        found_by="test_planted.py::test_what_was_read_two_generations_ago_is_refused",
    ),
    PlantedBug(
        "rolled-back-contributes",
        13,
        "A node whose store was put back takes part with all that it holds.",
        _rolled_back_contributes,
        {"profile": "disks"},
        found_by="test_planted.py::test_a_generation_that_needs_this_node_tells_that_it_was_put_back",
    ),
    PlantedBug(
        "foreign-deleted-when-told",
        11,
        "A foreign record goes when its owners have answered, whatever they said.",
        _foreign_deleted_when_told,
    ),
    PlantedBug(
        "foreign-never-handed-off",
        11,
        "A node keeps what it does not own for ever.",
        _foreign_never_handed_off,
    ),
    PlantedBug(
        "expired-by-one-clock",
        33,
        "What has expired by the clock of one owner goes from all.",
        _expired_by_one_clock,
        {"profile": "clocks"},
    ),
    PlantedBug(
        "life-ignored",
        13,
        "An owner that started anew counts as the one that said that it holds something.",
        _life_ignored,
        {"profile": "disks"},
        found_by="test_planted.py::test_every_start_is_a_life_of_its_own",
    ),
    PlantedBug(
        "never-reaped",
        13,
        "No node ever wants the next generation, so nothing is reaped.",
        _never_reaped,
    ),
)
