"""Group commit: one batch on its way to the disk while the next one gathers.

Stores of all machines are gathered in the order in which they were emitted. A commit takes all that
was gathered; while it runs on the store's thread the next group gathers. Groups commit in order,
and when one fails, everything gathered behind it fails too, because it may build on it.

The rows of a group that is not on disk stand in an `Overlay`, where loads find them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from attrs import Factory, define

from sadik_machine import MILLISECOND, SECOND, FailureReason, earliest
from sadik_machine import Store as StoreEffect
from sadik_node.overlay import Overlay
from sadik_node.worker import Worker
from sadik_storage import Store, StoreFull

__all__ = ["Committer", "Failure", "Finished", "Group"]

_ROW_OVERHEAD_BYTES = 64
_COMPANY_STORES = 3
_COMPANY_ROWS = 16
"""With fewer stores or rows in the last group the next one does not wait: too few would come. One
store may be many rows, so rows alone do not tell of company."""
_FULL_ROWS = 128
_FULL_BYTES = 2**20
"""With so much in it a group waits no more: what a commit costs beside it is little by then."""
_PACE_OVER = 8
"""Over so many commits, about, it is averaged how long one takes."""
_WAIT_NS_MAX = 5 * MILLISECOND


@define(slots=True)
class Group:
    """Stores that are committed together, with the number of the machine that emitted each."""

    number: int
    stores: list[tuple[int, StoreEffect]] = Factory(list)
    rows: list[tuple[bytes, bytes | None]] = Factory(list)
    size: int = 0
    """Bytes of its rows."""


@define(slots=True)
class Finished:
    """A group is on disk: release what rested on it."""

    group: Group


@define(slots=True)
class Failure:
    """These stores failed, in the order in which they were emitted."""

    stores: deque[tuple[int, StoreEffect, FailureReason]]


Outcome = Finished | Failure


class Committer:
    """Gathers stores and commits them; ``done`` is called with each group's outcome.

    ``broken`` is called, once, when the outcome of a commit is unknown (the device failed): the
    process must stop. ``interval_ns`` is set where commits are not synced one by one: then the
    store is synced that often.
    """

    def __init__(
        self,
        store: Store,
        worker: Worker,
        overlay: Overlay,
        done: Callable[[Outcome], None],
        broken: Callable[[BaseException], None],
        *,
        interval_ns: int | None = None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._overlay = overlay
        self._done = done
        self._broken = broken
        self._interval_ns = interval_ns
        self._gathering = Group(0)
        self._running: Group | None = None
        self._is_syncing = False
        self._unsynced_since: int | None = None
        self._has_company = False
        """Whether the last commit was of so many that the next group waits for more."""
        self._pace_ns = 0
        """What a commit takes, about."""
        self._ripe_at = 0
        self._waits_until: int | None = None
        """Until when at most what has gathered waits for more. From ``_ripe_at`` on a turn that
        there is anyway begins its commit, for to be woken costs as much as a small turn."""
        self.waiting_bytes = 0
        """Bytes of rows that are not on disk yet."""
        self.failures = 0
        """Commits that failed."""
        self.observe: Callable[[float, int], None] | None = None
        """Called with the seconds and the rows of every commit."""
        self.grown: Callable[[int], None] | None = None
        """Called with about how many bytes every commit has written."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be written."""
        return self._running is None and not self._gathering.stores and not self._is_syncing

    @property
    def deadline(self) -> int | None:
        """When `flush` and `sync_if_due` are wanted next, by the clock of `flush`."""
        return earliest(self._waits_until, self._sync_at)

    @property
    def _sync_at(self) -> int | None:
        if self._interval_ns is None or self._unsynced_since is None or self._is_syncing:
            return None
        return self._unsynced_since + self._interval_ns

    def add(self, machine: int, effect: StoreEffect) -> None:
        """Gather a store. Nothing happens to it before `flush`."""
        group = self._gathering
        group.stores.append((machine, effect))
        batch = effect.batch
        if batch:
            group.rows += batch
            size = _ROW_OVERHEAD_BYTES * len(batch)
            for key, value in batch:
                size += len(key)
                if value is not None:
                    size += len(value)
            group.size += size
            self.waiting_bytes += size
            self._overlay.add(batch, group.number)

    def flush(self, now: int) -> None:
        """Start to commit what was gathered, unless it waits for more, or a commit runs; then it
        follows that one.
        """
        if self._running is not None or not self._gathering.stores or self._waits(now):
            return
        group = self._take_gathered()
        if not group.rows:
            # Barriers alone, and everything before them is on disk.
            self._done(Finished(group))
            return
        self._running = group
        self._has_company = (
            len(group.stores) >= _COMPANY_STORES and len(group.rows) >= _COMPANY_ROWS
        )
        if self._interval_ns is not None and self._unsynced_since is None:
            self._unsynced_since = now
        self._worker.submit(lambda: self._commit(group), self._committed, self._commit_failed)

    def _waits(self, now: int) -> bool:
        """Whether what was gathered waits for more that shares its commit."""
        group = self._gathering
        if (
            not self._has_company
            or not group.rows
            or len(group.rows) >= _FULL_ROWS
            or group.size >= _FULL_BYTES
        ):
            return False
        if self._waits_until is None:
            wait_ns = min(self._pace_ns, _WAIT_NS_MAX)
            self._ripe_at = now + 3 * wait_ns // 4
            self._waits_until = now + wait_ns
        return now < self._ripe_at

    def _take_gathered(self) -> Group:
        group = self._gathering
        self._gathering = Group(group.number + 1)
        self._waits_until = None
        return group

    def sync_if_due(self, now: int) -> None:
        """Under interval durability: sync the store if it is time to."""
        at = self._sync_at
        if at is None or at > now:
            return
        self._is_syncing = True
        self._unsynced_since = None
        self._worker.submit(self._store.sync, self._synced, self._sync_failed)

    def _commit(self, group: Group) -> float:
        """On the worker's thread."""
        begun = time.perf_counter()
        self._store.commit(group.rows)
        return time.perf_counter() - begun

    def _committed(self, seconds: float) -> None:
        group = self._running
        assert group is not None
        self._running = None
        self._pace_ns += (int(seconds * SECOND) - self._pace_ns) // _PACE_OVER
        self.waiting_bytes -= group.size
        self._overlay.committed(group.rows, group.number)
        if self.observe is not None:
            self.observe(seconds, len(group.rows))
        if self.grown is not None:
            self.grown(group.size)
        self._done(Finished(group))

    def _commit_failed(self, error: BaseException) -> None:
        group = self._running
        assert group is not None
        self._running = None
        self.failures += 1
        if not isinstance(error, StoreFull):
            self._broken(error)
            return
        stores = deque([(m, effect, FailureReason.FULL) for m, effect in group.stores])
        stores.extend(self.fail_gathered())
        self.waiting_bytes = 0
        self._done(Failure(stores))

    def fail_gathered(self) -> list[tuple[int, StoreEffect, FailureReason]]:
        """Take out what has gathered: it may build on what has just failed."""
        group = self._take_gathered()
        self.waiting_bytes -= group.size
        self._overlay.clear()
        return [(m, effect, FailureReason.DEPENDENCY) for m, effect in group.stores]

    def _synced(self, _: None) -> None:
        self._is_syncing = False

    def _sync_failed(self, error: BaseException) -> None:
        self._is_syncing = False
        if isinstance(error, StoreFull):
            self.failures += 1  # tried again with the next commit
            return
        self._broken(error)
