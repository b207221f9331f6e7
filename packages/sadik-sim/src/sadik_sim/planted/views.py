"""Bugs of what clients are shown, and of what they make a write depend on."""

# ruff: noqa: ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.coordinator import showing, writing
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.desk import Desk
from sadik_vnode.requests import Condition

__all__ = ["BUGS"]


def _session_ignored() -> list[Patch]:
    return [(Reading, "_is_behind", lambda self: False)]


def _session_asks_owners_only() -> list[Patch]:
    def settle(self: Reading) -> None:
        while self._candidates:
            self._ask_next()
        if not self._waiting():
            self._at_least = None
            self._check()

    return [(Reading, "_ask_everybody", settle)]


def _condition_ignored() -> list[Patch]:
    return [(Condition, "holds", lambda self, etag: True)]


def _last_writer_by_dot() -> list[Patch]:
    def by_dot(versions: Any, conflict: str, wall_ns: int) -> Any:
        if conflict == "lww" and versions:
            versions = dict([max(versions.items())])
        return {d: v for d, v in versions.items() if v.is_deleted or not v.is_gone(wall_ns)}

    return [(showing, "counting", by_dot)]


def _last_writer_covers_later() -> list[Patch]:
    def replaced(self: Writing, held: Any) -> Any:
        return held.live_dots() if self._intent.last_wins else []

    return [
        (Writing, "_replaced", replaced),
        (writing, "timestamp_of", lambda version: 0),
    ]


def _expiry_by_hybrid_clock() -> list[Patch]:
    def hybrid_ns(self: Desk) -> int:
        return (self.clock.tick(self.now) >> 16) * 1_000_000

    return [(Desk, "wall_ns", property(hybrid_ns))]


def _expiry_forgotten() -> list[Patch]:
    def early(versions: Any, conflict: str, wall_ns: int) -> Any:
        return counting(versions, conflict, min(wall_ns, 0))

    counting = vars(showing)["counting"]
    return [(showing, "counting", early)]


BUGS = (
    PlantedBug(
        "session-ignored",
        0,
        "A session's read is answered by whoever answers first, however old.",
        _session_ignored,
    ),
    PlantedBug(
        "session-asks-owners-only",
        0,
        "A session's read is content when all owners have answered, though a fallback knows more.",
        _session_asks_owners_only,
        {"profile": "network"},
    ),
    PlantedBug(
        "condition-ignored",
        0,
        "A conditional write is done whether or not its condition holds.",
        _condition_ignored,
    ),
    PlantedBug(
        "last-writer-by-dot",
        0,
        "Where the last writer wins, the greatest dot does.",
        _last_writer_by_dot,
    ),
    PlantedBug(
        "last-writer-covers-later",
        19,
        "A write of a clock that is behind replaces what was written with a later timestamp.",
        _last_writer_covers_later,
        {"profile": "clocks"},
    ),
    PlantedBug(
        "expiry-by-hybrid-clock",
        33,
        "Versions expire by the clock that other nodes put forward.",
        _expiry_by_hybrid_clock,
        {"profile": "clocks"},
    ),
    PlantedBug(
        "expiry-forgotten",
        0,
        "Readers are shown what has expired.",
        _expiry_forgotten,
    ),
)
