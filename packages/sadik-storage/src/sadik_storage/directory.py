"""A backend's directory: made private, held by one store at a time, and marked with its format.

The idea: three things that every backend on disk needs before its engine touches a file, in the
order that makes each safe. First the directory, readable by its owner alone. Then a lock that the
kernel holds for this process and lets go of however the process ends, so that a restart after
`kill -9` never waits or asks. Then the mark: a small file that says which backend and which
version of its format wrote here, so that a newer format is refused with a sentence rather than
read wrongly.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sadik_storage.trait import (
    StoreError,
    StoreFormatError,
    StoreFull,
    StoreIOError,
    StoreLocked,
    StoreOptionsError,
    StoreReadOnly,
)

__all__ = [
    "FORMAT_FILE",
    "LOCK_FILE",
    "OPEN_FILE",
    "StoreDirectory",
    "sync_directory",
    "translate_os_error",
]

FORMAT_FILE = "FORMAT"
"""The mark: one line of JSON with `backend` and `version`."""

LOCK_FILE = "LOCK"
"""The file that the kernel's lock is on; it says nothing, and its presence means nothing."""

OPEN_FILE = "OPEN"
"""There while a store is open, and after one that did not come to its close: see `mark_open`."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def translate_os_error(code: int, what: str) -> StoreError:
    """The trait's error for an operating system's error number; `what` was being done."""
    words = f"{what}: {os.strerror(code)}"
    if code in _FULL:
        return StoreFull(f"{words}; free some space on that file system and try again")
    if code in _REFUSED:
        return StoreReadOnly(f"{words}; check the owner, the mode and the mount of the directory")
    return StoreIOError(words)


class StoreDirectory:
    """A directory that this object holds for one backend until `close`.

    Raises (on construction, having changed nothing in a directory that it refuses):
        StoreOptionsError: no path was given.
        StoreLocked: another store holds the directory, in this process or in another.
        StoreFormatError: the mark is of another backend or of a newer version, or there are files
            but no mark.
        StoreFull, StoreReadOnly, StoreIOError: the operating system said so.
    """

    def __init__(
        self, path: Path | None, *, backend: str, version: int, fresh_version: int | None = None
    ) -> None:
        """Make the directory (0700) if there is none, lock it, and read or write its mark.

        ``version`` is the newest that is understood; a new directory gets ``fresh_version``.
        """
        if path is None:
            raise StoreOptionsError(f"the storage backend {backend!r} needs a path, a directory")
        self.path = path
        self.deaths = 0
        """How many stores before this one, one after another, called `mark_open` and never came to
        their `close`."""
        self.version = version
        """Of the format, by the mark."""
        self._backend = backend
        self._is_marked = False
        self._lock_fd: int | None = None
        try:
            _make(path)
            _refuse_foreign(path)
            self._lock_fd = _lock(path)
            self.version = _check_mark(
                path,
                backend=backend,
                version=version,
                fresh_version=version if fresh_version is None else fresh_version,
            )
            self.deaths = _deaths(path / OPEN_FILE)
        except OSError as error:
            self.close()
            _raise_os_error(error, path)
        except StoreError:
            self.close()
            raise

    def mark_version(self, version: int) -> None:
        """Have the mark say another version of the format from now on, on disk.

        Raises:
            StoreFull, StoreReadOnly, StoreIOError: the operating system said so.
        """
        try:
            _write_mark(self.path / FORMAT_FILE, backend=self._backend, version=version)
        except OSError as error:
            raise translate_os_error(
                error.errno or errno.EIO, f"marking {self.path} with its format"
            ) from error
        self.version = version

    def mark_open(self) -> None:
        """Leave a mark until `close`, by which the next store learns whether this one came to it.

        It is not synced, so a machine that loses power may lose it: it tells of processes that
        died, perhaps of what is in the files.
        """
        with suppress(OSError):
            file = self.path / OPEN_FILE
            file.touch(mode=0o600)
            file.write_text(f"{self.deaths + 1}\n")
            self._is_marked = True

    def close(self, *, failed: bool = False) -> None:
        """Let go of the directory; after a failure the mark stays. Again it does nothing."""
        if self._lock_fd is not None:
            if self._is_marked and not failed:
                with suppress(OSError):
                    (self.path / OPEN_FILE).unlink()
            os.close(self._lock_fd)
            self._lock_fd = None


def _deaths(file: Path) -> int:
    """What `StoreDirectory.mark_open` left; at least one if it left anything."""
    try:
        return max(1, int(file.read_text()))
    except FileNotFoundError:
        return 0
    except ValueError:
        return 1


def _raise_os_error(error: OSError, path: Path) -> NoReturn:
    where = error.filename or path
    raise translate_os_error(error.errno or errno.EIO, f"opening {where}") from error


def _make(path: Path) -> None:
    """Make the directory if it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_directory(path.parent)
    elif not path.is_dir():
        raise StoreOptionsError(f"the path of the store, {path}, is not a directory")


def _is_fresh(path: Path) -> bool:
    """Whether nothing is there but what an open that was killed half-way leaves."""
    return all(each.name in {LOCK_FILE, FORMAT_FILE + ".new"} for each in path.iterdir())


def _refuse_foreign(path: Path) -> None:
    """Refuse a directory of other files, before so much as a lock is put there."""
    if not (path / FORMAT_FILE).exists() and not _is_fresh(path):
        raise StoreFormatError(
            f"{path} holds files but no {FORMAT_FILE} mark, so it is not a store of Sadik; give "
            "an empty or a new directory"
        )


def _lock(path: Path) -> int:
    lock_fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_fd)
        raise StoreLocked(
            f"the store in {path} is open already, in this process or in another; close that one "
            "first (a killed process holds nothing)"
        ) from None
    except OSError:
        os.close(lock_fd)
        raise
    return lock_fd


def _check_mark(path: Path, *, backend: str, version: int, fresh_version: int) -> int:
    """The version that the mark says, which is written where there is none."""
    file = path / FORMAT_FILE
    if _is_fresh(path):
        _write_mark(file, backend=backend, version=fresh_version)
        return fresh_version
    try:
        mark = json.loads(file.read_bytes())
        found, found_version = mark["backend"], mark["version"]
    except (ValueError, KeyError, TypeError):
        raise StoreFormatError(
            f"{file} is not a mark of this program; restore it from a backup, or give another "
            "directory"
        ) from None
    if found != backend:
        raise StoreFormatError(
            f"the store in {path} was written by the backend {found!r}, not by {backend!r}; set "
            f'storage.backend = "{found}" or give another directory'
        )
    if type(found_version) is not int or found_version > version:
        raise StoreFormatError(
            f"the store in {path} has version {found_version!r} of the format of {backend!r}, and "
            f"this program reads versions up to {version}; use a newer program"
        )
    return found_version


def _write_mark(file: Path, *, backend: str, version: int) -> None:
    """Write the mark so that it is there whole or not at all, before any file of the engine."""
    new = file.with_name(file.name + ".new")
    text = json.dumps({"backend": backend, "version": version}) + "\n"
    mark_fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(mark_fd, text.encode())
        os.fsync(mark_fd)
    finally:
        os.close(mark_fd)
    new.replace(file)
    sync_directory(file.parent)


def sync_directory(path: Path) -> None:
    """Put on disk which files are in a directory: a new file's name is not by the file's fsync."""
    directory_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)
