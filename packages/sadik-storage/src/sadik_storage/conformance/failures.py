"""Full and read-only disks, and damaged files: the trait's own exceptions, and never a wrong row.

All of it in children: a disk can be mounted in a namespace of a child's own, and an engine that is
given damaged files may take its process down, which no backend may do to a node.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import child_command, child_environment, namespace_prefix

__all__ = ["Failures"]

_TIMEOUT_SECONDS = 100


class Failures(Suite):
    """What goes wrong outside of a store is told in the trait's words."""

    def test_a_full_disk_is_an_error_that_passes(self, path: Path) -> None:
        """Filled, emptied, filled again: nothing acknowledged is lost, nothing refused is there."""
        self._on_a_small_disk("fill", path)

    def test_a_read_only_disk_is_an_error(self, path: Path) -> None:
        self._on_a_small_disk("refuse", path)

    def test_damaged_files_are_an_error_or_do_no_harm(self, path: Path) -> None:
        """Each file in turn, in several ways. A file may be one that the backend can do without;
        but what it reads was written once, and its process lives."""
        self._needs_disk()
        self._run([], "read_damaged", path)

    def _on_a_small_disk(self, role: str, path: Path) -> None:
        self._needs_disk()
        prefix = namespace_prefix()
        if prefix is None:
            pytest.skip("a disk cannot be mounted here: needs unshare, and root or user namespaces")
        self._run(prefix, role, path, self.disk_bytes)

    def _run(self, prefix: list[str], role: str, path: Path, disk_bytes: int = 0) -> None:
        command = child_command(
            role, self.backend, self.options, path, durable=True, disk_bytes=disk_bytes
        )
        ran = subprocess.run(  # noqa: S603 - this interpreter, with a program of this package
            [*prefix, *command],
            env=child_environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
