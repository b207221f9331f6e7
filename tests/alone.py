"""A test that runs in namespaces of its own, where documented ports and directories are free.

The test starts a pytest of its own for itself within them, and there does what it is for. Nothing
of the machine is touched: what is written below /etc, /mnt and /var/lib is gone with the namespace.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["DIRECTORIES", "NETWORK", "can_be_alone", "is_alone", "run_alone"]

ROOT: Final = Path(__file__).resolve().parents[1]
_MARK: Final = "ALONE_IN_NAMESPACE"
NETWORK: Final = ("unshare", "--net", "--map-root-user",
                  "sh", "-c", 'ip link set lo up && exec "$@"', "sh")  # fmt: skip
"""What stands before a command: loopback of its own, and nothing else."""
_OVERLAID: Final = """\
set -e
ip link set lo up
mount -t tmpfs tmpfs /mnt
for at in /etc /var/lib; do
    upper=/mnt/.over/$(basename $at)
    mkdir -p $upper $upper.work
    mount -t overlay overlay -o lowerdir=$at,upperdir=$upper,workdir=$upper.work $at
done
exec "$@"
"""
DIRECTORIES: Final = ("unshare", "--net", "--mount", "--map-root-user", "sh", "-c", _OVERLAID, "sh")
"""The same, with directories of the machine that can be written without writing to it."""


def is_alone() -> bool:
    """Whether this is the pytest within the namespaces."""
    return _MARK in os.environ


def can_be_alone(enter: tuple[str, ...] = NETWORK) -> bool:
    """Whether this machine lets us make namespaces of that kind."""
    try:
        return subprocess.run([*enter, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run_alone(test: str, enter: tuple[str, ...] = NETWORK) -> None:
    """Run one test, named as pytest does, within. AssertionError with all it said if it fails."""
    within = subprocess.run(
        [*enter, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=ROOT, env={**os.environ, _MARK: "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert within.returncode == 0, within.stdout + within.stderr
    assert "1 passed" in within.stdout
