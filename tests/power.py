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
from types import TracebackType
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

    Other tests have processes in mount namespaces of their own, which hold a copy of every mount
    that there was when they began, and a file system is not gone before its last mount is. So it is
    mounted below a frame that is shared with them: what is unmounted here is unmounted there.
    """

    def __init__(self, path: Path) -> None:
        self._frame = path
        self.path = path / "disk"
        self._image = path.with_name(path.name + ".img")

    def __enter__(self) -> Self:
        self._frame.mkdir()
        _run("mount", "--bind", str(self._frame), str(self._frame))
        _run("mount", "--make-shared", str(self._frame))
        try:
            self.path.mkdir()
            with self._image.open("wb") as file:
                file.truncate(_IMAGE_BYTES)
            _run("mkfs.ext4", "-q", "-F", str(self._image))
            self._mount()
        except BaseException:
            self._unmount(self._frame)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unmount(self.path)
        self._unmount(self._frame)
        self._image.unlink()

    def come_back(self) -> None:
        """Mount what has survived. Nobody may have a file open on it."""

        def is_back() -> bool:
            self._unmount(self.path)
            self._mount()
            try:
                (self.path / ".back").touch()
            except OSError:
                return False  # somebody held the dead file system for a moment longer
            return True

        eventually(20, is_back, f"{self.path} is a file system of a new life")

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    @staticmethod
    def _unmount(path: Path) -> None:
        def is_gone() -> bool:
            done = subprocess.run(["umount", str(path)], check=False, capture_output=True)
            return done.returncode == 0

        eventually(20, is_gone, f"{path} can be unmounted")


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
