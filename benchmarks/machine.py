"""What figures belong to: the commit, and the kind of machine, which is not told more closely."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import sadik_vnode

__all__ = ["commit", "kind", "machine"]

ROOT = Path(__file__).resolve().parents[1]
_FASTEST = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
_PROCESSOR = Path("/proc/cpuinfo")


def machine() -> dict[str, object]:
    """What the figures belong to."""
    return {
        "commit": commit(),
        "engine": "interpreted" if str(sadik_vnode.__file__).endswith(".py") else "compiled",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "kind": kind(),
        "load_before": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def commit() -> str:
    """The commit of the checkout; it ends in ``-dirty`` if that has changes."""
    return subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--tags"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip


def kind() -> str:
    """Cores, their speed and the architecture: ``2 cores of 2.5 GHz, x86_64``."""
    speed = _gigahertz()
    of = "" if speed is None else f" of {speed:.1f} GHz"
    return f"{os.cpu_count()} cores{of}, {platform.machine()}"


def _gigahertz() -> float | None:
    """The speed that the processor is sold with, or nearly so."""
    if _FASTEST.exists():
        return int(_FASTEST.read_text("ascii")) / 1e6
    text = _PROCESSOR.read_text("ascii", "replace") if _PROCESSOR.exists() else ""
    told = re.search(r"^model name.*@ ([\d.]+)GHz", text, re.MULTILINE)
    if told is not None:
        return float(told[1])
    told = re.search(r"^cpu MHz\s*: ([\d.]+)", text, re.MULTILINE)
    return None if told is None else float(told[1]) / 1e3
