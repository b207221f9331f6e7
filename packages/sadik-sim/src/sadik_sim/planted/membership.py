"""Bugs of membership and of the ring's registers."""

# ruff: noqa: ARG001 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_machine import codec as codec_module
from sadik_members import Membership, MemberState, NothingHeld
from sadik_members import membership as membership_module
from sadik_members import table as table_module
from sadik_members.detector import Detector
from sadik_members.farewell import Farewells
from sadik_members.registers import Merged, RegisterTable
from sadik_members.removing import Removing
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.coordinator.getting import Getting
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.requests import Outcome
from sadik_vnode.ringchange import driver

__all__ = ["BUGS"]


def _leaves_in_haste() -> list[Patch]:
    def see_off(self: driver.RingChanges) -> None:
        own = self.desk.placement.members.get(self.desk.self_id)
        if own is not None and own.state is MemberState.LEAVING:
            is_told = self._owns_nothing()
            if is_told:
                self.desk.outbox.announce(NothingHeld())
            self._soon(driver._ASK_AGAIN_NS if is_told else driver._TICK_NS)

    return [(driver.RingChanges, "_see_off", see_off)]


def _last_told_wins() -> list[Patch]:
    def last(one: Any, other: Any) -> Any:
        return other

    return [(table_module, "merge_members", last)]


def _removal_refuted() -> list[Patch]:
    def last_word(one: Any, other: Any) -> Any:
        return max(one, other, key=lambda member: (member.incarnation, member.state))

    return [(table_module, "merge_members", last_word)]


def _minority_removes() -> list[Patch]:
    def one(self: Removing) -> int:
        return 1

    return [(Removing, "_needed", one)]


def _others_believed() -> list[Patch]:
    def believe(self: Membership, sender: Any, member: Any) -> None:
        self._state.merge_member(member)

    return [(Membership, "_merge_told", believe)]


def _hearsay_believed() -> list[Patch]:
    def is_other(known: Any, told: Any) -> bool:
        return False

    return [(membership_module, "is_other_identity", is_other)]


def _fields_unchecked() -> list[Patch]:
    def whatever(self: Any, values: Any) -> bool:
        return True

    return [(codec_module._Row, "accepts", whatever)]


def _register_last_wins() -> list[Patch]:
    merge = RegisterTable.merge

    def last(self: RegisterTable, partition: int, register: Any) -> Merged:
        if 0 <= partition < len(self) and 0 < register.epoch < self[partition].epoch:
            self._registers[partition] = register
            self._ring = None
            self._hash = None
            return Merged.NEWER
        return merge(self, partition, register)

    return [(RegisterTable, "merge", last)]


def _epoch_not_raised() -> list[Patch]:
    merge = RegisterTable.merge

    def any_value(self: RegisterTable, partition: int, register: Any) -> Merged:
        known = self._registers[partition]
        if register.epoch == known.epoch + 1 and len(register.owners) == len(known.owners):
            register = type(register)(known.epoch, register.owners)
            self._registers[partition] = register
            self._ring = None
            self._hash = None
            return Merged.NEWER
        return merge(self, partition, register)

    return [(RegisterTable, "merge", any_value)]


def _never_up_again() -> list[Patch]:
    heard = Detector.heard

    def deaf(self: Detector, now: int, node: Any) -> None:
        peer = self._peers.get(node)
        if peer is None or not peer.is_broken:
            heard(self, now, node)

    return [(Detector, "heard", deaf)]


def _registers_not_gossiped() -> list[Patch]:
    def none(self: RegisterTable, epochs: Any) -> Any:
        return [], []

    return [(RegisterTable, "differences", none)]


def _farewell_not_awaited() -> list[Patch]:
    begin = Farewells.begin

    def hasty(self: Farewells, now: int, live: int, linked: Any) -> None:
        begin(self, now, live, linked)
        if self.deadline is not None:
            self._end(is_enough=True)

    return [(Farewells, "begin", hasty)]


def _owner_twice() -> list[Patch]:
    claim = vars(driver)["claim"]

    def careless(*args: Any, **options: Any) -> Any:
        rows = claim(*args, **options)
        return tuple((row[0], row[0], *row[2:]) if len(row) > 1 else row for row in rows)

    return [(driver, "claim", careless)]


def _lost_replicas_shunned() -> list[Patch]:
    lost, start = Reading._lost, Reading.start

    def remember(self: Any, node: Any) -> None:
        vars(self.desk).setdefault("shunned", {})[node] = None
        lost(self, node)

    def begin(self: Any) -> None:
        shunned = vars(self.desk).get("shunned", {})
        r, _ = self._want
        if sum(owner not in shunned for owner in self.answers.owners) < r:
            self._fail(Outcome.NOT_APPLIED, "too few replicas are trusted")
        else:
            start(self)

    return [
        (Reading, "_lost", remember),
        (Reading, "start", begin),
        (Getting, "_ask_who_may_agree", lambda _: False),
    ]


BUGS = (
    PlantedBug(
        "registers-not-gossiped",
        30,
        "A decided register reaches only the nodes that are asked about its partition.",
        _registers_not_gossiped,
        {"profile": "membership"},
    ),
    PlantedBug(
        "farewell-not-awaited",
        0,
        "A node that leaves says so once, and ends.",
        _farewell_not_awaited,
        {"profile": "membership"},
        found_by="test_planted.py::test_a_farewell_is_said_until_it_is_heard",
    ),
    PlantedBug(
        "owner-twice",
        17,
        "The ring has one node twice among the owners of a partition.",
        _owner_twice,
    ),
    PlantedBug(
        "lost-replicas-shunned",
        0,
        "A replica that was lost once is not read from again.",
        _lost_replicas_shunned,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "last-told-wins",
        16,
        "A member table takes the entry that it was told last.",
        _last_told_wins,
        found_by="test_planted.py::test_member_entries_merge_alike_in_any_order",
    ),
    PlantedBug(
        "removal-refuted",
        32,
        "A removed node takes its removal back by a greater incarnation.",
        _removal_refuted,
        found_by="test_planted.py::test_a_removal_beats_every_incarnation",
    ),
    PlantedBug(
        "minority-removes",
        32,
        "One member's word is enough to remove another: both halves of a split do.",
        _minority_removes,
        found_by="test_planted.py::test_a_split_removes_nobody",
    ),
    PlantedBug(
        "others-believed-of-oneself",
        22,
        "A node takes what a peer says of it for its own word.",
        _others_believed,
        found_by="test_planted.py::test_a_node_has_the_last_word_on_itself",
    ),
    PlantedBug(
        "hearsay-believed",
        22,
        "A node takes what a peer says of a third that it could ask itself.",
        _hearsay_believed,
        found_by="test_planted.py::test_a_third_node_is_asked_itself",
    ),
    PlantedBug(
        "fields-unchecked",
        23,
        "The fields of a message are taken as they come, whatever their types.",
        _fields_unchecked,
        found_by="test_planted.py::test_a_field_of_a_wrong_type_is_refused",
    ),
    PlantedBug(
        "older-register-wins",
        30,
        "A node takes a register of an older epoch than its own.",
        _register_last_wins,
        found_by="test_planted.py::test_an_older_register_is_not_taken",
    ),
    PlantedBug(
        "epoch-not-raised",
        17,
        "A new register takes the place of the old one within its epoch.",
        _epoch_not_raised,
        {"profile": "membership"},
    ),
    PlantedBug(
        "leaves-in-haste",
        11,
        "A node that owns nothing any more leaves with records that it has not handed off.",
        _leaves_in_haste,
        {"profile": "membership"},
    ),
    PlantedBug(
        "never-up-again",
        12,
        "A peer whose stream broke stays suspected for ever.",
        _never_up_again,
    ),
)
