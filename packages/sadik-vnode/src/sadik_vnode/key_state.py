"""A key that is being updated, and what an update of it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define

from sadik_machine import Effect
from sadik_vnode.keyspace import Key
from sadik_vnode.outbox import OnFailed, OnStored
from sadik_vnode.record import Record, Rows
from sadik_vnode.tree import HeldLeaf

__all__ = ["Change", "KeyState", "MakeChange", "unknown_leaves"]


@define(slots=True)
class Change:
    """What an update does: the new record, further rows of the same batch, what waits for it.

    A record that is the same object as before, without rows, changes nothing: ``then`` is
    performed as soon as the present state is on disk. The absent record takes the present one away.
    """

    record: Record
    rows: Rows
    then: Sequence[Effect]


MakeChange = Callable[[Record], Change | None]
"""Decides on the present record, pending changes included. None: nothing is to be done."""


class KeyState:
    """A key that is being updated, or is at rest and known. ``record`` is None while it is being
    loaded, ``leaf`` while nobody updates it.

    ``hash`` is what the record adds to its leaf, or None where that was not needed yet; ``size``
    the bytes of its row; ``is_passing`` whether it was stored as one of many that came.
    """

    __slots__ = ("hash", "is_passing", "key", "leaf", "record", "size", "stores", "waiting")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.leaf: HeldLeaf | None = None
        self.record: Record | None = None
        self.is_passing = False
        self.hash: int | None = None
        self.size = 0
        self.stores = 0
        self.waiting: list[tuple[MakeChange, OnStored | None, OnFailed]] = []


def unknown_leaves(loading: Sequence[tuple[Key, KeyState]]) -> dict[int, HeldLeaf]:
    """The leaves, by number, whose sums are to be loaded along with the records."""
    return {
        leaf.number: leaf
        for _, state in loading
        if (leaf := state.leaf) is not None and leaf.pending is None
    }
