"""A store with LMDB behind a journal: commits go to the journal, and many at once to the tree.

The idea: a commit of LMDB writes a page for nearly every row of it, and the pages above them, and
puts all that on disk, twice. Behind a `journal` a commit is one write and one flush; what it
brought stands in memory as well, in a *table*, which reads look at first. When a file of the
journal is full (or its table is long), its table closes and the next commits go to the other file
and a new table. The rows of the closed one are put into the tree a slice at a time, in the order of
their keys, each slice in a transaction of its own. What that costs is far less than the commits
would have: a row that was written twice is put once, and rows that are neighbours share pages.

* **Nothing is lost and nothing half there.** A commit is on disk in the journal before it is seen.
  After a crash all of the journal that the tree may lack is put into it, at the open. To do that
  twice does no harm: nothing else is written to the tree in between, so the last word on every key
  is the same.
* **Large batches go to the tree at once**: to write them twice would cost more than it saves. What
  is in the journal goes before them.
* **Downgrades.** While the journal may hold rows, the directory's mark says version 2 of the
  format, which a program that knows no journal refuses. A close puts all into the tree and says 1
  again: then the files of the journal mean nothing any more.
* **A disk without room** for the journal (eight times its size, at the first commit) gets none;
  then this is `sadik_storage.lmdb` and no more.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import ClassVar, Final

from sadik_storage.bounds import check_batch
from sadik_storage.directory import StoreDirectory
from sadik_storage.journal import FILE_BYTES_FLOOR, FILE_NAMES, Journal, frame_bytes
from sadik_storage.lmdb import FORMAT_VERSION, LmdbSnapshot, LmdbStore, net_bytes
from sadik_storage.lmdb import OPTIONS as LMDB_OPTIONS
from sadik_storage.merged_scan import scan_over
from sadik_storage.options import Option, parse
from sadik_storage.room import room_bytes
from sadik_storage.trait import (
    Batch,
    Row,
    Snapshot,
    Store,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreIOError,
    StoreSize,
)

__all__ = ["JournaledLmdbStore"]

JOURNAL_VERSION: Final = 2
"""The version in the directory's mark while the journal may hold rows. 1: the tree has them all."""

OPTIONS: Final = (
    *LMDB_OPTIONS,
    Option(
        "journal_bytes",
        2**22,
        "the size of each of the journal's two files, 0 for none",
        minimum=0,
        maximum=2**30,
    ),
)

_ROOM: Final = 8
"""How many times the journal's size a disk must have left for it to be made."""
_LARGE: Final = 16
"""A batch of more than a sixteenth of a file goes to the tree."""
_TABLE_ROWS: Final = 16_384
_SLICE_ROWS: Final = 256
"""About a millisecond's work."""
_AHEAD: Final = 2.0
"""So many times as fast as the journal fills, the table before is put into the tree."""
_COUNTED_ROWS: Final = 1024
"""Of so many rows of a table it is looked up whether the tree has their keys, to count keys."""
_LOOK_EVERY: Final = 8
"""The room is looked at again when an eighth of what there was may have been used,"""
_LOOK_EVERY_BYTES: Final = 2**20
"""and after so much in any case, since others use the disk too."""
_ROW_OVERHEAD_BYTES: Final = 10
_NO_BOUND: Final = 2**62


class _Table:
    """The last word on keys, by key; None is a deletion."""

    __slots__ = ("_order", "rows", "size")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.size = 0
        """Bytes of its keys and values, about as a tree would hold them."""
        self._order: list[bytes] = []

    def put(self, news: Mapping[bytes, bytes | None]) -> None:
        """Lay newer rows over these."""
        rows = self.rows
        size = 0
        for key, value in news.items():
            if value is not None:
                size += len(key) + len(value) + _ROW_OVERHEAD_BYTES
            old = rows.get(key)
            if old is not None:
                size -= len(key) + len(old) + _ROW_OVERHEAD_BYTES
        rows.update(news)
        self.size += size

    @property
    def order(self) -> list[bytes]:
        """All keys, sorted."""
        order = self._order
        if len(order) < len(self.rows):
            # Keys are never taken out of a table, and what is new comes last in it.
            order += islice(self.rows, len(order), None)
            order.sort()
        return order

    def between(
        self, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes | None]]:
        """The rows of a range, in order, until ``limit`` of them have values."""
        order = self.order
        at = bisect_left(order, start)
        end = len(order) if stop is None else bisect_left(order, stop)
        found: list[tuple[bytes, bytes | None]] = []
        while at < end and limit:
            key = order[at]
            value = self.rows[key]
            found.append((key, value))
            limit -= value is not None
            at += 1
        return found


class JournaledLmdbStore(Store):
    """LMDB behind a journal. Make one with `JournaledLmdbStore.open`."""

    name: ClassVar[str] = LmdbStore.name
    reads_are_cheap: ClassVar[bool] = LmdbStore.reads_are_cheap
    commits_are_quick: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = LmdbStore.key_bytes_max
    value_bytes_max: ClassVar[int] = LmdbStore.value_bytes_max

    def __init__(self, directory: StoreDirectory, tree: LmdbStore, file_bytes: int) -> None:
        """Use `open`; this takes over what it is given. No bytes: no journal."""
        self._directory = directory
        self._tree = tree
        self._journal: Journal | None = None
        self._file_bytes = _whole_file(file_bytes)
        self._wants_journal = file_bytes > 0
        self._tables: tuple[_Table, ...] = (_Table(),)
        """The one that is written, and perhaps a closed one that is put into the tree."""
        self._publishing = threading.Lock()
        """Held to change what is seen of the tables, and to look at them as they are together."""
        self._put = 0
        """How many rows of the closed table the tree has."""
        self._closed_at = 0
        """The number of the first frame after those of the closed table."""
        self._unlooked_bytes = 0
        """So many more may be written before the room is looked at again."""
        self._settled_at = -1
        """The number of the next frame when the journal last said that the tree has all. Below 0:
        what was replayed is not in the tree yet, and nothing may be appended before it is."""
        self._failure: StoreIOError | None = None
        self._open = True

    @classmethod
    def open(
        cls, path: Path | None, options: Mapping[str, object], *, durable: bool
    ) -> JournaledLmdbStore:
        """As `Store.open`. Options: see `OPTIONS`."""
        values = parse(cls.name, OPTIONS, options)
        file_bytes = values["journal_bytes"]
        assert isinstance(file_bytes, int)
        directory = StoreDirectory(
            path, backend=cls.name, version=JOURNAL_VERSION, fresh_version=FORMAT_VERSION
        )
        tree = LmdbStore.open_in(directory, values, durable=durable)
        store = cls(directory, tree, file_bytes)
        if directory.version == JOURNAL_VERSION:
            try:
                store._replay()
            except StoreError:
                tree.close()
                raise
        return store

    @property
    def durable(self) -> bool:
        """As given to `open`."""
        return self._tree.durable

    # Reads

    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`."""
        for table in self._tables:
            rows = table.rows
            if key in rows:
                return rows[key]
        return self._tree.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Store.get_many`."""
        found: list[bytes | None] = []
        absent: list[int] = []
        with self._publishing:
            tables = self._tables
            for at, key in enumerate(keys):
                for table in tables:
                    if key in table.rows:
                        found.append(table.rows[key])
                        break
                else:
                    found.append(None)
                    absent.append(at)
            if not absent:
                self._check_open()
                return found
            view = self._tree.snapshot()
        with view:
            for at in absent:
                found[at] = view.get(keys[at])
        return found

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`."""
        pending, view = self._view(start, stop, limit)
        with view:
            return scan_over(view.scan, pending, start, stop, limit, limit_bytes)

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """As `Store.scan_keys`; values are not touched."""
        pending, view = self._view(start, stop, limit)

        def scan(start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
            assert limit_bytes == _NO_BOUND
            return [(key, b"") for key in view.scan_keys(start, stop, limit)]

        keys = [(key, None if value is None else b"") for key, value in pending]
        with view:
            return [key for key, _ in scan_over(scan, keys, start, stop, limit, _NO_BOUND)]

    def snapshot(self) -> Snapshot:
        """As `Store.snapshot`."""
        with self._publishing:
            return _JournaledSnapshot(_laid_together(self._tables), self._tree.snapshot())

    def _view(
        self, start: bytes, stop: bytes | None, limit: int
    ) -> tuple[list[tuple[bytes, bytes | None]], LmdbSnapshot]:
        """What the tables say of a range, and the tree of the same moment."""
        with self._publishing:
            return _pending(self._tables, start, stop, limit), self._tree.snapshot()

    # Writes

    def commit(self, batch: Batch) -> None:
        """As `Store.commit`."""
        self._check_writable()
        news = check_batch(batch, self.key_bytes_max, self.value_bytes_max)
        if not news:
            return
        rows = list(news.items())
        size = frame_bytes(rows)
        try:
            journal = None if size > self._file_bytes // _LARGE else self._begun()
            if journal is None:
                self._settle()
                self._tree.commit(rows)
                return
            if self._settled_at < 0:
                self._settle()
            self._check_room(news, size)
            if not journal.has_room(size) or len(self._tables[0].rows) >= _TABLE_ROWS:
                self._change_tables(journal)
            journal.append(rows, sync=self.durable)
        except StoreIOError as error:
            self._failure = error
            raise
        with self._publishing:
            self._tables[0].put(news)

    def tend(self, *, at_leisure: bool = False) -> bool:
        """As `Store.tend`: put a slice of the closed table into the tree, when it is time."""
        journal = self._journal
        if journal is None or self._failure is not None or not self._open:
            return False
        try:
            if len(self._tables) > 1:
                due = _AHEAD * journal.filled * len(self._tables[1].rows)
                if at_leisure or self._put < due:
                    self._put_slice(journal)
            elif at_leisure and self._tables[0].rows:
                self._change_tables(journal)
        except StoreFull:
            return False  # a commit that needs the room will say so
        except StoreIOError as error:
            self._failure = error
            raise
        return len(self._tables) > 1 or bool(self._tables[0].rows)

    def sync(self) -> None:
        """As `Store.sync`."""
        self._check_writable()
        try:
            if self._journal is not None and not self.durable:
                self._journal.sync()
            self._tree.sync()
        except StoreIOError as error:
            self._failure = error
            raise

    def size(self) -> StoreSize:
        """As `Store.size`. Where much stands in the journal, its keys are counted by a sample."""
        size = self._tree.size()
        tables = self._tables
        pending_bytes = sum(table.size for table in tables)
        files_bytes = 0 if self._journal is None else len(FILE_NAMES) * self._file_bytes
        return StoreSize(
            keys=size.keys + self._new_keys(tables),
            bytes_used=size.bytes_used + files_bytes + pending_bytes,
            bytes_free_inside=size.bytes_free_inside,
            bytes_limit=size.bytes_limit,
        )

    def bytes_free_inside(self) -> int:
        """As `Store.bytes_free_inside`; no keys are counted for it."""
        return self._tree.size().bytes_free_inside

    def _new_keys(self, tables: Sequence[_Table]) -> int:
        """How many more keys there are than the tree has."""
        more = 0
        newer: Mapping[bytes, bytes | None] = {}
        for table in tables:
            rows = table.rows
            if not rows:
                continue
            step = -(-len(rows) // _COUNTED_ROWS)
            with self._publishing:
                keys = list(islice(rows, 0, None, step))
            sample = [key for key in keys if key not in newer]
            there = self._tree.get_many(sample)
            found = sum(
                (rows[key] is not None) - (value is not None)
                for key, value in zip(sample, there, strict=True)
            )
            more += found * len(rows) // len(keys)
            newer = rows
        return more

    def close(self) -> None:
        """As `Store.close`. All that stands in the journal is put into the tree."""
        if not self._open:
            return
        journal = self._journal
        try:
            if journal is not None and self._failure is None:
                self._settle()
                self._directory.mark_version(FORMAT_VERSION)
        finally:
            self._open = False
            if journal is not None:
                journal.close()
            self._tree.close()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._failure is not None:
            raise StoreIOError(f"an earlier write failed: {self._failure}") from self._failure

    def _begun(self) -> Journal | None:
        """The journal, made where that has not been tried yet; None where there is none."""
        if self._wants_journal:
            assert self._directory.version == FORMAT_VERSION, "one that is in use is not replaced"
            self._wants_journal = False
            path = self._directory.path
            if room_bytes(path) >= _ROOM * len(FILE_NAMES) * self._file_bytes:
                journal = Journal.fresh(path, self._file_bytes)
                self._directory.mark_version(JOURNAL_VERSION)
                self._journal = journal
        return self._journal

    def _replay(self) -> None:
        """Put into the tree what the journal has, after a crash."""
        journal, rows = Journal.replayed(self._directory.path)
        self._journal = journal
        is_wanted = self._wants_journal
        self._wants_journal = False
        self._file_bytes = journal.file_bytes
        if rows:
            table = _Table()
            table.put(dict(rows))
            self._tables = (_Table(), table)
        self._closed_at = journal.number
        with suppress(StoreFull):  # then it stands in memory until there is room
            self._settle()
            if not is_wanted:
                self._directory.mark_version(FORMAT_VERSION)
                journal.close()
                self._journal = None

    def _check_room(self, news: Mapping[bytes, bytes | None], size: int) -> None:
        """Refuse what the tree will have no room for. It takes ``size`` bytes of the journal.

        Raises:
            StoreFull: nothing was applied.
        """
        if all(value is None for value in news.values()):
            return
        self._unlooked_bytes -= size
        if self._unlooked_bytes >= 0:
            return
        try:
            room = self._tree.check_room(*self._wanted(news))
        except StoreFull:
            # What was deleted may give room, once it is deleted from the tree.
            self._settle()
            room = self._tree.check_room(*self._wanted(news))
        self._unlooked_bytes = min(room // _LOOK_EVERY, _LOOK_EVERY_BYTES)

    def _wanted(self, news: Mapping[bytes, bytes | None]) -> tuple[int, int]:
        """What is added to the tree with all that stands in the journal, and written on the way."""
        rows, added = len(news), net_bytes(news)
        for table in self._tables:
            rows += len(table.rows)
            added += table.size
        # Pages that were replaced are used again by the second transaction after it.
        return added, 2 * added + (3 * min(rows, _SLICE_ROWS) + 32) * self._tree.page_bytes

    def _change_tables(self, journal: Journal) -> None:
        """Close the table that is written, and begin another with the journal's other file."""
        self._finish_closed(journal)
        if not self.durable:
            # A batch of which the tree has a part must be whole in the journal.
            journal.sync()
        self._closed_at = journal.number
        journal.begin()
        self._put = 0
        if self._tables[0].rows:
            with self._publishing:
                self._tables = (_Table(), self._tables[0])

    def _finish_closed(self, journal: Journal) -> None:
        while len(self._tables) > 1:
            self._put_slice(journal)

    def _put_slice(self, journal: Journal) -> None:
        """Put some more of the closed table into the tree."""
        table = self._tables[1]
        with self._publishing:
            keys = table.order[self._put : self._put + _SLICE_ROWS]
        self._tree.commit([(key, table.rows[key]) for key in keys])
        self._put += len(keys)
        if self._put == len(table.rows):
            self._tree.sync()
            journal.settled = self._closed_at
            with self._publishing:
                self._tables = self._tables[:1]

    def _settle(self) -> None:
        """Put into the tree all that stands in the journal, and have the journal say so."""
        journal = self._journal
        if journal is None or self._settled_at == journal.number:
            return
        self._finish_closed(journal)
        if self._tables[0].rows:
            self._change_tables(journal)
            self._finish_closed(journal)
        journal.settle()
        self._settled_at = journal.number


class _JournaledSnapshot(Snapshot):
    """A snapshot of the tree, with the tables of the same moment before it."""

    def __init__(self, table: _Table, view: Snapshot) -> None:
        self._table = table
        self._view = view

    def get(self, key: bytes) -> bytes | None:
        found = self._view.get(key)
        return self._table.rows.get(key, found)

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        pending = self._table.between(start, stop, limit)
        return scan_over(self._view.scan, pending, start, stop, limit, limit_bytes)

    def close(self) -> None:
        self._view.close()


def _laid_together(tables: Sequence[_Table]) -> _Table:
    """A table of its own that says what these say, the first of them last."""
    together = _Table()
    for table in reversed(tables):
        together.put(table.rows)
    return together


def _pending(
    tables: Sequence[_Table], start: bytes, stop: bytes | None, limit: int
) -> list[tuple[bytes, bytes | None]]:
    """What the tables say of a range, until ``limit`` rows of it have values."""
    if len(tables) == 1:
        return tables[0].between(start, stop, limit)
    newer = tables[0].between(start, stop, limit)
    # As many of the older may be replaced, or deleted, as there are newer ones.
    older = tables[1].between(start, stop, limit + len(newer))
    if not older:
        return newer
    rows = dict(older)
    rows.update(newer)
    return sorted(rows.items())


def _whole_file(size: int) -> int:
    return max(size, FILE_BYTES_FLOOR) // FILE_BYTES_FLOOR * FILE_BYTES_FLOOR
