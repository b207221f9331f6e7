"""Run with `faulty_calls.c` preloaded: fail each system call of a commit in turn, and judge.

Arguments: module and class of the backend, its options as JSON, a directory. For each kind of fault
and each position there is a new store; the files as the fault left them are copied away before the
store is closed, as a kill would leave them, and opened again. Prints a line for each try.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import random
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from sadik_storage import Row, Store, StoreError, StoreFull, StoreIOError

KINDS = ("EIO", "ENOSPC", "short")
CALLS = ("none", "write", "sync", "other")
POSITIONS_MAX = 400
COPIES_MAX = 100

BASE: list[Row] = [(b"base/%d" % number, b"v" * 700) for number in range(20)]
BATCH: list[Row] = [(b"new/%d" % n, random.Random(n).randbytes(3_000)) for n in range(5)]
MORE: list[Row] = [(b"more", b"v")]

calls = ctypes.CDLL(None)


def rows_of(store: Store) -> list[Row]:
    return store.scan(b"", None, limit=1_000, limit_bytes=2**30)


def outcome_of(store: Store, batch: list[Row]) -> str:
    try:
        store.commit(batch)
    except StoreFull:
        return "full"
    except StoreIOError:
        return "failed"
    return "done"


def stamps_of(directory: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for file in directory.rglob("*"):
        stat = file.stat()
        found[str(file)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def copy_as_of_one_instant(path: Path, copy: Path) -> None:
    """Copy the files of a store that is open, all as they were at one instant.

    A backend may still be at work on a thread of its own: RocksDB deletes a log that it has done
    with. A copy over which that happened is of no instant, and is made anew.
    """
    for _ in range(COPIES_MAX):
        with suppress(FileNotFoundError, shutil.Error):
            before = stamps_of(path)
            shutil.copytree(path, copy)
            if stamps_of(path) == before:
                return
        shutil.rmtree(copy, ignore_errors=True)
    raise SystemExit("the files never stood still for long enough to be copied")


def try_one(
    backend: type[Store], options: dict[str, object], path: Path, kind: int, at: int
) -> str:
    """Fail the call at one position; what was hit, or "" where there were fewer calls."""
    store = backend.open(path, options, durable=True)
    store.commit(BASE)
    calls.fault_arm(str(path).encode(), at, kind)
    outcome = outcome_of(store, BATCH)
    calls.fault_disarm()
    hit = CALLS[calls.fault_hit()]
    before, after = sorted(BASE), sorted(BASE + BATCH)
    expected = {"full": [before], "done": [after], "failed": [before, after]}[outcome]
    if outcome != "failed":
        assert rows_of(store) == expected[0], f"{outcome}, but reads say otherwise"
    further = outcome_of(store, MORE)
    if outcome == "failed":
        assert further == "failed", f"after a failed write a commit was {further}"
    elif hit == "sync" and kind != KINDS.index("short"):
        assert further == "failed", (
            f"a sync failed, the commit was {outcome} and the next {further}"
        )
    copy = path.with_name("copy")
    copy_as_of_one_instant(path, copy)
    with suppress(StoreError):
        store.close()
    with backend.open(copy, options, durable=True) as again:
        found = [row for row in rows_of(again) if row not in MORE]
        assert found in expected, f"{outcome}, but {len(found)} rows are on disk"
        if further == "done":
            assert again.get(MORE[0][0]) == MORE[0][1]
        assert outcome_of(again, BATCH) == "done"
    shutil.rmtree(copy)
    shutil.rmtree(path)
    return "" if hit == "none" else f"{hit} {outcome}"


def main() -> None:
    module, name, options, directory = sys.argv[1:]
    backend = getattr(importlib.import_module(module), name)
    for kind, kind_name in enumerate(KINDS):
        for at in range(1, POSITIONS_MAX):
            try:
                said = try_one(backend, json.loads(options), Path(directory) / "store", kind, at)
            except AssertionError as error:
                raise SystemExit(f"{kind_name} at call {at}: {error}") from error
            if not said:
                break
            print(kind_name, at, said, flush=True)
        else:
            raise SystemExit("there was no end of the calls of a commit")


if __name__ == "__main__":
    main()
