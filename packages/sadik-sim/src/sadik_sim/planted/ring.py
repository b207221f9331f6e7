"""Bugs of changing the ring."""

# ruff: noqa: ARG001 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_members import Phase, Register
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.ringchange.driver import RingChanges

__all__ = ["BUGS"]


def _receiver_not_filled() -> list[Patch]:
    def at_once(self: Any, partition: int, change: Any, register: Any) -> bool:
        return True

    return [(RingChanges, "_is_filled", at_once)]


def _new_read_early() -> list[Patch]:
    def readers(self: Register) -> tuple[Any, ...]:
        return self.owners if self.phase is Phase.DONE else self.new

    return [(Register, "readers", property(readers))]


BUGS = (
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
