"""Bugs of changing the ring."""

# ruff: noqa: ARG001 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_members import Phase, Register
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.quorum import JointTally
from sadik_vnode.ringchange.deciding import Proposal
from sadik_vnode.ringchange.driver import RingChanges

__all__ = ["BUGS"]


def _adoption_not_awaited() -> list[Patch]:
    def nobody(self: Any, partition: int, register: Any, asks: Any) -> list[Any]:
        return []

    return [(RingChanges, "_not_adopted", nobody)]


def _receiver_not_filled() -> list[Patch]:
    def at_once(self: Any, partition: int, change: Any, register: Any) -> bool:
        return True

    return [(RingChanges, "_is_filled", at_once)]


def _old_quorum_only() -> list[Patch]:
    begin = JointTally.__init__

    def of_old(self: Any, lists: Any, want: Any) -> None:
        begin(self, lists[:1], want)

    return [(JointTally, "__init__", of_old)]


def _new_read_early() -> list[Patch]:
    def readers(self: Register) -> tuple[Any, ...]:
        return self.owners if self.phase is Phase.DONE else self.new

    return [(Register, "readers", property(readers))]


def _accepted_ignored() -> list[Patch]:
    promise = Proposal._promise

    def blind(self: Any, sender: Any, message: Any) -> None:
        message = type(message)(message.request, message.promised, None, None)
        promise(self, sender, message)

    return [(Proposal, "_promise", blind)]


BUGS = (
    PlantedBug(
        "adoption-not-awaited",
        30,
        "A phase is left before the owners have its register on disk.",
        _adoption_not_awaited,
        {"profile": "membership"},
    ),
    PlantedBug(
        "receiver-not-filled",
        18,
        "A new owner is read before it has what the old one had.",
        _receiver_not_filled,
        {"profile": "membership"},
    ),
    PlantedBug(
        "old-quorum-only",
        30,
        "While owners change a write needs its quorum among the old ones alone.",
        _old_quorum_only,
        {"profile": "membership"},
    ),
    PlantedBug(
        "new-read-early",
        18,
        "The new owners are read while they are being brought the data.",
        _new_read_early,
        {"profile": "membership"},
    ),
    PlantedBug(
        "accepted-ignored",
        30,
        "Who proposes a register takes no heed of what was accepted before.",
        _accepted_ignored,
        {"profile": "membership"},
    ),
)
