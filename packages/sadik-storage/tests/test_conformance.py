"""All backends pass the suite that plug-ins are held to; and the suite catches what it should."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import Phase, settings

from sadik_storage.conformance import Model, Ordering, StoreConformance
from sadik_storage.journaled import JournaledLmdbStore
from sadik_storage.lmdb import LmdbStore
from sadik_storage.memory import MemoryStore
from sadik_storage.rocksdb import RocksStore
from sadik_storage.sqlite import SqliteStore
from sadik_storage.trait import Batch, Row, Snapshot, Store


class TestMemoryStore(StoreConformance):
    backend = MemoryStore
    persistent = False


class TestLmdbStore(StoreConformance):
    backend = LmdbStore


class TestLmdbStoreWithAGrowingMap(StoreConformance):
    """The same with a map so small that it grows on the way."""

    backend = LmdbStore
    options: ClassVar[Mapping[str, object]] = {"map_bytes": 6 * 2**20, "readahead": False}


class TestJournaledLmdbStore(StoreConformance):
    backend = JournaledLmdbStore
    garbage_bytes_max = 2 * 2**23


class TestJournaledLmdbStoreWithASmallJournal(StoreConformance):
    """The same with files so small that they change roles all the time."""

    backend = JournaledLmdbStore
    options: ClassVar[Mapping[str, object]] = {"journal_bytes": 2**18}


class TestSqliteStore(StoreConformance):
    backend = SqliteStore
    garbage_bytes_max = 5 * 2**20


class TestSqliteStoreWithManyCheckpoints(StoreConformance):
    """The same with a log so short and a cache so small that both are always at their end."""

    backend = SqliteStore
    options: ClassVar[Mapping[str, object]] = {"checkpoint_bytes": 2**16, "cache_bytes": 2**16}


class TestRocksStore(StoreConformance):
    backend = RocksStore
    garbage_bytes_max = 2**27
    disk_bytes = 2**25


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


class TakesEmptyForAbsent(MemoryStore):
    """Reads an empty value as none."""

    def get(self, key: bytes) -> bytes | None:
        return super().get(key) or None


class ReadsOn(MemoryStore):
    """Its snapshots see what comes later."""

    def snapshot(self) -> Snapshot:
        return Moving(self)


class Moving(Snapshot):
    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        return self._store.get(key)

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        return self._store.scan(start, stop, limit=limit, limit_bytes=limit_bytes)

    def close(self) -> None:
        pass


class ForgetsOnClose(LmdbStore):
    """Deletes a key when it is closed."""

    def close(self) -> None:
        if self._open and (keys := self.scan_keys(b"", None, limit=1)):
            self.commit([(keys[0], None)])
        super().close()


@pytest.mark.parametrize("faulty", [LosesTheLast, TakesEmptyForAbsent, ReadsOn, ForgetsOnClose])
def test_the_suite_catches_a_faulty_backend(faulty: type[Store], tmp_path: Path) -> None:
    class Faulty(Model):
        backend = faulty
        persistent = issubclass(faulty, LmdbStore)
        examples = 300

        def model_settings(self) -> settings:
            # Finding is enough here: shrinking takes long.
            return settings(super().model_settings(), phases=[Phase.generate], derandomize=True)

    with pytest.raises(AssertionError):
        Faulty().test_it_agrees_with_a_dictionary(tmp_path)


def test_the_suite_catches_a_scan_that_goes_too_far() -> None:
    with pytest.raises(AssertionError):
        Ordering().test_a_scan_includes_its_start_and_excludes_its_stop(IncludesItsStop())
