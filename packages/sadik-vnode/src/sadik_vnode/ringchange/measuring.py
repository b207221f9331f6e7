"""How many bytes a partition holds here: estimated from a sample of its records.

Records lie in the order of their tokens, and tokens are hashes: any stretch of a partition is a
fair sample of it. So the records from its start on are read, some hundreds of them, and what they
come to is divided by the share of the partition's tokens that they cover. A partition that ends
before the sample is full is counted exactly.

For records of one size the estimate is off by 4% or so (one over the root of the sample), and by
more the larger they are and the more their sizes differ. A running sum of bytes would be exact; but
it had to be kept up by every write, and read from all records once on each store that is older than
it, for a figure that people look at while something moves.

Bytes are counted as they travel: a record's row, and bodies in rows of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from sadik_machine import FailureReason, ScanRows
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import LEAVES, records_range, row_place
from sadik_vnode.record import bytes_outside

__all__ = ["Measuring"]

_SAMPLE_ROWS: Final = 640
_SAMPLE_BYTES: Final = 2**20
"""Read at most: of rows of 10 KiB some 100, for an estimate that is off by a tenth. To read as many
as of small ones would be to read most of what is there."""
_PAGE_ROWS: Final = 64
_PAGE_BYTES: Final = 64 * 1024


class Measuring(Conversation):
    """Estimates the bytes of partitions, one after another, and calls ``done`` once with them."""

    __slots__ = (
        "_began", "_bytes", "_done", "_following", "_left", "_read_bytes", "_rows", "_sizes",
    )  # fmt: skip

    is_background = True

    def __init__(
        self, desk: Desk, partitions: Sequence[int], done: Callable[[dict[int, int]], None]
    ) -> None:
        super().__init__(desk)
        self._left = deque(partitions)
        self._done = done
        self._sizes: dict[int, int] = {}
        self._began = desk.now
        self._following: Callable[[], None] | None = None
        self._rows = self._bytes = self._read_bytes = 0

    def start(self) -> None:
        """Read the first page."""
        self._next()

    def due(self, what: str) -> None:
        """Go on after a pause: in the same partition, or with the next."""
        following, self._following = self._following, None
        if following is not None:
            following()
        else:
            self._next()

    def _next(self) -> None:
        ring = self.desk.placement.ring
        if not self._left or ring is None:
            self.close("next")
            self._done(self._sizes)
            return
        self._rows = self._bytes = self._read_bytes = 0
        share = LEAVES // ring.partitions
        first = self._left.popleft()
        start, stop = records_range(first * share, (first + 1) * share)
        self._scan(first, start, start, stop)

    def _scan(self, partition: int, start: bytes, at: bytes, stop: bytes) -> None:
        self._began = self.desk.now

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            self._count(rows)
            # A page may be cut short by its bytes: only an empty one says that there is no more.
            if not rows:
                self._sized(partition, self._bytes)
            elif self._rows < _SAMPLE_ROWS and self._read_bytes < _SAMPLE_BYTES:
                self._following = partial(self._scan, partition, start, rows[-1][0] + b"\0", stop)
                self._pause()
            else:
                covered = row_place(rows[-1][0]) + 1 - row_place(start)
                whole = row_place(stop) - row_place(start)
                self._sized(partition, self._bytes * whole // max(covered, 1))

        def failed(_reason: FailureReason) -> None:
            self._pause()  # without this one: people are shown what has arrived

        self.desk.outbox.load(ScanRows(at, stop, _PAGE_ROWS, _PAGE_BYTES), loaded, failed)

    def _count(self, rows: list[tuple[bytes, bytes]]) -> None:
        for _, value in rows:
            self._rows += 1
            self._read_bytes += len(value)
            self._bytes += len(value) + bytes_outside(value)

    def _sized(self, partition: int, size: int) -> None:
        self._sizes[partition] = size
        self._pause()

    def _pause(self) -> None:
        """A page is read: let others have their turn."""
        desk = self.desk
        self.wake("next", desk.now + desk.admission.pause_ns(desk.now, desk.now - self._began))
