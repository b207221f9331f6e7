"""What the trait gives a backend for nothing: the default methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from sadik_storage import (
    Batch,
    Row,
    Snapshot,
    Store,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreIOError,
    StoreLocked,
    StoreSize,
)
from sadik_storage.conformance import StoreConformance
from sadik_storage.memory import MemoryStore


class LeastStore(Store):
    """A backend of the abstract methods alone."""

    name: ClassVar[str] = "least"
    reads_are_cheap: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = MemoryStore.key_bytes_max
    value_bytes_max: ClassVar[int] = MemoryStore.value_bytes_max

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner

    @classmethod
    def open(cls, path: Path | None, options: Mapping[str, object], *, durable: bool) -> LeastStore:
        return cls(MemoryStore.open(path, options, durable=durable))

    @property
    def durable(self) -> bool:
        return self._inner.durable

    def get(self, key: bytes) -> bytes | None:
        return self._inner.get(key)

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        return self._inner.scan(start, stop, limit=limit, limit_bytes=limit_bytes)

    def snapshot(self) -> Snapshot:
        return self._inner.snapshot()

    def commit(self, batch: Batch) -> None:
        self._inner.commit(batch)

    def sync(self) -> None:
        self._inner.sync()

    def size(self) -> StoreSize:
        return self._inner.size()

    def close(self) -> None:
        self._inner.close()


class TestLeastStore(StoreConformance):
    backend = LeastStore
    persistent = False


def test_the_defaults_end_their_snapshot() -> None:
    ended: list[Snapshot] = []

    class Watched(LeastStore):
        def snapshot(self) -> Snapshot:
            ended.append(super().snapshot())
            return ended[-1]

    with Watched(MemoryStore()) as store:
        store.commit([(b"%d" % number, b"v") for number in range(9)])
        assert store.get_many([b"1"]) == [b"v"]
        assert len(store.scan_keys(b"", None, limit=5)) == 5
        assert len(ended) == 2
        for view in ended:
            with pytest.raises(StoreClosed):
                view.get(b"1")


def test_errors_say_whether_to_try_again() -> None:
    assert {kind for kind in StoreError.__subclasses__() if kind.retryable} == {
        StoreFull,
        StoreLocked,
    }
    assert not StoreIOError.retryable
