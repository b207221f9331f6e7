"""Foreign records, those of partitions that a node does not own: hand off, prove, delete.

A fallback keeps a record for an owner that is down; a node that stops being an owner keeps all that
it had. Either is handed to the owners of the newest register that is known here, and deleted only
when **every one of them has told, from its disk, that it covers what is here**, and the record is
still what they were asked about. A partition of which an owner cannot be reached waits.

A sweep goes through the partitions that this node does not own, some keys at a time and no faster
than the admission controller lets it. Nothing is read as long as nothing foreign can be here: a
flag says so, which every change of a foreign record and every new ring sets. Whoever has to know
that nothing is left of what was here at some moment (a reap generation that ends, a node that
leaves) asks `ForeignRecords.when_clear`.

Notes deliver first: a partition waits while hints are delivered to one of its owners, or most of it
would travel twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sadik_causality import Container
from sadik_machine import SECOND, FailureReason, NodeId, ScanRows
from sadik_vnode.anti_entropy.sending import Lack, Sending
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import (
    LEAVES,
    Key,
    lost_leaves,
    record_key,
    records_range,
    row_leaf,
)
from sadik_vnode.messages import Status
from sadik_vnode.reaping.messages import CoversAsked, CoversTold
from sadik_vnode.record import Record

__all__ = ["ForeignRecords"]

_KEYS_MAX: Final = 64
_SCAN_BYTES: Final = 64 * 1024
_RETRY_NS: Final = 2 * SECOND
_RETRY_MAX_NS: Final = 16 * SECOND
_ANSWER_NS: Final = 10 * SECOND
_ROUNDS_MAX: Final = 2


class ForeignRecords(Conversation):
    """Sweeps what is foreign off this node. One sweep at a time, one chunk of keys at a time."""

    __slots__ = (
        "_asked", "_began", "_calm_until", "_is_left", "_is_started", "_is_sweeping", "_may_hold",
        "_retry_ns", "_runs", "_sweep_at", "_swept_ring", "_waiting",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.close()
        desk.replica.on_changed = self._changed
        self._may_hold = True
        self._swept_ring: object = None
        self._is_started = False
        self._is_sweeping = False
        self._is_left = False
        self._runs: deque[tuple[int, bytes, bytes]] = deque()
        self._waiting: list[Callable[[], None]] = []
        self._asked: list[Callable[[], None]] = []
        self._began = 0
        self._sweep_at: int | None = None
        self._calm_until = 0
        self._retry_ns = _RETRY_NS

    @property
    def may_hold(self) -> bool:
        """Whether a foreign record may be here; False only if there is none."""
        return (
            self._may_hold or self._is_sweeping or self._swept_ring is not self.desk.placement.ring
        )

    def when_clear(self, then: Callable[[], None]) -> None:
        """Call ``then`` when nothing foreign is left of what is here now; perhaps at once.

        What comes later is not waited for.
        """
        if not self.may_hold:
            then()
        else:
            self._waiting.append(then)
            self._soon(0)

    def start(self) -> None:
        """What is on disk may be foreign."""
        self._is_started = True
        self._by_itself()

    def stop(self) -> None:
        """Begin no more sweeps: this node is about to stop."""
        self._is_started = False
        self._sweep_at = None
        self.desk.deadlines.drop((self, "sweep"))

    def ring_changed(self) -> None:
        """What was this node's own may be foreign now."""
        self._by_itself()

    def reachable(self) -> None:
        """Somebody can be reached again, for whom something may have waited."""
        self._calm_until = 0
        self._retry_ns = _RETRY_NS
        if self._may_hold:
            self._by_itself()

    def due(self, what: str) -> None:
        """Time for a sweep, or for its next chunk."""
        if what == "sweep":
            self._sweep_at = None
            self._begin()
        else:
            self._next()

    def _changed(self, key: Key) -> None:
        """A record is made or changed."""
        placement = self.desk.placement
        if placement.ring is None:
            self._may_hold = True
        elif placement.self_id not in placement.register(placement.partition(key)).owners:
            self._may_hold = True
            self._by_itself()

    def _by_itself(self) -> None:
        if self.desk.config.foreign_after_ns:
            self._soon(self.desk.config.foreign_after_ns)

    def _soon(self, after_ns: int) -> None:
        if not self._is_started or self._is_sweeping:
            return
        at = max(self.desk.now + after_ns, self._calm_until)
        if self._sweep_at is None or at < self._sweep_at:
            self._sweep_at = at
            self.wake("sweep", at)

    # A sweep

    def _begin(self) -> None:
        desk = self.desk
        ring = desk.placement.ring
        if ring is None or desk.generations.is_behind:
            self._soon(_RETRY_NS)
            return
        self._is_sweeping = True
        self._is_left = self._may_hold = False
        self._swept_ring = ring
        self._asked, self._waiting = self._waiting, []
        share = LEAVES // ring.partitions
        own = desk.self_id
        foreign = [p for p, register in enumerate(ring.registers) if own not in register.owners]
        runs: list[list[int]] = []
        for partition in foreign:
            if runs and runs[-1][1] == partition:
                runs[-1][1] += 1
            else:
                runs.append([partition, partition + 1])
        self._runs = deque((share, *records_range(a * share, b * share)) for a, b in runs)
        self._next()

    def _next(self) -> None:
        self._began = self.desk.now
        if not self._runs:
            self._end()
            return
        _, start, stop = self._runs[0]
        self.desk.outbox.load(
            ScanRows(start, stop, _KEYS_MAX, _SCAN_BYTES, keys_only=True),
            self._scanned,
            lambda _: self._leave(),
        )

    def _scanned(self, rows: list[tuple[bytes, bytes]]) -> None:
        if not rows:
            self._runs.popleft()
            self._next()
            return
        share, _, stop = self._runs[0]
        partition = row_leaf(rows[0][0]) // share
        if self._is_blocked(partition):
            self._is_left = True
            self._go_on(rows[0][0], partition)
            return
        found = [row for row, _ in rows if row_leaf(row) // share == partition]
        self._runs[0] = (share, found[-1] + b"\0", stop)
        # What lies under a damaged key is nobody's: scrubbing removes it.
        keys = [record_key(row) for row in found if not lost_leaves(row)]

        def done(is_whole: bool) -> None:
            self._is_left = self._is_left or not is_whole
            now = self.desk.now
            self.wake("next", now + self.desk.admission.pause_ns(now, now - self._began))

        _HandingOff(self.desk, partition, keys, done).start()

    def _go_on(self, row: bytes, partition: int) -> None:
        """Pass over what is left of a partition."""
        share, _, stop = self._runs[0]
        start = records_range((partition + 1) * share, LEAVES)[0]
        if start <= row or start >= stop:
            self._runs.popleft()
        else:
            self._runs[0] = (share, start, stop)
        self._next()

    def _is_blocked(self, partition: int) -> bool:
        """Whether an owner cannot be reached, or is being brought up to date by notes."""
        desk = self.desk
        owners = desk.placement.register(partition).owners
        return not owners or any(
            not desk.placement.is_member(owner)
            or not desk.placement.is_routable(owner)
            or desk.hints.is_delivering(owner)
            for owner in owners
        )

    def _leave(self) -> None:
        """The store could not be read: begin anew after a while."""
        self._is_left = True
        self._runs.clear()
        self._end()

    def _end(self) -> None:
        self._is_sweeping = False
        asked, self._asked = self._asked, []
        if self._is_left:
            self._may_hold = True
            self._waiting = asked + self._waiting
            # Who waits for an owner looks ever more seldom, until one can be reached again.
            self._calm_until = self.desk.now + self._retry_ns
            self._retry_ns = min(2 * self._retry_ns, _RETRY_MAX_NS)
            if self.desk.config.foreign_after_ns or self._waiting:
                self._soon(0)
            return
        self._retry_ns = _RETRY_NS
        if self._waiting:
            self._soon(0)
        elif self._may_hold:
            self._by_itself()
        for then in asked:
            then()


class _HandingOff(Conversation):
    """Hands some records of one partition to all of its owners; ``done`` gets whether all went."""

    __slots__ = (
        "_answered", "_done", "_epoch", "_is_whole", "_keys", "_lacking", "_owners", "_partition",
        "_pending", "_records", "_rounds",
    )  # fmt: skip

    is_background = True

    def __init__(
        self, desk: Desk, partition: int, keys: Sequence[Key], done: Callable[[bool], None]
    ) -> None:
        super().__init__(desk)
        self._partition = partition
        self._keys = list(keys)
        self._done = done
        self._rounds = 0
        self._is_whole = True
        self._pending = 0
        self._epoch = 0
        self._owners: tuple[NodeId, ...] = ()
        self._records: dict[Key, Record] = {}
        self._answered: dict[NodeId, None] = {}
        self._lacking: dict[NodeId, list[Lack]] = {}

    def start(self) -> None:
        """Ask all owners what they have of it."""
        register = self.desk.placement.register(self._partition)
        self._epoch, self._owners = register.epoch, register.owners
        if self.desk.self_id in self._owners or not self._owners:
            self._end(is_whole=bool(self._owners))
            return
        self.desk.replica.read_many(self._keys, self._ask, self._failed)

    def received(self, sender: NodeId, message: object) -> None:
        """What one owner has."""
        if not isinstance(message, CoversTold) or sender not in self._owners:
            return
        if sender in self._answered or self._is_over:
            return
        if message.status != Status.OK or len(message.verdicts) != len(self._records):
            self._end(is_whole=False)
            return
        self._answered[sender] = None
        nothing: Container[None] = Container.empty()
        lacking: list[Lack] = [
            (key, nothing)
            for key, covers in zip(self._records, message.verdicts, strict=True)
            if not covers
        ]
        if lacking:
            self._lacking[sender] = lacking
        if len(self._answered) == len(self._owners):
            self.desk.deadlines.drop((self, "answer"))
            self._delete()

    def unsent(self, to: NodeId, message: object) -> None:
        """An owner was not reached."""
        self._end(is_whole=False)

    def peer_lost(self, peer: NodeId) -> None:
        """An owner is down."""
        if peer in self._owners:
            self._end(is_whole=False)

    def due(self, what: str) -> None:
        """An owner does not answer."""
        self._end(is_whole=False)

    @property
    def _is_over(self) -> bool:
        return self.id not in self.desk.conversations

    def _ask(self, records: list[Record]) -> None:
        if self._is_over:
            return
        self._records = {
            key: record
            for key, record in zip(self._keys, records, strict=True)
            if not record.is_absent
        }
        if not self._records:
            self._end(is_whole=True)
            return
        items = tuple(
            (key.bucket, key.key, self._epoch, record.container.context.to_plain())
            for key, record in self._records.items()
        )
        self._answered, self._lacking = {}, {}
        self.wake("answer", self.desk.now + _ANSWER_NS)
        for owner in self._owners:
            self.desk.outbox.send(owner, CoversAsked(self.id, items))

    def _delete(self) -> None:
        """Take away what all owners cover; send what some of them lack."""
        lacked = {key: None for lacking in self._lacking.values() for key, _ in lacking}
        covered = [key for key in self._records if key not in lacked]
        self._pending = 1 + len(covered)
        for key in covered:
            self._take_away(key, self._records[key])
        self._one_done()

    def _take_away(self, key: Key, asked: Record) -> None:
        desk = self.desk

        def may_go(record: Record) -> bool:
            register = desk.placement.register(self._partition)
            is_as_asked = (
                register.epoch == self._epoch
                and record.container.same_live(asked.container)
                and record.container.context == asked.container.context
            )
            if is_as_asked:
                desk.counters.foreign_handed_off += 1
            else:
                self._is_whole = False
            return is_as_asked

        def failed(_reason: FailureReason) -> None:
            self._is_whole = False
            self._one_done()

        desk.replica.take_away(key, may_go, self._one_done, failed)

    def _one_done(self) -> None:
        self._pending -= 1
        if self._pending or self._is_over:
            return
        self._rounds += 1
        if not self._lacking:
            self._end(is_whole=True)
        elif self._rounds > _ROUNDS_MAX:
            self._end(is_whole=False)
        else:
            self._send()

    def _send(self) -> None:
        lacking, self._lacking = self._lacking, {}
        self._pending = len(lacking)
        self._keys = list(dict.fromkeys(key for lacks in lacking.values() for key, _ in lacks))

        def sent(_count: int, is_whole: bool) -> None:
            self._pending -= 1
            self._is_whole = self._is_whole and is_whole
            if self._pending or self._is_over:
                return
            if self._is_whole:
                self.start()
            else:
                self._end(is_whole=False)

        for owner, lacks in lacking.items():
            Sending(self.desk, owner, lacks, sent, is_repair=False).start()

    def _failed(self, _reason: FailureReason) -> None:
        """A record is damaged: the owners are asked for it, and the next sweep looks again."""
        self._end(is_whole=False)

    def _end(self, *, is_whole: bool) -> None:
        if self._is_over:
            return
        self.close("answer")
        self._done(is_whole and self._is_whole)
