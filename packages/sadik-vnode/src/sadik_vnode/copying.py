"""What backups need of one node: its hash tree's sums, its records, and records put into it.

Everything here is about this node's own replicas. Whoever makes a backup asks all owners of a
partition, compares their sums, reads records where they differ from what he has, and merges;
whoever makes a cluster anew gives every owner its records. So there is no coordinator, and a
partition is read at the speed of reading rows.

What is shown is on disk, as everywhere. A copy of records is background work: each page waits for
as long as the admission controller says before it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_causality import Container, Dot
from sadik_machine import FailureReason, ScanRows
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key, is_name, record_key, records_range
from sadik_vnode.parts import container_from_plain, container_to_plain
from sadik_vnode.record import DamagedRecord, Record
from sadik_vnode.requests import (
    BodyResult,
    CopyBody,
    CopyRecords,
    CopySums,
    Outcome,
    PlainRecord,
    RecordsResult,
    Refusal,
    Refused,
    Result,
    SumsResult,
    TakenResult,
    TakeRecords,
    Tally,
    Unavailable,
)
from sadik_vnode.tree import LEAVES_PER_MIDDLE, MIDDLES
from sadik_vnode.version import Version
from sadik_vnode.view import timestamp_of

__all__ = ["CopyingRecords", "copy_body", "copy_sums", "take_records"]

_PAGE_ROWS: Final = 1000
_PAGE_BYTES: Final = 1 << 20
_NOBODY: Final = Tally(0, 0, 0, 0, 0)

Done = Callable[[Result], None]


def copy_sums(desk: Desk, request: CopySums) -> Result:
    """The sums of all middles, or of a partition's."""
    ring, tree = desk.placement.ring, desk.replica.tree
    assert ring is not None, "a node without a ring takes no requests"
    if not tree.is_known:
        return Unavailable(
            Outcome.NOT_APPLIED, "this node is still building its hash tree", _NOBODY
        )
    middles = range(MIDDLES)
    if request.partition is not None:
        if request.partition >= ring.partitions:
            return Refused(Refusal.NO_PARTITION, f"there are {ring.partitions} partitions")
        share = MIDDLES // ring.partitions
        middles = range(request.partition * share, (request.partition + 1) * share)
    sums = {number: tree.middle(number) for number in middles if tree.middle(number)}
    return SumsResult(ring.partitions, sums)


class CopyingRecords(Conversation):
    """One page of records on its way to whoever copies this node."""

    __slots__ = ("_began", "_done", "_records", "_request", "_result", "_stop")

    is_background = True

    def __init__(self, desk: Desk, request: CopyRecords, done: Done) -> None:
        super().__init__(desk)
        self._request = request
        self._done = done
        self._began = desk.now
        self._records: list[PlainRecord] = []
        self._result: Result = _unread()

    def start(self) -> None:
        """Read the page."""
        first = self._request.middle * LEAVES_PER_MIDDLE
        start, self._stop = records_range(first, first + LEAVES_PER_MIDDLE)
        after = self._request.after
        if after is not None:
            start = max(start, after + b"\0")
        self.desk.outbox.load(
            ScanRows(start, self._stop, _PAGE_ROWS, _PAGE_BYTES), self._loaded, self._failed
        )

    def due(self, what: str) -> None:
        """The pause after this unit of background work is over."""
        self._end()

    def _loaded(self, rows: list[tuple[bytes, bytes]]) -> None:
        for row, value in rows:
            key = record_key(row)
            try:
                container = Record.decode(value).container
            except DamagedRecord:
                self.desk.counters.damaged_records += 1
                self.desk.repairs.damaged(key)
                continue
            if container.versions:
                plain = container_to_plain(container)
                self._records.append((key.bucket, key.key, plain, container.context.to_plain()))
        if not rows:
            self._read_upto(None)
            return
        last = rows[-1][0]

        def looked(following: list[tuple[bytes, bytes]]) -> None:
            self._read_upto(last if following else None)

        # A page that was cut by bytes may be short without being the last.
        self.desk.outbox.load(
            ScanRows(last + b"\0", self._stop, limit_rows=1, limit_bytes=1, keys_only=True),
            looked,
            self._failed,
        )

    def _read_upto(self, last: bytes | None) -> None:
        self._result = RecordsResult(self._records, last)
        if self.desk.outbox.stores_pending:
            # A scan sees stores that are under way: show it once those are on disk.
            self.desk.outbox.store((), (), self._pause, self._failed)
        else:
            self._pause()

    def _pause(self) -> None:
        now = self.desk.now
        pause_ns = self.desk.admission.pause_ns(now, now - self._began)
        self.wake("pause", now + pause_ns)

    def _failed(self, _reason: FailureReason) -> None:
        self._result = _unread()
        self._end()

    def _end(self) -> None:
        self.close("pause")
        self._done(self._result)


def copy_body(desk: Desk, request: CopyBody, done: Done) -> None:
    """One version's body, wherever it lies."""
    key = Key.of(request.bucket, request.key)

    def failed(_reason: FailureReason) -> None:
        done(_unread())

    def read(record: Record) -> None:
        version = record.container.versions.get(request.dot)
        if version is None or version.body is not None:
            done(BodyResult(None if version is None else version.body))
            return

        def fetched(bodies: dict[Dot, bytes]) -> None:
            done(BodyResult(bodies.get(request.dot)))

        desk.replica.read_bodies(key, [request.dot], fetched, failed)

    desk.replica.read(key, read, failed)


def take_records(desk: Desk, request: TakeRecords, done: Done) -> None:
    """Merge records; answered when all are on disk. Nothing is begun where one is refused."""
    taken: list[tuple[Key, Container[Version]]] = []
    for bucket, name, versions, context in request.records:
        if not is_name(bucket, name):
            done(Refused(Refusal.BAD_RECORDS, "no object can be called so"))
            return
        key = Key.of(bucket, name)
        try:
            container = container_from_plain(versions, context)
        except (ValueError, TypeError) as error:
            done(Refused(Refusal.BAD_RECORDS, f"{key!r}: {error}"))
            return
        if any(version.body is None for version in container.versions.values()):
            done(Refused(Refusal.BAD_RECORDS, f"{key!r} comes without a body"))
            return
        partition = desk.placement.partition(key)
        if desk.self_id not in desk.placement.register(partition).owners:
            done(Refused(Refusal.NOT_OWNER, f"partition {partition} has other owners"))
            return
        taken.append((key, container))
    _merge_all(desk, taken, done)


def _merge_all(desk: Desk, taken: list[tuple[Key, Container[Version]]], done: Done) -> None:
    left = len(taken)
    failure: FailureReason | None = None

    def one_less() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            return
        if failure is None:
            done(TakenResult(len(taken)))
        elif failure is FailureReason.FULL:
            done(Refused(Refusal.DISK_FULL, "the disk is full; some records may be there"))
        else:
            done(Unavailable(Outcome.INDETERMINATE, "records could not be stored", _NOBODY))

    def failed(reason: FailureReason) -> None:
        nonlocal failure
        failure = reason
        one_less()

    if not taken:
        one_less()
    for key, container in taken:
        # Writes from now on count as later than what is taken, by whatever clock that was made.
        desk.clock.adopt(desk.now, max(map(timestamp_of, container.versions.values()), default=0))
        desk.replica.merge(key, container, list, (), one_less, failed)


def _unread() -> Unavailable:
    return Unavailable(Outcome.NOT_APPLIED, "this node could not read its store", _NOBODY)
