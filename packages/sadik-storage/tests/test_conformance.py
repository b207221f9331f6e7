"""All backends pass the suite that plug-ins are held to; and the suite catches what it should."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from sadik_storage.conformance import StoreConformance
from sadik_storage.lmdb import LmdbStore
from sadik_storage.memory import MemoryStore
from sadik_storage.rocksdb import RocksStore
from sadik_storage.sqlite import SqliteStore
from sadik_storage.trait import Batch, Row


class TestMemoryStore(StoreConformance):
    backend = MemoryStore
    persistent = False


class TestLmdbStore(StoreConformance):
    backend = LmdbStore


class TestLmdbStoreWithAGrowingMap(StoreConformance):
    """The same with a map so small that it grows on the way."""

    backend = LmdbStore
    options: ClassVar[Mapping[str, object]] = {"map_bytes": 6 * 2**20, "readahead": False}


class TestSqliteStore(StoreConformance):
    backend = SqliteStore


class TestSqliteStoreWithManyCheckpoints(StoreConformance):
    """The same with a log so short and a cache so small that both are always at their end."""

    backend = SqliteStore
    options: ClassVar[Mapping[str, object]] = {"checkpoint_bytes": 2**16, "cache_bytes": 2**16}


class TestRocksStore(StoreConformance):
    backend = RocksStore


class TestRocksStoreWithSmallTables(StoreConformance):
    """The same with tables so small that files are written and merged on the way."""

    backend = RocksStore
    options: ClassVar[Mapping[str, object]] = {"write_buffer_bytes": 2**16, "cache_bytes": 2**20}


class LosesTheLast(MemoryStore):
    """Drops the last entry of a long batch: not atomic."""

    def commit(self, batch: Batch) -> None:
        super().commit(batch[:-1] if len(batch) > 3 else batch)


class IncludesItsStop(MemoryStore):
    """Scans one key too far."""

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        past = None if stop is None else stop + b"\0"
        return super().scan(start, past, limit=limit, limit_bytes=limit_bytes)


@pytest.mark.parametrize("backend", [LosesTheLast, IncludesItsStop])
def test_the_suite_catches_a_faulty_backend(backend: type[MemoryStore], tmp_path: Path) -> None:
    class Suite(StoreConformance):
        persistent = False

    Suite.backend = backend
    with pytest.raises(AssertionError):
        Suite().test_it_agrees_with_a_dictionary(tmp_path / "store", 1)
