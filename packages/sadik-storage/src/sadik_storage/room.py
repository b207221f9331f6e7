"""How much room there is: on a file system, and in the process's address space."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

__all__ = ["can_reserve", "room_bytes"]


def room_bytes(path: Path) -> int:
    """What the file system has left for this process; huge where it does not say."""
    try:
        room = os.statvfs(path)
    except OSError:
        return 2**63
    if room.f_blocks == 0:
        return 2**63
    return room.f_frsize * (room.f_bfree if os.geteuid() == 0 else room.f_bavail)


def can_reserve(size_bytes: int) -> bool:
    """Whether the process may have that much more address range."""
    try:
        mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ).close()
    except OSError:
        return False
    return True
