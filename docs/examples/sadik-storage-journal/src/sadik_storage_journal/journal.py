"""A store in memory whose every batch is in a journal on disk before it counts.

The idea: reading is somebody else's work already. `sadik_storage.memory` gives ordered rows, scans
and snapshots that never move; what it lacks is the disk. So a commit appends the batch to a file,
syncs it, and only then shows it to readers, and `open` plays the file back.

The journal is a header and then frames, one a batch:

    magic (4) | length of the body (8) | synced (8) | digest (16) | body

The digest is over the frame's place in the file and everything else in it, so neither a torn frame
nor an old one in the wrong place is taken for one. *Synced* is up to where the file was known to
be on disk when the frame was written. That tells two things apart that look alike: a bad frame at
the end is what a crash leaves, and is cut off; one before a place that was synced is damage.

Garbage, which is rows that later frames replaced, is got rid of by writing the live rows to a new
file that takes the old one's name.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from sadik_storage import (
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
    StoreSize,
)
from sadik_storage.bounds import check_batch
from sadik_storage.directory import StoreDirectory, sync_directory, translate_os_error
from sadik_storage.memory import MemoryStore
from sadik_storage.options import Option, parse

__all__ = ["FORMAT_VERSION", "JournalStore"]

FORMAT_VERSION = 1
"""The version in the directory's mark. Change it with anything below that changes the file."""

_JOURNAL = "journal"
_NEW = "journal.new"
_HEADER = b"sadik journal\n\0\0"
_MAGIC = b"\xf5JRN"
_FRAME = struct.Struct(">4sQQ16s")
_ENTRY = struct.Struct(">HQ")
_DELETED = 2**64 - 1
"""In place of a value's length: the key is deleted."""

_COPY_BYTES = 2**20

OPTIONS = (
    Option(
        "garbage_bytes",
        2**26,
        "how much of the journal, beyond as much as is live, may be garbage",
        minimum=2**12,
    ),
)

_MEND = (
    "keep a copy of the directory and let the node start with an empty one: its peers have the data"
)


class JournalStore(Store):
    """Rows in memory, batches in a journal. Make one with `JournalStore.open`."""

    name: ClassVar[str] = "journal"
    reads_are_cheap: ClassVar[bool] = True
    key_bytes_max: ClassVar[int] = KEY_BYTES_FLOOR
    value_bytes_max: ClassVar[int] = 256 * 2**20

    def __init__(self, directory: StoreDirectory, *, durable: bool, garbage_bytes: int) -> None:
        """Use `open`; this takes over a held directory and plays the journal in it."""
        self._directory = directory
        self._durable = durable
        self._garbage_bytes = garbage_bytes
        self._rows = MemoryStore()
        self._open = True
        self._failure: StoreIOError | None = None
        self._path = directory.path / _JOURNAL
        if not self._path.exists():
            self._adopt(self._write_anew())
        else:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._end = self._play()
            # What follows is the torn end that a crash left. And what a process that was killed
            # had written need not be on disk yet, though its clients were told so.
            os.ftruncate(self._fd, self._end)
            os.fdatasync(self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        self._synced = self._end

    @classmethod
    def open(
        cls, path: Path | None, options: Mapping[str, object], *, durable: bool
    ) -> JournalStore:
        """As `Store.open`. Options: see `OPTIONS`."""
        # In this order, so that a refusal has changed nothing: the options, then the directory
        # with its lock and its mark, and only then the files of the engine.
        garbage_bytes = parse(cls.name, OPTIONS, options)["garbage_bytes"]
        assert isinstance(garbage_bytes, int)
        directory = StoreDirectory(path, backend=cls.name, version=FORMAT_VERSION)
        try:
            return cls(directory, durable=durable, garbage_bytes=garbage_bytes)
        except OSError as error:
            directory.close()
            raise translate_os_error(error.errno or errno.EIO, f"opening {path}") from error
        except StoreError:
            directory.close()
            raise

    @property
    def durable(self) -> bool:
        """As given to `open`."""
        return self._durable

    # Reading: the store in memory does it, and raises what it should.

    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`."""
        return self._rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Store.get_many`."""
        return self._rows.get_many(keys)

    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`."""
        return self._rows.scan(start, stop, limit=limit, limit_bytes=limit_bytes)

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """As `Store.scan_keys`."""
        return self._rows.scan_keys(start, stop, limit=limit)

    def snapshot(self) -> Snapshot:
        """As `Store.snapshot`."""
        return self._rows.snapshot()

    def size(self) -> StoreSize:
        """As `Store.size`: the journal's bytes; what is not live is garbage, and free."""
        live = self._rows.size()
        used = min(live.bytes_used, self._end)
        return StoreSize(
            keys=live.keys,
            bytes_used=used,
            bytes_free_inside=self._end - used,
            bytes_limit=None,
        )

    # Writing.

    def commit(self, batch: Batch) -> None:
        """As `Store.commit`."""
        self._check_writable()
        # Every entry is checked before anything of the batch is on its way to the disk.
        news = check_batch(batch, self.key_bytes_max, self.value_bytes_max)
        if not news:
            return
        self._drop_garbage()
        frame = _frame(self._end, self._synced, news)
        try:
            _write(self._fd, frame, self._end)
        except OSError as error:
            raise self._write_failed(error) from error
        self._end += len(frame)
        if self._durable:
            self._flush()
        # On disk, or as much so as was asked for: now readers may see it, all at once.
        self._rows.commit(list(news.items()))

    def sync(self) -> None:
        """As `Store.sync`."""
        self._check_writable()
        if self._synced < self._end:
            self._flush()

    def close(self) -> None:
        """As `Store.close`."""
        if not self._open:
            return
        try:
            if self._failure is None:
                self.sync()
        finally:
            self._open = False
            self._rows.close()
            os.close(self._fd)
            self._directory.close()

    def _check_writable(self) -> None:
        if not self._open:
            raise StoreClosed(f"the store in {self._directory.path} was closed")
        if self._failure is not None:
            raise StoreIOError(f"an earlier write failed: {self._failure}") from self._failure

    def _flush(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # Whatever the reason, even "no space": the page cache may have dropped what it held,
            # and a second try would succeed without it. So this is for ever.
            self._failure = StoreIOError(f"syncing {self._path}: {error}")
            raise self._failure from error
        self._synced = self._end

    def _write_failed(self, error: OSError) -> StoreError:
        """Take the part that was written back, and say what happened."""
        failure = translate_os_error(error.errno or errno.EIO, f"writing to {self._path}")
        try:
            os.ftruncate(self._fd, self._end)
        except OSError as second:
            failure = StoreIOError(f"{failure}; and taking it back failed: {second}")
        if isinstance(failure, StoreIOError):
            self._failure = failure
        return failure

    # The journal.

    def _play(self) -> int:
        """Put all whole frames into memory; return where they end.

        Raises:
            StoreCorrupted: a frame is bad that was on disk once.
        """
        size = os.fstat(self._fd).st_size
        if os.pread(self._fd, len(_HEADER), 0) != _HEADER:
            raise StoreCorrupted(f"{self._path} has no journal's header; {_MEND}")
        with mmap.mmap(self._fd, size, prot=mmap.PROT_READ) as file:
            end = len(_HEADER)
            while (body := _body_at(file, end)) is not None:
                self._rows.commit(list(_entries(body)))
                end += _FRAME.size + len(body)
            at = file.find(_MAGIC, end + 1)
            while at >= 0:
                if _body_at(file, at) is not None and _FRAME.unpack_from(file, at)[2] > end:
                    raise StoreCorrupted(
                        f"{self._path} is damaged at byte {end}, and whole again from byte {at} "
                        f"on; {_MEND}"
                    )
                at = file.find(_MAGIC, at + 1)
        return end

    def _drop_garbage(self) -> None:
        """Begin a new journal if this one is mostly garbage. Without room for it, do not."""
        if self._end <= 2 * self._rows.size().bytes_used + self._garbage_bytes:
            return
        try:
            new_fd = self._write_anew()
        except OSError as error:
            failure = translate_os_error(error.errno or errno.EIO, f"rewriting {self._path}")
            if isinstance(failure, StoreFull):
                return
            if isinstance(failure, StoreIOError):
                self._failure = failure
            raise failure from error
        old_fd = self._fd
        try:
            self._adopt(new_fd)
        except OSError as error:
            # Which of the two has the name on disk is not known.
            self._failure = StoreIOError(f"renaming {self._path}: {error}")
            raise self._failure from error
        os.close(old_fd)
        self._end = self._synced = os.fstat(new_fd).st_size

    def _write_anew(self) -> int:
        """Write what is in memory to a new journal, and put it on disk."""
        new = self._path.with_name(_NEW)
        new_fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(new_fd, _HEADER, 0)
            end = len(_HEADER)
            start = b""
            while rows := self._rows.scan(start, None, limit=10_000, limit_bytes=_COPY_BYTES):
                frame = _frame(end, 0, dict(rows))
                _write(new_fd, frame, end)
                end += len(frame)
                start = rows[-1][0] + b"\0"
            os.fsync(new_fd)
        except BaseException:
            os.close(new_fd)
            with suppress(OSError):
                new.unlink()
            raise
        return new_fd

    def _adopt(self, new_fd: int) -> None:
        """Give a new journal, whose bytes are on disk, the name, and put the name on disk."""
        self._path.with_name(_NEW).replace(self._path)
        self._fd = new_fd
        sync_directory(self._directory.path)


def _write(fd: int, data: bytes, at: int) -> None:
    """Write all of it: one call may write less than it was asked to."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        at += written
        rest = rest[written:]


def _digest(at: int, synced: int, body: bytes) -> bytes:
    return blake2b(struct.pack(">QQ", at, synced) + body, digest_size=16).digest()


def _frame(at: int, synced: int, news: Mapping[bytes, bytes | None]) -> bytes:
    """The frame of a batch that begins at byte `at`."""
    parts: list[bytes] = []
    for key, value in news.items():
        parts += (_ENTRY.pack(len(key), _DELETED if value is None else len(value)), key)
        if value is not None:
            parts.append(value)
    body = b"".join(parts)
    return _FRAME.pack(_MAGIC, len(body), synced, _digest(at, synced, body)) + body


def _body_at(file: mmap.mmap, at: int) -> bytes | None:
    """The body of the frame at `at`; `None` where there is no whole one."""
    start = at + _FRAME.size
    if start > len(file):
        return None
    magic, length, synced, digest = _FRAME.unpack_from(file, at)
    if magic != _MAGIC or start + length > len(file):
        return None
    body = file[start : start + length]
    return body if _digest(at, synced, body) == digest else None


def _entries(body: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    at = 0
    while at < len(body):
        key_bytes, value_bytes = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        key = body[at : at + key_bytes]
        at += key_bytes
        if value_bytes == _DELETED:
            yield key, None
        else:
            yield key, body[at : at + value_bytes]
            at += value_bytes
