"""The host's side of the contract of `sadik_machine`: order, durability, failures, time."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Effect,
    Failed,
    FailureReason,
    GetRows,
    Input,
    Link,
    LinkState,
    Load,
    Loaded,
    NodeId,
    Observed,
    Received,
    Reply,
    Requested,
    ScanRows,
    Send,
    Store,
    Stored,
    Ticket,
    Unsent,
    WallTime,
    Woke,
)
from sadik_node.host import Host, HostLimits, StoreBrokenError
from sadik_node.reactor import Reactor
from sadik_storage import Row, StoreCorrupted, StoreFull, StoreIOError
from sadik_storage.memory import MemoryStore

PEER = NodeId(b"peer-one")


LINGER_S = 0.0
"""For how long the reactors of these tests may linger."""


@pytest.fixture(autouse=True, params=[0.0, 0.001], ids=["sleeping", "lingering"])
def _linger(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LINGER_S", request.param)


@attrs.define
class Note:
    """A message of the test's machine."""

    text: str


class GatedStore(MemoryStore):
    """A store whose commits wait until the test lets them, and fail when it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.batches: list[list[tuple[bytes, bytes | None]]] = []

    def commit(self, batch: Sequence[tuple[bytes, bytes | None]]) -> None:
        """See `Store.commit`."""
        self.gate.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(list(batch))
        super().commit(batch)


class Script:
    """A machine that does what the test says and writes down what it is given.

    ``on`` maps a request (a text) to the effects that it wants.
    """

    def __init__(self, on: Mapping[str, list[Effect]] | None = None) -> None:
        self.on = dict(on or {})
        self.given: list[Input] = []
        self.times: list[int] = []
        self.when: Callable[[Input], list[Effect]] = lambda _: []
        self.deadline: int | None = None

    def step(self, now: int, event: Input) -> list[Effect]:
        """See `Machine.step`."""
        self.times.append(now)
        match event:
            case Observed(WallTime()):
                return []
            case Woke():
                self.deadline = None
        self.given.append(event)
        if isinstance(event, Requested) and isinstance(event.request, str):
            return [_addressed(effect, event.request_id) for effect in self.on[event.request]]
        return self.when(event)


def _addressed(effect: Effect, request_id: Any) -> Effect:
    """Replies in a script are to whoever asked."""
    if isinstance(effect, Reply):
        return Reply(request_id, effect.result)
    if isinstance(effect, Store):
        return attrs.evolve(effect, then=[_addressed(each, request_id) for each in effect.then])
    return effect


ANY: Any = None


def store(ticket: int, rows: dict[bytes, bytes | None], *then: Effect) -> Store:
    """A store effect."""
    return Store(Ticket(ticket), list(rows.items()), then)


def get(ticket: int, *keys: bytes) -> Load:
    """A load of single rows."""
    return Load(Ticket(ticket), GetRows(keys))


def scan(ticket: int, start: bytes, stop: bytes | None, rows: int = 100) -> Load:
    """A load of a range."""
    return Load(Ticket(ticket), ScanRows(start, stop, rows, 1 << 20))


class MockedTime:
    """Both clocks, from trio's own: tests jump."""

    def __init__(self) -> None:
        self.wall_offset = 10**18

    def now(self) -> int:
        """See `Clock.now`."""
        return round(trio.current_time() * SECOND)

    def wall(self) -> int:
        """See `Clock.wall`."""
        return self.now() + self.wall_offset


@attrs.define
class Bench:
    """A host with its parts in the test's hands."""

    host: Host
    store: GatedStore
    sent: list[tuple[NodeId, object]]
    clock: MockedTime
    takes: list[bool]
    held: list[bool]

    async def ask(self, request: str) -> list[Any]:
        """Request and wait until nothing moves; the answers that came."""
        answers: list[Any] = []
        self.host.request(request, answers.append)
        await self.rest()
        return answers

    async def rest(self) -> None:
        """Wait until all is worked off (the store's gate must be open)."""
        await self.host.settle()


@asynccontextmanager
async def bench(
    *machines: Script, inline: bool = True, limits: HostLimits | None = None, **more: Any
) -> AsyncIterator[Bench]:
    """A host over these machines, running."""
    backend = GatedStore()
    clock = MockedTime()
    sent: list[tuple[NodeId, object]] = []
    takes = [True]
    held: list[bool] = []

    def send(to: NodeId, message: object) -> bool:
        if takes[0]:
            sent.append((to, message))
        return takes[0]

    host = Host(
        backend, clock, source=random.Random(1), send=send, hold=held.append,
        inline_reads=inline, limits=limits or HostLimits(), reactor=Reactor(LINGER_S), **more,
    )  # fmt: skip
    for machine in machines:
        host.add(machine, [Note])
    host.take_requests(0)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            yield Bench(host, backend, sent, clock, takes, held)
            nursery.cancel_scope.cancel()
    finally:
        backend.gate.set()
        host.close()
        backend.close()


def told(machine: Script, kind: type) -> list[Any]:
    """The inputs of one kind that a machine was given."""
    return [event for event in machine.given if isinstance(event, kind)]


async def spin_until(condition: Callable[[], object]) -> None:
    """Let others run until it is so."""
    with trio.fail_after(5):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_nothing_that_rests_on_a_write_leaves_before_it_is_stored() -> None:
    machine = Script({
        "write": [
            store(1, {b"k": b"v"}, Send(PEER, Note("after")), Reply(ANY, "done")),
            Send(PEER, Note("at once")),
        ],
    })  # fmt: skip
    async with bench(machine) as at:
        at.store.gate.clear()
        answers: list[Any] = []
        at.host.request("write", answers.append)
        await spin_until(lambda: at.sent)
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert at.sent == [(PEER, Note("at once"))]
        assert not answers
        assert not told(machine, Stored)
        at.store.gate.set()
        await at.rest()
        assert at.sent[1:] == [(PEER, Note("after"))]
        assert answers == ["done"]
        assert told(machine, Stored) == [Stored(Ticket(1))]
        assert at.store.get(b"k") == b"v"


async def test_writes_gather_while_a_commit_runs_and_commit_in_order() -> None:
    order: list[str] = []
    script: dict[str, list[Effect]] = {
        f"w{n}": [store(n, {b"k": b"%d" % n}, Reply(ANY, f"w{n}"))] for n in range(5)
    }
    machine = Script(script)
    async with bench(machine) as at:
        at.store.gate.clear()
        at.host.request("w0", order.append)
        await spin_until(lambda: told(machine, Requested))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        for n in range(1, 5):
            at.host.request(f"w{n}", order.append)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        at.store.gate.set()
        await at.rest()
        assert order == [f"w{n}" for n in range(5)]
        assert [len(batch) for batch in at.store.batches] == [1, 4], (
            "one commit for all that waited"
        )
        assert at.store.get(b"k") == b"4"
        assert [event.ticket for event in told(machine, Stored)] == list(range(5))
        assert at.host.committer.waiting_bytes == 0


@pytest.mark.parametrize("inline", [True, False])
async def test_a_load_sees_every_store_before_it_on_disk_or_not(inline: bool) -> None:
    machine = Script({
        "base": [store(1, {b"a": b"1", b"b": b"1", b"c": b"1", b"e": b"1"})],
        "change": [store(2, {b"b": None, b"c": b"2", b"d": b"2"}), get(3, b"a", b"b", b"c", b"d"),
                   scan(4, b"a", None)],
    })  # fmt: skip
    async with bench(machine, inline=inline) as at:
        await at.ask("base")
        at.store.gate.clear()
        at.host.request("change", lambda _: None)
        await spin_until(lambda: len(told(machine, Loaded)) == 2)
        found = {event.ticket: event.value for event in told(machine, Loaded)}
        assert found[Ticket(3)] == [b"1", None, b"2", b"2"]
        assert found[Ticket(4)] == [(b"a", b"1"), (b"c", b"2"), (b"d", b"2"), (b"e", b"1")]
        assert len(at.store.batches) == 1, "and all that before it was on disk"
        at.store.gate.set()
        machine.on["again"] = [scan(5, b"b", b"e"), scan(6, b"", None, rows=2)]
        await at.ask("again")
        found = {event.ticket: event.value for event in told(machine, Loaded)}
        assert found[Ticket(5)] == [(b"c", b"2"), (b"d", b"2")]
        assert found[Ticket(6)] == [(b"a", b"1"), (b"c", b"2")]


async def test_an_empty_store_is_a_barrier() -> None:
    machine = Script(
        {
            "write": [store(1, {b"k": b"v"})],
            "barrier": [store(2, {}, Reply(ANY, "passed"))],
        }
    )
    async with bench(machine) as at:
        assert await at.ask("barrier") == ["passed"], "nothing to wait for"
        assert at.store.batches == []
        at.store.gate.clear()
        answers: list[Any] = []
        at.host.request("write", answers.append)
        at.host.request("barrier", answers.append)
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert answers == []
        at.store.gate.set()
        await at.rest()
        assert answers == ["passed"]
        assert len(at.store.batches) == 1


async def test_when_a_batch_fails_all_that_may_build_on_it_fail_before_anything_else() -> None:
    machine = Script({f"w{n}": [store(n, {b"%d" % n: b"v"}, Reply(ANY, n))] for n in range(3)})
    machine.on["read"] = [get(9, b"0", b"1", b"2")]
    async with bench(machine) as at:
        at.store.gate.clear()
        at.store.error = StoreFull("no room")
        answers: list[Any] = []
        at.host.request("w0", answers.append)
        await spin_until(lambda: told(machine, Requested))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        at.host.request("w1", answers.append)
        at.host.request("w2", answers.append)
        for _ in range(10):
            await trio.lowlevel.checkpoint()

        def retry(event: Input) -> list[Effect]:
            # Emitted between two failures, so it may build on what is about to fail.
            if event == Failed(Ticket(0), FailureReason.FULL):
                return [store(7, {b"7": b"v"})]
            if event == Failed(Ticket(7), FailureReason.DEPENDENCY):
                at.store.error = None
                return [store(8, {b"8": b"v"})]
            return []

        machine.when = retry
        at.host.deliver(PEER, [Note("later")])
        marker = len(machine.given)
        at.store.gate.set()
        await spin_until(lambda: told(machine, Failed))
        await at.rest()
        failures = [event for event in machine.given if isinstance(event, Failed)]
        assert failures == [
            Failed(Ticket(0), FailureReason.FULL),
            Failed(Ticket(1), FailureReason.DEPENDENCY),
            Failed(Ticket(2), FailureReason.DEPENDENCY),
            Failed(Ticket(7), FailureReason.DEPENDENCY),
        ]
        first = machine.given.index(failures[0])
        assert machine.given[first : first + 4] == failures, "nothing came between"
        assert marker <= first
        assert answers == [], "no effect of a failed store is performed"
        assert told(machine, Stored) == [Stored(Ticket(8))]
        await at.ask("read")
        assert told(machine, Loaded)[-1].value == [None, None, None]
        assert at.host.committer.waiting_bytes == 0


async def test_a_late_read_never_shows_what_has_failed_meanwhile() -> None:
    machine = Script(
        {
            "write": [store(1, {b"k": b"new"}), get(2, b"k", b"other")],
        }
    )
    async with bench(machine, inline=False) as at:
        at.store.gate.clear()
        at.store.error = StoreFull("no room")
        reading = threading.Event()
        plain = at.store.get_many

        def slow(keys: Sequence[bytes]) -> list[bytes | None]:
            reading.wait()
            return plain(keys)

        at.store.get_many = slow  # type: ignore[method-assign]
        at.host.request("write", lambda _: None)
        await spin_until(lambda: told(machine, Requested))
        at.store.gate.set()
        await spin_until(lambda: told(machine, Failed))
        reading.set()
        await spin_until(lambda: told(machine, Loaded))
        assert told(machine, Loaded) == [Loaded(Ticket(2), [None, None])]


async def test_a_failed_device_stops_the_host_and_nothing_is_acknowledged() -> None:
    machine = Script({"write": [store(1, {b"k": b"v"}, Reply(ANY, "done"))]})
    answers: list[Any] = []
    with pytest.RaisesGroup(
        pytest.RaisesExc(StoreBrokenError, match="fsync"), flatten_subgroups=True
    ):
        async with bench(machine) as at:
            at.store.error = StoreIOError("fsync failed")
            at.host.request("write", answers.append)
            await trio.sleep_forever()
    assert answers == []
    assert not told(machine, Failed)


@pytest.mark.parametrize("inline", [True, False])
async def test_a_range_that_cannot_be_read_stops_the_host(inline: bool) -> None:
    def damaged(*_args: object, **_bounds: object) -> list[Row]:
        raise StoreCorrupted("a page is not what it was")

    machine = Script({"list": [scan(1, b"a", b"z")]})
    with pytest.RaisesGroup(
        pytest.RaisesExc(StoreBrokenError, match="a page is not what it was"),
        flatten_subgroups=True,
    ):
        async with bench(machine, inline=inline) as at:
            at.store.scan = damaged  # type: ignore[method-assign]
            at.host.request("list", lambda _: None)
            await trio.sleep_forever()


@pytest.mark.parametrize("inline", [True, False])
async def test_a_row_that_cannot_be_read_is_for_the_machine_to_mend(inline: bool) -> None:
    def damaged(*_args: object) -> list[bytes | None]:
        raise StoreCorrupted("a page is not what it was")

    machine = Script({"get": [get(1, b"a", b"b")]})
    async with bench(machine, inline=inline) as at:
        at.store.get_many = damaged  # type: ignore[method-assign, assignment]
        at.host.request("get", lambda _: None)
        await spin_until(lambda: told(machine, Failed))
        assert told(machine, Failed) == [Failed(Ticket(1), FailureReason.DAMAGED)]


async def test_what_the_messenger_refuses_comes_back_as_unsent() -> None:
    machine = Script({"send": [Send(PEER, Note("a")), Send(PEER, Note("b"))]})
    async with bench(machine) as at:
        at.takes[0] = False
        await at.ask("send")
        unsent = [event.news for event in told(machine, Observed)]
        assert unsent == [Unsent(PEER, [Note("a")]), Unsent(PEER, [Note("b")])]
        at.host.give_back(PEER, [Note("c")])
        await at.rest()
        assert told(machine, Observed)[-1].news == Unsent(PEER, [Note("c")])
        assert at.host.unsent == 3


async def test_what_a_turn_brings_to_send_is_joined_and_keeps_its_order() -> None:
    machine = Script({
        "one": [Send(PEER, Note("a")), store(1, {b"k": b"v"}, Send(PEER, Note("stored")))],
        "two": [Send(PEER, Note("b")), Reply(ANY, "answered")],
    })  # fmt: skip

    def join(effects: Sequence[Effect]) -> list[Effect]:
        notes = [effect.message.text for effect in effects if isinstance(effect, Send)]  # type: ignore[attr-defined]
        return [Send(PEER, Note("+".join(notes)))]

    async with bench(machine) as at:
        at.host.join = join
        at.host.request("one", lambda _: None)
        assert await at.ask("two") == ["answered"]
        assert at.sent == [(PEER, Note("a+b")), (PEER, Note("stored"))]
        at.takes[0] = False
        at.host.request("one", lambda _: None)
        await at.ask("two")
        assert told(machine, Observed)[0].news == Unsent(PEER, [Note("a+b")])


async def test_what_was_to_be_sent_before_news_is_sent_before_anybody_hears_it() -> None:
    farewell: list[Effect] = [Send(PEER, Note("heard")), Announce("the peer has left")]
    machine = Script({"one": [Send(PEER, Note("a"))], "two": [store(1, {b"k": b"v"}, *farewell)]})
    async with bench(machine) as at:

        def observe(news: object) -> None:
            if news == "the peer has left":
                at.takes[0] = False

        at.host.observe(observe)
        at.host.request("one", lambda _: None)
        await at.ask("two")
        assert at.sent == [(PEER, Note("a")), (PEER, Note("heard"))]
        assert at.host.unsent == 0


async def test_messages_and_links_arrive_in_order() -> None:
    machine = Script()
    async with bench(machine) as at:
        at.host.link(PEER, LinkState.UP)
        at.host.deliver(PEER, [Note("1"), Note("2")])
        at.host.link(PEER, LinkState.DOWN)
        await at.rest()
        assert machine.given == [
            Link(PEER, LinkState.UP), Received(PEER, Note("1")), Received(PEER, Note("2")),
            Link(PEER, LinkState.DOWN),
        ]  # fmt: skip


async def test_news_reaches_the_other_machine_and_the_host_before_anything_else() -> None:
    first, second = Script({"tell": [Announce("news")]}), Script()
    heard: list[object] = []
    async with bench(first, second) as at:
        at.host.observe(heard.append)
        at.host.request("tell", lambda _: None)
        at.host.tell("later")
        await at.rest()
        assert heard == ["news"]
        assert second.given == [Observed("news"), Observed("later")]
        assert Observed("news") not in first.given


async def test_a_request_is_answered_once_and_a_cancelled_one_never() -> None:
    machine = Script({"twice": [Reply(ANY, 1), Reply(ANY, 2)], "never": []})
    async with bench(machine) as at:
        assert await at.ask("twice") == [1]
        answers: list[Any] = []
        request_id = at.host.request("never", answers.append)
        await at.rest()
        assert at.host.requests_open == 1
        at.host.cancel(request_id)
        at.host.cancel(request_id)
        await at.rest()
        assert at.host.requests_open == 0
        assert [type(event).__name__ for event in machine.given].count("Cancelled") == 1


async def test_a_machine_is_woken_at_its_deadline(autojump_clock: trio.testing.MockClock) -> None:
    machine = Script()
    async with bench(machine) as at:
        due = at.clock.now() + 12_345 * MILLISECOND
        machine.deadline = due
        at.host.tell("look again")
        await trio.sleep(20)
        assert len(told(machine, Woke)) == 1
        woken = machine.times[-1]
        times = [t for t, e in zip(machine.times, machine.given, strict=False) if e == Woke()]
        assert woken >= due or times
        assert all(t <= u for t, u in zip(machine.times, machine.times[1:], strict=False))


async def test_the_wall_clock_is_told_every_second_and_when_it_jumps(
    autojump_clock: trio.testing.MockClock,
) -> None:
    walls: list[int] = []

    class Listening(Script):
        def step(self, now: int, event: Input) -> list[Effect]:
            if isinstance(event, Observed) and isinstance(event.news, WallTime):
                walls.append(event.news.wall_ns)
            return []

    machine = Listening()
    async with bench(machine) as at:
        await trio.sleep(5.5)
        assert len(walls) == 6
        at.clock.wall_offset += 30 * SECOND
        at.host.tell("anything")
        await trio.testing.wait_all_tasks_blocked()
        assert walls[-1] == at.clock.wall()
        assert len(walls) == 7


async def test_too_many_messages_hold_the_peers_back_until_half_is_done() -> None:
    machine = Script()
    async with bench(machine, limits=HostLimits(inbox_events=1000)) as at:
        at.host.deliver(PEER, [Note("x")] * 5000)
        await spin_until(lambda: at.held == [True])
        await at.rest()
        assert at.held == [True, False]
        assert len(machine.given) == 5000


async def test_writes_that_wait_for_the_disk_are_bounded() -> None:
    machine = Script({"write": [store(1, {b"k": bytes(5000)}, Reply(ANY, "done"))]})
    async with bench(machine, limits=HostLimits(waiting_bytes=4000, requests=2)) as at:
        assert at.host.overload == ""
        at.store.gate.clear()
        answers: list[Any] = []
        at.host.request("write", answers.append)
        await spin_until(lambda: at.held == [True])
        assert "disk" in at.host.overload
        at.host.request("write", answers.append)
        at.store.gate.set()
        await at.rest()
        assert at.host.overload == ""
        assert at.held == [True, False]
        assert answers == ["done", "done"]


async def test_a_long_scan_does_not_keep_others_from_their_turn() -> None:
    machine = Script({"short": [Reply(ANY, "short")], "long": [scan(1, b"", None, rows=1)]})
    chunks = 0

    def go_on(event: Input) -> list[Effect]:
        nonlocal chunks
        if isinstance(event, Loaded) and chunks < 500:
            chunks += 1
            return [scan(1, b"", None, rows=1)]
        return []

    machine.when = go_on
    async with bench(machine) as at:
        at.host.request("long", lambda _: None)
        await spin_until(lambda: chunks > 1)
        seen_at: list[int] = []
        at.host.request("short", lambda _: seen_at.append(chunks))
        await at.rest()
        assert chunks == 500
        assert seen_at[0] < 300


async def test_interval_durability_syncs_at_its_pace() -> None:
    machine = Script({"write": [store(1, {b"k": b"v"}, Reply(ANY, "done"))]})
    syncs: list[int] = []
    async with bench(machine, sync_interval_ns=20 * MILLISECOND) as at:
        at.store.sync = lambda: syncs.append(1)  # type: ignore[method-assign]
        for _ in range(5):
            assert await at.ask("write") == ["done"]
        await spin_until(lambda: syncs)
        assert len(syncs) == 1
        assert at.host.committer.deadline is None, "nothing new to sync"


async def test_a_turn_ends_soon_when_events_take_long() -> None:
    machine = Script()
    async with bench(machine) as at:
        spent = 0
        now = at.clock.now
        turns: list[int] = []

        def work(event: Input) -> list[Effect]:
            nonlocal spent
            if isinstance(event, Received):
                spent += 10 * MILLISECOND
                turns[-1] += 1
            return []

        machine.when = work
        at.clock.now = lambda: now() + spent  # type: ignore[method-assign]
        at.host.gather = lambda begins: turns.append(0) if begins else None
        at.host.deliver(PEER, [Note(str(number)) for number in range(30)])
        await at.rest()
        assert [each.message.text for each in told(machine, Received)] == list(map(str, range(30)))
        assert sum(turns) == 30
        assert max(turns) <= 3


async def test_other_tasks_run_while_more_keeps_coming() -> None:
    async with bench(Script()) as b:
        reactor, calls = b.host.reactor, 0

        def again() -> None:
            nonlocal calls
            calls += 1
            reactor.call_soon(again)

        again()
        for _ in range(5):
            before = calls
            while calls == before:
                await trio.lowlevel.checkpoint()
