"""What is on disk of keys that were met lately, so that the next request need not load it.

Nobody but `sadik_vnode.replica` writes records, so only damage on the disk could make it untrue:
whoever finds some drops what is known of the key. What was loaded is learnt only where no record
has changed since the load was asked for: a thread may have read it long ago.
"""

from __future__ import annotations

from typing import Final

from sadik_vnode.recent import Recent
from sadik_vnode.record import Record

__all__ = ["Known"]

_ROW_BYTES_MAX: Final = 4096
"""Longer rows are not remembered: they would drive out many."""
_BYTES_MAX: Final = 4 * 2**20
"""Of rows. What they were decoded to takes some six times as much memory."""


class Known:
    """Records on disk by the name of their key, each with its hash as far as that is known.

    An absent record is not among them, nor one that is being changed.
    """

    __slots__ = ("_records", "changes")

    def __init__(self) -> None:
        self._records: Recent[bytes, tuple[Record, int | None]] = Recent(_BYTES_MAX)
        self.changes = 0
        """How many changes of records were begun: see `learn`."""

    def get(self, name: bytes) -> tuple[Record, int | None] | None:
        """What is known of a record."""
        return self._records.get(name)

    def put(self, name: bytes, record: Record, record_hash: int | None, size: int) -> None:
        """A record has come to rest, with a row of ``size`` bytes."""
        if record.is_absent or size > _ROW_BYTES_MAX:
            self._records.drop(name)
        else:
            self._records.put(name, (record, record_hash), size)

    def learn(self, name: bytes, record: Record, size: int, changes: int) -> None:
        """It was loaded when ``changes`` had been begun, and nobody is changing it."""
        if changes == self.changes and size <= _ROW_BYTES_MAX and not record.is_absent:
            self._records.put(name, (record, None), size)

    def drop(self, name: bytes) -> None:
        """It may be damaged, or its change has failed."""
        self._records.drop(name)

    def clear(self) -> None:
        """Forget everything, and learn nothing of what is being loaded."""
        self.changes += 1
        self._records.clear()
