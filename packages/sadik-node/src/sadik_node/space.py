"""Keeping some of the disk free: ``limits.free_bytes``.

A file system that is full to the last byte harms more than the node on it, and the node itself
needs room to delete, to count its starts and to change its ring. So the engine's writes are refused
as "full" (a 507 to clients, nothing applied) while less than the reserve is free; the other rows
of the node go on being written.
"""

from __future__ import annotations

import os
from pathlib import Path

import trio

from sadik_node.committer import Committer
from sadik_node.log import Log

__all__ = ["SpaceWatch"]

_EVERY_S = 1.0
_SHARE = 20
_RESERVE_BYTES_MAX = 2**30


class SpaceWatch:
    """Looks at the file system of ``path`` every second and tells ``committer``."""

    def __init__(
        self,
        committer: Committer,
        machine: int,
        path: Path,
        reserve_bytes: int | None,
        log: Log,
    ) -> None:
        self._committer = committer
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._log = log
        committer.growing_machine = machine
        self.look()

    def look(self) -> None:
        """Judge now."""
        found = os.statvfs(self._path)
        free = found.f_bavail * found.f_frsize
        reserve = self._reserve_bytes
        if reserve is None:
            reserve = min(found.f_blocks * found.f_frsize // _SHARE, _RESERVE_BYTES_MAX)
        is_short = free < reserve
        if is_short != self._committer.is_short_of_space:
            self._committer.is_short_of_space = is_short
            if is_short:
                self._log.event("disk_short", "writes are refused until there is room again",
                                free_bytes=free, limit_bytes=reserve)  # fmt: skip
            else:
                self._log.event("disk_has_room", free_bytes=free)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(_EVERY_S)
            self.look()
