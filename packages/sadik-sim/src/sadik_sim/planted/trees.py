"""Bugs of hash trees and anti-entropy: sums that are not the records', repairs without an end."""

from __future__ import annotations

from typing import Any

from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode import replica as replica_module
from sadik_vnode.admission import Admission
from sadik_vnode.anti_entropy import answering as answering_module
from sadik_vnode.anti_entropy import records as records_module
from sadik_vnode.anti_entropy.comparing import Comparing
from sadik_vnode.anti_entropy.messages import SHORT_BYTES
from sadik_vnode.anti_entropy.rounds import AntiEntropy
from sadik_vnode.anti_entropy.sending import Sending
from sadik_vnode.replica import Replica
from sadik_vnode.tree import HashTree

__all__ = ["BUGS"]


def _merge_forgotten() -> list[Patch]:
    change_leaf = Replica._change_leaf

    def only_of_own(self: Replica, key: Any, state: Any, before: Any, after: Any, rows: Any) -> Any:
        if before.own_actor == after.own_actor:
            return None
        return change_leaf(self, key, state, before, after, rows)

    return [(Replica, "_change_leaf", only_of_own)]


def _failed_kept() -> list[Patch]:
    return [(HashTree, "drop_pending", lambda self: None)]  # noqa: ARG005


def _history_kept() -> list[Patch]:
    change = HashTree.change

    def adding(self: HashTree, leaf: Any, old: int, new: int) -> Any:
        del old
        return change(self, leaf, 0, new)

    return [(HashTree, "change", adding)]


def _shown_when_pending() -> list[Patch]:
    change = HashTree.change

    def showing(self: HashTree, leaf: Any, old: int, new: int) -> Any:
        changed = change(self, leaf, old, new)
        self.stored(leaf, changed[0])
        return changed

    return [(HashTree, "change", showing)]


def _everything_compared() -> list[Patch]:
    compare = Comparing._compare

    def all_differ(self: Comparing, partition: int, leaves: Any, told_hashes: Any) -> None:
        compare(self, partition, leaves, [b""] * len(told_hashes))

    return [
        (answering_module, "pack", lambda _value: bytes(SHORT_BYTES)),
        (Comparing, "_compare", all_differ),
    ]


def _hash_of_nothing() -> list[Patch]:
    return [(replica_module, "hash_of", lambda _key, _record: 0)]


def _one_way() -> list[Patch]:
    start = Sending.start

    def to_later_ids(self: Sending) -> None:
        if self.desk.self_id > self._peer:
            self._left.clear()
        start(self)

    return [(Sending, "start", to_later_ids)]


def _no_rounds() -> list[Patch]:
    return [(AntiEntropy, "_round", lambda self: None)]  # noqa: ARG005


def _scan_at_once() -> list[Patch]:
    return [(records_module, "_SCAN_ROWS", 1 << 30), (records_module, "_SCAN_BYTES", 1 << 40)]


def _unthrottled() -> list[Patch]:
    return [(Admission, "pause_ns", lambda self, now, took_ns: 0)]  # noqa: ARG005


BUGS = (
    PlantedBug(
        "tree-misses-merges",
        14,
        "A record that is merged changes no sum.",
        _merge_forgotten,
    ),
    PlantedBug(
        "tree-keeps-failed-stores",
        14,
        "A sum goes on from the pending state of a store that failed.",
        _failed_kept,
        found_by="test_planted.py::test_a_failed_store_leaves_nothing_in_a_sum",
    ),
    PlantedBug(
        "tree-shows-pending",
        14,
        "What is told of a tree includes stores that are not on disk, and may fail.",
        _shown_when_pending,
        {"profile": "disks"},
    ),
    PlantedBug(
        "tree-remembers-history",
        14,
        "The hash of what a record was before is never taken out of its sum.",
        _history_kept,
    ),
    PlantedBug(
        "repair-compares-everything",
        14,
        "A repair takes all that it looks at for different.",
        _everything_compared,
    ),
    PlantedBug(
        "tree-of-nothing",
        14,
        "No record has a hash, so that all replicas seem equal.",
        _hash_of_nothing,
    ),
    PlantedBug(
        "repair-one-way",
        14,
        "Of two replicas that differ only one is ever sent what it lacks.",
        _one_way,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "rounds-forgotten",
        14,
        "Replicas are compared only when an operator asks for it.",
        _no_rounds,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "scan-in-one-go",
        25,
        "A comparison reads all records of a leaf at once, however many there are.",
        _scan_at_once,
        {"profile": "crashes"},
    ),
    PlantedBug(
        "replay-unthrottled",
        21,
        "Background work never pauses, however slow the requests of clients become.",
        _unthrottled,
        found_by="test_planted.py::test_background_work_yields_to_slow_requests",
    ),
)
