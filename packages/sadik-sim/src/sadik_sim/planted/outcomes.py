"""Bugs of outcomes and of ends: a lie about what was applied, or no answer at all."""

# ruff: noqa: ARG001, ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.coordinator.getting import Getting
from sadik_vnode.coordinator.putting import Forwarding
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.desk import Conversation
from sadik_vnode.requests import Outcome, Tally, Unavailable

__all__ = ["BUGS"]


def _not_applied_after_store() -> list[Patch]:
    answer = Writing._answer_unavailable

    def lie(self: Writing, outcome: Outcome, detail: str) -> None:
        answer(self, Outcome.NOT_APPLIED, detail)

    return [(Writing, "_answer_unavailable", lie)]


def _not_applied_when_lost() -> list[Patch]:
    def lie(self: Forwarding, detail: str) -> Unavailable:
        return Unavailable(Outcome.NOT_APPLIED, detail, Tally(0, 0, 0, 0, 0))

    return [(Forwarding, "_indeterminate", lie)]


def _deadline_ignored() -> list[Patch]:
    return [(Writing, "due", lambda self, what: None)]


def _forward_never_ends() -> list[Patch]:
    return [(Forwarding, "due", lambda self, what: None)]


def _never_closed() -> list[Patch]:
    close = Conversation.close

    def leave_open(self: Conversation, *names: str) -> None:
        if isinstance(self, Getting | Reading):
            for name in names:
                self.desk.deadlines.drop((self, name))
        else:
            close(self, *names)

    return [(Conversation, "close", leave_open)]


def _answered_twice() -> list[Patch]:
    give_up = Writing._give_up

    def again(self: Any, detail: str) -> None:
        self._answered = False
        give_up(self, detail)

    return [(Writing, "_give_up", again)]


BUGS = (
    PlantedBug(
        "not-applied-after-store",
        28,
        "A write that is stored is answered as not applied when too few acknowledge.",
        _not_applied_after_store,
    ),
    PlantedBug(
        "not-applied-when-lost",
        28,
        "A forwarded write whose coordinator is lost is answered as not applied.",
        _not_applied_when_lost,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "deadline-ignored",
        20,
        "A write whose time is up waits on.",
        _deadline_ignored,
        {"profile": "network"},
    ),
    PlantedBug(
        "forward-never-ends",
        20,
        "A forwarded write waits for its coordinator for ever.",
        _forward_never_ends,
    ),
    PlantedBug(
        "reads-never-closed",
        20,
        "Reads that were answered are kept for ever.",
        _never_closed,
    ),
    PlantedBug(
        "answered-twice",
        7,
        "A write that was answered is answered again when its time is up.",
        _answered_twice,
    ),
)
