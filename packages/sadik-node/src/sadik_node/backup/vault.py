"""Where backups lie: named files that appear whole, in a directory or in an object store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path
from typing import Protocol

from sadik_storage.directory import sync_directory

__all__ = ["DirectoryVault", "Vault", "VaultError", "open_vault"]

_TEMPORARY = ".new-"
_LOCK_FILE = ".lock"


class VaultError(Exception):
    """The place of the backups cannot be used; the message says what was tried and why not."""


class Vault(Protocol):
    """Named files. Methods may be called from several threads, and raise `VaultError`."""

    def close(self) -> None:
        """Be done with it."""

    def read(self, name: str) -> bytes | None:
        """What is in a file; None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file, durably, and whole or not at all."""

    def sizes(self, directory: str) -> dict[str, int]:
        """The files below a directory by their names from the vault's root, with their sizes."""

    def remove(self, name: str) -> None:
        """Remove a file that may be there."""

    def other_writer(self) -> str | None:
        """Who else seems to be writing to it, where several may."""


def open_vault(address: str, *, writing: bool = False) -> Vault:
    """The vault at a path or an address that fsspec knows. ``writing`` makes it where need be."""
    scheme, is_address, path = address.partition("://")
    if is_address and scheme != "file":
        from sadik_node.backup.objects import ObjectVault  # noqa: PLC0415 - seldom wanted

        return ObjectVault(address, writing=writing)
    return DirectoryVault(Path(path if is_address else address), writing=writing)


class DirectoryVault:
    """Files below one directory. Methods may be called from several threads.

    Whoever writes keeps other writers out until it is closed.
    """

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

    def other_writer(self) -> str | None:
        """Nobody, by the lock."""
        return None

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
