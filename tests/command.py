"""The command line as a user types it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

__all__ = ["sadik"]


def sadik(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``sadik-node`` to its end, with more variables than this process has."""
    return subprocess.run(
        [sys.executable, "-m", "sadik_node", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
