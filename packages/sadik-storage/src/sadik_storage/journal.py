"""A journal: two files of a fixed size, in which batches stand until a store has them.

The idea: what makes a small commit dear is not that it is put on disk, but where. A tree writes a
page for nearly every row, and the pages above them. A journal writes the rows of a batch one after
another, over bytes that its file has already: a flush has one place to visit, and no length of a
file to note. What stands in it has to be put into the store some day, but by then it is the rows of
many batches, in the order of their keys, and only the last of each key.

One file is written (a *generation*), from its beginning, while what the other holds is put into the
store. When that is done and the first is full, they change roles. So a journal never grows, and to
replay it takes a bounded time.

A file is a page with its key and then frames, each of which begins with a page: no two frames share
one, so a write that a power cut tears harms no frame but its own. A frame is a batch, and tells

* its generation, and its number, which goes on through all generations;
* *settled*: the store had all frames below that number, on disk, when this one was written;
* *synced*: all frames below that number were on disk then. One of those that is missing was lost,
  and whoever opens the journal is told; one that is missing after all of them was never promised.

Before a file is written again from its beginning, a frame in the other one says, on disk, that all
of it is settled: else the first write, torn by a power cut, would look like a loss of what it wrote
over.

The checksum of a frame is keyed (BLAKE2b, RFC 7693) with a random key of the journal's own. So no
value that a client has stored can pass for a frame, wherever a later frame leaves a part of it.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from sadik_storage.directory import sync_directory, translate_os_error
from sadik_storage.trait import Batch, StoreCorrupted, StoreError, StoreIOError

__all__ = ["FILE_BYTES_FLOOR", "FILE_NAMES", "Journal", "frame_bytes"]

FILE_NAMES: Final = ("journal.0", "journal.1")
_PAGE_BYTES: Final = 4096
FILE_BYTES_FLOOR: Final = 16 * _PAGE_BYTES
"""The least size of a file."""

_TITLE: Final = b"Sadik's journal 1\n"
_KEY_BYTES: Final = 32
_SUM_BYTES: Final = 16
_MAGIC: Final = b"SdkJ"
_HEAD: Final = struct.Struct("<4sIQQQQ")
"""Magic, bytes of the rows, generation, number, settled, synced; then the checksum, then the rows:
how many, the lengths of all keys and values in turn, the keys and values themselves."""
_ROWS_AT: Final = _HEAD.size + _SUM_BYTES
_LENGTH_BYTES: Final = 4
_DELETED: Final = 0xFFFF_FFFF
"""In place of the length of a value."""

_MEND: Final = (
    "stop the node, keep a copy of the directory, and let the node start with an empty directory: "
    "its peers have the data"
)

_Rows = list[tuple[bytes, bytes | None]]
_Found = tuple[int, int, int, int, int, int]
"""A frame in a file: number, generation, settled, synced, where its rows are and their bytes."""


class Journal:
    """The journal in a directory that the caller holds; used by one thread at a time.

    ``number`` is that of the next frame, ``settled`` and ``synced`` as the module says. Make one
    with `fresh` or `replayed`.
    """

    def __init__(self, directory: Path, files: Sequence[int], file_bytes: int, key: bytes) -> None:
        self._directory = directory
        self._files = files
        self._file_bytes = file_bytes
        self._key = key
        self._at = _PAGE_BYTES
        self._generation = 0
        self._told = 0
        """What a frame on disk says is settled,"""
        self._telling = 0
        """and what the last one says, which may not be there yet."""
        self.number = 0
        self.settled = 0
        self.synced = 0

    @classmethod
    def fresh(cls, directory: Path, file_bytes: int) -> Journal:
        """A journal with nothing in it; what older files say there is void from now on.

        Raises:
            StoreFull, StoreReadOnly, StoreIOError: as their docs say.
        """
        files: list[int] = []
        key = secrets.token_bytes(_KEY_BYTES)
        title = _TITLE + key
        title += bytes(_PAGE_BYTES - len(title))
        try:
            for name in FILE_NAMES:
                file = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                files.append(file)
                if os.fstat(file).st_size != file_bytes:
                    os.ftruncate(file, 0)
                    _write(file, title + bytes(file_bytes - len(title)), 0)
                else:
                    _write(file, title, 0)
                os.fsync(file)
            sync_directory(directory)
        except OSError as error:
            _close(files)
            raise _failed("making", directory, error) from error
        return cls(directory, files, file_bytes, key)

    @classmethod
    def replayed(cls, directory: Path) -> tuple[Journal, _Rows]:
        """The journal that is there, and what the store may not have, in order.

        The caller puts that into the store, on disk, and calls `settle` before the first `append`.

        Raises:
            StoreCorrupted: something that was on disk is there no more.
            StoreReadOnly, StoreIOError: as their docs say.
        """
        files: list[int] = []
        try:
            for name in FILE_NAMES:
                file = os.open(directory / name, os.O_RDWR | os.O_CLOEXEC)
                files.append(file)
            texts = [os.pread(file, os.fstat(file).st_size, 0) for file in files]
        except FileNotFoundError as gone:
            _close(files)
            raise StoreCorrupted(f"{gone.filename}, which held batches, is gone; {_MEND}") from None
        except OSError as error:
            _close(files)
            raise _failed("reading", directory, error) from error
        try:
            return _replay(directory, files, texts)
        except StoreError:
            _close(files)
            raise

    def has_room(self, size: int) -> bool:
        """Whether a batch of so many `frame_bytes` fits into the file that is written."""
        # A page is kept for a last frame: see `begin`.
        return self._at + size + _PAGE_BYTES <= self._file_bytes

    @property
    def file_bytes(self) -> int:
        """The size of each of its files."""
        return self._file_bytes

    @property
    def filled(self) -> float:
        """How much of the file that is written has been written, from 0 to 1."""
        return self._at / self._file_bytes

    def begin(self) -> None:
        """Go on in the other file, of whose frames the store has all, on disk.

        Raises:
            StoreFull, StoreReadOnly, StoreIOError: as `append`.
        """
        if self._told < self.settled:
            self.append((), sync=True)
        self._change_files()

    def settle(self) -> None:
        """Have it on disk that the store has all there is, which it has, on disk.

        Raises:
            StoreFull, StoreReadOnly, StoreIOError: as `append`.
        """
        if self._told < self.number:
            self.settled = self.number
            if self._at == self._file_bytes:
                # So it was replayed, and its last frame is one by which `begin` told that all of
                # the other file is settled.
                self._change_files()
            self.append((), sync=True)
            self._told = self.settled = self.number  # it has nothing that would not be settled

    def _change_files(self) -> None:
        self._generation += 1
        self._at = _PAGE_BYTES

    def append(self, batch: Batch, *, sync: bool) -> None:
        """Write a batch, for which there is room; put it on disk if ``sync``.

        Raises:
            StoreFull, StoreReadOnly: nothing was written.
            StoreIOError: the outcome is unknown; nothing may be appended any more.
        """
        frame = self._frame(batch)
        assert self._at + len(frame) <= self._file_bytes, "there is room"
        file = self._files[self._generation % len(self._files)]
        try:
            _write(file, frame, self._at)
        except OSError as error:
            raise _failed("writing to", self._directory, error) from error
        self._at += _whole_pages(len(frame))
        self._telling = self.settled
        self.number += 1
        if sync:
            self._sync([file])

    def sync(self) -> None:
        """Put on disk what was appended without.

        Raises:
            StoreIOError: the outcome is unknown; nothing may be appended any more.
        """
        if self.synced < self.number:
            self._sync(self._files)

    def close(self) -> None:
        """Let go of the files."""
        _close(self._files)
        self._files = ()

    def _frame(self, batch: Batch) -> bytes:
        lengths: list[int] = [len(batch)]
        texts: list[bytes] = []
        for key, value in batch:
            lengths.append(len(key))
            texts.append(key)
            if value is None:
                lengths.append(_DELETED)
            else:
                lengths.append(len(value))
                texts.append(value)
        rows = b"".join([struct.pack(f"<{len(lengths)}I", *lengths), *texts])
        head = _HEAD.pack(
            _MAGIC, len(rows), self._generation, self.number, self.settled, self.synced
        )
        return b"".join([head, _checksum(self._key, head, rows), rows])

    def _sync(self, files: Sequence[int]) -> None:
        try:
            for file in files:
                os.fdatasync(file)
        except OSError as error:
            # Whatever the reason: what it was to put on disk may have been dropped.
            raise StoreIOError(
                f"syncing the journal in {self._directory}: {error.strerror}"
            ) from error
        self.synced = self.number
        self._told = max(self._told, self._telling)


def frame_bytes(batch: Batch) -> int:
    """How much of a file a batch takes, in whole pages."""
    size = _ROWS_AT + _LENGTH_BYTES + 2 * _LENGTH_BYTES * len(batch)
    for key, value in batch:
        size += len(key)
        if value is not None:
            size += len(value)
    return _whole_pages(size)


def _replay(directory: Path, files: Sequence[int], texts: Sequence[bytes]) -> tuple[Journal, _Rows]:
    key = texts[0][len(_TITLE) : len(_TITLE) + _KEY_BYTES]
    file_bytes = len(texts[0])
    if any(
        len(text) != file_bytes
        or len(text) < FILE_BYTES_FLOOR
        or text[: len(_TITLE)] != _TITLE
        or text[len(_TITLE) : len(_TITLE) + _KEY_BYTES] != key
        for text in texts
    ):
        raise StoreCorrupted(f"the journal in {directory} is damaged; {_MEND}")
    found = [(*frame, text) for text in texts for frame in _frames(text, key)]
    found.sort(key=lambda each: each[0])
    journal = Journal(directory, files, file_bytes, key)
    settled = max((each[2] for each in found), default=0)
    synced = max((each[3] for each in found), default=0)
    rows: _Rows = []
    expected = settled
    for number, _, _, _, at, size, text in found:
        if number == expected:
            rows += _rows(text[at : at + size])
            expected += 1
    if expected < synced:
        raise StoreCorrupted(
            f"the journal in {directory} had batch {expected} on disk before batch {synced}, and "
            f"it is damaged or gone; {_MEND}"
        )
    if not rows:
        settled = expected  # what else there is has nothing in it
    if found:
        # A frame that follows a gap was never promised, and its number is not used again.
        journal.number = journal.synced = found[-1][0] + 1
        journal.settled = journal._told = settled
        journal._generation = max(each[1] for each in found)
        journal._at = max(
            _whole_pages(at + size)
            for _, born, _, _, at, size, _ in found
            if born == journal._generation
        )
    return journal, rows


def _frames(text: bytes, key: bytes) -> Iterator[_Found]:
    """The frames in a file, of whichever generation."""
    at = _PAGE_BYTES
    while at + _ROWS_AT <= len(text):
        step = _PAGE_BYTES
        if text[at : at + len(_MAGIC)] == _MAGIC:
            head = text[at : at + _HEAD.size]
            _, size, generation, number, settled, synced = _HEAD.unpack(head)
            rows_at = at + _ROWS_AT
            if text[at + _HEAD.size : rows_at] == _checksum(
                key, head, text[rows_at : rows_at + size]
            ):
                yield number, generation, settled, synced, rows_at, size
                step = _whole_pages(_ROWS_AT + size)
        at += step


def _rows(text: bytes) -> _Rows:
    (count,) = struct.unpack_from("<I", text)
    lengths = struct.unpack_from(f"<{2 * count}I", text, _LENGTH_BYTES)
    at = _LENGTH_BYTES * (1 + 2 * count)
    rows: _Rows = []
    for key_bytes, value_bytes in zip(lengths[::2], lengths[1::2], strict=True):
        key = text[at : at + key_bytes]
        at += key_bytes
        if value_bytes == _DELETED:
            rows.append((key, None))
        else:
            rows.append((key, text[at : at + value_bytes]))
            at += value_bytes
    return rows


def _checksum(key: bytes, head: bytes, rows: bytes) -> bytes:
    digest = blake2b(head, digest_size=_SUM_BYTES, key=key)
    digest.update(rows)
    return digest.digest()


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE_BYTES) * _PAGE_BYTES


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of it.

    Raises:
        OSError: some of it may have been written.
    """
    written = os.pwrite(file, data, at)
    while written < len(data):
        more = os.pwrite(file, data[written:], at + written)
        if not more:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more


def _failed(what: str, directory: Path, error: OSError) -> StoreError:
    return translate_os_error(error.errno or errno.EIO, f"{what} the journal in {directory}")


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
