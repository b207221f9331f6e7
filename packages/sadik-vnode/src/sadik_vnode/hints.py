"""Hinted handoff: small durable notes of which owner lacks the present state of which key.

A note lies beside the one record of its key and holds no data of its own. It is written by
a fallback that stands in for an owner, in the same batch as what it stores, or by the coordinator
for a slot that did not acknowledge. Delivery sends the record as it is then, a window at a time
and no faster than the admission controller lets it, so that a returning node is not drowned;
the note goes when the owner has durably acknowledged, unless it was written anew meanwhile.

Beyond the bound in bytes notes are dropped and counted. (Dynamo, section 4.6.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define

from sadik_machine import SECOND, FailureReason, GetRows, NodeId, RequestId, ScanRows
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.inheriting import Inheriting
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import HINTS_RANGE, Key, hint_row, hint_slot_range, parse_hint_row
from sadik_vnode.messages import ReplicaAck, ReplicaWrite, Status
from sadik_vnode.parts import parts_of, replica_write
from sadik_vnode.recent import Recent
from sadik_vnode.record import Record, Rows
from sadik_vnode.spread import newest

__all__ = ["Delivery", "HintNotes", "NoteCheck"]

_SCAN_ROWS: Final = 1000
_SCAN_BYTES: Final = 256 * 1024
_ACK_TIMEOUT_NS: Final = 10 * SECOND
_LEFT_BYTES_MAX: Final = 2**20
"""Of the keys of note rows of which it is remembered whether they are there: some ten thousand."""


@define(slots=True)
class _Travelling:
    """A record on its way to an owner: parts that are not acknowledged yet."""

    key: Key
    parts: int
    written_ns: int
    """The wall time of its newest version."""


@define(slots=True)
class _Slot:
    """Notes that wait for one owner."""

    notes: int = 0
    bytes: int = 0
    may_wait: bool = False
    """Whether a note may be on disk: the counts are for people, this decides on delivery."""
    delivery: Delivery | None = None


class NoteCheck:
    """Which of some notes were on disk when an update was asked for that may write them, and then
    which of them it was the first to write: a note is counted once, however often it is written.
    """

    __slots__ = ("counted", "known")

    def __init__(self, known: frozenset[NodeId]) -> None:
        self.known: Final = known
        self.counted: list[NodeId] = []


_UNKNOWN: Final[frozenset[NodeId]] = frozenset()


class HintNotes:
    """All notes of this node."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._slots: dict[NodeId, _Slot] = {}
        self._bytes = 0
        self._inheriting: dict[NodeId, bool] = {}
        self._left: Recent[bytes, bool] = Recent(_LEFT_BYTES_MAX)
        """By row, whether this node has left the note there or taken it away. Nobody else does
        either, so this is newer than what any load has found."""
        self._counting_from: bytes | None = HINTS_RANGE[0]
        """The first row that the count at the start has not come to; None when it has ended."""

    @property
    def notes_pending(self) -> int:
        """Notes that wait, for whomever."""
        return sum(slot.notes for slot in self._slots.values())

    @property
    def bytes_pending(self) -> int:
        """The bytes of their rows."""
        return self._bytes

    def discard(self) -> None:
        """Let go of what is remembered; nothing is noted any more."""
        self._left.clear()

    def by_slot(self) -> list[tuple[NodeId, int, int]]:
        """(owner slot, notes, bytes) for every owner that notes wait for, by id."""
        return [
            (node, slot.notes, slot.bytes)
            for node, slot in sorted(self._slots.items())
            if slot.notes
        ]

    def start(self) -> None:
        """Count the notes that are on disk, in chunks; then deliver."""
        self._count_from(HINTS_RANGE[0])

    def rows(self, slots: list[NodeId], key: Key, check: NoteCheck) -> Rows | None:
        """The rows of notes for ``slots``; None where they would exceed the bound.

        Nothing is counted yet: call `written` when the rows are in a batch.
        """
        rows: Rows = []
        grown = 0
        for slot in slots:
            row = hint_row(slot, key)
            if not self._is_counted(row, found=slot in check.known):
                grown += len(row)
            rows.append((row, b""))
        if self._bytes + grown > self._desk.config.hint_bytes_max:
            return None
        return rows

    def written(self, slots: list[NodeId], key: Key, check: NoteCheck) -> None:
        """The notes for ``slots`` are in a batch that was handed over."""
        for node in slots:
            slot = self._slots.setdefault(node, _Slot())
            slot.may_wait = True
            row = hint_row(node, key)
            if not self._is_counted(row, found=node in check.known):
                check.counted.append(node)
                self._count(slot, row)
                self._desk.counters.hints_written += 1
            self._left.put(row, True, len(row))
            if slot.delivery is None:
                self.deliver(node)
            if node in self._inheriting:
                self._inheriting[node] = True
            if slot.delivery is not None:
                # Its scan may have been asked for before this note is stored: it looks again.
                slot.delivery.renoted(key)

    def note_lost(self, key: Key, check: NoteCheck) -> None:
        """The batch that held notes of a key failed."""
        for node in check.counted:
            row = hint_row(node, key)
            self._left.put(row, False, len(row))
            self._forget(node, len(row))
        check.counted = []

    def dropped(self, count: int) -> None:
        """Notes that found no room: anti-entropy has to heal what they stood for."""
        self._desk.counters.hints_dropped += count

    def check(self, slots: list[NodeId], key: Key, then: Callable[[NoteCheck], None]) -> None:
        """Look which notes exist; calls ``then`` at once where that is known without loading."""
        unknown = [
            (slot, row) for slot in slots if self._left.get(row := hint_row(slot, key)) is None
        ]
        if not unknown:
            then(NoteCheck(_UNKNOWN))
            return

        def loaded(found: list[bytes | None]) -> None:
            there = zip(unknown, found, strict=True)
            then(NoteCheck(frozenset(slot for (slot, _), row in there if row is not None)))

        def failed(_reason: FailureReason) -> None:
            then(NoteCheck(_UNKNOWN))

        self._desk.outbox.load(GetRows([row for _, row in unknown]), loaded, failed)

    def note(self, slot: NodeId, key: Key) -> None:
        """Write a note beside the record that this node holds; drop it where there is no room."""

        def checked(check: NoteCheck) -> None:
            def make(before: Record) -> Change | None:
                rows = self.rows([slot], key, check)
                if rows is None:
                    self.dropped(1)
                    return None
                self.written([slot], key, check)
                return Change(before, rows, ())

            def failed(_reason: FailureReason) -> None:
                self.note_lost(key, check)

            self._desk.replica.update(key, make, None, failed)

        self.check([slot], key, checked)

    def is_delivering(self, node: NodeId) -> bool:
        """Whether what waits for ``node`` is on its way."""
        slot = self._slots.get(node)
        return slot is not None and slot.delivery is not None

    def deliver(self, node: NodeId) -> None:
        """Begin delivery to ``node`` if it may be reached and anything waits for it."""
        slot = self._slots.get(node)
        placement = self._desk.placement
        if slot is not None and slot.may_wait and placement.has_left(node):
            if placement.ring is not None and node not in self._inheriting:
                self._inheriting[node] = False
                Inheriting(self._desk, node).start()
            return
        if (
            slot is not None
            and slot.may_wait
            and placement.ring is not None
            and not self._desk.generations.is_behind
            and slot.delivery is None
            and node != self._desk.self_id
            and placement.is_member(node)
            and placement.is_routable(node)
        ):
            slot.delivery = Delivery(self._desk, node)
            slot.delivery.start()

    def inherited(self, node: NodeId) -> bool:
        """No note for a node that has left was found; whether that is the end of it."""
        if self._inheriting[node]:
            self._inheriting[node] = False  # one was written meanwhile
            return False
        del self._inheriting[node]
        if self._slots[node].delivery is None:
            self.ended(node, empty=True)
        return True

    def deliver_all(self) -> None:
        """Begin delivery to every owner that may be reached."""
        for node in sorted(self._slots):
            self.deliver(node)

    def delivered(self, node: NodeId, key: Key) -> None:
        """The owner has the record on disk: the note goes."""
        row = hint_row(node, key)
        self._desk.counters.hints_delivered += 1

        def failed(_reason: FailureReason) -> None:
            # The note is on disk still. To deliver it once more is harmless, but not at once: the
            # disk is full.
            slot = self._slots[node]
            slot.may_wait = True
            if not self._is_counted(row, found=False):
                self._left.put(row, True, len(row))
                self._count(slot, row)
            if slot.delivery is None:
                slot.delivery = Delivery(self._desk, node)
                slot.delivery.try_later()
            else:
                slot.delivery.renoted(key)

        self._desk.outbox.store(((row, None),), (), None, failed)
        if self._is_counted(row, found=True):
            self._forget(node, len(row))
        self._left.put(row, False, len(row))

    def ended(self, node: NodeId, *, empty: bool) -> None:
        """A delivery ended; ``empty`` if its last scan found no note on disk."""
        slot = self._slots[node]
        slot.delivery = None
        if empty:
            # A check that was under way while thousands of other notes came and went may have
            # counted wrongly: that is put right here.
            slot.may_wait = False
            self._bytes -= slot.bytes
            slot.notes = slot.bytes = 0
            self._desk.foreign.reachable()

    def _is_counted(self, row: bytes, *, found: bool) -> bool:
        """Whether a note is among those that are counted; ``found`` is what a load said of it."""
        left = self._left.get(row)
        if left is not None:
            return left
        return found and (self._counting_from is None or row < self._counting_from)

    def _count(self, slot: _Slot, row: bytes) -> None:
        slot.notes += 1
        slot.bytes += len(row)
        self._bytes += len(row)

    def _forget(self, node: NodeId, size: int) -> None:
        slot = self._slots[node]
        if slot.notes:
            slot.notes -= 1
            slot.bytes -= size
            self._bytes -= size

    def _count_from(self, start: bytes) -> None:
        self._counting_from = start

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            for row, _ in rows:
                if self._left.get(row) is not None:  # written or taken away meanwhile: counted then
                    continue
                try:
                    node = parse_hint_row(row)[0]
                except ValueError:  # damaged: it is for nobody
                    continue
                slot = self._slots.setdefault(node, _Slot())
                slot.may_wait = True
                self._count(slot, row)
            if rows:
                self._count_from(rows[-1][0] + b"\0")
            else:
                self._counting_from = None
                self.deliver_all()

        def failed(_reason: FailureReason) -> None:
            self._desk.counters.damaged_records += 1

        self._desk.outbox.load(
            ScanRows(start, HINTS_RANGE[1], _SCAN_ROWS, _SCAN_BYTES, keys_only=True),
            loaded,
            failed,
        )


class Delivery(Conversation):
    """Sends what one owner lacks, a window of records at a time, until no note is left.

    Each record travels under a request id of its own, in one part or several.
    """

    is_background = True

    __slots__ = (
        "_began", "_cursor", "_is_unread", "_loading", "_node", "_noted", "_renoted", "_stopped",
        "_travelling",
    )  # fmt: skip

    def __init__(self, desk: Desk, node: NodeId) -> None:
        super().__init__(desk)
        self._node = node
        self._cursor = hint_slot_range(node)[0]
        self._travelling: dict[RequestId, _Travelling] = {}
        self._renoted: dict[Key, None] = {}
        self._noted = False
        self._is_unread = False
        self._loading = 0
        self._began = 0
        self._stopped = False

    def start(self) -> None:
        """Read the next notes and send their records."""
        config = self.desk.config
        self._began = self.desk.now
        self._noted = False
        end = hint_slot_range(self._node)[1]
        self.desk.outbox.load(
            ScanRows(self._cursor, end, config.hint_window, _SCAN_BYTES, keys_only=True),
            self._scanned,
            self._scan_failed,
        )

    def try_later(self) -> None:
        """Let go and try again in a while, if the owner may be reached then."""
        if not self._stopped:
            self._stopped = True
            self.desk.deadlines.drop((self, "ack"))
            self.desk.deadlines.drop((self, "next"))
            self.wake("retry", self.desk.now + self.desk.config.hint_retry_ns)

    def renoted(self, key: Key) -> None:
        """A note was written, perhaps while its record was on the way."""
        self._noted = True
        self._renoted[key] = None

    def received(self, sender: NodeId, message: object) -> None:
        """The owner has a part on disk, or has not."""
        if not isinstance(message, ReplicaAck) or sender != self._node or self._stopped:
            return
        travelling = self._travelling.get(RequestId(message.request))
        if travelling is None:
            return
        if message.status != Status.OK:
            self.desk.generations.heard(message.generation)
            self.try_later()
            return
        travelling.parts -= 1
        if travelling.parts:
            return
        self._arrived(RequestId(message.request))
        if travelling.key not in self._renoted:
            self.desk.hints.delivered(self._node, travelling.key)
            if travelling.written_ns:
                self.desk.spread.hint.add(self.desk.wall_ns - travelling.written_ns)
        self._next_window()

    def unsent(self, to: NodeId, message: object) -> None:
        """The owner's queue is full or its stream broke: try again later."""
        if isinstance(message, ReplicaWrite):
            self.try_later()

    def peer_lost(self, peer: NodeId) -> None:
        """The owner is down again."""
        if peer == self._node:
            self.try_later()

    def due(self, what: str) -> None:
        """Time for the next window, or too long without an acknowledgement."""
        if what == "next":
            self.start()
        elif what == "retry":
            self._end(empty=False)
            self.desk.hints.deliver(self._node)
        else:
            self.try_later()

    def _scanned(self, rows: list[tuple[bytes, bytes]]) -> None:
        if self._stopped:
            return
        first = hint_slot_range(self._node)[0]
        if not rows:
            if self._cursor == first and not self._noted:
                self._end(empty=True)
            elif self._is_unread:
                self.try_later()
            else:
                self._cursor = first
                self.start()
            return
        self._cursor = rows[-1][0] + b"\0"
        self._loading = len(rows)
        self.wake("ack", self.desk.now + _ACK_TIMEOUT_NS)
        for row, _ in rows:
            try:
                _, key = parse_hint_row(row)
            except ValueError:
                self._loading -= 1
                continue
            self._renoted.pop(key, None)
            self._load(key)

    def _scan_failed(self, _reason: FailureReason) -> None:
        self.try_later()

    def _load(self, key: Key) -> None:
        generation = self.desk.generations.generation

        def whole(record: Record) -> None:
            if not self._stopped:
                self._send(key, record, generation)

        def failed(_reason: FailureReason) -> None:
            # A damaged record is counted where it was found; its note waits for a repair.
            self._is_unread = True
            self._loaded_one()

        self.desk.replica.read_whole(key, whole, failed)

    def _send(self, key: Key, record: Record, generation: int) -> None:
        desk = self.desk
        if record.is_absent:
            desk.hints.delivered(self._node, key)
        else:
            parts = parts_of(record.container, desk.config.message_bytes_max)
            epoch = desk.placement.register(desk.placement.partition(key)).epoch
            request = desk.open(self)
            written_ns = newest(record.container.versions.values())
            self._travelling[request] = _Travelling(key, len(parts), written_ns)
            timestamp = desk.clock.tick(desk.now)
            for part in parts:
                desk.outbox.send(
                    self._node,
                    replica_write(request, epoch, key, self._node, part, timestamp, generation),
                )
        self._loaded_one()

    def _arrived(self, request: RequestId) -> None:
        del self._travelling[request]
        self.desk.conversations.pop(request, None)

    def _loaded_one(self) -> None:
        self._loading -= 1
        self._next_window()

    def _next_window(self) -> None:
        if self._loading or self._travelling or self._stopped:
            return
        self.desk.deadlines.drop((self, "ack"))
        now = self.desk.now
        self.wake("next", now + self.desk.admission.pause_ns(now, now - self._began))

    def _end(self, *, empty: bool) -> None:
        self._stopped = True
        for request in list(self._travelling):
            self._arrived(request)
        self.close("ack", "next", "retry")
        self.desk.hints.ended(self._node, empty=empty)
