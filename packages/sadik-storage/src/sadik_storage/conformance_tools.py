"""What the conformance suite works with: a writer beside readers, a child to kill, a model.

Needs neither pytest nor a backend, so that a fuzzer or a campaign can use it as well.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from sadik_storage.trait import Row, Snapshot, Store

__all__ = [
    "PLENTY",
    "Writer",
    "all_rows",
    "commit_and_kill",
    "compare",
    "model_commit",
    "random_batch",
    "random_key",
    "walk",
]

PLENTY = 2**30
"""A bound on bytes that no test reaches."""

_CHILD = """
import importlib, json, pathlib, sys
module, name, path, options, durable = json.loads(sys.argv[1])
backend = getattr(importlib.import_module(module), name)
store = backend.open(pathlib.Path(path), options, durable=durable)
last = store.get(b"last")
count = int(last or 0)
while True:
    count += 1
    text = b"%d" % count
    rows = [(b"left/" + text, text), (b"right/" + text, text * 200), (b"last", text)]
    store.commit(rows)
    print(count, flush=True)
"""


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
    where = [backend.__module__, backend.__name__, str(path), dict(options), durable]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(  # noqa: S603 - this interpreter, with the program above
        [sys.executable, "-c", _CHILD, json.dumps(where)],
        stdout=subprocess.PIPE,
        env=environment,
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


def random_key(rng: random.Random) -> bytes:
    """One of few keys, so that they meet; most short, some long."""
    key = bytes(rng.choice(b"\0\x01a\xfe\xff") for _ in range(rng.randint(1, 3)))
    return key * 170 if rng.random() < 0.1 else key


def random_batch(rng: random.Random) -> list[tuple[bytes, bytes | None]]:
    """Puts and deletes of random keys, some of them twice."""
    batch: list[tuple[bytes, bytes | None]] = []
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        size = rng.choice((0, 1, 10, 100, 3_000, 20_000))
        batch.append((random_key(rng), None if rng.random() < 0.4 else rng.randbytes(size)))
    return batch


def model_commit(model: dict[bytes, bytes], batch: list[tuple[bytes, bytes | None]]) -> None:
    """Do to the dictionary what `Store.commit` does to a store."""
    for key, value in batch:
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


def compare(rng: random.Random, view: Store | Snapshot, model: Mapping[bytes, bytes]) -> None:
    """One random get and one random scan must agree with the model."""
    key = random_key(rng)
    assert view.get(key) == model.get(key)
    start = rng.choice((b"", random_key(rng)))
    stop = rng.choice((None, random_key(rng)))
    limit, limit_bytes = rng.choice((1, 5, 999, 999)), rng.choice((0, 5_000, PLENTY, PLENTY))
    expected: list[Row] = []
    size = 0
    for row in sorted(model.items()):
        if row[0] < start or (stop is not None and row[0] >= stop):
            continue
        size += len(row[0]) + len(row[1])
        if len(expected) == limit or (expected and size > limit_bytes):
            break
        expected.append(row)
    assert view.scan(start, stop, limit=limit, limit_bytes=limit_bytes) == expected
