"""Where backups lie: named files that appear whole, in a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from sadik_storage.directory import sync_directory

__all__ = ["DirectoryVault", "VaultError", "open_vault"]

_TEMPORARY = ".new-"
_LOCK_FILE = ".lock"


class VaultError(Exception):
    """The place of the backups cannot be used; the message says what was tried and why not."""


def open_vault(address: str, *, writing: bool = False) -> DirectoryVault:
    """The vault at a path. ``writing`` makes it, and keeps other writers out until it is closed."""
    if "://" in address:
        raise VaultError(f"{address} is no directory: this version keeps backups in directories")
    return DirectoryVault(Path(address), writing=writing)


class DirectoryVault:
    """Files below one directory. Methods may be called from several threads."""

    def __init__(self, path: Path, *, writing: bool) -> None:
        self.path = path
        self._lock_fd: int | None = None
        try:
            if writing:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock_fd = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for left in path.glob(f"*/**/{_TEMPORARY}*"):
                    left.unlink()
        except BlockingIOError:
            self.close()
            raise VaultError(f"another backup is being made in {path}: wait for it") from None
        except OSError as error:
            self.close()
            raise _translated(error, path) from error

    def close(self) -> None:
        """Let others write."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def read(self, name: str) -> bytes | None:
        """What is in a file; None where there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _translated(error, self.path / name) from error

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file, durably, and whole or not at all."""
        file = self.path / name
        new = file.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with new.open("xb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(file)
            sync_directory(file.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise _translated(error, file) from error

    def sizes(self, directory: str) -> dict[str, int]:
        """The files below a directory by their names from the vault's root, with their sizes."""
        try:
            return {
                file.relative_to(self.path).as_posix(): file.stat().st_size
                for file in (self.path / directory).rglob("*")
                if file.is_file() and not file.name.startswith(".")
            }
        except OSError as error:
            raise _translated(error, self.path / directory) from error

    def remove(self, name: str) -> None:
        """Remove a file that may be there."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _translated(error, self.path / name) from error


def _translated(error: OSError, path: Path) -> VaultError:
    return VaultError(f"{error.filename or path}: {error.strerror or error}")
