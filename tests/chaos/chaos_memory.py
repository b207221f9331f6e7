"""Nodes that may use so much memory and no more: a control group of the kernel for each."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Self

from real_cluster import RealNode, eventually

__all__ = ["MemoryLimits", "why_no_limits"]

_ROOT = Path("/sys/fs/cgroup")
_ENTER = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"']
"""Becomes the command that follows, inside the group which is the first argument."""


def why_no_limits() -> str:
    """Why memory cannot be limited here; empty where it can be."""
    try:
        with MemoryLimits(256) as limits:
            limits.group("probe")
    except OSError as error:
        return f"needs control groups for memory: {error}"
    return ""


class MemoryLimits:
    """Groups of ``mib`` MiB each, which end with the block. All that a node touches counts, the
    pages of its files among it; those the kernel takes back, and where that is not enough it kills.
    """

    def __init__(self, mib: int) -> None:
        self._bytes = mib << 20
        self._groups: list[Path] = []
        # The first version of control groups has a hierarchy for memory alone.
        self._is_first = (_ROOT / "memory").is_dir()

    def group(self, name: str) -> Path:
        """Make a group."""
        parent = _ROOT / "memory" if self._is_first else _ROOT
        if not self._is_first:
            (parent / "cgroup.subtree_control").write_text("+memory", "ascii")
        group = parent / f"sadik-{os.getpid()}-{name}"
        group.mkdir()
        self._groups.append(group)
        limit = "memory.limit_in_bytes" if self._is_first else "memory.max"
        (group / limit).write_text(str(self._bytes), "ascii")
        with contextlib.suppress(OSError):  # a kernel may count no swap, or have none
            swap = "memory.memsw.limit_in_bytes" if self._is_first else "memory.swap.max"
            allowed = self._bytes if self._is_first else 0
            (group / swap).write_text(str(allowed), "ascii")
        return group

    def confine(self, node: RealNode) -> None:
        """Limit a node, from its next start on."""
        # First of all: a network namespace comes with a view of /sys that lacks the groups.
        node.before = [*_ENTER, str(self.group(node.name)), *node.before]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for group in self._groups:
            # A process that has ended leaves its group a moment later.
            eventually(10, partial(_is_removed, group), f"{group.name} is empty")


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
