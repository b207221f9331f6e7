"""Bugs of counting: too few, the wrong ones, or one of them twice."""

# ruff: noqa: ARG001, ARG005 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode import quorum, serving_many
from sadik_vnode.coordinator import reading
from sadik_vnode.coordinator.listing import Listing
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.messages import ReplicaAck, Status
from sadik_vnode.placement import Placement
from sadik_vnode.quorum import ReadTally, WriteTally, count_of
from sadik_vnode.replica import Replica

__all__ = ["BUGS"]


def _count_all(self: Writing, sender: Any, message: object) -> None:
    """`Writing.received` without the question who was asked."""
    if not isinstance(message, ReplicaAck):
        return
    slot: Any = message.slot
    if message.status == Status.OK:
        self._pending.pop(slot, None)
        self._tally.add(slot, sender, durable=message.durable)
        self._check_tally()
    elif self._pending.get(slot) == sender:
        self._slot_failed(slot)


def _slot_twice() -> list[Patch]:
    def by_node(self: WriteTally, slot: Any, node: Any, *, durable: bool) -> None:
        self._got[slot if node == slot else node] = (node == slot, durable)

    return [(Writing, "received", _count_all), (WriteTally, "add", by_node)]


def _duplicate_twice() -> list[Patch]:
    take = Replica.take

    def every(self: WriteTally, slot: Any, node: Any, *, durable: bool) -> None:
        self._got[slot + bytes([len(self._got)])] = (node == slot, durable)

    def doubled(
        self: Replica, key: Any, incoming: Any, rows: Any, then: Any, done: Any, failed: Any
    ) -> None:
        take(self, key, incoming, rows, [*then, *then], done, failed)

    return [
        (Writing, "received", _count_all),
        (WriteTally, "add", every),
        (Replica, "take", doubled),
    ]


def _answers_by_itself() -> list[Patch]:
    early_answer = Writing._early_answer

    def generous(self: Writing, forwarder: Any, request: int) -> tuple[object, ...]:
        want, self._want = self._want, (1, 0, 0)
        try:
            return early_answer(self, forwarder, request)
        finally:
            self._want = want

    return [(Writing, "_early_answer", generous)]


def _majority_off_by_one() -> list[Patch]:
    def short(value: Any, owners: int) -> int:
        return max(owners // 2, 1) if value == "quorum" else count_of(value, owners)

    return [(reading, "count_of", short), (quorum, "count_of", short)]


def _enough_but_one() -> list[Patch]:
    return [(WriteTally, "enough", property(lambda self: len(self._got) >= max(self.w - 1, 1)))]


def _pw_ignored() -> list[Patch]:
    return [(WriteTally, "enough", property(lambda self: len(self._got) >= self.w))]


def _pr_ignored() -> list[Patch]:
    return [(ReadTally, "enough", property(lambda self: len(self._got) >= self.r))]


def _strict_takes_fallbacks() -> list[Patch]:
    stand_ins = Placement.stand_ins

    def sloppy(self: Placement, partition: int, *, sloppy: bool, reads: bool = False) -> Any:
        return stand_ins(self, partition, sloppy=True, reads=reads)

    return [(Placement, "stand_ins", sloppy)]


def _sums_alike() -> list[Patch]:
    state = serving_many._state

    def alike(record: Any, known: bytes, room: int) -> Any:
        return (None, 0) if known else state(record, known, room)

    return [(serving_many, "_state", alike)]


def _short_listing() -> list[Patch]:
    return [(Listing, "_short_of", lambda self, nodes: None)]


BUGS = (
    PlantedBug(
        "slot-counted-twice",
        4,
        "An owner's acknowledgement and that of the fallback for it count as two.",
        _slot_twice,
        {"profile": "network"},
    ),
    PlantedBug(
        "duplicate-counted-twice",
        7,
        "An acknowledgement that comes twice counts twice.",
        _duplicate_twice,
    ),
    PlantedBug(
        "answers-by-itself",
        4,
        "The node that forwarded a write answers its client, whatever quorum that wanted.",
        _answers_by_itself,
    ),
    PlantedBug(
        "majority-off-by-one",
        4,
        "A quorum of three owners is one.",
        _majority_off_by_one,
    ),
    PlantedBug(
        "enough-but-one",
        4,
        "A write is acknowledged with one acknowledgement too few.",
        _enough_but_one,
    ),
    PlantedBug(
        "pw-ignored",
        4,
        "A write that asks for owners is acknowledged with fallbacks.",
        _pw_ignored,
        {"profile": "network"},
    ),
    PlantedBug(
        "pr-ignored",
        4,
        "A read that asks for owners is answered by fallbacks.",
        _pr_ignored,
        {"profile": "network"},
    ),
    PlantedBug(
        "strict-takes-fallbacks",
        4,
        "A strict request counts fallbacks.",
        _strict_takes_fallbacks,
        {"profile": "network"},
    ),
    PlantedBug(
        "sums-alike",
        0,
        "An owner that is asked for many keys says that it holds the same, whatever it holds.",
        _sums_alike,
    ),
    PlantedBug(
        "short-listing",
        0,
        "A listing leaves out the partitions that too few owners speak for.",
        _short_listing,
    ),
)
