"""What the conformance suite works with: a writer beside readers, and children to kill.

Needs neither pytest nor a backend, so that a fuzzer or a campaign can use it as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from sadik_storage.trait import Row, Store

__all__ = [
    "PLENTY",
    "Writer",
    "all_rows",
    "child_command",
    "child_environment",
    "commit_and_kill",
    "namespace_prefix",
    "walk",
]

PLENTY = 2**30
"""A bound on bytes that no test reaches."""

_CHILD = Path(__file__).with_name("child.py")


class Writer:
    """Calls `write(1)`, `write(2)` … on a thread of its own until the block ends."""

    def __init__(self, write: Callable[[int], None]) -> None:
        self._write = write
        self._stop = threading.Event()
        self._done = threading.Condition()
        self._count = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_for_another(self) -> None:
        """Return when one more write has been done since the call, or the writer has failed."""
        with self._done:
            seen = self._count
            self._done.wait_for(lambda: self._count > seen or self._error is not None, timeout=60)

    def _run(self) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                number += 1
                self._write(number)
                with self._done:
                    self._count = number
                    self._done.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by the block's end
            with self._done:
                self._error = error
                self._done.notify_all()


def commit_and_kill(
    backend: type[Store],
    options: Mapping[str, object],
    path: Path,
    commits: int,
    *,
    durable: bool,
) -> int:
    """Let a child process commit without end; kill it (SIGKILL) once it has acknowledged `commits`.

    Its n-th batch holds `left/n`, `right/n` and `last` = n; it goes on from the `last` it finds.
    Returns the last batch that it acknowledged.
    """
    with subprocess.Popen(  # noqa: S603 - this interpreter, with a program of this package
        child_command("commit", backend, options, path, durable=durable),
        stdout=subprocess.PIPE,
        env=child_environment(),
    ) as child:
        assert child.stdout is not None
        try:
            lines = [child.stdout.readline() for _ in range(commits)]
        finally:
            child.kill()
        lines += child.stdout.read().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    assert len(whole) >= commits, "the child ended by itself; its error was printed"
    return int(whole[-1])


def child_command(
    role: str,
    backend: type[Store],
    options: Mapping[str, object],
    path: Path,
    *,
    durable: bool,
    disk_bytes: int = 0,
) -> list[str]:
    """The command line of a child in one of the roles of `child.py`.

    With `disk_bytes` the child first mounts a disk of that size over the path's parent: run it
    after `namespace_prefix`, so that nobody else sees that, and nothing is left of it.
    """
    name = [backend.__module__, backend.__qualname__]
    what = [role, *name, str(path), dict(options), durable, disk_bytes]
    return [sys.executable, "-P", str(_CHILD), json.dumps(what)]


def child_environment() -> dict[str, str]:
    """The environment in which a child finds what this process can import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def namespace_prefix() -> list[str] | None:
    """A command's beginning that lets it mount for itself alone; `None` where that is refused."""
    prefix = ["unshare", "--mount"]
    if os.geteuid() != 0:
        prefix += ["--user", "--map-root-user"]
    try:
        tried = subprocess.run([*prefix, "true"], check=False, capture_output=True)  # noqa: S603
    except FileNotFoundError:
        return None
    return prefix if tried.returncode == 0 else None


def all_rows(store: Store) -> list[Row]:
    """Every row, in one call."""
    return store.scan(b"", None, limit=100_000, limit_bytes=PLENTY)


def walk(store: Store, *, limit: int, limit_bytes: int = PLENTY) -> list[Row]:
    """All rows in chunks, as a caller walks a whole store."""
    rows: list[Row] = []
    start = b""
    while chunk := store.scan(start, None, limit=limit, limit_bytes=limit_bytes):
        assert len(chunk) <= limit
        rows += chunk
        start = chunk[-1][0] + b"\0"
    return rows
