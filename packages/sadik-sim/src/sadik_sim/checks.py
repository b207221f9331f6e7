"""What must hold after every step, watched from outside of the machines.

The invariants are those of ARCHITECTURE.md.

The checks look at what crosses a machine's boundary: messages, stores, answers, news. They know
the true state of all disks, which no node does. A broken one raises `Violation`, which names the
invariant, the key and the dots that are involved. What only clients can tell is checked in
`sadik_sim.promises`, and what only the end of a run can tell in `sadik_sim.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from sadik_causality import EMPTY, Context, Dot
from sadik_machine import SECOND, NodeId, PlainError, ScanRows, decode_plain, timestamp_wall_ns
from sadik_members import ClusterJoined, MemberState, NewerRegister, Register, RingChanged
from sadik_sim.forgotten import Forgotten
from sadik_sim.violation import Violation, show
from sadik_vnode.etag import etag_of
from sadik_vnode.keyspace import (
    DATA_RANGE,
    Key,
    hint_row,
    lost_leaves,
    parse_hint_row,
    record_key,
)
from sadik_vnode.messages import (
    KeysScanned,
    ManyStates,
    ReplicaAck,
    ReplicaState,
    ReplicaWrite,
    Status,
)
from sadik_vnode.record import DamagedRecord, Record, open_value
from sadik_vnode.requests import Found, ManyFound, ManyWritten, Missing, Written
from sadik_vnode.together import MANY, singles

if TYPE_CHECKING:
    from sadik_sim.node import SimNode
    from sadik_sim.world import World

__all__ = ["Checks", "value_id"]

_CONVERSATIONS_PER_REQUEST: Final = 3
_CLOCK_AHEAD_NS: Final = 62 * SECOND
"""The bound of the hybrid clock, and what passes between two readings of a wall clock."""

_SCAN_ROWS_MAX: Final = 4096
_SCAN_BYTES_MAX: Final = 1 << 20
_SUM_BYTES: Final = 8
_ANSWERED: Final = {int(status): f"replica answered {status.name}" for status in Status}
_DATA, _NOTES, _VALUES = DATA_RANGE[0], b"H", b"V"


def value_id(value: bytes) -> bytes:
    """What makes a value unique, without its padding."""
    return value.split(b" ", 1)[0]


class Checks:
    """The invariants that can be checked while the world runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._values: dict[Dot, tuple[bytes, int]] = {}
        self._made: Context | None = None
        """A context of all of them, made when it is wanted."""
        self._held: dict[Dot, dict[NodeId, None]] = {}
        self._names: dict[bytes, Dot] = {}
        self._etags: dict[str, Dot] = {}
        self._shown: dict[Dot, None] = {}
        self._registers: dict[tuple[int, int], Register] = {}
        self._announced: dict[NodeId, tuple[Register | None, ...]] = {}
        """The ring that each node announced last: of the next one most registers are the same."""
        self._asked: dict[tuple[NodeId, NodeId, int, bytes], list[tuple[Key, list[Dot]]]] = {}
        """By receiver, sender, request and slot: the parts of writes that were not answered."""
        self._refused: dict[tuple[NodeId, NodeId, int, bytes], int] = {}
        """How many of these were refused."""
        self._acked: dict[Dot, dict[bytes, NodeId]] = {}
        self._replying: SimNode | None = None
        """The node that answers a client just now."""
        self._notes: dict[tuple[NodeId, bytes], dict[Dot, None]] = {}
        self._damaged: dict[tuple[NodeId, bytes], Context] = {}
        """What records covered before a bit of them flipped, until they are written anew."""
        self._rolled_back: dict[NodeId, None] = {}
        self.forgotten = Forgotten(world, self._rolled_back)
        self._sending: dict[type, Callable[[SimNode, NodeId, Any], None]] = {
            ReplicaWrite: self._sending_write,
            ReplicaState: self._sending_state,
            ReplicaAck: self._sending_ack,
            KeysScanned: self._sending_scan,
            ManyStates: self._sending_states,
        }

    # What happens

    def stored(self, node: SimNode, batch: Any) -> None:
        """A batch is on disk: no dot names two values, no value two dots, no note goes early."""
        noted = []
        for row, value in batch:
            first = row[:1]
            if first == _DATA:
                if self._damaged:
                    self._damaged.pop((node.id, row), None)
                if value is not None:
                    self._stored_record(node, row, value)
            elif first == _VALUES:
                if value is not None:
                    name = value_id(open_value(value))
                    self._named(node, name, (row[-20:-8], int.from_bytes(row[-8:], "big")))
            elif first == _NOTES:
                noted.append((row, value))
        for row, value in noted:
            if value is None:
                self._note_went(node, row)
            else:
                self._note_came(node, row)

    def _stored_record(self, node: SimNode, row: bytes, value: bytes) -> None:
        try:
            versions: Any = decode_plain(value[_SUM_BYTES:])[3]
        except (PlainError, TypeError, IndexError) as error:
            raise Violation("records decode", f"{node.name} stored {row!r}: {error}") from None
        values, held = self._values, self._held
        self.forgotten.stored(node, row, versions)
        for actor, counter, head, body, size in versions:
            dot = (actor, counter)
            named = (head, size)
            if dot not in values:
                values[dot] = named
                self._made = None
                held[dot] = {node.id: None}
                self._etags[etag_of((dot,))] = dot
                if body:
                    self._named(node, value_id(body), dot)
                continue
            if values[dot] != named:
                raise Violation(
                    "a dot names one value",
                    f"{node.name} stored another value as {show(dot)}",
                    row.partition(b"\0")[2],
                    (dot,),
                )
            held[dot][node.id] = None

    def _named(self, node: SimNode, name: bytes, dot: Dot) -> None:
        known = self._names.setdefault(name, dot)
        if known != dot:
            raise Violation(
                "a request makes one dot",
                f"{node.name} stored the value {name!r} as {show(dot)}; it is {show(known)} too",
                dots=(known, dot),
            )

    def rolled_back(self, node: SimNode) -> None:
        """Somebody put an old copy of the node's disk back: it held more once."""
        self._rolled_back[node.id] = None
        places: list[dict[tuple[NodeId, bytes], Any]] = [self._notes, self._damaged]
        for table in places:
            for place in [place for place in table if place[0] == node.id]:
                del table[place]
        self._forget_unseen(node)

    def lost_record(self, node: SimNode, row: bytes, value: bytes) -> None:
        """A record on the node's disk was damaged, which had ``value``: what it held is gone until
        it is mended. The node may know it all the same, as long as it has not read it again.
        """
        self._rolled_back[node.id] = None
        place = (node.id, row)
        before = self._damaged.get(place, EMPTY)
        self._damaged[place] = before.join(_readable(value).container.context)

    def leaving(self, node: SimNode) -> None:
        """A node finds that it may leave: its records are with their owners, and gone here."""
        for row, _ in node.disk.durable.scan(*DATA_RANGE, 1 << 30):
            if not lost_leaves(row):  # what a bit flip has moved is nobody's
                key = record_key(row)
                raise Violation(
                    "a departed node holds nothing", f"{node.name} leaves with {key}", key.key
                )

    def scanning(self, node: SimNode, query: ScanRows) -> None:
        """A machine asks for a range of rows: a piece at a time, so that no scan lasts."""
        if query.limit_rows > _SCAN_ROWS_MAX or query.limit_bytes > _SCAN_BYTES_MAX:
            raise Violation("scans are short", f"{node.name} asks for {query}")

    def _forget_unseen(self, node: SimNode) -> None:
        """What only its old disk had, and nobody was ever shown, has not been in this world."""
        kept = EMPTY
        for _, value in node.disk.durable.scan(*DATA_RANGE, 1 << 30):
            kept = kept.join(_readable(value).container.context)
        for dot, holders in list(self._held.items()):
            if list(holders) == [node.id] and dot not in self._shown and not kept.covers(dot):
                del self._held[dot]
                del self._values[dot]
                self._made = None
                self._etags.pop(etag_of((dot,)))
                for name in [name for name, named in self._names.items() if named == dot]:
                    del self._names[name]

    def received(self, node: SimNode, sender: NodeId, message: ReplicaWrite) -> None:
        """A write arrives; remember what the replica is asked to keep."""
        dots = _dots_of(message)
        asked = (Key.of(message.bucket, message.key), dots)
        self._shown.update(dict.fromkeys(dots))
        place = (node.id, sender, message.request, message.slot)
        self._asked.setdefault(place, []).append(asked)

    # What leaves

    def sending(self, node: SimNode, to: NodeId, message: object) -> None:
        """A message leaves: all that it rests on is on disk."""
        check = self._sending.get(type(message))
        if check is not None:
            check(node, to, message)
        if type(message) not in MANY:
            return
        self._world.sometimes(f"{type(message).__name__} sent")
        for part in singles(message, node.id, to):
            check = self._sending.get(type(part))
            if check is not None:
                check(node, to, part)

    def _sending_write(self, node: SimNode, to: NodeId, message: ReplicaWrite) -> None:
        if message.row:
            self._world.sometimes("row sent")
        for dot in _dots_of(message):
            actor = dot[0]
            holders = self._held.get(dot)
            if not holders or (actor.startswith(node.instance) and node.id not in holders):
                self._not_on_disk(node, message, dot)
        lead_ns = timestamp_wall_ns(message.timestamp) - node.wall_seen_max_ns
        if lead_ns > _CLOCK_AHEAD_NS:
            raise Violation(
                "no clock drags another along",
                f"{node.name} makes a timestamp {lead_ns // SECOND} s ahead of its wall clock",
                _name(message),
            )

    def _sending_state(self, node: SimNode, to: NodeId, message: ReplicaState) -> None:
        if message.status == Status.SAME:
            self._world.sometimes("replica held the same")
        for actor, counter, *_ in message.versions:
            if node.id not in self._held.get((actor, counter), ()):
                self._not_on_disk(node, message, (actor, counter))
            self._shown[actor, counter] = None

    def _sending_states(self, node: SimNode, to: NodeId, message: ManyStates) -> None:
        for state in message.states:
            for actor, counter, *_ in () if state is None else state[1]:
                if node.id not in self._held.get((actor, counter), ()):
                    self._not_on_disk(node, message, (actor, counter))
                self._shown[actor, counter] = None

    def _sending_scan(self, node: SimNode, to: NodeId, message: KeysScanned) -> None:
        for _key, _context, dots in message.entries:
            for actor, counter, *_ in dots:
                if node.id not in self._held.get((actor, counter), ()):
                    self._not_on_disk(node, message, (actor, counter))
                self._shown[actor, counter] = None

    def _sending_ack(self, node: SimNode, to: NodeId, message: ReplicaAck) -> None:
        self._world.sometimes(_ANSWERED.get(message.status) or f"answered {message.status}")
        place = (node.id, to, message.request, message.slot)
        asked = self._asked.get(place)
        if not asked:
            return  # the node started anew since, or answers another kind of message
        # Which of several parts is meant is not said, and refusals overtake what waits for the
        # disk: there must be one that is there and was not acknowledged.
        if message.status != Status.OK:
            self._refused[place] = self._refused.get(place, 0) + 1
            self._drop_refused(place)
            return
        if message.answered:
            self._world.sometimes("asked owner answered")
        there = [self._has_all(node, *part) for part in asked]
        key, dots = asked.pop(there.index(True) if True in there else 0)
        self._drop_refused(place)
        for dot in dots:
            if not self.has(node, key, dot):
                self._not_on_disk(node, message, dot, key)
            self._acked.setdefault(dot, {})[message.slot] = node.id
        if message.slot == node.id:
            return
        self._world.sometimes("fallback acknowledged")
        if hint_row(NodeId(message.slot), key) in node.disk.durable.by_key:
            return
        if not _has_left(node, NodeId(message.slot)):  # else it has passed to the owners there are
            raise Violation(
                "a fallback keeps a note",
                f"{node.name} acknowledges for {self._world.name_of(message.slot)} without one",
                key.key,
                tuple(dots),
            )

    def _drop_refused(self, place: tuple[NodeId, NodeId, int, bytes]) -> None:
        """Forget the parts of a write that are left when all others were acknowledged."""
        if len(self._asked[place]) <= self._refused.get(place, 0):
            del self._asked[place]
            self._refused.pop(place, None)

    def _has_all(self, node: SimNode, key: Key, dots: list[Dot]) -> bool:
        return all(self.has(node, key, dot) for dot in dots)

    def _not_on_disk(
        self, node: SimNode, message: object, dot: Dot, key: Key | None = None
    ) -> None:
        raise Violation(
            "nothing leaves before it is on disk",
            f"{node.name} sends a {type(message).__name__} that rests on {show(dot)}, "
            f"which is not on its disk",
            key.key if key is not None else _name(message),
            (dot,),
        )

    def replying(self, node: SimNode, result: object) -> None:
        """An answer leaves: its tally is what it must be, and what it shows is on a disk."""
        self._replying = node
        if isinstance(result, ManyFound | ManyWritten):
            for each in result.results:
                self.replying(node, each)
        elif isinstance(result, Written):
            tally = result.tally
            fits = tally.needed <= tally.got <= self._world.replicas
            if not fits or tally.primaries + tally.hinted != tally.got or tally.durable > tally.got:
                raise Violation("a quorum counts owner slots", f"{node.name} answers {result}")
            if tally.hinted:
                self._world.sometimes("write acknowledged with a fallback")
        elif isinstance(result, Found | Missing):
            if not result.tally.needed <= result.tally.got <= self._world.replicas:
                raise Violation("a quorum counts owner slots", f"{node.name} answers {result}")
            if isinstance(result, Found):
                if len(result.versions) > 1:
                    self._world.sometimes("siblings read")
                for version in result.versions:
                    if version.etag not in self._etags:
                        raise Violation(
                            "nothing leaves before it is on disk",
                            f"{node.name} answers with {value_id(version.value)!r}, "
                            "which is on no disk",
                        )
                    self._shown[self._etags[version.etag]] = None

    def acknowledged(self, key: Key, name: bytes, result: Written) -> Dot:
        """A client is told that its value ``name`` is written: the slots that count have it.

        Returns the version's dot.
        """
        dot = self._names.get(name)
        tally = result.tally
        if dot is None:
            raise Violation(
                "nothing leaves before it is on disk", f"{name!r} is acknowledged", key.key
            )
        owners = self._world.owners(key)
        slots = {
            slot: node for slot, node in self._acked.get(dot, {}).items()
            if node != result.coordinator
        }  # fmt: skip
        asked = self._replying
        assert asked is not None, "somebody answers"
        if asked.id != result.coordinator and asked.id in owners and self.has(asked, key, dot):
            slots[asked.id] = asked.id  # its own acknowledgement may leave later in this turn
        everyone = {**self._world.departed, **self._world.nodes}
        coordinator = everyone[result.coordinator]
        if coordinator.id not in owners:
            self._world.sometimes("fallback coordinated a write")
        own = int(self.has(coordinator, key, dot) or coordinator.id in self._rolled_back)
        primaries = sum(slot == node for slot, node in slots.items())
        primaries += own if coordinator.id in owners or self._world.has_changed else 0
        if tally.got > len(slots) + own or tally.primaries > primaries:
            raise Violation(
                "a quorum counts owner slots",
                f"{coordinator.name} counts {tally}; on disk for {len(slots) + own} slots, at "
                f"{primaries} owners, is {show(dot)}",
                key.key,
                (dot,),
            )
        return dot

    def announced(self, node: SimNode, news: object) -> None:
        """A ring or a register is announced: one value an epoch, no node twice."""
        if isinstance(news, ClusterJoined):
            self._world.joined(news)
        elif isinstance(news, NewerRegister):
            self._decided(node, news.partition, news.register)
        if not isinstance(news, RingChanged):
            return
        registers = news.ring.registers
        before = self._announced.get(node.id, ())
        if len(before) != len(registers):
            before = (None,) * len(registers)
        self._announced[node.id] = registers
        for partition, register in enumerate(registers):
            if register is not before[partition]:
                self._decided(node, partition, register)

    def _decided(self, node: SimNode, partition: int, register: Register) -> None:
        """A node takes a register for decided."""
        place = (partition, register.epoch)
        known = self._registers.get(place)
        if known == register:
            return
        if any(len(set(owners)) != len(owners) for owners in register.lists):
            raise Violation("no node twice in a list", f"{node.name}: {register}")
        if known is not None:
            raise Violation("one value an epoch", f"{node.name}: {place} {register}, not {known}")
        self._registers[place] = register

    def after_steps(self, node: SimNode) -> None:
        """Every table stays within its bound; called now and then, for it is slow."""
        engine = node.engine
        if engine is None:
            return
        config = self._world.config
        internal = len(self._world.nodes) * (3 * config.hint_window + 8)
        conversations_max = config.requests_max + _CONVERSATIONS_PER_REQUEST + internal
        for what, is_held, bound in (
            ("conversations", engine.conversations_open, conversations_max),
            ("bytes of hint notes", engine.hints_pending_bytes, config.hint_bytes_max),
        ):
            if is_held > bound:
                raise Violation(
                    "every table has a bound", f"{node.name} has {is_held} {what}, not {bound}"
                )

    # Hint notes

    def _note_came(self, node: SimNode, row: bytes) -> None:
        _, key = parse_hint_row(row)
        record = _readable(node.disk.durable.by_key.get(key.record_row))
        noted = self._notes.setdefault((node.id, row), {})
        noted.update(dict.fromkeys(record.container.live_dots()))

    def _note_went(self, node: SimNode, row: bytes) -> None:
        """A note goes when its owner has, durably, what the holder had when it was written.

        What the holder's own disk has lost since, by a bit that flipped, nobody can deliver.
        """
        slot, key = parse_hint_row(row)
        self._world.sometimes("hint delivered")
        owner = self._world.nodes.get(slot)
        if owner is not None and (owner.is_leaving or owner.id not in self._world.owners(key)):
            owner = None  # it is no owner any more: those that are have it, or get a note
        noted = self._notes.pop((node.id, row), {})
        if node.id in self._rolled_back:
            left = _readable(node.disk.durable.by_key.get(key.record_row)).container.context
            noted = {dot: None for dot in noted if left.covers(dot)}
        lacking = [dot for dot in noted if owner is not None and not self.has(owner, key, dot)]
        if lacking and owner is not None and owner.id not in self._rolled_back:
            raise Violation(
                "a note goes when its owner has it",
                f"{node.name} drops its note for {owner.name}, which lacks {show(lacking[0])}",
                key.key,
                tuple(lacking),
            )

    # What is known

    def has(self, node: SimNode, key: Key, dot: Dot) -> bool:
        """Whether a node had a version on disk, or had it and replaced it, or it was reaped."""
        if node.id in self._held.get(dot, ()):
            return True
        record = _readable(node.disk.durable.by_key.get(key.record_row))
        return (
            record.container.context.covers(dot)
            or self._damaged.get((node.id, key.record_row), EMPTY).covers(dot)
            or self.forgotten.context(key).covers(dot)
        )

    def dot_of(self, name: bytes) -> Dot | None:
        """The dot of a value, once it was on a disk."""
        return self._names.get(name)

    def dots_of(self, names: Iterable[bytes]) -> tuple[Dot, ...]:
        """The dots of values, as far as they were on a disk."""
        return tuple(self._names[name] for name in names if name in self._names)

    def names_of(self, dots: Iterable[Dot]) -> list[str]:
        """Dots as people see them, with the values that they name."""
        values = {dot: name.decode() for name, dot in self._names.items()}
        return [f"{show(dot)} ({values.get(dot, 'a delete')})" for dot in dots]

    def never_made(self, context: Context) -> Context:
        """What ``context`` covers of dots that were never on any disk."""
        if self._made is None:
            self._made = Context.from_dots(self._values)
        return context.missing_from(self._made)

    def discard(self) -> None:
        """Let go of what is known: the run is over."""
        tables: list[dict[Any, Any]] = [
            self._values, self._held, self._names, self._etags, self._shown, self._asked,
            self._acked, self._notes, self._damaged,
        ]  # fmt: skip
        for table in tables:
            table.clear()

    @property
    def has_rolled_back(self) -> bool:
        """Whether any disk lost what was synced."""
        return bool(self._rolled_back)


def _readable(row: bytes | None) -> Record:
    """The record of a row; the absent one where it is damaged."""
    try:
        return Record.decode(row)
    except DamagedRecord:
        return Record.decode(None)


def _name(message: object) -> bytes:
    key = getattr(message, "key", b"")
    return key if isinstance(key, bytes) else b""


def _has_left(node: SimNode, other: NodeId) -> bool:
    """Whether a node knows that another has left the cluster."""
    assert node.membership is not None, "who acknowledges runs"
    member = node.membership.members.get(other)
    return member is not None and member.state is MemberState.LEFT


def _dots_of(message: ReplicaWrite) -> list[Dot]:
    """The dots of the versions that a replica is asked to keep."""
    if message.row:
        return Record.received(message.row).live_dots()
    return [(actor, counter) for actor, counter, *_ in message.versions]
