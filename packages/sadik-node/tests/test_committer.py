"""When a group of stores is committed: at once for few, together where many write."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import attrs
import pytest

from sadik_machine import MILLISECOND, SECOND, Store, Ticket
from sadik_node.committer import Committer, Failure, Finished, Outcome
from sadik_node.overlay import Overlay
from sadik_storage import Batch, StoreError, StoreFull, StoreIOError
from sadik_storage.memory import MemoryStore

COMMIT_S = 0.002
COMMIT_NS = 2 * MILLISECOND


@attrs.define
class HeldWorker:
    """Runs a job when the test says so, and says how long it took."""

    jobs: list[tuple[Callable[[], Any], Callable[[Any], None], Callable[[BaseException], None]]]

    def submit(
        self,
        job: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """See `Worker.submit`."""
        self.jobs.append((job, done, failed))

    def finish(self, error: BaseException | None = None) -> None:
        """Commit what waits for it, or fail to."""
        job, done, failed = self.jobs.pop()
        if error is not None:
            failed(error)
            return
        job()
        done((COMMIT_S, False))


class Desk:
    """A committer with its worker in the test's hands, and a clock that the test sets."""

    def __init__(self, store: MemoryStore | None = None, *, interval_ns: int | None = None) -> None:
        self.now = 0
        self.outcomes: list[Outcome] = []
        self.broken: list[BaseException] = []
        self.store = store or MemoryStore()
        self.worker = HeldWorker([])
        self.tickets = 0
        self.committer = Committer(
            self.store,
            self.worker,  # type: ignore[arg-type]
            Overlay(self.store),
            self.outcomes.append,
            self.broken.append,
            interval_ns=interval_ns,
        )

    def write(self, stores: int, value: bytes = b"v", rows: int = 2) -> None:
        """Gather so many, each of so many rows, and end the turn."""
        for _ in range(stores):
            self.tickets += 1
            batch: list[tuple[bytes, bytes | None]]
            batch = [(b"%d.%d" % (self.tickets, row), value) for row in range(rows)]
            self.committer.add(0, Store(Ticket(self.tickets), batch, ()))
        self.committer.flush(self.now)

    def commit(self, stores: int) -> None:
        """A commit of so many, from its beginning to its end, whatever it would wait for."""
        self.write(stores)
        if not self.runs():
            self.now = self.waits_until() or self.now
            self.committer.flush(self.now)
        self.worker.finish()

    def runs(self) -> bool:
        """Whether a commit is under way."""
        return bool(self.worker.jobs)

    def waits_until(self) -> int | None:
        """When `Committer.flush` is wanted."""
        return self.committer.deadline

    @property
    def last_tickets(self) -> list[int]:
        """Whose stores the last commit has put on disk."""
        outcome = self.outcomes[-1]
        assert isinstance(outcome, Finished)
        return [effect.ticket for _, effect in outcome.group.stores]


def busy() -> Desk:
    """Where many have been writing for a while."""
    desk = Desk()
    for _ in range(60):
        desk.commit(10)
    return desk


@pytest.mark.parametrize("rows", [2, 20, 200])
def test_who_writes_alone_never_waits_for_others(rows: int) -> None:
    desk = Desk()
    for _ in range(60):
        desk.write(1, rows=rows)
        assert desk.runs(), "at once"
        desk.worker.finish()
        assert desk.waits_until() is None


def test_where_many_write_a_group_waits_for_more_for_as_long_as_a_commit_takes() -> None:
    desk = busy()
    desk.write(3)
    begun = desk.now
    assert not desk.runs()
    until = desk.waits_until()
    assert until is not None
    assert 0.9 * COMMIT_NS < until - begun <= COMMIT_NS
    desk.now = begun + COMMIT_NS // 2
    desk.write(4)
    assert not desk.runs()
    assert desk.waits_until() == until, "what comes later makes nobody wait longer"
    desk.now = until
    desk.committer.flush(desk.now)
    assert desk.runs()
    assert desk.waits_until() is None
    desk.worker.finish()
    assert len(desk.last_tickets) == 7, "one commit for both"


def test_a_turn_shortly_before_the_wait_ends_begins_the_commit() -> None:
    desk = busy()
    desk.write(3)
    desk.now += COMMIT_NS * 8 // 10
    desk.write(1)
    assert desk.runs(), "so that nobody has to be woken for it"


def test_nothing_is_told_as_stored_while_it_waits_for_more() -> None:
    desk = busy()
    before = len(desk.outcomes)
    desk.write(3)
    desk.now += COMMIT_NS // 2
    desk.committer.flush(desk.now)
    assert len(desk.outcomes) == before
    assert not desk.committer.is_idle
    assert desk.committer.waiting_bytes > 0


def test_a_group_that_is_large_waits_no_more() -> None:
    desk = busy()
    desk.write(3)
    assert not desk.runs()
    desk.write(100)
    assert desk.runs()
    desk.worker.finish()
    desk.write(1, bytes(2**21))
    assert desk.runs(), "large in bytes"


def test_a_group_that_gathered_while_a_commit_ran_waits_from_its_end_on() -> None:
    desk = busy()
    desk.write(100)
    desk.write(3)
    assert desk.waits_until() is None, "it is the commit that is waited for"
    desk.now += 10 * COMMIT_NS
    desk.worker.finish()
    desk.committer.flush(desk.now)
    assert not desk.runs()
    until = desk.waits_until()
    assert until is not None
    assert desk.now < until <= desk.now + COMMIT_NS


def test_barriers_alone_wait_for_nobody() -> None:
    desk = busy()
    before = len(desk.outcomes)
    desk.committer.add(0, Store(Ticket(1_000), [], ()))
    desk.committer.flush(desk.now)
    assert len(desk.outcomes) == before + 1


def test_the_last_of_many_waits_once_and_who_comes_after_it_does_not() -> None:
    desk = busy()
    desk.commit(1)
    desk.write(1)
    assert desk.runs()


def test_what_fails_while_it_waits_leaves_nothing_to_wait_for() -> None:
    desk = busy()
    desk.write(100)
    desk.write(2)
    desk.worker.finish(StoreFull("full"))
    failure = desk.outcomes[-1]
    assert isinstance(failure, Failure)
    assert len(failure.stores) == 102
    desk.write(3)
    desk.committer.fail_gathered()
    assert desk.waits_until() is None
    desk.committer.flush(desk.now)
    assert not desk.runs()


class QuickStore(MemoryStore):
    """Says that its commits are quick, whatever they are, and puts work off."""

    commits_are_quick: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.put_off = 0
        self.error: Exception | None = None
        self.tended: list[bool] = []
        self.works = 0

    def commit(self, batch: Batch) -> None:
        self.works += 1
        if self.error is not None:
            raise self.error
        super().commit(batch)

    def tend(self, *, at_leisure: bool = False) -> bool:
        self.tended.append(at_leisure)
        if at_leisure:
            self.put_off -= 1
        return self.put_off > 0


def test_a_quick_commit_is_made_at_once() -> None:
    desk = Desk(QuickStore())
    desk.write(1)
    assert not desk.runs(), "the thread has nothing to do"
    assert len(desk.last_tickets) == 1
    assert desk.committer.is_idle
    assert desk.waits_until() is None


@pytest.mark.parametrize("error", [StoreFull("full"), StoreIOError("gone")])
def test_a_quick_commit_fails_as_any_other(error: StoreError) -> None:
    store = QuickStore()
    desk = Desk(store)
    store.error = error
    desk.write(2)
    if isinstance(error, StoreFull):
        (outcome,) = desk.outcomes
        assert isinstance(outcome, Failure)
        assert len(outcome.stores) == 2
        assert desk.committer.is_idle
        store.error = None
        desk.write(1)
        assert len(desk.last_tickets) == 1
    else:
        assert desk.broken == [error]
        assert not desk.outcomes


def test_commits_that_turn_out_slow_go_to_the_thread_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = QuickStore()
    desk = Desk(store)
    # Each commit takes 10 ms by the clock that it is measured with.
    monkeypatch.setattr("sadik_node.committer.time.perf_counter", lambda: store.works / 100)
    here = 0
    while not desk.runs():
        desk.write(1)
        here += 1
    assert 1 < here < 8, "one slow commit among many says little, and a few much"
    desk.worker.finish()
    desk.now += SECOND // 2
    desk.write(1)
    assert desk.runs()
    desk.worker.finish()
    desk.now += SECOND // 2
    desk.write(1)
    assert not desk.runs(), "it is tried again"


def test_a_commit_beside_a_sync_follows_it_on_the_thread() -> None:
    """At most one thread at a time is inside a store to write."""
    desk = Desk(QuickStore(), interval_ns=SECOND)
    desk.write(1)
    assert not desk.runs()
    desk.now += SECOND
    desk.committer.sync_if_due(desk.now)
    assert desk.runs()
    before = len(desk.outcomes)
    desk.write(1)
    assert len(desk.worker.jobs) == 2
    assert len(desk.outcomes) == before


def test_what_a_store_has_put_off_is_done_at_leisure() -> None:
    store = QuickStore()
    desk = Desk(store)
    store.put_off = 3
    for _ in range(5):
        desk.now += SECOND // 2
        desk.write(1)
        assert desk.waits_until() == desk.now + SECOND
        desk.committer.flush(desk.now)
    assert not any(store.tended), "while there are commits it is the store's to say how much"
    times = []
    while (until := desk.waits_until()) is not None:
        desk.committer.flush(until - 1)
        assert desk.waits_until() == until
        desk.now = until
        times.append(until)
        desk.committer.flush(until)
    assert store.tended[-3:] == [True] * 3
    assert all(later - earlier >= MILLISECOND for earlier, later in pairwise(times))
    desk.write(1)
    assert len(desk.outcomes) == 6


def test_a_store_that_fails_at_leisure_ends_the_process() -> None:
    store = QuickStore()
    desk = Desk(store)
    store.put_off = 1
    desk.write(1)
    error = StoreIOError("gone")

    def fail(*, at_leisure: bool = False) -> bool:
        raise error

    store.tend = fail  # type: ignore[method-assign]
    desk.committer.flush(desk.now + 2 * SECOND)
    assert desk.broken == [error]
