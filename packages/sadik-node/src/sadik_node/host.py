"""The host: one task that owns the machines and does for them what they may not do themselves.

The loop: take what is in the inbox, step, perform the effects in order. Everything that waits
(streams, the disk, clients, deadlines) puts something into the inbox and wakes the task; nothing
per request or message is a task, a lock, a timeout or a channel. A turn ends by starting the next
group commit, so all writes of a turn share one; where many write, those of some turns do. Just
before that the messages of the turn are handed over, in the order in which they were wanted but for
those that are joined; who is refused one is told then. News keeps its place among them: the
messenger ends the streams to who has left when it hears of it, and what is for that node goes
before.

The order in which things are looked at is part of the contract. First the outcomes of commits: what
rested on a commit is released, and a failed one is told to the machines before they see anything
else. (A commit that was quick has its outcome at the end of the turn that began it, and is looked
at then.) Then what is owed to a machine at once (a load's result, another machine's news), then the
inbox. A load of a range waits its turn in the inbox, so that a long listing does not keep others
from theirs.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, assert_never

import trio
from attrs import frozen

from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Cancelled,
    Effect,
    Failed,
    Input,
    Link,
    LinkState,
    Load,
    Machine,
    NodeId,
    Observed,
    Received,
    Reply,
    Requested,
    RequestId,
    RequestIds,
    ScanRows,
    Send,
    Store,
    Stored,
    Unsent,
    WallTime,
    Woke,
    earliest,
)
from sadik_node.clock import Clock
from sadik_node.committer import Committer, Failure, Finished
from sadik_node.loads import LateLoad, Loads
from sadik_node.overlay import Overlay
from sadik_node.reactor import Reactor
from sadik_node.worker import Worker
from sadik_storage import Store as StoreBackend

__all__ = ["Host", "HostLimits", "StoreBrokenError"]

_EVENTS_A_TURN = 128
_TURN_NS = 20 * MILLISECOND
"""After so long a turn takes no further event: one may be a hundred writes, and streams, probes
among what they bring, are not to wait for many of those."""
_REST_NS = MILLISECOND
"""So long the host takes one turn after another, while more keeps coming, before it lets other
tasks run; after a turn that could not take all, it does so at once."""
_FAR_NS = 1 << 62
_EARLY_NS = MILLISECOND // 2
"""An alarm that would ring earlier than needed by more than this is set anew, which costs less."""
_WALL_EVERY_NS = SECOND
_WALL_JUMP_NS = SECOND // 10


class StoreBrokenError(Exception):
    """The store failed such that what is on disk is unknown: the process must stop."""


@frozen
class HostLimits:
    """Bounds of what waits in a host."""

    inbox_events: int = 50_000
    """Above it peers are not read from until half of it is worked off."""
    waiting_bytes: int = 64 * 2**20
    """Writes that wait for the disk; above it neither clients nor peers may bring more."""
    requests: int = 20_000
    """Clients' requests that have no answer yet."""


class Host:
    """Runs machines over a store, a messenger and clients.

    ``send`` hands a message to the messenger and tells whether it took it; ``hold`` is called with
    True when peers must not be read from for now, with False when they may. ``reactor`` is waited
    for in the host's task, and closed with it: clients and peers that it watches are taken from
    before each turn.
    """

    def __init__(
        self,
        store: StoreBackend,
        clock: Clock,
        *,
        source: random.Random,
        send: Callable[[NodeId, object], bool],
        hold: Callable[[bool], None] = lambda _: None,
        limits: HostLimits = HostLimits(),
        sync_interval_ns: int | None = None,
        inline_reads: bool | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self._clock = clock
        self.reactor = reactor = reactor or Reactor()
        self._send = send
        self._hold = hold
        self._limits = limits
        self._machines: list[Machine] = []
        self._machine_of: dict[type, int] = {}
        self._observers: list[Callable[[object], None]] = []
        self._outcomes: deque[Finished | Failure] = deque()
        self._soon: deque[tuple[int, Input]] = deque()
        self._inbox: deque[tuple[int, Input | Load | LateLoad]] = deque()
        self._sends: list[Effect] = []
        """Messages that are wanted sent in this turn."""
        self._request_ids = RequestIds(source)
        self._replies: dict[RequestId, Callable[[Any], None]] = {}
        self._requests_to = 0
        self._is_asleep = False
        self._is_held = False
        self._broken: BaseException | None = None
        self._idle: trio.Event | None = None
        self._is_quiet: Callable[[], bool] = lambda: True
        self._paused: trio.Event | None = None
        self._alarm = trio.CancelScope()
        self._alarm_at = _FAR_NS
        self._due: int | None = None
        self._wall_at = 0
        self._wall_offset: int | None = None
        self.steps = 0
        """Inputs that the machines have taken."""
        self.unsent = 0
        """Messages that the messenger refused."""
        self.join: Callable[[Sequence[Effect]], Sequence[Effect]] | None = None
        """Makes fewer messages of those of a turn."""
        self.gather: Callable[[bool], None] | None = None
        """Called with True before a turn and with False after it: its answers may go together."""
        self.observe_lag: Callable[[float], None] | None = None
        """Called with the seconds by which the loop woke late."""
        overlay = Overlay(store)
        self._writer = Worker("sadik-commits", reactor.call_soon)
        self._reader = Worker("sadik-reads", reactor.call_soon)
        self._loads = Loads(
            store, overlay, self._reader, self._loaded_late, self._broke,
            inline=store.reads_are_cheap if inline_reads is None else inline_reads,
        )  # fmt: skip
        self.committer = Committer(
            store, self._writer, overlay, self._committed, self._broke,
            interval_ns=sync_interval_ns,
        )  # fmt: skip

    # Composition

    def add(self, machine: Machine, messages: Sequence[type] = ()) -> int:
        """Own a machine; messages of these classes are for it. Returns its number."""
        number = len(self._machines)
        self._machines.append(machine)
        for cls in messages:
            self._machine_of[cls] = number
        return number

    def take_requests(self, machine: int) -> None:
        """Clients' requests go to this machine."""
        self._requests_to = machine

    def observe(self, observer: Callable[[object], None]) -> None:
        """Have all news that machines announce passed to ``observer`` too."""
        self._observers.append(observer)

    # What others bring

    @property
    def overload(self) -> str:
        """Why no client's request can be taken now; empty while it can."""
        if self.committer.waiting_bytes > self._limits.waiting_bytes:
            return "this node has more writes waiting for its disk than it may; nothing was applied"
        if len(self._replies) >= self._limits.requests:
            return "this node has as many requests under way as it may; nothing was applied"
        return ""

    @property
    def requests_open(self) -> int:
        """Clients' requests that have no answer yet."""
        return len(self._replies)

    def request(self, request: object, done: Callable[[Any], None]) -> RequestId:
        """Pass a client's request on; ``done`` gets its result, once, unless it is cancelled."""
        request_id = self._request_ids.next()
        self._replies[request_id] = done
        self._inbox.append((self._requests_to, Requested(request_id, request)))
        self._wake()
        return request_id

    def cancel(self, request_id: RequestId) -> None:
        """The client has gone."""
        if self._replies.pop(request_id, None) is not None:
            self._inbox.append((self._requests_to, Cancelled(request_id)))
            self._wake()

    def deliver(self, peer: NodeId, messages: Sequence[object]) -> None:
        """Messages from a peer. One of a class that no machine owns is a defect."""
        machine_of = self._machine_of
        self._inbox.extend([(machine_of[type(m)], Received(peer, m)) for m in messages])
        self._wake()

    def link(self, peer: NodeId, state: LinkState) -> None:
        """The messenger says how its streams to a peer are."""
        for machine in range(len(self._machines)):
            self._inbox.append((machine, Link(peer, state)))
        self._wake()

    def give_back(self, peer: NodeId, messages: Sequence[object]) -> None:
        """The messenger never wrote these messages."""
        self.unsent += len(messages)
        by_machine: dict[int, list[object]] = {}
        for message in messages:
            by_machine.setdefault(self._machine_of[type(message)], []).append(message)
        for machine, theirs in by_machine.items():
            self._inbox.append((machine, Observed(Unsent(peer, theirs))))
        self._wake()

    def tell(self, news: object) -> None:
        """News of the host itself, for all machines."""
        for machine in range(len(self._machines)):
            self._inbox.append((machine, Observed(news)))
        self._wake()

    # The loop

    async def run(self) -> None:
        """Turn until cancelled.

        Raises:
            StoreBrokenError: the store failed such that nobody knows what is on disk, or is damaged
                such that a range of it cannot be read. Its cause is the store's error.
        """
        while True:
            # One alarm for many turns, for making one costs as much as a small turn: it may ring a
            # little early, and is made anew when it has rung.
            with trio.CancelScope() as self._alarm:
                self._alarm_at = _FAR_NS
                await self._turn_on()

    async def _turn_on(self) -> None:
        """Turn until the alarm rings, which interrupts nothing but sleep."""
        rested_at = self._clock.now()
        linger_s = 0.0
        while True:
            if self._paused is not None:
                await self._paused.wait()
                self._due = None
            has_come = self.reactor.poll(linger_s)
            linger_s = 0.0
            if self._broken is not None:
                raise StoreBrokenError(str(self._broken)) from self._broken
            due, now = self._due, self._clock.now()
            if has_come or self._inbox or self._outcomes or due is None or now >= due:
                self._turn(due)
                self._due = due = self._next_due()
                if self._inbox or now - rested_at > _REST_NS:
                    await trio.lowlevel.checkpoint()
                    rested_at = self._clock.now()
                if not self._inbox and not self._outcomes and due > self._clock.now():
                    # It may end a millisecond late, as the sleep of a task may.
                    linger_s = self.reactor.linger_s
                continue
            if self._idle is not None and self._is_settled():
                self._idle.set()
            await self._sleep_until(due)
            rested_at = self._clock.now()

    def pause(self) -> None:
        """Take nothing and do nothing until `resume`, as in a process that is stopped."""
        if self._paused is None:
            self._paused = trio.Event()

    def resume(self) -> None:
        """Go on, late for all that was due meanwhile."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()

    async def settle(self, is_quiet: Callable[[], bool] = lambda: True) -> None:
        """Wait until the inbox is empty, all that was written is on disk, and ``is_quiet()``."""
        self._idle = trio.Event()
        self._is_quiet = is_quiet
        self._wake()
        await self._idle.wait()
        self._idle = None

    def _is_settled(self) -> bool:
        return self.committer.is_idle and not self._loads.outstanding and self._is_quiet()

    def close(self) -> None:
        """End the threads, after what they are doing. The store is still open."""
        self._writer.close()
        self._reader.close()
        self.reactor.close()

    def _turn(self, due: int | None) -> None:
        gather = self.gather
        if gather is not None:
            gather(True)
        self._turn_over(due)
        if gather is not None:
            gather(False)

    def _turn_over(self, due: int | None) -> None:
        """One turn but for what is gathered in it."""
        now = self._clock.now()
        if due is not None and now >= due and self.observe_lag is not None:
            self.observe_lag((now - due) / SECOND)
        self._release_all()
        self._look_at_clocks(now)
        self._pay_debts()
        inbox, soon = self._inbox, self._soon
        for _ in range(_EVENTS_A_TURN):
            if not inbox:
                break
            machine, item = inbox.popleft()
            if isinstance(item, Load | LateLoad):
                self._load_in_turn(machine, item)
            else:
                self._step(machine, item)
            if soon:
                self._pay_debts()
            if self._clock.now() - now > _TURN_NS:
                break
        self._send_gathered()
        self.committer.sync_if_due(now)
        self.committer.flush(now)
        if self._outcomes:
            # It was quick: what rested on it leaves with what else leaves in this turn.
            self._release_all()
            self._send_gathered()
            self.committer.flush(now)
        self._hold_or_release()

    def _release_all(self) -> None:
        while self._outcomes:
            self._release(self._outcomes.popleft())
            self._pay_debts()

    def _pay_debts(self) -> None:
        """Feed what is owed at once: loads' results and news, before anything else can happen."""
        soon = self._soon
        while soon:
            machine, event = soon.popleft()
            self._step(machine, event)

    def _look_at_clocks(self, now: int) -> None:
        """Tell all machines the wall time, every second and when it has jumped; wake the due."""
        wall_ns = self._clock.wall()
        offset = wall_ns - now
        known = self._wall_offset
        if known is None or now >= self._wall_at or abs(offset - known) > _WALL_JUMP_NS:
            self._wall_offset = offset
            self._wall_at = now + _WALL_EVERY_NS
            for machine in range(len(self._machines)):
                self._step(machine, Observed(WallTime(wall_ns)))
        for number, machine_due in enumerate(self._machines):
            deadline = machine_due.deadline
            if deadline is not None and deadline <= now:
                self._step(number, Woke())

    def _step(self, machine: int, event: Input) -> None:
        self.steps += 1
        effects = self._machines[machine].step(self._clock.now(), event)
        if effects:
            self._perform(machine, effects)

    def _perform(self, machine: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._sends.append(effect)
            elif isinstance(effect, Reply):
                done = self._replies.pop(effect.request_id, None)
                if done is not None:
                    done(effect.result)
            elif isinstance(effect, Store):
                self.committer.add(machine, effect)
            elif isinstance(effect, Load):
                self._load(machine, effect)
            elif isinstance(effect, Announce):
                self._announce(machine, effect.news)
            else:
                assert_never(effect)

    def _send_gathered(self) -> None:
        """Hand over what a turn has brought to send, in order; who is refused hears of it now."""
        while self._sends:
            self._hand_over()
            self._pay_debts()

    def _hand_over(self) -> None:
        sends: Sequence[Effect] = self._sends
        self._sends = []
        if self.join is not None and len(sends) > 1:
            sends = self.join(sends)
        for effect in sends:
            assert isinstance(effect, Send), "nothing else is gathered"
            if not self._send(effect.to, effect.message):
                self._refused(effect)

    def _refused(self, effect: Send) -> None:
        self.unsent += 1
        machine = self._machine_of[type(effect.message)]
        self._soon.append((machine, Observed(Unsent(effect.to, [effect.message]))))

    def _announce(self, machine: int, news: object) -> None:
        self._hand_over()
        for other in range(len(self._machines)):
            if other != machine:
                self._soon.append((other, Observed(news)))
        for observer in self._observers:
            observer(news)

    # Loads

    def _load(self, machine: int, effect: Load) -> None:
        if isinstance(effect.query, ScanRows):
            self._inbox.append((machine, effect))
            return
        event = self._loads.load(machine, effect)
        if event is not None:
            self._soon.append((machine, event))

    def _load_in_turn(self, machine: int, item: Load | LateLoad) -> None:
        if isinstance(item, LateLoad):
            if item.failures == self._loads.failures:
                self._step(machine, item.event)
                return
            # Part of it was taken back when a commit failed.
            item = item.effect
        event = self._loads.load(machine, item)
        if event is not None:
            self._step(machine, event)

    def _loaded_late(self, late: LateLoad) -> None:
        self._inbox.append((late.machine, late))
        self._wake()

    # Commits

    def _committed(self, outcome: Finished | Failure) -> None:
        if isinstance(outcome, Failure):
            self._loads.failures += 1
        self._outcomes.append(outcome)
        self._wake()

    def _broke(self, error: BaseException) -> None:
        self._broken = error
        self._wake()

    def _release(self, outcome: Finished | Failure) -> None:
        if isinstance(outcome, Finished):
            for machine, effect in outcome.group.stores:
                if effect.then:
                    self._perform(machine, effect.then)
                self._step(machine, Stored(effect.ticket))
            return
        stores = outcome.stores
        while stores:
            machine, effect, reason = stores.popleft()
            self._step(machine, Failed(effect.ticket, reason))
            if stores:
                # Emitted before all failures were known to its machine: it may build on one.
                stores.extend(self.committer.fail_gathered())

    # Waiting

    def _hold_or_release(self) -> None:
        limits = self._limits
        events, waiting = len(self._inbox), self.committer.waiting_bytes
        if self._is_held:
            if events < limits.inbox_events // 2 and waiting < limits.waiting_bytes // 2:
                self._is_held = False
                self._hold(False)
        elif events > limits.inbox_events or waiting > limits.waiting_bytes:
            self._is_held = True
            self._hold(True)

    def _next_due(self) -> int:
        due = earliest(
            self._wall_at, self.committer.deadline, *[each.deadline for each in self._machines]
        )
        assert due is not None
        return due

    def _wake(self) -> None:
        if self._is_asleep:
            self._is_asleep = False
            self.reactor.ring()

    async def _sleep_until(self, due: int) -> None:
        ns = due - self._clock.now()
        if due < self._alarm_at or due - self._alarm_at > _EARLY_NS:
            self._alarm_at = due
            self._alarm.deadline = trio.current_time() + ns / SECOND
        self._is_asleep = True
        try:
            await self.reactor.wait()
        finally:
            self._is_asleep = False
