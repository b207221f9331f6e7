"""Reading records by leaf: which are there, told by their hashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_hashing import SUM_BYTES
from sadik_machine import ScanRows
from sadik_vnode.anti_entropy.messages import SHORT_BYTES
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import Key, lost_leaves, record_key, records_range
from sadik_vnode.outbox import OnFailed
from sadik_vnode.record import DamagedRecord, Record
from sadik_vnode.tree import hash_of

__all__ = ["Hashes", "pack", "scan_hashes", "short_hash", "unpack"]

Hashes = dict[bytes, Key]
"""The records of one leaf by their short hashes."""

_SCAN_ROWS: Final = 250
_SCAN_BYTES: Final = 128 * 1024
_SHORT_SHIFT: Final = 8 * (SUM_BYTES - SHORT_BYTES)


def pack(value: int) -> bytes:
    """A sum or a hash as it travels."""
    return (value >> _SHORT_SHIFT).to_bytes(SHORT_BYTES, "big")


def unpack(packed: bytes) -> list[bytes]:
    """The parts of packed hashes."""
    return [packed[at : at + SHORT_BYTES] for at in range(0, len(packed), SHORT_BYTES)]


def short_hash(key: Key, record: Record) -> bytes:
    """The hash of a record as it travels."""
    return pack(hash_of(key, record))


def scan_hashes(
    desk: Desk,
    leaf: int,
    done: Callable[[Hashes], None],
    failed: OnFailed,
) -> None:
    """Give the hashes of a leaf's records as they are on disk, read in short chunks.

    A record without live versions has none, like one that is not there; a damaged one is left
    out too: the other side has it, and what is not here gets sent.
    """
    found: Hashes = {}
    start, stop = records_range(leaf, leaf + 1)

    def loaded(rows: list[tuple[bytes, bytes]]) -> None:
        for row, value in rows:
            if lost_leaves(row):
                continue  # its key is damaged: scrubbing removes it
            key = record_key(row)
            try:
                record = Record.decode(value)
            except DamagedRecord:
                desk.counters.damaged_records += 1
                continue
            if record.container.versions:
                found[short_hash(key, record)] = key
        if rows:
            # A page may be cut short by its bytes: only an empty one says that there is no more.
            scan(rows[-1][0] + b"\0")
        elif desk.outbox.stores_pending:
            # A scan sees stores that are under way: show it once those are on disk.
            desk.outbox.store((), (), lambda: done(found), failed)
        else:
            done(found)

    def scan(at: bytes) -> None:
        desk.outbox.load(ScanRows(at, stop, _SCAN_ROWS, _SCAN_BYTES), loaded, failed)

    scan(start)
