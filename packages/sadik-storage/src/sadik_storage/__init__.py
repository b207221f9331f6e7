"""The storage trait of Sadik: an ordered map of bytes with atomic, durable batches.

`sadik_storage.trait` says what a backend is; `sadik_storage.registry` finds the installed ones;
`sadik_storage.memory`, `sadik_storage.lmdb`, `sadik_storage.sqlite` and `sadik_storage.rocksdb` are
those that come with this package, and `sadik_storage.conformance` is the suite that every backend
passes. No backend is imported here.
"""

from sadik_storage.trait import (
    KEY_BYTES_FLOOR,
    VALUE_BYTES_FLOOR,
    Batch,
    Row,
    Snapshot,
    Store,
    StoreClosed,
    StoreCorrupted,
    StoreError,
    StoreFormatError,
    StoreFull,
    StoreIOError,
    StoreKeyError,
    StoreLocked,
    StoreOptionsError,
    StoreReadOnly,
    StoreSize,
    StoreValueError,
)

__all__ = [
    "KEY_BYTES_FLOOR",
    "VALUE_BYTES_FLOOR",
    "Batch",
    "Row",
    "Snapshot",
    "Store",
    "StoreClosed",
    "StoreCorrupted",
    "StoreError",
    "StoreFormatError",
    "StoreFull",
    "StoreIOError",
    "StoreKeyError",
    "StoreLocked",
    "StoreOptionsError",
    "StoreReadOnly",
    "StoreSize",
    "StoreValueError",
]
