"""Bugs of hinted handoff: notes that go too early, never go, or were never there."""

# ruff: noqa: ARG001, ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_machine import MILLISECOND
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.hints import Delivery, HintNotes
from sadik_vnode.inheriting import Inheriting
from sadik_vnode.keyspace import hint_row, parse_hint_row
from sadik_vnode.messages import ReplicaAck, Status

__all__ = ["BUGS"]


def _dropped_when_sent() -> list[Patch]:
    send = Delivery._send

    def hasty(self: Delivery, key: Any, record: Any, generation: int) -> None:
        send(self, key, record, generation)
        if not record.is_absent:
            self.desk.hints.delivered(self._node, key)

    return [(Delivery, "_send", hasty)]


def _not_on_disk() -> list[Patch]:
    rows = HintNotes.rows

    def none(self: HintNotes, slots: Any, key: Any, check: Any) -> Any:
        return None if rows(self, slots, key, check) is None else []

    return [(HintNotes, "rows", none)]


def _none_of_the_coordinator() -> list[Patch]:
    return [(HintNotes, "note", lambda self, slot, key: None)]


def _renewal_forgotten() -> list[Patch]:
    return [(Delivery, "renoted", lambda self, key: None)]


def _refusal_taken_for_ack() -> list[Patch]:
    received = Delivery.received

    def trusting(self: Delivery, sender: Any, message: object) -> None:
        if isinstance(message, ReplicaAck):
            message = ReplicaAck(message.request, message.slot, Status.OK, message.durable)
        received(self, sender, message)

    return [(Delivery, "received", trusting)]


def _unbounded() -> list[Patch]:
    def rows(self: HintNotes, slots: Any, key: Any, check: Any) -> Any:
        return [(hint_row(slot, key), b"") for slot in slots]

    return [(HintNotes, "rows", rows)]


def _given_up() -> list[Patch]:
    def stop(self: Delivery) -> None:
        self._stopped = True

    return [(Delivery, "try_later", stop)]


def _forgotten_at_restart() -> list[Patch]:
    return [(HintNotes, "start", lambda self: None)]


def _lost_with_its_owner() -> list[Patch]:
    def dropped(self: Inheriting, rows: Any) -> None:
        for row, _ in rows:
            self.desk.hints.delivered(self._node, parse_hint_row(row)[1])
        if not rows and self.desk.hints.inherited(self._node):
            self.close("next")
        else:
            self.wake("next", self.desk.now + MILLISECOND)

    return [(Inheriting, "_scanned", dropped)]


def _kept_for_the_departed() -> list[Patch]:
    return [(Inheriting, "start", lambda self: None)]


BUGS = (
    PlantedBug(
        "note-dropped-when-sent",
        11,
        "A hint note goes when its record was sent, not when the owner has it.",
        _dropped_when_sent,
    ),
    PlantedBug(
        "notes-in-memory",
        12,
        "Hint notes are kept in memory only.",
        _not_on_disk,
    ),
    PlantedBug(
        "no-note-of-the-coordinator",
        12,
        "A coordinator leaves no note for a slot that did not acknowledge.",
        _none_of_the_coordinator,
        {"profile": "network"},
    ),
    PlantedBug(
        "note-renewal-forgotten",
        11,
        "A note that is written anew while its record travels goes with the old one.",
        _renewal_forgotten,
    ),
    PlantedBug(
        "refusal-taken-for-ack",
        11,
        "A note goes though the owner refused its record.",
        _refusal_taken_for_ack,
        {"profile": "disks"},
    ),
    PlantedBug(
        "notes-unbounded",
        20,
        "Hint notes grow beyond their bound.",
        _unbounded,
        {"profile": "network"},
    ),
    PlantedBug(
        "delivery-given-up",
        12,
        "A delivery that was interrupted is never taken up again.",
        _given_up,
    ),
    PlantedBug(
        "notes-forgotten-at-restart",
        12,
        "A node that starts does not look for the notes on its disk.",
        _forgotten_at_restart,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "note-lost-with-its-owner",
        12,
        "Notes for an owner that has left the cluster are thrown away.",
        _lost_with_its_owner,
        {"profile": "membership"},
        found_by="test_planted.py::test_notes_for_a_departed_owner_pass_to_the_new_one",
    ),
    PlantedBug(
        "note-kept-for-the-departed",
        12,
        "Notes for an owner that has left the cluster wait for it for ever.",
        _kept_for_the_departed,
        {"profile": "membership"},
    ),
)
