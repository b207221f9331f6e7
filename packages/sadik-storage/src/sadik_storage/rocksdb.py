"""A store on disk with RocksDB: a log-structured merge tree, by way of `rocksdict`.

The idea: RocksDB appends a batch to a log and puts it into a sorted table in memory; full tables
become files, and threads of its own merge files into larger ones. Writes cost little however large
the store is, files are compressed and every block has a checksum; reads may look into several
files, and merging writes each byte several times over. What follows from it, and from rocksdict:

* **A commit is two calls**: write the batch without syncing, then sync the log. RocksDB could do
  both in one, but rocksdict holds the interpreter lock all through a write, so a host's loop would
  stand still for each fsync; it lets go of it while it syncs the log.
* **Keys are counted here**, since RocksDB only estimates. A row behind the last possible key holds
  the count, and changes in the batch that changes it. To know what is new, a commit first reads
  the keys that it is about to write.
* **Recovery** takes the log up to the first record that is damaged or cut off. A crash of the
  machine leaves such an end by itself, so damage in the midst of the log is not told from it.
* **No room** is looked for before a batch is written, for the batch and for the tables in memory
  that will have to become files: RocksDB, once it has met a full disk, takes no writes for some
  seconds after there is room again.
* **Stalls.** RocksDB makes a write wait when merging falls behind, and rocksdict would hold the
  interpreter lock all that time. So writes are told not to wait, and the waiting is done here.

In the directory: `db` (RocksDB's), `LOCK` and `FORMAT` (see `directory`).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import rocksdict

from sadik_storage.bounds import check_batch, key_error
from sadik_storage.directory import StoreDirectory, sync_directory, translate_os_error
from sadik_storage.options import Option, parse
from sadik_storage.room import room_bytes
from sadik_storage.trait import (
    KEY_BYTES_FLOOR,
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
    StoreLocked,
    StoreReadOnly,
    StoreSize,
)

__all__ = ["FORMAT_VERSION", "RocksStore"]

FORMAT_VERSION = 1
"""The version in the directory's mark. 1: all rows in the default column family, and the count."""

_COUNT_KEY = b"\xff" * (KEY_BYTES_FLOOR + 1)
"""The row that holds the count: greater than every key of the store, and too long for one."""

_ROW_OVERHEAD_BYTES = 32

_SLACK_BYTES = 2**16
"""What is left free beyond a batch: RocksDB writes some small files of its own."""

_SMALL_BYTES = 4096

_UNMERGED_FILES_MAX = 10
"""With more new files than this merging is behind; RocksDB begins to merge at four."""

_STALL_SECONDS_MAX = 3.0
_STALL_LOOK_SECONDS = 0.002

OPTIONS = (
    Option(
        "cache_bytes",
        64 * 2**20,
        "the cache of blocks, uncompressed",
        minimum=2**20,
        maximum=2**40,
    ),
    Option(
        "write_buffer_bytes",
        64 * 2**20,
        "the size of a table in memory; there are two, and as much is read from the log at a start",
        minimum=2**16,
        maximum=2**36,
    ),
    Option("max_open_files", 512, "how many of its files it keeps open", minimum=16),
)

_MEND = (
    "stop the node, keep a copy of the directory, and let the node start with an empty one: its "
    "peers have the data"
)


class RocksStore(Store):
    """A RocksDB that keeps the trait's contract. Make one with `RocksStore.open`."""

    name: ClassVar[str] = "rocksdb"
    reads_are_cheap: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = KEY_BYTES_FLOOR
    value_bytes_max: ClassVar[int] = 256 * 2**20

    def __init__(self, directory: StoreDirectory, db: rocksdict.Rdict, *, durable: bool) -> None:
        """Use `open`; this takes over a held directory and the database inside it."""
        self._directory = directory
        self._db = db
        self._durable = durable
        self._open = True
        self._failure: StoreIOError | None = None
        self._unsynced = rocksdict.WriteOptions()
        self._unsynced.sync = False
        self._unsynced.no_slowdown = True
        self._keys = int.from_bytes(db.get(_COUNT_KEY) or b"", "big")

    @classmethod
    def open(cls, path: Path | None, options: Mapping[str, object], *, durable: bool) -> RocksStore:
        """As `Store.open`. Options: see `OPTIONS`."""
        values = parse(cls.name, OPTIONS, options)
        numbers = {name: value for name, value in values.items() if isinstance(value, int)}
        directory = StoreDirectory(path, backend=cls.name, version=FORMAT_VERSION)
        inner = directory.path / "db"
        try:
            inner.mkdir(mode=0o700, exist_ok=True)
            db = rocksdict.Rdict(str(inner), _engine_options(numbers))
            sync_directory(directory.path)
            store = cls(directory, db, durable=durable)
            # What a process that was killed left in the log may not be on disk.
            db.flush_wal(True)
        except OSError as error:
            directory.close()
            raise translate_os_error(error.errno or errno.EIO, f"opening {inner}") from error
        except Exception as error:
            directory.close()
            raise _translate(error, f"opening {inner}") from error
        return store

    @property
    def durable(self) -> bool:
        """As given to `open`."""
        return self._durable

    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`; some microseconds if the block is in the cache."""
        if not 0 < len(key) <= self.key_bytes_max:
            raise key_error(key, self.key_bytes_max)
        try:
            value: bytes | None = self._held().get(key)
        except Exception as error:
            raise _translate(error, "reading a key") from error
        return value

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`; an iterator is one view of the store."""
        try:
            rows = self._held().iter()
        except Exception as error:
            raise _translate(error, "scanning") from error
        return _scan(rows, start, stop, limit, limit_bytes)

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """As `Store.scan_keys`; values are read with their blocks, but not copied."""
        assert limit >= 1
        end = _COUNT_KEY if stop is None else min(stop, _COUNT_KEY)
        keys: list[bytes] = []
        try:
            rows = self._held().iter()
            rows.seek(start)
            while rows.valid() and (key := rows.key()) < end and len(keys) < limit:
                keys.append(key)
                rows.next()
            rows.status()
        except Exception as error:
            raise _translate(error, "scanning") from error
        return keys

    def snapshot(self) -> Snapshot:
        """As `Store.snapshot`; it keeps the tables and files of that moment.

        rocksdict has snapshots too, but iterators made of them (0.3.29) see what came later.
        """
        try:
            return _RocksSnapshot(self._held().iter())
        except Exception as error:
            raise _translate(error, "beginning to read") from error

    def commit(self, batch: Batch) -> None:
        """As `Store.commit`. Readers may see the batch before it is on disk."""
        self._check_writable()
        news = check_batch(batch, self.key_bytes_max, self.value_bytes_max)
        if not news:
            return
        self._check_room(news)
        try:
            keys = self._write(news)
            if self._durable:
                self._db.flush_wal(True)
        except Exception as error:
            raise self._write_failed(error) from error
        self._keys = keys

    def sync(self) -> None:
        """As `Store.sync`."""
        self._check_writable()
        if self._durable:
            return
        try:
            self._db.flush_wal(True)
        except Exception as error:
            raise self._write_failed(error) from error

    def size(self) -> StoreSize:
        """As `Store.size`: files as they are on disk, compressed; it looks at each of them."""
        db = self._held()
        try:
            live = db.property_int_value("rocksdb.live-sst-files-size") or 0
            tables = db.property_int_value("rocksdb.total-sst-files-size") or 0
        except Exception as error:
            raise _translate(error, "reading the figures") from error
        total = 0
        with os.scandir(self._directory.path / "db") as files:
            for file in files:
                with suppress(FileNotFoundError):  # merged away just now
                    total += file.stat().st_size
        free = max(0, tables - live)
        return StoreSize(
            keys=self._keys,
            bytes_used=max(0, total - free),
            bytes_free_inside=free,
            bytes_limit=None,
        )

    def close(self) -> None:
        """As `Store.close`."""
        if not self._open:
            return
        try:
            if self._failure is None:
                self.sync()
        finally:
            self._open = False
            try:
                self._let_go()
            except Exception as error:
                raise _translate(error, f"closing {self._directory.path}") from error
            finally:
                self._directory.close()

    def _let_go(self) -> None:
        """Close the database: tables in memory become files first, if there is room for that.

        Where there is none, or merging has stood still for want of it, RocksDB would wait without
        end; and all that is in the tables is in the log too.
        """
        db, memory_bytes = self._db, self._memory_bytes()
        del self._db
        has_room = room_bytes(self._directory.path) >= 2 * memory_bytes + _SLACK_BYTES
        unmerged = int(db.property_value("rocksdb.num-files-at-level0") or 0)
        if has_room and unmerged < _UNMERGED_FILES_MAX and self._failure is None:
            try:
                db.close()
            except Exception as error:
                # Tables that a full disk did not let become files: what was acknowledged is in
                # the log, synced. Nor is a log that such a disk once cut short written to again.
                was_full = isinstance(_translate(error, "closing"), StoreFull)
                if not (self._durable and (was_full or "Writer has previous error" in str(error))):
                    raise
        else:
            db.cancel_all_background(True)

    def _memory_bytes(self) -> int:
        return self._db.property_int_value("rocksdb.size-all-mem-tables") or 0

    def _held(self) -> rocksdict.Rdict:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")
        return self._db

    def _check_writable(self) -> None:
        self._held()
        if self._failure is not None:
            raise StoreIOError(f"an earlier write failed: {self._failure}") from self._failure

    def _check_room(self, news: Mapping[bytes, bytes | None]) -> None:
        values = [value for value in news.values() if value is not None]
        if not values:
            return
        keys_bytes = sum(len(key) + _ROW_OVERHEAD_BYTES for key in news)
        wanted = keys_bytes + sum(map(len, values)) + _SLACK_BYTES
        if wanted > _SMALL_BYTES + _SLACK_BYTES:
            # A small batch, of what marks rows as deleted for one, may use the last of the room.
            wanted += self._memory_bytes()
        if (room := room_bytes(self._directory.path)) < wanted:
            raise StoreFull(
                f"the disk of {self._directory.path} has {room} bytes left, and this batch may "
                f"need {wanted}; free some space and try again"
            )

    def _write(self, news: Mapping[bytes, bytes | None]) -> int:
        """Write a batch, with the count after it; return that."""
        before = self._db.get(list(news))
        assert isinstance(before, list)
        keys = self._keys
        for value, old in zip(news.values(), before, strict=True):
            keys += (value is not None) - (old is not None)
        rows = dict(news)
        if keys != self._keys:
            rows[_COUNT_KEY] = keys.to_bytes(8, "big")
        self._write_when_not_stalled(rows)
        return keys

    def _write_when_not_stalled(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Write; while RocksDB would have it wait, let others have the interpreter lock.

        Raises:
            StoreFull: merging has stood still for long: it has no room. Nothing was written.
        """
        deadline = time.monotonic() + _STALL_SECONDS_MAX
        while True:
            batch = rocksdict.WriteBatch(raw_mode=True)
            for key, value in rows.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            try:
                self._db.write(batch, self._unsynced)
            except Exception as error:
                if "Write stall" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise StoreFull(
                        f"{self._directory.path} takes no writes: merging its files stands still, "
                        "which is what happens when it has no room; free some space"
                    ) from error
                time.sleep(_STALL_LOOK_SECONDS)
            else:
                return

    def _write_failed(self, error: Exception) -> StoreError:
        """The trait's error for a failed write; remembered if the process must stop."""
        failure = _translate(error, f"writing to {self._directory.path}")
        if isinstance(failure, StoreFull) and "sync" in str(error):
            # The batch is in the log, and nobody knows how much of it.
            failure = StoreIOError(str(failure))
        if isinstance(failure, StoreIOError):
            self._failure = failure
        return failure


class _RocksSnapshot(Snapshot):
    """An iterator, which goes on seeing what there was when it was made, wherever it is moved."""

    def __init__(self, rows: rocksdict.RdictIter) -> None:
        self._rows: rocksdict.RdictIter | None = rows

    def get(self, key: bytes) -> bytes | None:
        if not 0 < len(key) <= RocksStore.key_bytes_max:
            raise key_error(key, RocksStore.key_bytes_max)
        rows = self._held()
        try:
            rows.seek(key)
            if not rows.valid():
                rows.status()
                return None
            value: bytes | None = rows.value() if rows.key() == key else None
        except Exception as error:
            raise _translate(error, "reading a key") from error
        return value

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        return _scan(self._held(), start, stop, limit, limit_bytes)

    def close(self) -> None:
        self._rows = None

    def _held(self) -> rocksdict.RdictIter:
        if self._rows is None:
            raise StoreClosed("the snapshot was closed")
        return self._rows


def _engine_options(numbers: Mapping[str, int]) -> rocksdict.Options:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.point_in_time())
    options.set_paranoid_checks(True)
    options.set_write_buffer_size(numbers["write_buffer_bytes"])
    options.set_max_open_files(numbers["max_open_files"])
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_max_log_file_size(2**20)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(rocksdict.Cache(numbers["cache_bytes"]))
    table.set_bloom_filter(10, False)
    table.set_checksum_type(rocksdict.ChecksumType.xxh3())
    options.set_block_based_table_factory(table)
    return options


def _scan(
    rows: rocksdict.RdictIter, start: bytes, stop: bytes | None, limit: int, limit_bytes: int
) -> list[Row]:
    assert limit >= 1
    end = _COUNT_KEY if stop is None else min(stop, _COUNT_KEY)
    found: list[Row] = []
    size = 0
    try:
        rows.seek(start)
        while rows.valid() and (key := rows.key()) < end:
            value = rows.value()
            size += len(key) + len(value)
            if found and size > limit_bytes:
                break
            found.append((key, value))
            if len(found) == limit:
                break
            rows.next()
        rows.status()
    except Exception as error:
        raise _translate(error, "scanning") from error
    return found


def _translate(error: Exception, what: str) -> StoreError:
    """The trait's error for one of RocksDB's, which rocksdict tells by their words alone."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    words = f"{what}: {text}"
    if text.startswith("IO error"):
        if "lock" in text and ("No locks available" in text or "temporarily unavail" in text):
            return StoreLocked(words)
        if any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
            return StoreFull(f"{words}; free some space on that file system and try again")
        if any(os.strerror(code) in text for code in (errno.EROFS, errno.EACCES, errno.EPERM)):
            return StoreReadOnly(f"{words}; check the owner, the mode and the mount")
        return StoreIOError(words)
    if text.startswith("Corruption"):
        return StoreCorrupted(f"{words}; {_MEND}")
    if text.startswith(("Invalid argument", "Not implemented", "Not supported")):
        return StoreFormatError(f"{words}; the files are of another version of RocksDB, or damaged")
    return StoreError(words)
