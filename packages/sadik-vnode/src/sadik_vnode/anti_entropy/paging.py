"""Bringing whole ranges of records to a replica that has none of them: a page of rows at a time.

Where one side has nothing there is nothing to compare. So the other's rows travel as they lie on
disk, which spares it all but reading them. They are merged here like any other state. What changes
meanwhile, and what a page leaves out (a record with bodies in rows of their own, a damaged one),
the comparison of the same leaves finds afterwards.

While a page is being stored the next one is on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_machine import SECOND, FailureReason, NodeId, ScanRows
from sadik_vnode.anti_entropy.messages import RecordsAsked, RecordsTold
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key, records_range
from sadik_vnode.messages import Status
from sadik_vnode.record import DamagedRecord, Record, is_sound

__all__ = ["Paging", "TellingRecords"]

_PAGE_ROWS: Final = 64
_PAGE_BYTES: Final = 128 * 1024
"""Of values of any size about a millisecond's work for either side: clients' requests wait for it.
Less of it would be moved slowly, since all else is waited for page by page. A commit costs less for
each row the more there are, for most of its pages are of the index, where each record has a page to
itself; but it takes all that has come while the one before it was on its way."""
_ANSWER_NS: Final = 10 * SECOND


class Paging(Conversation):
    """Brings here what ``peer`` has in some leaves of a partition. Calls ``done`` once, with the
    records that came and whether that was all of it.
    """

    __slots__ = (
        "_began", "_done", "_first", "_is_waiting", "_is_whole", "_on_the_way", "_partition",
        "_peer", "_range", "_received", "_stop", "_storing", "_upto",
    )  # fmt: skip

    is_background = True

    def __init__(
        self,
        desk: Desk,
        peer: NodeId,
        partition: int,
        leaves: range,
        done: Callable[[int, bool], None],
    ) -> None:
        super().__init__(desk)
        self._peer = peer
        self._partition = partition
        self._first, self._stop = leaves.start, leaves.stop
        self._range = records_range(leaves.start, leaves.stop)
        self._done = done
        self._upto: bytes | None = b""
        self._on_the_way = False
        self._is_waiting = False
        self._storing = 0
        self._received = 0
        self._began = desk.now
        self._is_whole = True

    def start(self) -> None:
        """Ask for the first page."""
        self._ask()

    def received(self, sender: NodeId, message: object) -> None:
        """A page."""
        if sender != self._peer or not isinstance(message, RecordsTold) or not self._on_the_way:
            return
        self._on_the_way = False
        self.desk.deadlines.drop((self, "answer"))
        if message.status != Status.OK or not self.desk.generations.takes(message.generation):
            self._fail()
            return
        if message.upto is not None and message.upto <= (self._upto or b""):
            self.desk.counters.malformed_messages += 1
            self._fail()
            return
        self._upto = message.upto
        self._merge(message)
        if self._upto is not None:
            self._pause()

    def unsent(self, to: NodeId, message: object) -> None:
        """The peer's queue is full, or its stream broke."""
        self._fail()

    def peer_lost(self, peer: NodeId) -> None:
        """The peer is down."""
        if peer == self._peer:
            self._fail()

    def due(self, what: str) -> None:
        """Go on after a pause; or the peer has not answered for too long."""
        if what == "next":
            self._ask()
        else:
            self._fail()

    def _ask(self) -> None:
        """Ask for the next page, unless too much is still to be stored."""
        desk = self.desk
        self._is_waiting = self._storing > _PAGE_ROWS
        if not self._is_whole or self._upto is None or self._is_waiting:
            return
        self._began = desk.now
        self._on_the_way = True
        self.wake("answer", desk.now + _ANSWER_NS)
        epoch = desk.placement.register(self._partition).epoch
        desk.outbox.send(
            self._peer,
            RecordsAsked(self.id, self._partition, epoch, self._first, self._stop, self._upto),
        )

    def _pause(self) -> None:
        """A unit of work is done: let others have their turn."""
        desk = self.desk
        self.wake("next", desk.now + desk.admission.pause_ns(desk.now, desk.now - self._began))

    def _merge(self, page: RecordsTold) -> None:
        desk = self.desk
        desk.clock.adopt(desk.now, page.timestamp)
        generation = page.generation
        found: list[tuple[Key, Record]] = []
        size = 0
        for row, value in page.rows:
            key = self._key_of(row)
            record = None if key is None else self._opened(value)
            if key is not None and record is not None:
                found.append((key, record))
                size += len(value)
        self._storing += 1 + len(found)

        def may_go_on() -> bool:
            # Once more: time has passed since it came, and this node may have gone on.
            if desk.generations.takes(generation):
                return True
            desk.counters.old_generations += 1
            self._stored(is_kept=False)
            return False

        desk.replica.merge_many(found, may_go_on, self._some_stored, self._one_failed)
        desk.arrived(self._partition, self._peer, size)
        self._stored(is_kept=True)

    def _some_stored(self, count: int) -> None:
        self._received += count
        self._stored(is_kept=True, count=count)

    def _one_failed(self, _reason: FailureReason) -> None:
        self._stored(is_kept=False)

    def _key_of(self, row: bytes) -> Key | None:
        """The key of a row, if that is a record's, of the leaves asked for."""
        first, stop = self._range
        key = Key.of_row(row) if first <= row < stop else None
        if key is None:
            self.desk.counters.malformed_messages += 1
        return key

    def _opened(self, value: bytes) -> Record | None:
        """What a row says, if that is a record with all of its bodies."""
        try:
            record = Record.received(value)
        except DamagedRecord:
            self.desk.counters.malformed_messages += 1
            return None
        return record if record.is_whole else None

    def _stored(self, *, is_kept: bool, count: int = 1) -> None:
        self._storing -= count
        self._is_whole = self._is_whole and is_kept
        if self._is_waiting:
            self._ask()
        self._end_if_done()

    def _fail(self) -> None:
        self._is_whole = False
        self._on_the_way = False
        self._end_if_done()

    def _end_if_done(self) -> None:
        """All is stored, and no more comes."""
        if self.id not in self.desk.conversations or self._storing or self._on_the_way:
            return
        if self._is_whole and self._upto is not None:
            return
        self.close("answer", "next")
        self._done(self._received, self._is_whole)


class TellingRecords(Conversation):
    """One page on its way to a peer: background work here, too, so it waits its turn."""

    __slots__ = ("_asked", "_began", "_peer", "_told")

    is_background = True

    def __init__(self, desk: Desk, peer: NodeId, asked: RecordsAsked) -> None:
        super().__init__(desk)
        self._peer = peer
        self._asked = asked
        self._began = desk.now
        self._told = refused(asked, Status.FAILED)

    def start(self) -> None:
        """Read the page."""
        asked = self._asked
        start, stop = records_range(asked.first_leaf, asked.stop_leaf)
        if asked.after:
            start = max(start, asked.after + b"\0")
        generation = self.desk.generations.generation

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            self._loaded(rows, generation)

        self.desk.outbox.load(ScanRows(start, stop, _PAGE_ROWS, _PAGE_BYTES), loaded, self._failed)

    def due(self, what: str) -> None:
        """The pause is over."""
        self._end()

    def _loaded(self, rows: list[tuple[bytes, bytes]], generation: int) -> None:
        desk, asked = self.desk, self._asked
        in_hand = bool(desk.reaper.in_hand)
        told = tuple([row for row in rows if self._is_told(*row, in_hand=in_hand)])
        desk.counters.anti_entropy_bytes += sum(len(value) for _, value in told)
        desk.counters.anti_entropy_repaired += len(told)
        timestamp = desk.clock.tick(desk.now)

        def looked(following: list[tuple[bytes, bytes]]) -> None:
            upto = rows[-1][0] if following else None
            self._told = RecordsTold(asked.request, Status.OK, told, upto, timestamp, generation)
            self._wait_for_disk()

        if len(rows) in (0, _PAGE_ROWS):
            looked(rows)
            return
        # Its bytes may have cut it short.
        _, stop = records_range(asked.first_leaf, asked.stop_leaf)
        query = ScanRows(rows[-1][0] + b"\0", stop, limit_rows=1, limit_bytes=1, keys_only=True)
        desk.outbox.load(query, looked, self._failed)

    def _wait_for_disk(self) -> None:
        desk = self.desk
        if desk.outbox.stores_pending:
            # A scan sees stores that are under way: show it once those are on disk.
            desk.outbox.store((), (), self._pause, self._failed)
        else:
            self._pause()

    def _is_told(self, row: bytes, value: bytes, *, in_hand: bool) -> bool:
        """Whether the row is sound, and its record is not just being reaped. Whether it lies where
        its name says the other side sees: here scrubbing does.
        """
        is_sound_here = is_sound(value)
        if is_sound_here and not in_hand:
            return True
        key = Key.of_row(row)
        if key is None:
            return False
        desk = self.desk
        if not is_sound_here:
            desk.counters.damaged_records += 1
            desk.repairs.damaged(key)
            return False
        return not desk.reaper.is_reaping(key)

    def _pause(self) -> None:
        desk = self.desk
        self.wake("pause", desk.now + desk.admission.pause_ns(desk.now, desk.now - self._began))

    def _failed(self, _reason: FailureReason) -> None:
        self._told = refused(self._asked, Status.FAILED)
        self._end()

    def _end(self) -> None:
        self.close("pause")
        self.desk.outbox.send(self._peer, self._told)


def refused(asked: RecordsAsked, status: Status) -> RecordsTold:
    """The answer of who tells nothing."""
    return RecordsTold(asked.request, status, (), None, 0, 0)
