"""The machine under a node: versions, the clock, and what the system allows a process."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed_version

from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.http.limits import connections_wanted
from sadik_node.settings import Settings

__all__ = ["examine_clock", "examine_limits", "examine_versions"]

_PYTHON_MIN = (3, 11)
_FILES_BESIDE_CONNECTIONS = 1024
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 256  # struct timex has 208 on 64 bit


def examine_versions() -> Iterator[Finding]:
    """What is installed: the interpreter, the packages of Sadik, and what they stand on."""
    python = platform.python_version()
    if sys.version_info < _PYTHON_MIN:
        yield Finding("python", Verdict.FAIL, python, "install Python 3.11 or later")
    else:
        yield Finding("python", Verdict.OK, f"{python} ({platform.machine()})")
    own = installed_version("sadik-node")
    others = {name: _version_of(name) for name in _siblings()}
    apart = [f"{name} {found}" for name, found in others.items() if found != own]
    if apart:
        yield Finding(
            "packages",
            Verdict.FAIL,
            f"sadik-node {own} beside {', '.join(apart)}",
            f"install all packages of one version: pip install sadik-node=={own}",
        )
    else:
        yield Finding(
            "packages", Verdict.OK, f"sadik-node {own}, and {len(others)} of that version"
        )


def _siblings() -> list[str]:
    lines = [line.split(";")[0] for line in requires("sadik-node") or () if "extra" not in line]
    names = [line.split("==")[0].split("[")[0].strip() for line in lines if "==" in line]
    return sorted(name for name in names if name.startswith("sadik-"))


def _version_of(name: str) -> str:
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return "missing"


def examine_clock() -> Iterator[Finding]:
    """Whether something keeps this machine's clock right; nodes more than 60 s apart do not agree.

    An expiry is judged by each node's own clock, so a wrong one lets values go too early.
    """
    state = _clock_state()
    if state is None:
        yield Finding("clock", Verdict.SKIP, "this system does not say whether it is kept right")
    elif state == _TIME_ERROR:
        yield Finding(
            "clock",
            Verdict.WARN,
            "nothing keeps it right",
            "run chrony or systemd-timesyncd here, or on the host if this is a container",
        )
    else:
        yield Finding("clock", Verdict.OK, "kept right by the system")


def _clock_state() -> int | None:
    """What adjtimex(2) returns when it is asked and told nothing; None where there is none."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state


def examine_limits(settings: Settings) -> Iterator[Finding]:
    """Open files, address space and memory, against what the configuration lets clients have."""
    wanted = connections_wanted(settings) + _FILES_BESIDE_CONNECTIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield Finding(
            "open files",
            Verdict.WARN,
            f"at most {hard}; limits.connections = {settings.limits.connections} wants {wanted}",
            f"set LimitNOFILE={wanted} in the unit (or ulimit -n), or lower limits.connections",
        )
    else:
        shown = "no bound" if hard == resource.RLIM_INFINITY else str(hard)
        yield Finding("open files", Verdict.OK, f"{shown}; {wanted} wanted")
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY and settings.storage.backend == "lmdb":
        yield Finding(
            "address space",
            Verdict.WARN,
            f"bounded at {space} bytes, and lmdb maps its whole file",
            "remove the bound (ulimit -v), and bound memory by a control group (MemoryMax=)",
        )
    else:
        yield Finding("address space", Verdict.OK, "no bound that matters")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    held = settings.limits.held_bytes
    if held * 2 > memory:
        yield Finding(
            "memory",
            Verdict.WARN,
            f"{memory >> 20} MiB; limits.held_bytes lets clients hold {held >> 20} MiB of it",
            f"lower limits.held_bytes to {memory // 8}",
        )
    else:
        yield Finding(
            "memory", Verdict.OK, f"{memory >> 20} MiB; clients hold {held >> 20} at most"
        )
