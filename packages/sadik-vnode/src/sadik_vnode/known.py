"""What is on disk of keys that were met lately, so that the next request need not load it.

Nobody but `sadik_vnode.replica` writes records, so only damage on the disk could make it untrue:
whoever finds some drops what is known of the key. What was loaded is learnt only where no record
has changed since the load was asked for: a thread may have read it long ago.
"""

from __future__ import annotations

from typing import Final

from sadik_vnode.key_state import KeyState
from sadik_vnode.keyspace import Key
from sadik_vnode.recent import Recent
from sadik_vnode.record import Record

__all__ = ["Known"]

_ROW_BYTES_MAX: Final = 4096
"""Longer rows are not remembered: they would drive out many."""
_BYTES_MAX: Final = 4 * 2**20
"""Of rows. What they were decoded to takes some six times as much memory."""


class Known:
    """Keys at rest, by name, each with its record on disk, and its hash as far as that is known.

    An absent record is not among them. One that is being changed may be: whoever changes it knows,
    and puts it in again when it is at rest, or drops it.
    """

    __slots__ = ("_states", "changes")

    def __init__(self) -> None:
        self._states: Recent[bytes, KeyState] = Recent(_BYTES_MAX)
        self.changes = 0
        """How many changes of records were begun: see `learn`."""

    def get(self, name: bytes) -> KeyState | None:
        """What is known of a key."""
        return self._states.get(name)

    def put(self, state: KeyState) -> None:
        """A record has come to rest."""
        record = state.record
        if record is None or record.is_absent or state.size > _ROW_BYTES_MAX:
            self._states.drop(state.key.name)
        else:
            self._states.put(state.key.name, state, state.size)

    def learn(self, key: Key, record: Record, size: int, changes: int) -> None:
        """It was loaded when ``changes`` had been begun, and nobody is changing it."""
        if changes == self.changes and size <= _ROW_BYTES_MAX and not record.is_absent:
            state = KeyState(key)
            state.record, state.size = record, size
            self._states.put(key.name, state, size)

    def drop(self, name: bytes) -> None:
        """It may be damaged, or its change has failed."""
        self._states.drop(name)

    def clear(self) -> None:
        """Forget everything, and learn nothing of what is being loaded."""
        self.changes += 1
        self._states.clear()
