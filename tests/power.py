"""Disks whose power can be cut: ext4 images, loop-mounted. What was not synced is gone.

``kill -9`` does not test an fsync, since the page cache outlives the process. Shutting a mounted
file system down without its log being flushed does: what comes back is what had reached the image.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from real_cluster import eventually

__all__ = ["CutDisk", "cut_power", "why_not"]

_IMAGE_BYTES = 192 * 2**20
_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, uint32)``: the file systems' own order to go down."""
_WITHOUT_LOG_FLUSH = 2


def why_not(directory: Path) -> str:
    """Why no such disk can be had here; empty where one can."""
    if os.geteuid() != 0:
        return "needs root, to mount a disk whose power can be cut"
    try:
        with CutDisk(directory / "try") as disk:
            cut_power([disk])
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs loop mounts and mkfs.ext4: {getattr(error, 'stderr', None) or error}"
    return ""


class CutDisk:
    """A small disk, mounted at ``path`` within the block.

    It comes back as a copy of its image. The dead file system itself would come back dead while
    it is mounted anywhere else, and processes in mount namespaces of their own have copies of all
    mounts that there were when they began.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._image = path.with_name(path.name + ".img")

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()
        return self

    def __exit__(self, *exception: object) -> None:
        self._unmount()
        self._image.unlink()

    def come_back(self) -> None:
        """Mount what has survived. Nobody may have a file open on it."""
        self._unmount()
        survived = self._image.with_suffix(".survived")
        _run("cp", "--sparse=always", str(self._image), str(survived))
        survived.replace(self._image)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def _unmount(self) -> None:
        def is_gone() -> bool:
            done = subprocess.run(["umount", str(self.path)], check=False, capture_output=True)
            return done.returncode == 0

        eventually(20, is_gone, f"{self.path} can be unmounted")


def cut_power(disks: Sequence[CutDisk]) -> None:
    """Cut the power of all, as near to at once as can be."""
    opened = [os.open(disk.path, os.O_RDONLY | os.O_DIRECTORY) for disk in disks]
    try:
        for directory in opened:
            fcntl.ioctl(directory, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
    finally:
        for directory in opened:
            os.close(directory)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
