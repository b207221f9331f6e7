"""Births: a counter that makes every actor of this storage instance new.

An actor is the storage instance, 8 random bytes, and a birth, 4 bytes. A birth is drawn when this
node first makes a dot on its present local record of a key. Births are reserved on disk in blocks
before use: the reservation rides in the same batch as the first record that needs it, and batches
become durable in order, so no birth can be on disk, or leave the node, before its reservation.

An instance that an earlier life made may have been put back from a copy, and a life that followed
the copy may have made dots with it. Those who met that life tell. So such an instance counts as
**proven** once every other member was met; until then actors come from a spare one, made for this
life. The price is an actor more for keys that are written while a member is down after a restart.
"""

from __future__ import annotations

from typing import Final

from sadik_vnode.keyspace import BIRTHS_ROW
from sadik_vnode.record import open_value, seal_value

__all__ = ["BIRTH_BLOCK", "Births"]

BIRTH_BLOCK: Final = 4096
_BIRTH_BYTES: Final = 4


class Births:
    """Draws actors. ``saved`` is the value of `BIRTHS_ROW` at the start, or None; ``spare`` is the
    instance to be used until the other is proven, or None where this life has made it.

    Raises:
        DamagedRecord: the row is damaged; the host takes a new storage instance.
    """

    __slots__ = ("_instance", "_next", "_reserved", "_spare", "is_proven")

    def __init__(self, instance: bytes, saved: bytes | None, spare: bytes | None = None) -> None:
        assert len(instance) == 8, "an instance id has 8 bytes"
        self._instance = instance
        self._spare = spare
        self.is_proven = spare is None
        """Whether nobody can have made dots with this instance but this life and those before."""
        self._next = 1 if saved is None else int.from_bytes(open_value(saved), "big")
        self._reserved = self._next

    def draw(self) -> tuple[bytes, list[tuple[bytes, bytes | None]]]:
        """A new actor, and the rows that must be in the batch of its first dot."""
        rows: list[tuple[bytes, bytes | None]] = []
        if self._next >= self._reserved:
            self._reserved = self._next + BIRTH_BLOCK
            rows.append((BIRTHS_ROW, seal_value(self._reserved.to_bytes(8, "big"))))
        instance = self._spare if self._spare is not None and not self.is_proven else self._instance
        actor = instance + self._next.to_bytes(_BIRTH_BYTES, "big")
        self._next += 1
        return actor, rows

    def reservation_failed(self) -> None:
        """A batch failed, perhaps with a reservation in it: reserve again before the next birth."""
        self._reserved = self._next

    def is_of_this_instance(self, actor: bytes) -> bool:
        """Whether this storage instance made ``actor``."""
        return actor.startswith(self._instance) or self._is_of_spare(actor)

    def may_go_on(self, actor: bytes) -> bool:
        """Whether ``actor``, that of a local record, may count on."""
        return (self.is_proven and actor.startswith(self._instance)) or self._is_of_spare(actor)

    def _is_of_spare(self, actor: bytes) -> bool:
        return self._spare is not None and actor.startswith(self._spare)
