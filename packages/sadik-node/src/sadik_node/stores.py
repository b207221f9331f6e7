"""Opening, reading through and closing a node's store, with sentences for the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sadik_storage
from sadik_node.errors import EXIT_FAILED, EXIT_REFUSED, NodeError
from sadik_node.log import Log
from sadik_node.settings import Settings
from sadik_storage import Store, registry

__all__ = ["close_quietly", "open_store", "scan_all"]

_SCAN_ROWS: Final = 1000
_SCAN_BYTES: Final = 1 << 20


def open_store(settings: Settings, path: Path) -> Store:
    """Open the configured backend.

    Raises:
        NodeError: it is not installed, refuses its options or its files, or the disk failed.
    """
    storage = settings.storage
    try:
        backend = registry.load(storage.backend)
        return backend.open(path, storage.options, durable=storage.sync == "commit")
    except (
        registry.StoreBackendError,
        sadik_storage.StoreOptionsError,
        sadik_storage.StoreFormatError,
        sadik_storage.StoreReadOnly,
    ) as error:
        raise NodeError(EXIT_REFUSED, str(error)) from error
    except sadik_storage.StoreError as error:
        raise NodeError(EXIT_FAILED, str(error)) from error


def scan_all(store: Store, start: bytes, stop: bytes) -> dict[bytes, bytes]:
    """All rows of a range that has few."""
    rows: dict[bytes, bytes] = {}
    while chunk := store.scan(start, stop, limit=_SCAN_ROWS, limit_bytes=_SCAN_BYTES):
        rows.update(chunk)
        start = chunk[-1][0] + b"\0"
    return rows


def close_quietly(store: Store, log: Log) -> None:
    """After a failure closing may fail too; the first failure is the one to tell."""
    try:
        store.close()
    except sadik_storage.StoreError as error:
        log.event("store_close_failed", str(error))
