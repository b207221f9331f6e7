"""A store on disk with SQLite: one table in a file that everybody can open, and a log before it.

The idea: SQLite in WAL mode appends every changed page to a log, and a commit is there when its
last page is in the log and the log is on disk. Readers go on seeing the pages as of when they
began; now and then a *checkpoint* copies the log's pages into the file and starts the log anew.
What follows from it:

* **Durable** (`durable=True`) is `synchronous=FULL`: one fdatasync of the log in every commit, and
  the log before the file and the file before the log's reuse in every checkpoint. That survives a
  power cut. SQLite's usual `NORMAL` in WAL mode does not: it leaves the log to the page cache
  until a checkpoint. It is what `durable=False` uses, with `sync` as the fdatasync of the log.
  After a crash SQLite takes the log up to the first page whose checksum chain breaks, and of that
  whole transactions only, so no batch is there in part or without those before it.
* **Checkpoints are made here**, by the committing thread once the log has grown by
  `checkpoint_bytes`. SQLite's own automatic ones ignore a failed fsync. A commit that makes one
  takes longer, some ten milliseconds for 4 MiB. On a disk that is nearly full every commit makes
  one, so that deletes need no room for the log. A snapshot that stays open keeps the log from
  being started anew, so the log grows.
* **A row costs a statement's share.** A batch goes in statements of up to 128 rows, each of which
  lets go of the interpreter lock once: see `lmdb` for what a lock per row does to a host's loop.
* **Readers have connections of their own**, made when all are in use and kept for the next.

In the directory: `data.sqlite` and, while it is open or after a kill, its `-wal` and `-shm`;
`LOCK` and `FORMAT` (see `directory`). Never put it on a network file system. Any `sqlite3` can look
into a copy: `select hex(key), length(value) from rows`, `pragma integrity_check`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

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
    StoreFull,
    StoreIOError,
    StoreLocked,
    StoreReadOnly,
    StoreSize,
)

__all__ = ["FORMAT_VERSION", "SqliteStore"]

FORMAT_VERSION = 1
"""The version in the directory's mark. 1: the tables of `_SCHEMA`."""

PAGE_BYTES = 4096

_SCHEMA = """
create table rows (key blob primary key, value blob not null) without rowid;
create table figures (keys integer not null);
insert into figures values (0);
"""

_STATEMENT_ROWS = 128
"""The most rows of one statement; a power of two."""

_IDLE_READERS = 8
"""Connections that are kept for readers to come."""

_ROOM_FLOOR_BYTES = 2**20
"""An I/O error with less than this left on the disk is taken for a full disk where SQLite says
no more than that it could not extend a file that holds no data."""

OPTIONS = (
    Option(
        "cache_bytes",
        16 * 2**20,
        "the page cache of each connection: the writer's, and as many as read at once",
        minimum=2**16,
        maximum=2**40,
    ),
    Option(
        "checkpoint_bytes",
        4 * 2**20,
        "how much the log grows before its pages are copied into the file",
        minimum=2**16,
        maximum=2**40,
    ),
    Option("bytes_max", 0, "the bound on the bytes held, 0 for the disk's", minimum=0),
)

_MEND = (
    "stop the node, keep a copy of the directory, check it with `pragma integrity_check`, and let "
    "the node start with an empty directory: its peers have the data"
)


class SqliteStore(Store):
    """An SQLite file that keeps the trait's contract. Make one with `SqliteStore.open`."""

    name: ClassVar[str] = "sqlite"
    reads_are_cheap: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = KEY_BYTES_FLOOR
    value_bytes_max: ClassVar[int] = 256 * 2**20

    def __init__(
        self,
        directory: StoreDirectory,
        *,
        durable: bool,
        cache_bytes: int,
        checkpoint_bytes: int,
        bytes_max: int | None,
    ) -> None:
        """Use `open`; this takes over a held directory and opens the file in it."""
        self._directory = directory
        self._file = directory.path / "data.sqlite"
        self._durable = durable
        self._cache_bytes = cache_bytes
        self._checkpoint_bytes = checkpoint_bytes
        self._bytes_max = bytes_max
        self._logged_bytes = 0
        self._failure: StoreIOError | None = None
        self._idle: list[sqlite3.Connection] = []
        self._open = True
        self._log_fd = -1
        self._writer = self._connect()
        try:
            self._prepare()
        except BaseException:
            self._writer.close()
            if self._log_fd >= 0:
                os.close(self._log_fd)
            raise

    @classmethod
    def open(cls, path: Path | None, options: Mapping[str, object], *, durable: bool) -> Store:
        """As `Store.open`. Options: see `OPTIONS`."""
        values = parse(cls.name, OPTIONS, options)
        numbers = {name: value for name, value in values.items() if isinstance(value, int)}
        directory = StoreDirectory(path, backend=cls.name, version=FORMAT_VERSION)
        try:
            return cls(
                directory,
                durable=durable,
                cache_bytes=numbers["cache_bytes"],
                checkpoint_bytes=numbers["checkpoint_bytes"],
                bytes_max=numbers["bytes_max"] or None,
            )
        except sqlite3.Error as error:
            directory.close()
            raise _translate(error, f"opening {directory.path}", directory.path) from error
        except OSError as error:
            directory.close()
            raise translate_os_error(error.errno or 0, f"opening {directory.path}") from error

    @property
    def durable(self) -> bool:
        """As given to `open`."""
        return self._durable

    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`; about 8 microseconds."""
        _check_key(key)
        with self._reader("reading a key") as reader:
            return _get(reader, key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Store.get_many`."""
        if len(keys) == 1:
            return [self.get(keys[0])]
        return super().get_many(keys)

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`. About 1 microsecond a row; copies one value beyond `limit_bytes`."""
        with self._reader("scanning") as reader:
            return _scan(reader, start, stop, limit, limit_bytes)

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """As `Store.scan_keys`; long values are not read."""
        assert limit >= 1
        with self._reader("scanning") as reader:
            return [key for (key,) in _between(reader, "key", start, stop, limit)]

    def snapshot(self) -> Snapshot:
        """As `Store.snapshot`: a connection with a transaction begun."""
        reader = self._take_reader()
        try:
            reader.execute("begin")
            # A transaction sees the state as of its first read.
            reader.execute("select keys from figures").fetchone()
        except sqlite3.Error as error:
            reader.close()
            raise _translate(error, "beginning to read", self._directory.path) from error
        return _SqliteSnapshot(self, reader)

    def commit(self, batch: Batch) -> None:
        """As `Store.commit`. Now and then it makes a checkpoint: see the module."""
        self._check_writable()
        news = check_batch(batch, self.key_bytes_max, self.value_bytes_max)
        if not news:
            return
        try:
            self._keys = self._apply_with_room(news)
        except sqlite3.Error as error:
            raise self._write_failed(error) from error
        self._logged_bytes += sum(PAGE_BYTES + len(value or b"") for value in news.values())
        is_short = room_bytes(self._directory.path) < self._checkpoint_bytes
        if is_short or self._logged_bytes >= self._checkpoint_bytes:
            self._logged_bytes = 0
            self._checkpoint("passive")

    def sync(self) -> None:
        """As `Store.sync`."""
        self._check_writable()
        if self._durable:
            return
        try:
            os.fdatasync(self._log_fd)
        except OSError as error:
            # Even "no space": what the page cache held may be gone.
            self._failure = StoreIOError(f"syncing the log of {self._file}: {error}")
            raise self._failure from error

    def size(self) -> StoreSize:
        """As `Store.size`, in whole pages; the log counts as used."""
        with self._reader("reading the figures") as reader:
            (pages,) = reader.execute("pragma page_count").fetchone()
            (free,) = reader.execute("pragma freelist_count").fetchone()
        return StoreSize(
            keys=self._keys,
            bytes_used=(pages - free) * PAGE_BYTES + os.fstat(self._log_fd).st_size,
            bytes_free_inside=free * PAGE_BYTES,
            bytes_limit=self._bytes_max,
        )

    def close(self) -> None:
        """As `Store.close`; the log goes into the file."""
        if not self._open:
            return
        try:
            if self._failure is None:
                self.sync()
                self._checkpoint("truncate")
                if self._failure is not None:
                    raise self._failure
        finally:
            self._open = False
            while self._idle:
                self._idle.pop().close()
            self._writer.close()
            os.close(self._log_fd)
            self._directory.close()

    # Connections.

    def _connect(self) -> sqlite3.Connection:
        """A connection that one thread at a time uses."""
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"pragma cache_size = -{self._cache_bytes // 1024}")
            connection.execute("pragma cell_size_check = on")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        """Make the file if it is new, recover what a crash left, and learn the figures."""
        if not self._file.exists() or not self._file.stat().st_size:
            # SQLite makes files with the umask, and its log with the mode of the file.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        writer = self._writer
        writer.execute(f"pragma page_size = {PAGE_BYTES}")
        writer.execute("pragma synchronous = full")
        (mode,) = writer.execute("pragma journal_mode = wal").fetchone()
        if mode != "wal":
            raise StoreError(f"SQLite cannot keep a log beside {self._file}: it offers {mode!r}")
        if not writer.execute("select 1 from sqlite_master").fetchone():
            writer.executescript(f"begin immediate; {_SCHEMA} commit;")
        (self._keys,) = writer.execute("select keys from figures").fetchone()
        if self._bytes_max is not None:
            writer.execute(f"pragma max_page_count = {max(1, self._bytes_max // PAGE_BYTES)}")
        writer.execute("pragma wal_autocheckpoint = 0")
        # What a process that was killed left in the log may not be on disk, in either mode.
        self._log_fd = os.open(f"{self._file}-wal", os.O_RDWR | os.O_CLOEXEC)
        os.fdatasync(self._log_fd)
        sync_directory(self._directory.path)
        if not self._durable:
            writer.execute("pragma synchronous = normal")

    def _take_reader(self) -> sqlite3.Connection:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")
        with suppress(IndexError):
            return self._idle.pop()
        try:
            return self._connect()
        except sqlite3.Error as error:
            raise _translate(error, "connecting to read", self._directory.path) from error

    def _give_back(self, reader: sqlite3.Connection) -> None:
        if self._open and len(self._idle) < _IDLE_READERS:
            self._idle.append(reader)
        else:
            reader.close()

    @contextmanager
    def _reader(self, what: str) -> Iterator[sqlite3.Connection]:
        """A connection for one read."""
        reader = self._take_reader()
        try:
            yield reader
        except sqlite3.Error as error:
            raise _translate(error, what, self._directory.path) from error
        finally:
            self._give_back(reader)

    # Writing.

    def _check_writable(self) -> None:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")
        if self._failure is not None:
            raise StoreIOError(f"an earlier write failed: {self._failure}") from self._failure

    def _apply_with_room(self, news: Mapping[bytes, bytes | None]) -> int:
        """Do a batch; if the log has no room to grow, let it begin anew and do it then."""
        try:
            return self._apply(news)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise
            if self._writer.in_transaction:
                self._writer.execute("rollback")
            self._checkpoint("passive")
            if self._failure is not None:
                raise
            return self._apply(news)

    def _apply(self, news: Mapping[bytes, bytes | None]) -> int:
        """Do a batch as one transaction; return how many keys there are then."""
        puts = sorted((key, value) for key, value in news.items() if value is not None)
        deletes = sorted(key for key, value in news.items() if value is None)
        writer, keys = self._writer, self._keys
        writer.execute("begin immediate")
        for low, rows in _chunks(len(deletes)):
            chunk = deletes[low : low + rows]
            marks = ",".join("?" * rows)
            keys -= writer.execute(f"delete from rows where key in ({marks})", chunk).rowcount  # noqa: S608 - question marks
        for low, rows in _chunks(len(puts)):
            some = puts[low : low + rows]
            marks = ",".join("?" * rows)
            counted = writer.execute(
                f"select count(*) from rows where key in ({marks})",  # noqa: S608 - question marks
                [key for key, _ in some],
            )
            keys += rows - counted.fetchone()[0]
            marks = ",".join(["(?,?)"] * rows)
            writer.execute(
                f"replace into rows values {marks}",  # noqa: S608 - question marks
                [part for row in some for part in row],
            )
        if keys != self._keys:
            writer.execute("update figures set keys = ?", (keys,))
        writer.execute("commit")
        return keys

    def _checkpoint(self, how: str) -> None:
        """Copy the log into the file. What was committed is safe whether or not this works, but
        after a failed fsync no more is taken; without room the log goes on growing instead."""
        try:
            self._writer.execute(f"pragma wal_checkpoint({how})").fetchone()
        except sqlite3.Error as error:
            failure = _translate(error, f"copying the log into {self._file}", self._directory.path)
            if isinstance(failure, StoreIOError):
                self._failure = failure
            elif not isinstance(failure, StoreFull | StoreLocked):
                raise failure from error

    def _write_failed(self, error: sqlite3.Error) -> StoreError:
        """Undo, and find the trait's error; it is remembered if the process must stop."""
        failure = _translate(error, f"writing to {self._file}", self._directory.path)
        if self._writer.in_transaction:
            try:
                self._writer.execute("rollback")
            except sqlite3.Error as second:
                failure = StoreIOError(f"{failure}; and undoing it failed: {second}")
        if isinstance(failure, StoreIOError):
            self._failure = failure
        return failure


class _SqliteSnapshot(Snapshot):
    """A read transaction on a connection of its own."""

    def __init__(self, store: SqliteStore, reader: sqlite3.Connection) -> None:
        self._store = store
        self._reader: sqlite3.Connection | None = reader

    def get(self, key: bytes) -> bytes | None:
        _check_key(key)
        try:
            return _get(self._held(), key)
        except sqlite3.Error as error:
            raise self._translate(error, "reading a key") from error

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        try:
            return _scan(self._held(), start, stop, limit, limit_bytes)
        except sqlite3.Error as error:
            raise self._translate(error, "scanning") from error

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            reader.execute("commit")
        except sqlite3.Error:
            reader.close()
        else:
            self._store._give_back(reader)

    def _held(self) -> sqlite3.Connection:
        if self._reader is None:
            raise StoreClosed("the snapshot was closed")
        return self._reader

    def _translate(self, error: sqlite3.Error, what: str) -> StoreError:
        return _translate(error, what, self._store._directory.path)


def _check_key(key: bytes) -> None:
    if not 0 < len(key) <= SqliteStore.key_bytes_max:
        raise key_error(key, SqliteStore.key_bytes_max)


def _get(reader: sqlite3.Connection, key: bytes) -> bytes | None:
    row = reader.execute("select value from rows where key = ?", (key,)).fetchone()
    if row is None:
        return None
    value: bytes = row[0]
    return value


def _between(
    reader: sqlite3.Connection, columns: str, start: bytes, stop: bytes | None, limit: int
) -> sqlite3.Cursor:
    """A cursor over the rows of a range, in order."""
    until = "" if stop is None else " and key < ?"
    bounds = (start, limit) if stop is None else (start, stop, limit)
    return reader.execute(
        f"select {columns} from rows where key >= ?{until} order by key limit ?",  # noqa: S608 - two constants
        bounds,
    )


def _scan(
    reader: sqlite3.Connection, start: bytes, stop: bytes | None, limit: int, limit_bytes: int
) -> list[Row]:
    assert limit >= 1
    rows: list[Row] = []
    size = 0
    cursor = _between(reader, "key, value", start, stop, limit)
    try:
        for row in cursor:
            size += len(row[0]) + len(row[1])
            if rows and size > limit_bytes:
                break
            rows.append(row)
    finally:
        cursor.close()  # a statement that has not ended would pin the log
    return rows


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    """Cut `count` rows into pieces (first, rows) of few sizes, so that few statements are made."""
    low = 0
    while low < count:
        rows = min(_STATEMENT_ROWS, 1 << ((count - low).bit_length() - 1))
        yield low, rows
        low += rows


def _translate(error: sqlite3.Error, what: str, path: Path) -> StoreError:
    """The trait's error for one of SQLite's."""
    words = f"{what}: {error}"
    code = getattr(error, "sqlite_errorcode", 0)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StoreFull(f"{words}; nothing was applied. Free some space or raise bytes_max")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreReadOnly(f"{words}; check the owner, the mode and the mount of {path}")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupted(f"{words}; {_MEND}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreLocked(f"{words}; another program has the file open")
        case sqlite3.SQLITE_CANTOPEN if not os.access(path, os.W_OK):
            return StoreReadOnly(f"{words}; check the owner, the mode and the mount of {path}")
        case sqlite3.SQLITE_IOERR if (
            code == sqlite3.SQLITE_IOERR_SHMSIZE and room_bytes(path) < _ROOM_FLOOR_BYTES
        ):
            return StoreFull(f"{words}; free some space on that file system and try again")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN:
            return StoreIOError(words)
    if isinstance(error, sqlite3.DatabaseError) and "malformed" in str(error):
        return StoreCorrupted(f"{words}; {_MEND}")
    return StoreError(words)
