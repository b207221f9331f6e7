"""What the suite has a process of its own do: to be killed, or because the process may die of it.

Run by its path, with one argument, JSON of the role, the backend's module and class, the path, the
options, and whether durable (`sadik_storage.conformance.tools.child_command`). It imports neither
pytest nor the suite. What it finds wrong is an `AssertionError` and an exit code other than 0.
"""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sadik_storage.directory import FORMAT_FILE, LOCK_FILE
from sadik_storage.trait import (
    Row,
    Store,
    StoreCorrupted,
    StoreError,
    StoreFormatError,
    StoreFull,
    StoreReadOnly,
)

_FILLER_BYTES = 100_000
_DISK = "tmpfs"

Open = Callable[[], Store]


def commit(open_store: Open, path: Path) -> None:
    """Commit without end, and say each batch's number when it is acknowledged."""
    del path
    store = open_store()
    count = int(store.get(b"last") or 0)
    while True:
        count += 1
        text = b"%d" % count
        store.commit([(b"left/" + text, text), (b"right/" + text, text * 200), (b"last", text)])
        sys.stdout.write(f"{count}\n")
        sys.stdout.flush()


def fill(open_store: Open, path: Path) -> None:
    """Fill the disk, a small one: what was acknowledged stays, and with room it goes on."""
    ballast = path.parent / "ballast"
    kept: list[Row] = []
    with open_store() as store:
        with ballast.open("wb") as file, suppress(OSError):
            for _ in range(30):
                file.write(bytes(_FILLER_BYTES))
        kept += _commit_until_full(store)
        for _ in range(3):
            with suppress(StoreFull):
                store.commit([(b"large", bytes(64 * 2**20)), (b"k", b"with it")])
                raise AssertionError("a value larger than the disk was taken")
        _holds(store, kept)
        ballast.unlink()
        kept += _commit_when_there_is_room(store)
        kept += _commit_until_full(store)
        _holds(store, kept)
    with open_store() as store:
        _holds(store, kept)


def refuse(open_store: Open, path: Path) -> None:
    """Open and write on a disk that has become read-only."""
    rows = [(b"%d" % number, b"v") for number in range(100)]
    with open_store() as store:
        store.commit(rows)
    _mount(path.parent, "remount,ro")
    try:
        store = open_store()
    except StoreReadOnly:
        return
    with store:
        _holds(store, rows)
        with suppress(StoreReadOnly):
            store.commit([(b"more", b"v")])
            raise AssertionError("a commit to a read-only disk was taken")


def read_damaged(open_store: Open, path: Path) -> None:
    """Read a store with one of its files damaged: an error of the trait, or what was written once.

    What is tried is told before, for the case that the process dies of it.
    """
    with open_store() as store:
        store.commit([(b"%03d" % number, b"%03d" % number * 50) for number in range(400)])
        store.sync()
    whole = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for file, data in sorted(whole.items()):
        if not data or file.name in (FORMAT_FILE, LOCK_FILE):
            continue
        for harm in _HARMS:
            sys.stdout.write(f"{file.relative_to(path)}: {harm.__name__}\n")
            sys.stdout.flush()
            file.write_bytes(harm(data))
            with suppress(StoreCorrupted, StoreFormatError), open_store() as store:
                _check_rows(store)
            for each in path.rglob("*"):
                if each.is_file() and each not in whole:
                    each.unlink()
            for each, before in whole.items():
                each.write_bytes(before)


def _check_rows(store: Store) -> None:
    for key, value in store.scan(b"", None, limit=100_000, limit_bytes=2**30):
        if value != key * 50:
            raise AssertionError(f"the value of {key!r} was never written: {value!r}")
        if store.get(key) != value:
            raise AssertionError(f"get and scan differ at {key!r}")


def _noise(whole: bytes) -> bytes:
    return random.Random(1).randbytes(len(whole))


def _half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _nothing(whole: bytes) -> bytes:
    return whole[:0]


_HARMS: tuple[Callable[[bytes], bytes], ...] = (_noise, _half, _nothing)


def _commit_until_full(store: Store) -> list[Row]:
    """Commit batches until one is refused; what was taken."""
    rng = random.Random(store.size().keys)
    taken: list[Row] = []
    while True:
        number = store.size().keys
        batch = [(b"%05d" % (number + each), rng.randbytes(20_000)) for each in range(3)]
        try:
            store.commit(batch)
        except StoreFull:
            for key, _ in batch:
                if store.get(key) is not None:
                    raise AssertionError("a part of a refused batch is there") from None
            return taken
        taken += batch


def _commit_when_there_is_room(store: Store) -> list[Row]:
    """There is room: a commit must succeed, if not at once, since some backends look again only
    now and then."""
    batch = [(b"%05d" % store.size().keys, b"v" * 1_000)]
    for _ in range(200):
        try:
            store.commit(batch)
        except StoreFull:
            subprocess.run(["sleep", "0.1"], check=True)  # noqa: S607
        else:
            return batch
    raise AssertionError("there is room, and the store still says that it is full")


def _holds(store: Store, rows: list[Row]) -> None:
    found = store.scan(b"", None, limit=100_000, limit_bytes=2**30)
    if found != sorted(rows):
        raise AssertionError(f"{len(rows)} rows were acknowledged, {len(found)} are there")


def _mount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-t", _DISK, "-o", options, _DISK, str(path)], check=True)  # noqa: S603, S607


def main() -> None:
    """Do what the command line says."""
    role, module, name, path_text, options, durable, disk_bytes = json.loads(sys.argv[1])
    backend: type[Store] = getattr(importlib.import_module(module), name)
    path = Path(path_text)
    if disk_bytes:
        _mount(path.parent, f"size={disk_bytes}")

    def open_store() -> Store:
        return backend.open(path, options, durable=durable)

    roles = {"commit": commit, "fill": fill, "refuse": refuse, "read_damaged": read_damaged}
    roles[role](open_store, path)


if __name__ == "__main__":
    try:
        main()
    except StoreError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
