"""From one storage backend to another: the rows of a stopped node's store, copied and compared.

The new store is made beside the old one, closed, opened again and compared with it row by row, and
only then takes its place. A store's place is never empty for a node to start on: while the two
directories change names a file says so, no node starts, and another conversion finishes what this
one began. The old store stays, under a name of its own.

The rows go over as they are, the mark of a clean stop and the storage instance among them. So the
node goes on as who it was, and after a crash it takes a new instance as it would have before.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import blake3
from attrs import frozen

from sadik_node.errors import EXIT_FAILED, EXIT_REFUSED, NodeError
from sadik_node.identity import DataDirectory, write_document
from sadik_storage import (
    Row,
    Store,
    StoreError,
    StoreFormatError,
    StoreOptionsError,
    StoreReadOnly,
    registry,
)
from sadik_storage.directory import FORMAT_FILE, sync_directory

__all__ = ["Converted", "convert", "left_store_path"]

_ROWS = 2000
_BYTES = 4 << 20

Told = Callable[[int, int], None]
"""Called with how many more rows are done, and their bytes."""


@frozen
class Converted:
    """What a conversion came to. ``digest`` is over all rows, in hex, and equal on both sides."""

    source: str
    target: str
    rows: int
    bytes: int
    digest: str
    left: Path
    """Where the old store is now."""
    was_interrupted: bool = False
    """Whether an earlier conversion had done all but put the new store in its place."""


def left_store_path(directory: Path, backend: str) -> Path:
    """Where a conversion leaves the store that it was made from."""
    return directory / f"store.{backend}"


def convert(
    path: Path,
    *,
    source: str | None,
    target: str,
    options: Mapping[str, object],
    told: Told,
) -> Converted:
    """Convert the store in the data directory ``path``; ``source`` None: whatever it is.

    ``options`` are for the old store; the new one is made with its defaults.

    Raises:
        NodeError: it cannot be done, or failed; then the old store is where it was.
    """
    directory = DataDirectory.hold(path)
    try:
        interrupted = _finish(directory, target)
        if interrupted is not None:
            return interrupted
        found = _backend_of(directory.store_path)
        if source is not None and source != found:
            raise NodeError(
                EXIT_REFUSED, f"the store in {path} was written by {found!r}, not by {source!r}"
            )
        left = left_store_path(path, found)
        _refuse_what_cannot_be(path, found, target, left)
        new = path / "store.new"
        with _translated(), contextlib.ExitStack() as stack:
            shutil.rmtree(new, ignore_errors=True)
            stack.callback(shutil.rmtree, new, ignore_errors=True)
            rows, size, digest = _copy(directory.store_path, new, found, target, options, told)
            result = Converted(found, target, rows, size, digest, left)
            _put_in_place(directory, result)
            stack.pop_all()
        return result
    finally:
        directory.close()


def _refuse_what_cannot_be(path: Path, source: str, target: str, left: Path) -> None:
    if source == target:
        raise NodeError(EXIT_REFUSED, f"the store in {path} is {target!r} already")
    if target == "memory":
        raise NodeError(EXIT_REFUSED, "the backend 'memory' keeps nothing on disk: all would go")
    if left.exists():
        raise NodeError(
            EXIT_REFUSED,
            f"{left} is there, from an earlier conversion: remove it once it is not needed",
        )


def _backend_of(store: Path) -> str:
    try:
        mark = json.loads((store / FORMAT_FILE).read_bytes())
        return str(mark["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        raise NodeError(
            EXIT_REFUSED, f"there is no store in {store}: has a node run on this directory?"
        ) from None


def _copy(
    old: Path,
    new: Path,
    source: str,
    target: str,
    options: Mapping[str, object],
    told: Told,
) -> tuple[int, int, str]:
    """Copy and compare; how many rows and bytes there are, and their digest."""
    with registry.load(source).open(old, options, durable=True) as rows_from:
        # Not synced row by row: the store counts for nothing until it has been compared.
        with registry.load(target).open(new, {}, durable=False) as rows_to:
            for rows in _chunks(rows_from):
                rows_to.commit(rows)
                told(len(rows), _size(rows))
            rows_to.sync()
        wanted = _digest(rows_from, lambda _rows, _bytes: None)
    with registry.load(target).open(new, {}, durable=True) as again:
        found = _digest(again, told)
    if found != wanted:
        raise NodeError(
            EXIT_FAILED,
            f"the copy differs from the store ({found[0]} rows for {wanted[0]}): it was discarded, "
            "and the store is as it was. Look at the disk",
        )
    return wanted


def _digest(store: Store, told: Told) -> tuple[int, int, str]:
    digest, count, size = blake3.blake3(), 0, 0
    for rows in _chunks(store):
        for key, value in rows:
            digest.update(len(key).to_bytes(4, "big") + len(value).to_bytes(8, "big") + key + value)
        count += len(rows)
        size += _size(rows)
        told(len(rows), _size(rows))
    return count, size, digest.hexdigest()


def _chunks(store: Store) -> Iterator[list[Row]]:
    start = b""
    while rows := store.scan(start, None, limit=_ROWS, limit_bytes=_BYTES):
        yield rows
        start = rows[-1][0] + b"\0"


def _size(rows: list[Row]) -> int:
    return sum(len(key) + len(value) for key, value in rows)


def _put_in_place(directory: DataDirectory, result: Converted) -> None:
    """The two stores change names; after a crash in between `_finish` goes on."""
    write_document(
        directory.conversion_path,
        {
            "source": result.source,
            "target": result.target,
            "rows": result.rows,
            "bytes": result.bytes,
            "digest": result.digest,
        },
    )
    _swap(directory, result.left)


def _finish(directory: DataDirectory, target: str) -> Converted | None:
    """Finish a conversion that ended between two names; None where there is none."""
    file = directory.conversion_path
    if not file.exists():
        return None
    document = json.loads(file.read_bytes())
    if document["target"] != target:
        raise NodeError(
            EXIT_REFUSED,
            f"a conversion to {document['target']!r} was interrupted in {directory.path}: finish "
            f"it first, with --to {document['target']}",
        )
    left = left_store_path(directory.path, document["source"])
    _swap(directory, left)
    return Converted(
        document["source"], document["target"], document["rows"], document["bytes"],
        document["digest"], left, was_interrupted=True,
    )  # fmt: skip


def _swap(directory: DataDirectory, left: Path) -> None:
    path, store, new = directory.path, directory.store_path, directory.path / "store.new"
    try:
        if not left.exists():
            store.rename(left)
        if new.exists():
            new.rename(store)
        sync_directory(path)
        directory.conversion_path.unlink()
        sync_directory(path)
    except OSError as error:
        raise NodeError(
            EXIT_FAILED,
            f"the new store could not take its place in {path}: {error.strerror or error}; run "
            "this again",
        ) from error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (
        registry.StoreBackendError,
        StoreOptionsError,
        StoreFormatError,
        StoreReadOnly,
    ) as error:
        raise NodeError(EXIT_REFUSED, str(error)) from error
    except StoreError as error:
        raise NodeError(EXIT_FAILED, f"{error}. The store is as it was") from error
    except OSError as error:
        raise NodeError(
            EXIT_FAILED, f"{error.filename}: {os.strerror(error.errno or 0)}"
        ) from error
