"""Loads: reading what a machine asked for, uncommitted rows included.

A fast backend is read inline, on the loop's own thread: a get costs a microsecond, a thread's
round trip forty. A slow one is read on a thread of its own. Which it is the backend says, and the
clock checks: after an inline read that took long and waited for the disk, reads go to the thread
for a while. One that took long because others had the processor would take no less there.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from attrs import define

from sadik_machine import Failed, FailureReason, GetRows, Input, Load, Loaded, Query, ScanRows
from sadik_node.overlay import Overlay, scan_store_over
from sadik_node.worker import Worker
from sadik_storage import Row, Store, StoreCorrupted, StoreIOError

__all__ = ["LateLoad", "Loads"]

_SLOW_NS = 20_000_000
_SLOW_FOR_NS = 1_000_000_000
_LOOK_EVERY_NS = 1_000_000_000
_OWN_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


@define(slots=True)
class LateLoad:
    """What a thread read, and how many commits had failed when it was asked to."""

    machine: int
    effect: Load
    event: Input
    failures: int


class Loads:
    """Performs loads. ``late`` is called with what the thread read, ``broken`` where reading
    failed in a way that no machine is told of.
    """

    def __init__(
        self,
        store: Store,
        overlay: Overlay,
        worker: Worker,
        late: Callable[[LateLoad], None],
        broken: Callable[[BaseException], None],
        *,
        inline: bool,
    ) -> None:
        self._store = store
        self._overlay = overlay
        self._worker = worker
        self._late = late
        self._broken = broken
        self._reads_inline = inline
        self._slow_until = 0
        self._looked_at = 0
        self._disk_reads = 0
        """As they were then. To look before every read would cost as much as a read."""
        self.failures = 0
        """How often rows of the overlay were taken back. A late load that is older reads again."""
        self.outstanding = 0
        """Loads that the thread has not answered."""

    def load(self, machine: int, effect: Load) -> Input | None:
        """What was found, or None where ``late`` will be called with it."""
        if self._reads_inline:
            begun = time.monotonic_ns()
            if begun >= self._slow_until:
                if begun - self._looked_at > _LOOK_EVERY_NS:
                    self._looked_at, self._disk_reads = begun, _disk_reads()
                try:
                    event = _outcome(effect, lambda: self._read(effect.query))
                except StoreCorrupted as error:
                    self._broken(error)
                    event = Failed(effect.ticket, FailureReason.DAMAGED)
                ended = time.monotonic_ns()
                if ended - begun > _SLOW_NS and _disk_reads() != self._disk_reads:
                    self._slow_until = ended + _SLOW_FOR_NS
                return event
        self._load_late(machine, effect)
        return None

    def _read(self, query: Query) -> list[bytes | None] | list[Row]:
        overlay, store = self._overlay, self._store
        if isinstance(query, GetRows):
            keys = query.keys
            if not len(overlay):
                return [store.get(keys[0])] if len(keys) == 1 else store.get_many(keys)
            found, absent = overlay.get(keys)
            for position in absent:
                found[position] = store.get(keys[position])
            return found
        return scan_store_over(
            store, overlay.between(query.start, query.stop), query.start, query.stop,
            query.limit_rows, query.limit_bytes, keys_only=query.keys_only,
        )  # fmt: skip

    def _load_late(self, machine: int, effect: Load) -> None:
        """Take what is pending now; have the thread read the rest."""
        overlay, store, query, failures = self._overlay, self._store, effect.query, self.failures
        if isinstance(query, GetRows):
            keys = query.keys
            found, absent = overlay.get(keys)

            def read() -> list[bytes | None] | list[Row]:
                values = store.get_many([keys[position] for position in absent])
                for position, value in zip(absent, values, strict=True):
                    found[position] = value
                return found
        else:
            pending = overlay.between(query.start, query.stop)

            def read() -> list[bytes | None] | list[Row]:
                return scan_store_over(
                    store, pending, query.start, query.stop, query.limit_rows, query.limit_bytes,
                    keys_only=query.keys_only,
                )  # fmt: skip

        def done(event: Input) -> None:
            self.outstanding -= 1
            self._late(LateLoad(machine, effect, event, failures))

        self.outstanding += 1
        self._worker.submit(lambda: _outcome(effect, read), done, self._broken)


def _disk_reads() -> int:
    """How often this thread has had the disk read for it: pages of mapped files, and blocks."""
    used = resource.getrusage(_OWN_THREAD)
    return used.ru_majflt + used.ru_inblock


def _outcome(effect: Load, read: Callable[[], object]) -> Input:
    """What the machine is told.

    Raises:
        StoreCorrupted: a range cannot be read. A single row could be mended from elsewhere; of
            a range nobody knows which rows it holds, so nothing here could be scrubbed, compared
            or handed on any more.
    """
    try:
        return Loaded(effect.ticket, read())
    except StoreCorrupted:
        if isinstance(effect.query, ScanRows):
            raise
        return Failed(effect.ticket, FailureReason.DAMAGED)
    except StoreIOError:
        return Failed(effect.ticket, FailureReason.IO)
