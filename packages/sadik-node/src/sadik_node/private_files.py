"""Files that nobody else may read, and files that may change while a node runs.

A secret that others can read is refused, not warned about: it is none. Files are looked at once a
second, by their size, time and number; nothing needs a signal or a restart. What cannot be loaded
is reported once and leaves in use what was loaded before, so a file may be replaced in
any way: the next look finds the rest.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from attrs import define

from sadik_node.log import Log

__all__ = ["FileWatch", "check_private", "read_private"]

_LOOK_EVERY_S = 1.0
_OTHERS = stat.S_IROTH | stat.S_IWOTH
_BYTES_MAX = 65_536

_Signature = tuple[tuple[int, int, int] | None, ...]


def check_private(file: Path) -> None:
    """Raise ValueError where ``file`` is missing, or may be read or changed by everybody."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    if mode & _OTHERS:
        raise ValueError(
            f"{file} may be read or changed by everybody on this machine, so it is no secret: "
            f"chmod 600 {file}, and replace what is in it if others have been here"
        )


def read_private(file: Path, *, bytes_max: int = _BYTES_MAX) -> bytes:
    """The content of a small file that nobody else may read.

    Raises:
        ValueError: others may, it cannot be read, or has more than ``bytes_max``; the message bears
            nothing of what is in it.
    """
    check_private(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(bytes_max + 1)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    if len(data) > bytes_max:
        raise ValueError(f"{file} has more than {bytes_max} bytes")
    return data


@define
class _Watched:
    what: str
    files: tuple[Path, ...]
    load: Callable[[], object]
    signature: _Signature


class FileWatch:
    """Loads again what has changed on disk."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._watched: list[_Watched] = []

    def add(self, what: str, files: Sequence[Path], load: Callable[[], object]) -> None:
        """Call ``load`` whenever one of ``files`` has changed; what is there now is loaded already.

        ``what`` names it in the log. ``load`` raises ValueError, with a message fit for the log,
        where it cannot, and then has changed nothing.
        """
        self._watched.append(_Watched(what, tuple(files), load, _signature(files)))

    def look(self) -> None:
        """Look once."""
        for each in self._watched:
            found = _signature(each.files)
            if found == each.signature:
                continue
            # Before loading: what changes meanwhile is found at the next look.
            each.signature = found
            try:
                each.load()
            except ValueError as error:
                self._log.event("reload_failed", f"{error}; what was loaded stays", what=each.what)
            else:
                self._log.event("reloaded", what=each.what)

    async def run(self) -> None:
        """Look every second until cancelled."""
        while self._watched:
            await trio.sleep(_LOOK_EVERY_S)
            self.look()


def _signature(files: Sequence[Path]) -> _Signature:
    return tuple(map(_signature_of, files))


def _signature_of(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
