"""The storage trait: an ordered map from bytes to bytes that applies batches atomically.

The idea: a node keeps everything that must survive in *one* ordered map. It asks little of it, so
that many engines can supply it: point reads, short ascending scans, one consistent view, and an
atomic batch that is on disk when the call returns. All methods block; nothing here knows of event
loops. Who calls decides on which thread.

The rules every backend keeps, and that the conformance suite (`sadik_storage.conformance`) checks:

* **Order.** Keys are compared as unsigned bytes, a prefix before what extends it, which is how
  Python compares `bytes`.
* **Bytes in, bytes out.** Keys have 1 to `key_bytes_max` bytes, values 0 to `value_bytes_max`. An
  empty value is a value; an absent key is `None`. Callers pass `bytes` (not `bytearray` or
  `memoryview`) and get `bytes` that stay valid for ever.
* **Threads.** At most one thread at a time is inside `commit` or `sync`; it may be a different
  thread each time (a pool's), and calls are made in the order in which the batches are to count.
  Any number of threads may read (`get`, `get_many`, `scan`, `scan_keys`, `snapshot`, `size`) at
  any time, concurrently with that one writer and each other. A `Snapshot` is used by one
  thread, the one that made it. `close` is called when no other call is running.
* **Visibility.** A read that begins after `commit` returned sees the batch. A read that runs
  beside `commit` sees all of the batch or none of it, within one call.
* **Reads never wait for a commit's disk write.** They may run on an event loop.
* **Durability.** See `Store.open` and `Store.commit`.
* **Errors.** Only the exceptions of this module leave a backend, and `TypeError` or
  `AssertionError` for a caller that breaks the contract. `StoreError.retryable` says whether trying
  the same call later can help, and each class says what was applied.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TypeAlias

import attrs

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

KEY_BYTES_FLOOR = 511
"""Every backend accepts keys of at least this many bytes; a portable layout uses no longer ones."""

VALUE_BYTES_FLOOR = 128 * 2**20
"""Every backend accepts values of at least this many bytes."""

Row: TypeAlias = tuple[bytes, bytes]
"""A key and its value."""

Batch: TypeAlias = Sequence[tuple[bytes, bytes | None]]
"""Keys with their new values, in order; `None` deletes. A later entry for a key wins."""


class StoreError(Exception):
    """Something a store could not do; the base of all that leaves a backend."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without anybody repairing anything by hand."""


class StoreFull(StoreError):  # noqa: N818 - a state, as trio names its errors
    """No room: the disk, the quota or the backend's own bound. *Nothing of the batch was applied*,
    reads go on working, and the store stays usable: it may succeed once there is room."""

    retryable = True


class StoreReadOnly(StoreError):  # noqa: N818 - a state, as trio names its errors
    """The medium or the file refuses writes. Nothing of the batch was applied; reads work."""


class StoreCorrupted(StoreError):  # noqa: N818 - a state, as trio names its errors
    """The stored bytes contradict themselves. What a read answered before is not trustworthy any
    more; the message says what an operator can do. Close the store and do not write to it."""


class StoreLocked(StoreError):  # noqa: N818 - a state, as trio names its errors
    """Another store, in this process or in another, has these files open. Raised by `open`."""

    retryable = True


class StoreClosed(StoreError):  # noqa: N818 - a state, as trio names its errors
    """The store (or the snapshot) was used after its end. A fault of the caller."""


class StoreFormatError(StoreError):
    """The files are of another backend, or of a newer version of this one. Raised by `open`, which
    has then changed nothing."""


class StoreIOError(StoreError):
    """The operating system failed a read, a write or an fsync.

    From `commit` or `sync` it means that *the outcome is unknown*: the batch may or may not be
    there after a restart, and the page cache may already have dropped what an earlier unsynced
    commit wrote, so a second fsync that succeeds proves nothing. The process must stop without
    acknowledging anything further; a later open reads what really is on disk. A backend that
    raised it from a write raises it from every later write too.
    """


class StoreKeyError(StoreError, ValueError):
    """A key is empty or longer than `key_bytes_max`. From `commit`: nothing was applied."""


class StoreValueError(StoreError, ValueError):
    """A value is longer than `value_bytes_max`. Nothing was applied."""


class StoreOptionsError(StoreError, ValueError):
    """An option (or the path) is unknown, ill typed or out of range; the message names it and says
    what is accepted. Raised by `open`, which has then changed nothing."""


@attrs.frozen
class StoreSize:
    """How big a store is: figures for metrics and alarms, cheap to get, not for decisions on data.

    They may lag behind a running commit.
    """

    keys: int
    """Keys present."""
    bytes_used: int
    """Bytes that live data occupies, with the backend's overhead as far as it knows it."""
    bytes_free_inside: int
    """Bytes held from the operating system but free to be reused by later writes, so that
    `bytes_used + bytes_free_inside` is about what the store takes on disk (or in memory)."""
    bytes_limit: int | None
    """The bound, if one is set, above which the backend raises `StoreFull`; else the disk's."""


class Snapshot(abc.ABC):
    """One consistent view of a store, unmoved by commits made after it; a context manager.

    **Keep it short** (milliseconds; never across an await or a network wait). A backend cannot
    reuse the space of what was overwritten since the oldest open snapshot: on LMDB a scan held
    open over 3,000 small commits turned a file of 0.44 MB into one of 98 MB. To walk a whole
    store, use chunked `Store.scan` calls, each seeing the newest state.

    Used on the thread that made it. After the `with` block every method raises `StoreClosed`.
    Closing the store while a snapshot is open is a fault of the caller.
    """

    @abc.abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """As `Store.get`, in this view."""

    @abc.abstractmethod
    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """As `Store.scan`, in this view: consecutive calls see no commit between them."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the view and free what it held. Calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Store(abc.ABC):
    """An ordered, atomic, durable map from bytes to bytes.

    To supply a backend: subclass this, implement the abstract methods and the class variables, run
    `sadik_storage.conformance.StoreConformance` over it, and register the class under the entry
    point group `sadik.storage`. Read the rules at the top of this module first. How a store is
    made is the backend's own business: callers know `open` alone.

    `get_many` and `scan_keys` have defaults that are right, if perhaps not the fastest. Three
    modules do what every backend on disk does, in the words that operators know from the others:
    `sadik_storage.options` (the table of options), `sadik_storage.directory` (the private, locked
    and marked directory) and `sadik_storage.bounds` (the checks of a batch).

    A store is a context manager that closes itself.
    """

    name: ClassVar[str]
    """The name under which the backend is registered, such as `"lmdb"`."""
    reads_are_cheap: ClassVar[bool]
    """True if a `get` of a small value takes microseconds even when cold data is mapped rather
    than cached, so that a host may call it on its event loop; false sends reads to a worker."""
    commits_are_quick: ClassVar[bool] = False
    """True if a `commit` of small rows takes hardly longer than the disk's flush, so that a host
    may call it on its event loop while the disk is quick."""
    key_bytes_max: ClassVar[int]
    """The longest key, at least `KEY_BYTES_FLOOR`. Longer ones raise `StoreKeyError`."""
    value_bytes_max: ClassVar[int]
    """The longest value, at least `VALUE_BYTES_FLOOR`. Longer ones raise `StoreValueError`."""

    @classmethod
    @abc.abstractmethod
    def open(cls, path: Path | None, options: Mapping[str, object], *, durable: bool) -> Store:
        """Open the store in directory `path`, making it (mode 0700) if there is none.

        `path` is the backend's own directory: it may put any files there, and nobody else does. It
        is `None` only for a backend that keeps nothing
        on disk, and such a backend ignores any path. `options` come from a configuration file
        (`[storage.options]`): strings, integers, floats and booleans by name.

        With `durable=True` each `commit` is on disk when it returns. With `durable=False` a
        commit need not be synced, but `sync` does it for all commits before: a crash of the
        *process* loses nothing that was committed, and a crash of the machine loses commits since
        the last `sync`, never commits before it, and never some of one batch only. A backend
        that cannot hold this says so at its `open`.

        Opening recovers by itself from a process that was killed, or a machine that lost power,
        at any instant, an earlier `open` included. Files of an older version of the backend's
        format are migrated, so that a kill on the way leaves one version or the other. It writes
        nothing if it raises.

        What a killed process had committed without syncing counts as committed: a later `sync`,
        and with `durable=True` the `open`, puts that on disk too.

        Raises:
            StoreOptionsError: an option is unknown, ill typed or out of range, or a path missing.
            StoreLocked: the files are open already, in this process or in another.
            StoreFormatError: the files are of another kind or of a newer version.
            StoreCorrupted, StoreFull, StoreReadOnly, StoreIOError: as their docs say.
        """

    @property
    @abc.abstractmethod
    def durable(self) -> bool:
        """Whether a commit is on disk when it returns. Always false for a store in memory."""

    @abc.abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """The value at `key`, or `None` if there is none.

        Raises:
            StoreKeyError: the key is empty or too long.
            StoreClosed, StoreCorrupted, StoreIOError: as their docs say.
        """

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values at `keys`, in the order asked, all of one view.

        The default takes a snapshot; a backend may be faster. Raises what `get` raises.
        """
        with self.snapshot() as view:
            return [view.get(key) for key in keys]

    @abc.abstractmethod
    def scan(self, start: bytes, stop: bytes | None, *, limit: int, limit_bytes: int) -> list[Row]:
        """The rows with `start <= key < stop` in ascending order, as many as fit the limits.

        `start` may be empty (from the beginning), and `stop` `None` (to the end); an empty range,
        `stop <= start`, gives no rows. Neither needs to be a stored key, nor to keep within
        `key_bytes_max`. At most `limit` rows (at least 1) are returned, and the bytes of keys and
        values together stay within `limit_bytes` unless the first row alone exceeds it: **if
        there is a row, at least one is returned**, so an empty list means the end.

        All rows are of one view, but nothing stays open after the call. To go on, call again with
        the last key plus a zero byte (`rows[-1][0] + b"\\0"`), the least key after it; such a walk
        sees every key that was there throughout, once, and keys that came and went perhaps.

        Raises:
            StoreClosed, StoreCorrupted, StoreIOError: as their docs say.
        """

    def scan_keys(self, start: bytes, stop: bytes | None, *, limit: int) -> list[bytes]:
        """The keys alone, as `scan` without a bound on bytes; values are not copied.

        The default reads the rows in bounded chunks; a backend overrides it where keys alone
        cost less. All keys are of one view.
        """
        assert limit >= 1
        keys: list[bytes] = []
        with self.snapshot() as view:
            while len(keys) < limit:
                rows = view.scan(start, stop, limit=limit - len(keys), limit_bytes=2**20)
                if not rows:
                    break
                keys += [key for key, _ in rows]
                start = keys[-1] + b"\0"
        return keys

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """A consistent view of now, as a context manager. Short-lived: see `Snapshot`.

        Raises:
            StoreClosed, StoreIOError: as their docs say.
        """

    @abc.abstractmethod
    def commit(self, batch: Batch) -> None:
        """Apply the batch atomically, entries in order; deleting an absent key does nothing.

        When it returns, every read sees all of it, and, if the store was opened durable, all of
        it is on disk: it survives a power cut, and so do all batches before it. Batches become
        durable in the order of the calls; there is never a later one without an earlier one. An
        empty batch does nothing.

        Every entry is checked before the first is applied.

        Raises:
            StoreKeyError, StoreValueError: an entry is out of bounds. Nothing was applied.
            StoreFull: no room. Nothing was applied; may be tried again.
            StoreReadOnly: nothing was applied.
            StoreIOError: the outcome is unknown; the process must stop.
            StoreClosed, StoreCorrupted: as their docs say.
        """

    @abc.abstractmethod
    def sync(self) -> None:
        """Put all that was committed before on disk. Cheap if that is so already; a store in
        memory does nothing.

        Raises:
            StoreFull: no room. All that was committed is still readable; may be tried again.
            StoreIOError: the outcome is unknown; the process must stop.
            StoreClosed, StoreCorrupted, StoreReadOnly: as their docs say.
        """

    def tend(self, *, at_leisure: bool = False) -> bool:
        """Do some of what commits have left to do later; about a millisecond of work.

        A host calls this now and then between commits, as it calls `commit` (never beside one), and
        ``at_leisure`` when nobody commits. Whether something is left to do at leisure. It changes
        nothing that can be read. The default has nothing to do.

        Raises:
            StoreIOError: the outcome of earlier commits is unknown; the process must stop.
        """
        return False

    @abc.abstractmethod
    def size(self) -> StoreSize:
        """How big the store is, without a walk over its keys (about the cost of a `get`).

        Raises:
            StoreClosed, StoreIOError: as their docs say.
        """

    def bytes_free_inside(self) -> int:
        """`StoreSize.bytes_free_inside`, which a node asks for often.

        The default makes all figures; a backend overrides it where the others cost more.
        """
        return self.size().bytes_free_inside

    @abc.abstractmethod
    def close(self) -> None:
        """Sync and let go of the files; every other method then raises `StoreClosed`.

        Calling it again does nothing. The files may be opened again at once. Raises what `sync`
        raises, and the store is closed even so.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
