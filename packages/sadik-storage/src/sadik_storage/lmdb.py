"""A store on disk with LMDB: a copy-on-write B+ tree in a mapped file.

The idea: LMDB never writes over a page that a reader or the last commit may need. So a reader
needs no lock, a killed process leaves nothing to repair, and a commit is: write the new pages,
fdatasync, write one page that points at them. What follows from it, and from py-lmdb:

* **Reads are cheap** (a get is about a microsecond) and see the map directly. They may run on an
  event loop. A snapshot that stays open keeps every page since then from being reused.
* **One write transaction, one thread.** A commit begins and ends inside `commit`, so on
  whichever thread calls it; two must not run at once (the trait says so; LMDB would make the
  second wait).
* **The convoy.** py-lmdb lets go of the interpreter lock around every put, and takes it again
  after. With a busy event loop on another thread each of those waits up to
  `sys.getswitchinterval()` (5 ms by default): a batch of 100 puts went from 2.5 ms to 200 ms. A
  host that commits on a worker thread should lower the switch interval (0.5 ms) or commit large
  batches on the thread that is busy. Puts here go through one cursor in key order, which helps.
* **The map** is an address range reserved up front and sparse: 1 TiB unless the process may not
  have that much, then as much as it may. It grows when it is full and the disk is not.
* **A damaged file** can take the process down, since LMDB trusts what its pages say. So a file that
  is not too large (`verify_bytes`) is verified page by page before LMDB sees it. So is a larger
  one after a process died with it open, any after the third that did in a row, and one that was
  cut short (`lmdb.verify`, and `lmdb_pages` for what that leaves out). That takes about 10 ms a
  MiB.
  What lies within values is not looked at: keep checksums in them.
* **Not durable** (`durable=False`) omits the second flush of a commit (LMDB's `MDB_NOMETASYNC`),
  which about doubles the rate of small commits; the machine's crash then loses at most the commits
  since the last flush. LMDB's `MDB_NOSYNC` would be faster, but a crash may then corrupt the whole
  file, which no promise of the trait allows.

In the directory: `data.mdb` and `lock.mdb` (LMDB's), `LOCK` and `FORMAT` (see `directory`). Never
put it on a network file system. `python -m lmdb` has tools that check and copy the file offline.
"""

from __future__ import annotations

import errno
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import lmdb
from lmdb import verify

from sadik_storage.bounds import check_batch, key_error
from sadik_storage.directory import StoreDirectory, translate_os_error
from sadik_storage.gate import ReadGate
from sadik_storage.lmdb_pages import META_PAGES, PAGE_BYTES_MAX, newest_meta, page_problem
from sadik_storage.options import Option, OptionValue, parse
from sadik_storage.room import can_reserve, room_bytes
from sadik_storage.trait import (
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
    StoreSize,
)

__all__ = ["FORMAT_VERSION", "OPTIONS", "LmdbSnapshot", "LmdbStore", "net_bytes"]

FORMAT_VERSION = 1
"""The version in the directory's mark. 1: all rows in LMDB 0.9's unnamed database."""

LIB_VERSION = 0
"""py-lmdb bundles two engines, 0.9 and 1.0, whose files differ; this store is of the former."""

MAP_BYTES_FLOOR = 2**20
"""The least map: what a test of growth begins with."""

GROWTH_WAIT_SECONDS = 2.0
"""How long a commit that must grow the map waits for the snapshots open now to end."""

_LEAST_FALLBACK_BYTES = 2**26
"""Below this much address range `open` gives up."""

_VERIFY_AFTER_CRASH = 4
"""How many times larger a file may be that is verified because a process died with it open."""

_DEATHS_SUSPICIOUS = 3
"""When so many processes died with it one after another, a file is verified whatever its size."""

_ROW_OVERHEAD_BYTES = 10
"""A node's header and its pointer in a leaf."""

OPTIONS = (
    Option(
        "map_bytes",
        2**40,
        "the address range to reserve; it is sparse, and grows as needed",
        minimum=MAP_BYTES_FLOOR,
        maximum=2**46,
    ),
    Option("bytes_max", 0, "the bound on the bytes held, 0 for the disk's", minimum=0),
    Option(
        "max_readers",
        510,
        "how many read calls and snapshots may be open at once",
        minimum=8,
        maximum=65_536,
    ),
    Option(
        "verify_bytes",
        2**26,
        "a file of up to this size is verified whole before it is opened, and one of up to four "
        "times as much after a crash",
        minimum=0,
    ),
    Option("readahead", True, "whether the system reads ahead; false if data exceed memory"),
)

_MEND = (
    "stop the node, keep a copy of the directory, check it with `python -m lmdb verify`, and let "
    "the node start with an empty directory: its peers have the data"
)


class LmdbStore(Store):
    """An LMDB environment that keeps the trait's contract. Make one with `LmdbStore.open`."""

    name: ClassVar[str] = "lmdb"
    reads_are_cheap: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = 511
    value_bytes_max: ClassVar[int] = 256 * 2**20

    def __init__(
        self,
        directory: StoreDirectory,
        env: lmdb.Environment,
        *,
        durable: bool,
        bytes_max: int | None,
    ) -> None:
        """Use `open`; this takes over a held directory and the environment inside it."""
        self._directory = directory
        self._env = env
        self._durable = durable
        self._bytes_max = bytes_max
        self.page_bytes = env.stat()["psize"]
        self._open = True
        self._failure: StoreIOError | None = None
        self._gate = ReadGate()

    @classmethod
    def open(cls, path: Path | None, options: Mapping[str, object], *, durable: bool) -> LmdbStore:
        """As `Store.open`. Options: see `OPTIONS`."""
        values = parse(cls.name, OPTIONS, options)
        directory = StoreDirectory(path, backend=cls.name, version=FORMAT_VERSION)
        return cls.open_in(directory, values, durable=durable)

    @classmethod
    def open_in(
        cls, directory: StoreDirectory, values: Mapping[str, OptionValue], *, durable: bool
    ) -> LmdbStore:
        """Open in a directory that is held, and is let go of where that fails."""
        verify_bytes = values["verify_bytes"]
        assert isinstance(verify_bytes, int)
        try:
            _verify(directory, verify_bytes)
            env = _open_environment(directory.path, values, durable=durable)
            # Slots of readers that were killed with an earlier process would pin old pages.
            env.reader_check()
        except lmdb.Error as error:
            directory.close()
            raise _translate(error, f"opening {directory.path}") from error
        except StoreError:
            directory.close()
            raise
        directory.mark_open()
        bytes_max = values["bytes_max"]
        assert isinstance(bytes_max, int)
        return cls(directory, env, durable=durable, bytes_max=bytes_max or None)

    @property
    def durable(self) -> bool:
        """As given to `open`."""
        return self._durable

    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`."""
        if not 0 < len(key) <= self.key_bytes_max:
            raise key_error(key, self.key_bytes_max)
        self._enter()
        try:
            with self._env.begin() as txn:
                return txn.get(key)
        except lmdb.Error as error:
            raise _translate(error, "reading a key") from error
        finally:
            self._gate.leave()

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`. About 0.2 microseconds a row; copies one value beyond `limit_bytes`."""
        with LmdbSnapshot(self) as view:
            return view.scan(start, stop, limit=limit, limit_bytes=limit_bytes)

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """As `Store.scan_keys`; values are not touched."""
        with LmdbSnapshot(self) as view:
            return view.scan_keys(start, stop, limit)

    def snapshot(self) -> LmdbSnapshot:
        """As `Store.snapshot`."""
        return LmdbSnapshot(self)

    def commit(self, batch: Batch) -> None:
        """As `Store.commit`. See the module about threads."""
        self._check_writable()
        news = check_batch(batch, self.key_bytes_max, self.value_bytes_max)
        if not news:
            return
        self._check_room(news)
        # To sort the keys alone takes half of the time that it takes to sort pairs.
        puts = [(key, value) for key in sorted(news) if (value := news[key]) is not None]
        deletes = [key for key, value in news.items() if value is None]
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    for key in deletes:
                        txn.delete(key)
                    with txn.cursor() as cursor:
                        cursor.putmulti(puts)
            except lmdb.MapFullError:
                self._grow_map()
            except lmdb.Error as error:
                raise self._write_failed(error, _written_bytes(news, self.page_bytes)) from error
            else:
                return

    def sync(self) -> None:
        """As `Store.sync`."""
        self._check_writable()
        if self._durable:
            return
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise self._write_failed(error, 0) from error

    def size(self) -> StoreSize:
        """As `Store.size`, in whole pages. The list of the free pages counts as free."""
        self._enter()
        try:
            stat, info = self._env.stat(), self._env.info()
        except lmdb.Error as error:
            raise _translate(error, "reading the figures") from error
        finally:
            self._gate.leave()
        pages = META_PAGES + stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return StoreSize(
            keys=stat["entries"],
            bytes_used=pages * self.page_bytes,
            bytes_free_inside=max(0, info["last_pgno"] + 1 - pages) * self.page_bytes,
            bytes_limit=self._bytes_max,
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
            self._env.close()
            self._directory.close(failed=self._failure is not None)

    def _enter(self) -> None:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")
        self._gate.enter()

    def _check_writable(self) -> None:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")
        if self._failure is not None:
            raise StoreIOError(f"an earlier write failed: {self._failure}") from self._failure

    def _check_room(self, news: Mapping[bytes, bytes | None]) -> None:
        """Refuse a batch that the bound or the disk has no room for, before anything is written.

        LMDB notices a full disk by itself, but a write that is cut short by one looks to it like
        a failing disk, and that would stop the process.
        """
        if all(value is None for value in news.values()):
            return
        self.check_room(net_bytes(news), _written_bytes(news, self.page_bytes))

    def check_room(self, added_bytes: int, written_bytes: int) -> int:
        """Refuse to grow by so much, or to write so much, where there is no room for that; else
        how many bytes more there would be room for.

        Raises:
            StoreFull: the bound or the disk has none.
        """
        size = self.size()
        room = room_bytes(self._directory.path)
        left = room + size.bytes_free_inside - written_bytes
        if self._bytes_max is not None:
            left = min(left, self._bytes_max - size.bytes_used - added_bytes)
            if size.bytes_used + added_bytes > self._bytes_max:
                raise StoreFull(
                    f"the store in {self._directory.path} holds {size.bytes_used} bytes, and with "
                    f"this batch would pass bytes_max, {self._bytes_max}"
                )
        wanted = written_bytes - size.bytes_free_inside
        if wanted > 0 and wanted > room:
            raise StoreFull(
                f"the disk of {self._directory.path} has {room} bytes left, and this batch may "
                f"need {wanted}; free some space and try again"
            )
        return left

    def _grow_map(self) -> None:
        """Double the map. Nothing may read meanwhile, so wait for a moment when nothing does."""
        old_bytes = self._env.info()["map_size"]
        new_bytes = 2 * old_bytes
        if not can_reserve(old_bytes):
            raise StoreFull(
                f"the map of {old_bytes} bytes is full, and the process may not have a larger "
                "address range (see `ulimit -v`); nothing was applied"
            )
        if not self._gate.shut(GROWTH_WAIT_SECONDS):
            raise StoreFull(
                f"the map of {old_bytes} bytes is full, and cannot grow while snapshots stay "
                "open; nothing was applied. Set the storage option map_bytes higher"
            )
        try:
            self._env.set_mapsize(new_bytes)
        except lmdb.Error as error:
            # The old map may be gone, and a read through it would end the process.
            self._open = False
            raise StoreIOError(f"growing the map to {new_bytes} bytes: {error}") from error
        finally:
            self._gate.reopen()

    def _write_failed(self, error: lmdb.Error, written_bytes: int) -> StoreError:
        """The trait's error for a failed write; remembered if the process must stop."""
        failure = _translate(error, f"writing to {self._directory.path}")
        is_short = room_bytes(self._directory.path) < written_bytes
        if _code(error) == errno.EIO and is_short and not self._is_fatal():
            # A write cut short by a full disk, of pages that nothing points at.
            failure = translate_os_error(errno.ENOSPC, f"writing to {self._directory.path}")
        elif _code(error) == errno.ENOSPC and not is_short:
            # There is room, so it may have been the sync that failed, for what was written before.
            failure = StoreIOError(f"{error}, though the disk has room")
        elif isinstance(failure, StoreFull) and self._is_fatal():
            failure = StoreIOError(f"the disk was full and LMDB could not undo it: {error}")
        if isinstance(failure, StoreIOError):
            self._failure = failure
        return failure

    def _is_fatal(self) -> bool:
        """Whether LMDB failed so late in a commit that it cannot tell what is on disk."""
        try:
            self._env.begin(write=True).abort()
        except lmdb.Error:
            return True
        return False


class LmdbSnapshot(Snapshot):
    """A read transaction."""

    def __init__(self, store: LmdbStore) -> None:
        store._enter()
        self._gate = store._gate
        try:
            self._txn: lmdb.Transaction[bytes] | None = store._env.begin()
        except lmdb.Error as error:
            self._gate.leave()
            raise _translate(error, "beginning to read") from error

    def get(self, key: bytes) -> bytes | None:
        if not 0 < len(key) <= LmdbStore.key_bytes_max:
            raise key_error(key, LmdbStore.key_bytes_max)
        try:
            return self._held().get(key)
        except lmdb.Error as error:
            raise _translate(error, "reading a key") from error

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        assert limit >= 1
        rows: list[Row] = []
        size = 0
        try:
            with self._held().cursor() as cursor:
                if not _seek(cursor, start):
                    return rows
                for key in cursor.iternext(keys=True, values=False):
                    if stop is not None and key >= stop:
                        break
                    value = cursor.value()
                    size += len(key) + len(value)
                    if rows and size > limit_bytes:
                        break
                    rows.append((key, value))
                    if len(rows) == limit:
                        break
        except lmdb.Error as error:
            raise _translate(error, "scanning") from error
        return rows

    def scan_keys(self, start: bytes, stop: bytes | None, limit: int) -> list[bytes]:
        assert limit >= 1
        keys: list[bytes] = []
        try:
            with self._held().cursor() as cursor:
                if not _seek(cursor, start):
                    return keys
                for key in cursor.iternext(keys=True, values=False):
                    if stop is not None and key >= stop:
                        break
                    keys.append(key)
                    if len(keys) == limit:
                        break
        except lmdb.Error as error:
            raise _translate(error, "scanning") from error
        return keys

    def close(self) -> None:
        if self._txn is not None:
            self._txn.abort()
            self._txn = None
            self._gate.leave()

    def _held(self) -> lmdb.Transaction[bytes]:
        if self._txn is None:
            raise StoreClosed("the snapshot was closed")
        return self._txn


def _verify(directory: StoreDirectory, verify_bytes: int) -> None:
    """Look for damage that could take the process down, before LMDB maps the file.

    Raises:
        StoreCorrupted: there is some.
        StoreFormatError: the file is of another version of LMDB.
    """
    file = directory.path / "data.mdb"
    if not file.exists() or not file.stat().st_size:
        return
    size = file.stat().st_size
    try:
        bound = verify_bytes * (_VERIFY_AFTER_CRASH if directory.deaths else 1)
        is_trusted = size > bound and directory.deaths < _DEATHS_SUSPICIOUS
        # A map beyond the end of its file is the likeliest of what kills: look at least there.
        if is_trusted and _pages_end(file) <= size:
            return
        problems = verify.verify(file)  # type: ignore[no-untyped-call]
        if not problems and (problem := page_problem(file)):
            problems = [problem]
    except verify.VerifyError as error:
        problems = [str(error)]
    except OSError as error:
        raise translate_os_error(error.errno or errno.EIO, f"reading {file}") from error
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StoreCorrupted(f"{file} is damaged: {problems[0]}{more}; {_MEND}")


def _pages_end(file: Path) -> int:
    """Where the last page ends that a file of LMDB 0.9 speaks of, by the newer of its metas."""
    with file.open("rb") as opened:
        head = opened.read(META_PAGES * PAGE_BYTES_MAX)
    try:
        meta = newest_meta(head)
    except struct.error:
        return file.stat().st_size + 1  # not even two metas: whoever verifies has the words for it
    return (meta.last_page + 1) * meta.page_bytes


def _open_environment(
    path: Path, values: Mapping[str, OptionValue], *, durable: bool
) -> lmdb.Environment:
    """Open with the map asked for, or with the largest that the process may have.

    Raises:
        lmdb.Error: as LMDB says.
        StoreError: not even a small map was to be had.
    """
    map_bytes, max_readers = values["map_bytes"], values["max_readers"]
    assert isinstance(map_bytes, int)
    assert isinstance(max_readers, int)
    map_bytes -= map_bytes % mmap.PAGESIZE
    while True:
        try:
            return lmdb.open(
                str(path),
                map_size=map_bytes,
                subdir=True,
                mode=0o600,
                create=True,
                metasync=durable,
                sync=True,
                writemap=False,  # with it a full disk kills the process
                readahead=bool(values["readahead"]),
                max_readers=max_readers,
                max_spare_txns=4,
                lock=True,
                lib_version=LIB_VERSION,
            )
        except lmdb.MemoryError as error:
            if map_bytes < 2 * _LEAST_FALLBACK_BYTES:
                raise StoreError(
                    f"not even {map_bytes} bytes of address range are to be had for the map of "
                    f"{path} (see `ulimit -v`)"
                ) from error
            map_bytes //= 2


def _seek(cursor: lmdb.Cursor[bytes], start: bytes) -> bool:
    """Move to the first key at or after `start`; false if there is none."""
    if not start:
        return cursor.first()
    if len(start) <= LmdbStore.key_bytes_max:
        return cursor.set_range(start)
    # No key is that long, so the first one after `start` is the first after its beginning.
    head = start[: LmdbStore.key_bytes_max]
    found = cursor.set_range(head)
    return cursor.next() if found and cursor.key() == head else found


def net_bytes(news: Mapping[bytes, bytes | None]) -> int:
    """About what the new rows take, as if none replaced another."""
    sizes = [len(key) + len(value) for key, value in news.items() if value is not None]
    return sum(sizes) + _ROW_OVERHEAD_BYTES * len(sizes)


def _written_bytes(news: Mapping[bytes, bytes | None], page_bytes: int) -> int:
    """At most about what a commit writes: a leaf for each row, its large value, and the paths."""
    sizes = [0 if value is None else len(value) for value in news.values()]
    return sum(sizes) + (len(sizes) + 32) * page_bytes


def _code(error: lmdb.Error) -> int:
    """The error number: the system's if positive, LMDB's if negative, 0 if py-lmdb's own."""
    return int(getattr(error, "code", 0))


def _translate(error: lmdb.Error, what: str) -> StoreError:
    """The trait's error for one of LMDB's."""
    words = f"{what}: {error}"
    match error:
        case lmdb.VersionMismatchError():
            return StoreFormatError(f"{words}; the file is of another version of LMDB")
        case lmdb.InvalidError() | lmdb.CorruptedError() | lmdb.PageNotFoundError():
            return StoreCorrupted(f"{words}; {_MEND}")
        case lmdb.PanicError():
            return StoreIOError(words)
        case lmdb.ReadersFullError():
            return StoreError(f"{words}; set the storage option max_readers higher")
        case lmdb.TxnFullError():
            return StoreError(f"{words}; the batch is too large, nothing was applied")
        case _ if "already open" in str(error):
            return StoreLocked(words)
        case _ if _code(error) > 0 and _code(error) != errno.ENOMEM:
            return translate_os_error(_code(error), words)
    return StoreError(words)
