"""Keeping some of the disk free: ``limits.free_bytes``.

A file system that is full to the last byte harms more than the node on it, and the node itself
needs room to delete, to repair, to count its starts and to change its ring. So clients' writes that
bring values are refused (507, nothing applied) while less than the reserve is free; all else goes
on. Room that the store holds and will use again counts as free: a store's file seldom shrinks, and
deletes would otherwise never make room.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import trio

from sadik_machine import DiskShort
from sadik_node.log import Log
from sadik_storage import Store, StoreError

__all__ = ["SpaceWatch", "reserve_of"]

_EVERY_S = 0.5
_LOOK_EVERY_BYTES = 2**18
_SHARE = 20
_RESERVE_BYTES_MAX = 2**30


def reserve_of(found: os.statvfs_result, reserve_bytes: int | None) -> int:
    """How many bytes of a file system are to stay free: what is configured, or by its size."""
    if reserve_bytes is not None:
        return reserve_bytes
    return min(found.f_blocks * found.f_frsize // _SHARE, _RESERVE_BYTES_MAX)


class SpaceWatch:
    """Looks at the file system of ``path`` twice a second, and when much was written, and has
    ``tell`` tell the machines.
    """

    def __init__(
        self,
        store: Store,
        path: Path,
        reserve_bytes: int | None,
        tell: Callable[[DiskShort], None],
        log: Log,
    ) -> None:
        self._store = store
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._tell = tell
        self._log = log
        self._unseen_bytes = 0
        self.is_short = False
        """Whether less is free than shall be."""
        self.look()

    def look(self) -> None:
        """Judge now."""
        self._unseen_bytes = 0
        found = os.statvfs(self._path)
        reserve = reserve_of(found, self._reserve_bytes)
        free = found.f_bavail * found.f_frsize + self._free_inside()
        is_short = free < reserve
        if is_short != self.is_short:
            self.is_short = is_short
            self._tell(DiskShort(is_short))
            if is_short:
                self._log.event("disk_short", "writes are refused until there is room again",
                                free_bytes=free, limit_bytes=reserve)  # fmt: skip
            else:
                self._log.event("disk_has_room", free_bytes=free)

    def grown(self, by_bytes: int) -> None:
        """So much was written: judge if the reserve could be gone before the next look."""
        self._unseen_bytes += by_bytes
        if self._unseen_bytes >= _LOOK_EVERY_BYTES:
            self.look()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(_EVERY_S)
            self.look()

    def _free_inside(self) -> int:
        try:
            return self._store.bytes_free_inside()
        except StoreError:
            return 0  # whoever reads or writes next is told
