"""One simulated node: the real machines, and a host that is nothing but virtual time.

The host does what `sadik_machine.Machine` asks of any host: effects in order, outcomes of stores
first, loads that see every store emitted before them, group commit, news between the machines. A
crash throws away the machines and all that was not synced; what is on the disk stays, and the
next boot starts from it as the real host does (instance, boot number, saved rows).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Cancelled,
    Effect,
    Failed,
    FailureReason,
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
    RequestId,
    ScanRows,
    Send,
    Store,
    Stored,
    Unsent,
    WallTime,
    Woke,
    earliest,
)
from sadik_members import (
    MEMBERSHIP_ROWS,
    BootsMet,
    ClusterSettings,
    DialTargets,
    FarewellEnded,
    Heard,
    Identity,
    Left,
    Membership,
    MemberState,
    NewInstanceNeeded,
    NothingHeld,
    Readiness,
)
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_sim.disk import Disk
from sadik_sim.streams import below, chance
from sadik_sim.violation import Violation
from sadik_vnode import SAVED_RANGE, VOICE_ROW, DamagedRecord, Engine
from sadik_vnode.messages import ReplicaWrite, WriteMany, WriteRows
from sadik_vnode.together import singles

if TYPE_CHECKING:
    from sadik_sim.world import World

__all__ = ["SimNode"]

_INSTANCE_ROW: Final = b"Ninstance"
_BOOT_ROW: Final = b"Nboot"
_CLEAN_ROW: Final = b"Nclean"
_SCAN_NS: Final = 10_000
_HEARD_NS: Final = 100 * MILLISECOND
_FAREWELL_NS: Final = SECOND // 2
_CHECKED_EVERY: Final = 16
_MEMBERSHIP, _ENGINE = 0, 1


class SimNode:
    """A node with an identity, a site, clocks and a disk; it runs or it does not."""

    # Without slots, classes of more than 30 attributes are slow: no two share their keys.
    __slots__ = (
        "_cancelled", "_farewell_boot", "_gathered", "_heard", "_held", "_is_heard", "_is_turning",
        "_load_count", "_loads", "_sends", "_soon", "_syncing", "_turns", "_wake_at",
        "boot", "boot_nonce", "boot_number", "disk", "drift_ppm", "engine", "id", "instance",
        "is_gone", "is_late", "is_leaving", "is_paused", "is_ready", "membership", "met", "name",
        "paused_until_ns", "requests", "site", "targets", "wall_offset_ns", "wall_seen_max_ns",
        "world",
    )  # fmt: skip

    def __init__(self, world: World, node_id: NodeId, name: str, site: str, disk: Disk) -> None:
        self.world = world
        self.id = node_id
        self.name = name
        self.site = site
        self.disk = disk
        self.wall_offset_ns = 0
        self.drift_ppm = 0
        self.membership: Membership | None = None
        self.engine: Engine | None = None
        self.boot = 0
        """How often it was started here; not the boot number on its disk."""
        self.is_paused = False
        self.is_late = False
        """Whether it joined after the cluster was formed."""
        self.is_gone = False
        """Whether it has left, or was removed."""
        self.paused_until_ns = 0
        """When the last pause ended, by the world's clock."""
        self.wall_seen_max_ns = 0
        """The latest time that its machines were ever told of, lives before this one included."""
        self.is_ready = False
        self.targets = DialTargets({}, ())
        self.boot_number = 0
        self.boot_nonce = 0
        self.met = BootsMet()
        """The starts of others that this life has seen in handshakes."""
        self.instance = b""
        self.requests: dict[RequestId, Callable[[object], None]] = {}
        self._cancelled: dict[RequestId, None] = {}
        self._soon: deque[tuple[int, Input]] = deque()
        self._held: list[Callable[[], None]] = []
        self._gathered: list[tuple[int, Store]] = []
        self._syncing: list[tuple[int, Store]] | None = None
        self._loads: dict[int, tuple[int, Load, object]] = {}
        self._load_count = 0
        self._heard: dict[NodeId, None] = {}
        self._wake_at: int | None = None
        self._sends: list[Effect] = []
        """What this turn wants sent, at its end."""
        self._is_turning = False
        self.is_leaving = False
        self._farewell_boot = 0
        """The life in which its farewell was over."""
        self._is_heard = True
        """Whether that was heard by enough others: else an operator, who reads so, removes it."""
        self._turns = 0

    @property
    def is_running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self.engine is not None

    @property
    def has_unsynced(self) -> bool:
        """Whether a store waits for the disk, such as the removal of a note that was delivered."""
        return bool(self._gathered) or self._syncing is not None

    # Clocks

    def now(self) -> int:
        """This node's monotonic clock, which may drift."""
        now = self.world.events.now
        if not self.drift_ppm:
            return now
        return now + now * self.drift_ppm // 1_000_000

    def _when(self, deadline: int) -> int:
        """The world's time at which this node's clock shows ``deadline``."""
        return -(-deadline * 1_000_000 // (1_000_000 + self.drift_ppm))

    def wall_ns(self) -> int:
        """This node's wall clock."""
        return self.world.wall_start_ns + self.now() + self.wall_offset_ns

    # Lives

    def start(self) -> None:
        """Boot on the disk as it is."""
        assert not self.is_running, "it runs already"
        if self.is_gone:
            return
        world = self.world
        self.boot += 1
        rows = self.disk.durable.by_key
        is_new = _INSTANCE_ROW not in rows or _CLEAN_ROW not in rows
        if is_new:
            self._take_instance(0)
        self.instance = rows[_INSTANCE_ROW]
        self.boot_number = int.from_bytes(rows.get(_BOOT_ROW, b""), "big") + 1
        self.boot_nonce = world.streams.boots.getrandbits(63)
        self.met = BootsMet()
        self._write_meta([(_BOOT_ROW, self.boot_number.to_bytes(8, "big")), (_CLEAN_ROW, None)])
        identity = Identity(
            self.id, self.name, f"{self.name}:1", f"{self.name}:2", self.site, 1.0,
            self.boot_number, self.boot_nonce,
        )  # fmt: skip
        settings = ClusterSettings(
            "sim", world.partitions, world.replicas, tuple(f"{s}:1" for s in world.seeds_of(self))
        )
        self.membership = world.make_membership(
            identity, settings, self._saved(MEMBERSHIP_ROWS), self._random()
        )
        saved = self._saved(SAVED_RANGE)
        try:
            spare = None if is_new else self._draw_instance()
            self.engine = world.make_engine(self.id, self.instance, self._random(), saved, spare)
        except DamagedRecord as error:
            # Which actors were used is not known any more: an instance without a past is safe.
            world.sometimes("births damaged")
            self._write_meta([(error.row, None)])
            self._take_instance(self.boot_number)
            self.start()
            return
        world.note(
            self,
            f"boot {self.boot_number} of instance {self.instance.hex()} on node {self.id.hex()}",
        )
        self._feed_both(Woke())
        self._tell_wall_time(self.boot)

    def crash(self) -> None:
        """kill -9: machines and unsynced batches are gone.

        A batch whose sync was under way may be on disk as a whole, though nobody was told.
        """
        if not self.is_running:
            return
        if self._syncing is not None and chance(self.disk.source, 500):
            for _, store in self._syncing:
                self._finish(store)
        self.disk.forget_unsynced()
        assert self.engine is not None
        self.world.ended(self, self.engine)
        self.engine.discard()
        self.membership = None
        self.engine = None
        self.is_paused = False
        self.is_ready = False
        self.targets = DialTargets({}, ())
        self.requests.clear()
        self._cancelled.clear()
        self._soon.clear()
        self._sends = []
        self._held = []
        self._gathered = []
        self._syncing = None
        self._loads.clear()
        self._heard.clear()
        self._wake_at = None
        self.world.network.crashed(self.id, [n for n in self.world.nodes if n != self.id])
        self.world.note(self, "crash")

    def discard(self) -> None:
        """The run is over: let go of what its machines remember, and of who asked."""
        self.requests.clear()
        if self.engine is not None:
            self.engine.discard()

    def stop(self) -> None:
        """SIGTERM: what was gathered is written, the mark of a clean stop last."""
        if not self.is_running or self.is_paused:
            return
        for _, store in [*(self._syncing or []), *self._gathered]:
            self._finish(store)
        self._syncing = None
        is_proven = self.engine is not None and self.engine.is_instance_proven
        self.crash()
        if is_proven:
            self._write_meta([(_CLEAN_ROW, b"")])

    def pause(self) -> None:
        """SIGSTOP: nothing happens here, and the kernel keeps the streams open."""
        if self.is_running:
            self.is_paused = True

    def resume(self) -> None:
        """SIGCONT: all that waited happens now."""
        if not self.is_paused:
            return
        self.is_paused = False
        self.paused_until_ns = self.world.events.now
        held, self._held = self._held, []
        for happens in held:
            happens()
        if self.is_running:
            self._feed_both(Woke())

    def new_instance(self, above_boot: int) -> None:
        """Peers remember a later life: take a new instance and start anew, as the real host."""
        self.crash()
        self._take_instance(above_boot)
        self._write_meta([(VOICE_ROW, b"")])
        self.start()

    def _take_instance(self, above_boot: int) -> None:
        known = int.from_bytes(self.disk.durable.by_key.get(_BOOT_ROW, b""), "big")
        self._write_meta(
            [
                (_INSTANCE_ROW, self._draw_instance()),
                (_BOOT_ROW, max(known, above_boot).to_bytes(8, "big")),
            ]
        )

    def _draw_instance(self) -> bytes:
        return self.world.streams.boots.getrandbits(64).to_bytes(8, "big")

    def _write_meta(self, rows: list[tuple[bytes, bytes | None]]) -> None:
        self.disk.durable.apply(rows)
        self.disk.view.apply(rows)

    def _random(self) -> random.Random:
        return random.Random(self.world.streams.boots.getrandbits(64))

    def _saved(self, range_: tuple[bytes, bytes]) -> dict[bytes, bytes]:
        return dict(self.disk.durable.scan(*range_, 1 << 30))

    # Inputs

    def request(self, request: object, done: Callable[[object], None]) -> RequestId:
        """A client asks this node."""
        request_id = self.world.next_request_id()
        self.requests[request_id] = done
        self.feed(_ENGINE, Requested(request_id, request))
        return request_id

    def cancel(self, request_id: RequestId) -> None:
        """The client of a request has gone away."""
        if self.requests.pop(request_id, None) is not None:
            self._cancelled[request_id] = None
            self.feed(_ENGINE, Cancelled(request_id))

    def receive(self, sender: NodeId, message: object) -> None:
        """A message arrives."""
        if type(message) in _OF_MEMBERSHIP:
            self.feed(_MEMBERSHIP, Received(sender, message))
            return
        if not self._heard:
            self.world.events.after(_HEARD_NS, self._tell_heard, self.boot)
        self._heard[sender] = None
        if type(message) is ReplicaWrite:
            self.world.checks.received(self, sender, message)
        elif type(message) in _WRITES:
            for part in singles(message, sender, self.id):
                assert isinstance(part, ReplicaWrite), "these are writes"
                self.world.checks.received(self, sender, part)
        self.feed(_ENGINE, Received(sender, message))

    def _tell_heard(self, boot: int) -> None:
        """As the messenger does: who talks of data need not be probed."""
        if self.boot == boot:
            heard, self._heard = tuple(self._heard), {}
            self.feed(_MEMBERSHIP, Observed(Heard(heard)))

    def link(self, peer: NodeId, state: LinkState) -> None:
        """Streams to a peer came up or broke."""
        self._feed_both(Link(peer, state))

    def tell(self, news: object) -> None:
        """News of the host for the membership machine."""
        self.feed(_MEMBERSHIP, Observed(news))

    def feed(self, machine: int, event: Input) -> None:
        """Give a machine an input, and perform what comes of it, to the end."""
        if self.engine is None:
            return
        if self.is_paused:
            self._held.append(partial(self.feed, machine, event))
            return
        self._soon.append((machine, event))
        if not self._is_turning:  # else whatever a step gives rise to comes after it
            self._turn([])

    def _feed_both(self, event: Input) -> None:
        """Give both machines an input, in one turn."""
        if self.engine is not None and not self.is_paused:
            self._soon.append((_MEMBERSHIP, event))
            self.feed(_ENGINE, event)
        elif self.is_paused:
            self._held.append(partial(self._feed_both, event))

    def _turn(self, released: list[tuple[int, Store]]) -> None:
        """A turn, as hosts take them: stores that are on disk, inputs, and what is to be sent."""
        engine, membership, soon = self.engine, self.membership, self._soon
        assert engine is not None
        assert membership is not None
        now = self.now() if self.drift_ppm else self.world.events.now
        has_engine_stepped = bool(released)
        self._is_turning = True
        try:
            for machine, store in released:
                self._perform(machine, store.then)
                self._step(machine, now, Stored(store.ticket))
            while soon or self._sends:
                while soon:
                    machine, event = soon.popleft()
                    has_engine_stepped = has_engine_stepped or machine == _ENGINE
                    self._step(machine, now, event)
                self._send_gathered()
        finally:
            self._is_turning = False
        assert self.engine is engine, "nobody crashes in the middle of a turn"
        self._turns += 1
        if not self._turns % _CHECKED_EVERY:
            self.world.checks.after_steps(self)
        if self._gathered and self._syncing is None:
            self._flush()
        wake_at, first = self._wake_at, membership.deadline
        if has_engine_stepped or wake_at is None or self.drift_ppm:  # else it is as it was
            deadline = engine.deadline
            if deadline is not None and (first is None or deadline < first):
                first = deadline
        if first is not None and (wake_at is None or first < wake_at or self.drift_ppm):
            self._set_wake(first)

    def _step(self, machine: int, now: int, event: Input) -> None:
        world = self.world
        if machine == _ENGINE:
            assert self.engine is not None
            effects = self.engine.step(now, event)
        else:
            assert self.membership is not None
            effects = self.membership.step(now, event)
        if world.trace is not None:
            world.trace.record(world.events.now, self.name, event, effects)
        if effects:
            self._perform(machine, effects)

    def _perform(self, machine: int, effects: Sequence[Effect]) -> None:
        effect: Any = None
        try:
            for effect in effects:
                kind = type(effect)
                if kind is Send:
                    self._sends.append(effect)
                elif kind is Load:
                    self._load(machine, effect)
                elif kind is Store:
                    self.disk.begin(effect.batch)
                    self._gathered.append((machine, effect))
                elif kind is Reply:
                    self._reply(effect)
                else:
                    assert kind is Announce
                    self._announce(machine, effect.news)
        except Violation as violation:
            if violation.effect is None:
                violation.node, violation.effect = self.name, effect
            raise

    def _send_gathered(self) -> None:
        """Hand over what a turn has brought to send, in order; who is refused hears of it now."""
        sends: Sequence[Effect] = self._sends
        if not sends:
            return
        self._sends = []
        if len(sends) > 1:
            assert self.engine is not None
            sends = self.engine.join(sends)
        effect: Any = None
        try:
            for effect in sends:
                self._send(effect)
        except Violation as violation:
            violation.node, violation.effect = self.name, effect
            raise

    def _send(self, effect: Send) -> None:
        world, message = self.world, effect.message
        world.checks.sending(self, effect.to, message)
        if world.is_encoding:
            message = world.on_wire(message)
        if not world.network.send(self.id, effect.to, message):
            machine = _MEMBERSHIP if type(message) in _OF_MEMBERSHIP else _ENGINE
            if machine == _ENGINE:
                world.sometimes(f"{type(message).__name__} never written")
            self._soon.append((machine, Observed(Unsent(effect.to, [effect.message]))))

    def _load(self, machine: int, effect: Load) -> None:
        """Get rows at once, or as a slow backend's worker does; scans always take a while."""
        world, query = self.world, effect.query
        value, delay_ns = self.disk.load(query), _SCAN_NS
        if type(query) is ScanRows:
            world.checks.scanning(self, query)
        elif not world.load_ns:
            self._soon.append((machine, Loaded(effect.ticket, value)))
            return
        else:
            delay_ns = below(self.disk.source, world.load_ns)
        self._load_count += 1
        self._loads[self._load_count] = (machine, effect, value)
        world.events.after(delay_ns, self._loaded, self.boot, self._load_count)

    def _loaded(self, boot: int, number: int) -> None:
        if self.boot == boot and number in self._loads:
            machine, effect, value = self._loads.pop(number)
            self.feed(machine, Loaded(effect.ticket, value))

    def _load_again(self) -> None:
        """What a worker read of a batch that failed meanwhile was never true: it reads anew."""
        for number, (machine, effect, _) in self._loads.items():
            self._loads[number] = (machine, effect, self.disk.load(effect.query))

    def _reply(self, effect: Reply) -> None:
        done = self.requests.pop(effect.request_id, None)
        if done is not None:
            self.world.checks.replying(self, effect.result)
            done(effect.result)
        elif effect.request_id not in self._cancelled:
            raise Violation("a request is answered once", f"{self.name} answers again: {effect}")

    def _announce(self, machine: int, news: object) -> None:
        self._send_gathered()  # a real host breaks streams by what is announced
        self._soon.append((1 - machine, Observed(news)))
        if isinstance(news, DialTargets):
            self.targets = news
            self.world.dial(self)
        elif isinstance(news, Readiness):
            self.is_ready = news.ready
        elif isinstance(news, FarewellEnded):
            self._farewell_boot = self.boot
            self._is_heard = news.is_enough
        elif isinstance(news, NothingHeld):
            self.world.events.after(0, self._leave, self.boot)
        elif isinstance(news, NewInstanceNeeded):
            self.world.events.after(0, self._renew, self.boot, news.boot_number)
        self.world.checks.announced(self, news)

    def _leave(self, boot: int) -> None:
        """It owns nothing and holds nothing: it says that it has left, and stops."""
        if self.boot != boot or not self.is_running or self.is_paused or self.is_leaving:
            return
        self.is_leaving = True
        self.world.checks.leaving(self)
        self.world.sometimes("node left")
        self.tell(Left())
        self.world.events.after(_FAREWELL_NS, self._depart)

    def _depart(self) -> None:
        """End for good, once its farewell was heard, or given up, as a host does. Who crashed
        before it was on disk is still leaving, and says it again.
        """
        if self.is_gone:
            return
        if self.membership is None or self.is_paused or self.has_unsynced:
            self.world.events.after(_FAREWELL_NS, self._depart)
        elif self.membership.members[self.id].state is not MemberState.LEFT:
            self.is_leaving = False
        elif self._farewell_boot == self.boot:
            self.world.depart(self)
            if not self._is_heard:
                self.world.sometimes("farewell unheard")
                self.world.remove(self)
        else:
            self.world.events.after(_FAREWELL_NS, self._depart)

    def _renew(self, boot: int, above_boot: int) -> None:
        if self.boot == boot and self.is_running:
            self.world.sometimes("new instance taken")
            self.new_instance(above_boot)

    def _later(self, boot: int, machine: int, event: Input) -> None:
        if self.boot == boot:
            self.feed(machine, event)

    # Stores

    def _flush(self) -> None:
        if self._syncing is not None or not self._gathered:
            return
        group, self._gathered = self._gathered, []
        self._syncing = group
        if any(store.batch for _, store in group):
            self.world.events.after(self.disk.sync_ns(), self._synced, self.boot)
        else:
            self.world.events.after(0, self._synced, self.boot)

    def _synced(self, boot: int) -> None:
        if self.boot != boot or self._syncing is None:
            return
        faults = self.disk.faults
        if faults.broken and chance(self.disk.source, faults.broken):
            self.world.sometimes("device broke")
            self.world.stop_broken(self)
            return
        group, self._syncing = self._syncing, None
        if faults.full and chance(self.disk.source, faults.full):
            self.world.sometimes("commit failed as full")
            failed = group + self._gathered
            self._gathered = []
            self.disk.forget_unsynced()
            self._load_again()
            self._fail(failed)
            return
        for _, store in group:
            self._finish(store)
        if self.is_paused:
            self._held.append(partial(self._release, boot, group))
        else:
            self._release(boot, group)
        if self.is_running and self.boot == boot:
            self._flush()

    def _release(self, boot: int, group: list[tuple[int, Store]]) -> None:
        """A commit is on disk: what waited for it happens, and the machines are told."""
        if self.is_running and self.boot == boot:
            self._turn(group)

    def _finish(self, store: Store) -> None:
        self.world.checks.forgotten.storing(self, store.batch)
        self.disk.finish(store.batch)
        self.world.checks.stored(self, store.batch)

    def _fail(self, failed: list[tuple[int, Store]]) -> None:
        """Report every store that failed before anything else happens to a machine."""
        if self.is_paused:
            self._held.append(partial(self._fail, failed))
            return
        *first, (last_machine, last) = failed
        self._soon.extend((machine, Failed(s.ticket, FailureReason.FULL)) for machine, s in first)
        self.feed(last_machine, Failed(last.ticket, FailureReason.FULL))

    # Waking

    def _set_wake(self, deadline: int) -> None:
        when = self._when(deadline) if self.drift_ppm else deadline
        if self._wake_at is None or when < self._wake_at:
            events = self.world.events
            when = max(when, events.now)
            if when != self._wake_at:
                self._wake_at = when
                events.at(when, self._wake, self.boot, when)

    def _wake(self, boot: int, when: int) -> None:
        if self.boot != boot or self._wake_at != when or not self.is_running:
            return
        self._wake_at = None
        if self.is_paused:
            return  # resuming wakes it
        assert self.membership is not None
        assert self.engine is not None
        now = self.now()
        deadlines = self.membership.deadline, self.engine.deadline
        for machine, deadline in enumerate(deadlines):
            if deadline is not None and deadline <= now:
                self._soon.append((machine, Woke()))
        if self._soon:
            self._turn([])
            return
        first = earliest(*deadlines)
        if first is not None:
            self._set_wake(first)  # a clock that drifts is not so far yet

    def _tell_wall_time(self, boot: int) -> None:
        if self.boot != boot or not self.is_running:
            return
        self.wall_seen_max_ns = max(self.wall_seen_max_ns, self.wall_ns())
        news = Observed(WallTime(self.wall_ns()))
        self._feed_both(news)
        self.world.events.after(SECOND, self._tell_wall_time, boot)


_WRITES: Final = frozenset((WriteMany, WriteRows))
_OF_MEMBERSHIP: Final = frozenset(MEMBERS_MESSAGES.classes.values())
