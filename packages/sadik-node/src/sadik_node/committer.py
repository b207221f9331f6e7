"""Group commit: one batch on its way to the disk while the next one gathers.

Stores of all machines are gathered in the order in which they were emitted. A commit takes all that
was gathered; while it runs on the store's thread the next group gathers. Groups commit in order,
and when one fails, everything gathered behind it fails too, because it may build on it.

The rows of a group that is not on disk stand in an `Overlay`, where loads find them.

Where the store says that its commits are quick they are made in `Committer.flush` itself: to hand
one to a thread and back costs as much as it takes, and the interpreter is one thread's at a time.
While they turn out not to be quick, as on a slow disk, they are made on the thread.

What a store has put off (`Store.tend`) it does between commits, and at leisure when there are none.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import Factory, define

from sadik_machine import MILLISECOND, SECOND, FailureReason, earliest
from sadik_machine import Store as StoreEffect
from sadik_node.overlay import Overlay
from sadik_node.worker import Worker
from sadik_storage import Store, StoreFull

__all__ = ["Committer", "Failure", "Finished", "Group"]

T = TypeVar("T")

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
_WAIT_NS_MIN = MILLISECOND
_WAIT_NS_MAX = 5 * MILLISECOND
"""However quick commits are, company is waited for so long, and no longer however slow."""
_QUICK_NS = 2 * MILLISECOND
_THREAD_NS = SECOND
"""When commits in `flush` have come to take longer, the next ones so long go to the thread."""
_LEISURE_NS = SECOND
"""So long after the last commit what the store has put off is done at leisure."""
_LEISURE_PACE_NS = 5 * MILLISECOND
"""And so long after each part of it."""


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
        self._is_tending = False
        self._now = 0
        """When the last commit began, or the last work at leisure."""
        self._tend_at: int | None = None
        """When what the store has put off is to be done at leisure."""
        self._is_here = False
        """Whether what the store does is done in `flush`."""
        self._here_ns = 0
        """What a commit takes there, about."""
        self._at_thread_until = 0
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
        return not (self._running or self._gathering.stores or self._is_syncing or self._is_tending)

    @property
    def deadline(self) -> int | None:
        """When `flush` and `sync_if_due` are wanted next, by the clock of `flush`."""
        return earliest(self._waits_until, self._sync_at, self._tend_at)

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
        if self._running is not None or self._is_tending:
            return
        if not self._gathering.stores:
            if self._tend_at is not None and now >= self._tend_at:
                self._now = now
                self._is_tending = True
                self._run(partial(self._store.tend, at_leisure=True), self._tended)
            return
        if self._waits(now):
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
        self._now = now
        self._run(partial(self._commit, group), self._committed)

    def _run(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Do it here if that is quick, else on the thread, behind what is under way there."""
        self._is_here = (
            self._store.commits_are_quick
            and not self._is_syncing
            and self._now >= self._at_thread_until
        )
        if not self._is_here:
            self._worker.submit(job, done, self._failed)
            return
        try:
            result = job()
        except Exception as error:  # noqa: BLE001 - as the thread hands it over, whatever it is
            self._failed(error)
        else:
            done(result)

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
            wait_ns = min(max(self._pace_ns, _WAIT_NS_MIN), _WAIT_NS_MAX)
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

    def _commit(self, group: Group) -> tuple[float, bool]:
        """The seconds that it took, and whether the store has put something off."""
        begun = time.perf_counter()
        self._store.commit(group.rows)
        took = time.perf_counter() - begun
        return took, self._store.tend()

    def _note_how_quick(self, took_ns: int) -> None:
        """A commit was made in `flush`, and took so long."""
        self._here_ns += (took_ns - self._here_ns) // _PACE_OVER
        if self._here_ns > _QUICK_NS:
            self._at_thread_until = self._now + _THREAD_NS
            self._here_ns = 0

    def _committed(self, outcome: tuple[float, bool]) -> None:
        seconds, has_more = outcome
        self._tend_at = self._now + _LEISURE_NS if has_more else None
        group = self._running
        assert group is not None
        self._running = None
        took_ns = int(seconds * SECOND)
        self._pace_ns += (took_ns - self._pace_ns) // _PACE_OVER
        if self._is_here:
            self._note_how_quick(took_ns)
        self.waiting_bytes -= group.size
        self._overlay.committed(group.rows, group.number)
        if self.observe is not None:
            self.observe(seconds, len(group.rows))
        if self.grown is not None:
            self.grown(group.size)
        self._done(Finished(group))

    def _tended(self, has_more: bool) -> None:
        self._is_tending = False
        self._tend_at = self._now + _LEISURE_PACE_NS if has_more else None

    def _failed(self, error: BaseException) -> None:
        group = self._running
        self._is_tending = False
        if group is None:
            self._broken(error)
            return
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
