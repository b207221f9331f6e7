"""Births: a counter that makes every actor of this storage instance new.

An actor is the storage instance, 8 random bytes, and a birth, 4 bytes. A birth is drawn when this
node first makes a dot on its present local record of a key. Births are reserved on disk in blocks
before use: the reservation rides in the same batch as the first record that needs it, and batches
become durable in order, so no birth can be on disk, or leave the node, before its reservation.
"""

from __future__ import annotations

from typing import Final

from sadik_vnode.keyspace import BIRTHS_ROW
from sadik_vnode.record import open_value, seal_value

__all__ = ["BIRTH_BLOCK", "Births"]

BIRTH_BLOCK: Final = 4096
_BIRTH_BYTES: Final = 4


class Births:
    """Draws actors. ``saved`` is the value of `BIRTHS_ROW` at the start, or None.

    Raises:
        DamagedRecord: the row is damaged; the host takes a new storage instance.
    """

    __slots__ = ("_instance", "_next", "_reserved")

    def __init__(self, instance: bytes, saved: bytes | None) -> None:
        assert len(instance) == 8, "an instance id has 8 bytes"
        self._instance = instance
        self._next = 1 if saved is None else int.from_bytes(open_value(saved), "big")
        self._reserved = self._next

    def draw(self) -> tuple[bytes, list[tuple[bytes, bytes | None]]]:
        """A new actor, and the rows that must be in the batch of its first dot."""
        rows: list[tuple[bytes, bytes | None]] = []
        if self._next >= self._reserved:
            self._reserved = self._next + BIRTH_BLOCK
            rows.append((BIRTHS_ROW, seal_value(self._reserved.to_bytes(8, "big"))))
        actor = self._instance + self._next.to_bytes(_BIRTH_BYTES, "big")
        self._next += 1
        return actor, rows

    def reservation_failed(self) -> None:
        """A batch failed, perhaps with a reservation in it: reserve again before the next birth."""
        self._reserved = self._next

    def is_of_this_instance(self, actor: bytes) -> bool:
        """Whether this storage instance made ``actor``."""
        return actor.startswith(self._instance)
