"""Bugs of dots: one that names two values, or one request that makes two."""

# ruff: noqa: ARG001, ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_machine import NodeId, RequestIds
from sadik_members import BootsMet, Membership, SequenceFilter
from sadik_members import membership as membership_module
from sadik_sim import world as world_module
from sadik_sim.node import SimNode
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.adoption import adopt_newer
from sadik_vnode.births import Births
from sadik_vnode.coordinator.putting import Forwarding
from sadik_vnode.coordinator.taking import TakenForwards
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.record import Record
from sadik_vnode.replica import Replica

__all__ = ["BUGS"]


def _keeps_instance() -> list[Patch]:
    take = SimNode._take_instance

    def keep(self: SimNode, above_boot: int) -> None:
        if b"Ninstance" not in self.disk.durable.by_key:
            take(self, above_boot)

    return [
        (SimNode, "_take_instance", keep),
        (Membership, "_need_instance", lambda self, boot_number: None),
        (Record, "lost_tail", lambda self, seen: False),
    ]


def _stale_boot_admitted() -> list[Patch]:
    def never(known: Any, boot_number: int, boot_nonce: int) -> bool:
        return False

    return [
        (world_module, "is_stale_boot", never),
        (membership_module, "is_stale_boot", never),
        (BootsMet, "newer_than", lambda self, node, boot_number, boot_nonce: None),
    ]


def _boots_met_forgotten() -> list[Patch]:
    return [(BootsMet, "newer_than", lambda self, node, boot_number, boot_nonce: None)]


def _births_unreserved() -> list[Patch]:
    draw = Births.draw

    def unreserved(self: Births) -> tuple[bytes, list[Any]]:
        actor, _rows = draw(self)
        return actor, []

    return [(Births, "draw", unreserved)]


def _lost_tail_ignored() -> list[Patch]:
    return [(Record, "lost_tail", lambda self, seen: False)]


def _pending_ignored() -> list[Patch]:
    apply = Replica._apply

    def forgetful(self: Replica, key: Any, state: Any, make: Any, done: Any, failed: Any) -> None:
        before = state.record
        apply(self, key, state, make, done, failed)
        state.record = before

    return [(Replica, "_apply", forgetful)]


def _actor_of_the_owner() -> list[Patch]:
    make, next_dot = Writing._make, Replica.next_dot
    acting_for: list[NodeId] = []

    def stand_in(self: Writing, before: Any) -> Any:
        me = self.desk.self_id
        slot = next((s for s, node in self.slots if node == me), me)
        acting_for[:] = [] if slot == me else [slot]
        return make(self, before)

    def of_the_owner(self: Replica, record: Record) -> Any:
        if not acting_for:
            return next_dot(self, record)
        actor = acting_for[0] + bytes(4)
        return (actor, record.container.context.counter(actor) + 1), []

    return [(Writing, "_make", stand_in), (Replica, "next_dot", of_the_owner)]


def _forward_twice() -> list[Patch]:
    take = TakenForwards.take

    def again(self: TakenForwards, sender: Any, message: Any) -> None:
        self._taken.clear()
        take(self, sender, message)

    return [
        (TakenForwards, "take", again),
        (SequenceFilter, "accept", lambda self, number: True),
    ]


def _forward_retried_when_lost() -> list[Patch]:
    def elsewhere(self: Forwarding, peer: Any) -> None:
        if peer == self._asked:
            self._elsewhere()

    return [(Forwarding, "peer_lost", elsewhere)]


def _newer_epoch_new_dot() -> list[Patch]:
    def afresh(self: Writing, slot: Any, newer: Any) -> None:
        self._retries += 1
        if self._retries > 4 or self._answered:
            self._slot_failed(slot)
            return
        adopt_newer(self.desk, self.partition, newer)
        self._pending.clear()
        self._tried.clear()
        self._place()
        self.desk.hints.check(self._noted, self.key, self._update)

    return [(Writing, "_newer", afresh)]


def _instance_unproven() -> list[Patch]:
    init = Births.__init__

    def at_once(self: Births, instance: Any, saved: Any, spare: Any = None) -> None:
        init(self, instance, saved)

    return [(Births, "__init__", at_once)]


def _request_ids_restart() -> list[Patch]:
    def first(self: RequestIds, source: Any) -> None:
        self._next = 1

    return [(RequestIds, "__init__", first)]


BUGS = (
    PlantedBug(
        "instance-kept",
        1,
        "A node whose disk was put back goes on under its old storage instance.",
        _keeps_instance,
        {"profile": "disks"},
    ),
    PlantedBug(
        "boots-met-forgotten",
        1,
        "Only gossip tells of a node's start, not the handshakes of the life after it.",
        _boots_met_forgotten,
        found_by="test_planted.py::test_a_start_is_known_before_gossip_tells_of_it",
    ),
    PlantedBug(
        "instance-unproven",
        1,
        "A node goes on under its old storage instance before all were met who would know better.",
        _instance_unproven,
        found_by="test_planted.py::test_an_old_instance_is_proven_before_it_is_used",
    ),
    PlantedBug(
        "stale-boot-admitted",
        1,
        "Peers let a node in that shows an older life than they remember.",
        _stale_boot_admitted,
        {"profile": "disks"},
    ),
    PlantedBug(
        "births-unreserved",
        1,
        "Births are not reserved on disk, so a restart draws the same actors again.",
        _births_unreserved,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "lost-tail-ignored",
        1,
        "A record that sees its own actor beyond itself counts on under that actor.",
        _lost_tail_ignored,
        found_by="test_planted.py::test_a_lost_tail_starts_a_new_actor",
    ),
    PlantedBug(
        "pending-ignored",
        2,
        "The next dot is made on the stored state, though an update is under way.",
        _pending_ignored,
    ),
    PlantedBug(
        "actor-of-the-owner",
        3,
        "A fallback makes dots under an actor of the owner that it stands in for.",
        _actor_of_the_owner,
    ),
    PlantedBug(
        "forward-carried-out-twice",
        5,
        "A forwarded write that comes twice is carried out twice.",
        _forward_twice,
        {"profile": "network"},
    ),
    PlantedBug(
        "forward-retried-when-lost",
        27,
        "A write whose coordinator is lost is given to another, though the first may have it.",
        _forward_retried_when_lost,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "newer-epoch-new-dot",
        5,
        "A write that is retried under a newer register gets a second dot.",
        _newer_epoch_new_dot,
        {"profile": "membership"},
    ),
    PlantedBug(
        "request-ids-restart",
        6,
        "Request ids start at 1 in every life, so an old answer counts for a new request.",
        _request_ids_restart,
        found_by="test_planted.py::test_two_lives_of_a_node_share_no_request_id",
    ),
)
