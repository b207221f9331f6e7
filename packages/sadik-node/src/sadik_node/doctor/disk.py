"""The disk under the data directory: may it be written, is there room, and how fast is it.

Every acknowledged write waits for a sync, so the time of one small write and its sync is the floor
under the latency of writes. It is measured the way that a node writes: 4 KiB more, then fdatasync.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.settings import Settings
from sadik_node.space import reserve_of

__all__ = ["examine_disk"]

_BLOCK_BYTES = 4096
_SYNCS_MIN = 5
_SYNCS_MAX = 400
_BUDGET_S = 1.0
_SLOW_MS = 20.0
_TOO_SLOW_MS = 200.0
_STREAM_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20

_FORGETS = ("tmpfs", "ramfs")
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")


def examine_disk(settings: Settings, mounts: Path = Path("/proc/mounts")) -> Iterator[Finding]:
    """Look at the data directory, or at the directory in which it would be made."""
    directory = settings.node.data_dir
    place = _nearest(directory)
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            "data directory",
            Verdict.FAIL,
            f"{place} may not be written by user {os.getuid()}",
            f"install -d -m 700 -o $(id -un) {directory}, or set node.data_dir to another place",
        )
        return
    if place == directory:
        mode = directory.stat().st_mode & 0o777
        if mode & 0o077:
            yield Finding(
                "data directory",
                Verdict.WARN,
                f"{directory} is open to others (mode {mode:03o})",
                f"chmod 700 {directory}",
            )
        else:
            yield Finding("data directory", Verdict.OK, str(directory))
    else:
        yield Finding("data directory", Verdict.OK, f"{directory} will be made in {place}")
    if settings.storage.backend == "memory":
        yield Finding("disk", Verdict.SKIP, 'storage.backend = "memory" keeps nothing on it')
        return
    yield _file_system(place, mounts)
    yield _room(place, settings)
    yield from _speed(place, settings)


def _nearest(directory: Path) -> Path:
    """The directory itself, or the nearest above it that is there."""
    place = directory.absolute()
    while not place.is_dir():
        place = place.parent
    return place


def _file_system(place: Path, mounts: Path) -> Finding:
    kind = _kind_of(place, mounts)
    if kind in _FORGETS:
        return Finding(
            "file system",
            Verdict.FAIL,
            f"{kind}: what is on it is gone after a restart of the machine",
            "put node.data_dir on a disk; a node that lost its data must be replaced",
        )
    if kind in _REMOTE:
        return Finding(
            "file system",
            Verdict.WARN,
            f"{kind}: another machine holds the data, and may lose what it said was synced",
            "put node.data_dir on a local disk; replicas are what protects from a lost machine",
        )
    return Finding("file system", Verdict.OK, kind or "unknown")


def _kind_of(place: Path, mounts: Path) -> str:
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    real = str(place.resolve())
    for line in lines:
        words = line.split(" ")
        if len(words) < 3:
            continue
        mount = words[1].replace("\\040", " ")
        is_above = mount == "/" or real == mount or real.startswith(mount + "/")
        if is_above and len(mount) >= best:
            best, kind = len(mount), words[2]
    return kind


def _room(place: Path, settings: Settings) -> Finding:
    found = os.statvfs(place)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    reserve = reserve_of(found, settings.limits.free_bytes)
    shown = f"{free >> 20} MiB free of {whole >> 20}"
    if free < reserve:
        return Finding(
            "room",
            Verdict.FAIL,
            f"{shown}; a node refuses writes (507) below {reserve >> 20} MiB",
            "make room, or add a node (docs/operations.md)",
        )
    if free < 2 * reserve:
        return Finding(
            "room",
            Verdict.WARN,
            f"{shown}; a node refuses writes (507) below {reserve >> 20} MiB",
            "make room before the other half is gone",
        )
    return Finding("room", Verdict.OK, f"{shown}; {reserve >> 20} MiB stay unused")


def _speed(place: Path, settings: Settings) -> Iterator[Finding]:
    try:
        syncs, stream = _measure(place)
    except OSError as error:
        yield Finding(
            "sync",
            Verdict.FAIL,
            f"writing to {place} failed: {error.strerror}",
            "see what the kernel says of the disk (dmesg), and that no quota is used up",
        )
        return
    middle, late = syncs[len(syncs) // 2], syncs[len(syncs) * 99 // 100]
    shown = f"{middle:.2f} ms in the middle, {late:.2f} ms at p99, of {len(syncs)} syncs"
    if settings.storage.sync != "commit":
        shown += f'; storage.sync = "{settings.storage.sync}" does not wait for them'
    if middle > _TOO_SLOW_MS:
        yield Finding(
            "sync", Verdict.FAIL, shown, "no write can be faster than this: use another disk"
        )
    elif middle > _SLOW_MS:
        yield Finding(
            "sync",
            Verdict.WARN,
            shown,
            "every write waits at least this long: a solid-state disk needs 0.1 to 2 ms",
        )
    else:
        yield Finding("sync", Verdict.OK, shown)
    yield Finding("throughput", Verdict.OK, f"{stream / 1e6:.0f} MB/s in one stream, synced")


def _measure(place: Path) -> tuple[list[float], float]:
    """Sorted milliseconds of small synced writes, and bytes a second of one large one."""
    block, chunk = os.urandom(_BLOCK_BYTES), os.urandom(_CHUNK_BYTES)
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        began = time.monotonic()
        while len(taken) < _SYNCS_MAX and (
            len(taken) < _SYNCS_MIN or time.monotonic() - began < _BUDGET_S
        ):
            before = time.monotonic()
            file.write(block)
            os.fdatasync(file.fileno())
            taken.append((time.monotonic() - before) * 1e3)
        before = time.monotonic()
        written = 0
        while written < _STREAM_BYTES and time.monotonic() - before < _BUDGET_S:
            written += file.write(chunk)
        os.fdatasync(file.fileno())
        stream = written / max(time.monotonic() - before, 1e-9)
    return sorted(taken), stream
