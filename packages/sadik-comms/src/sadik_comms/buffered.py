"""One writer for many senders: chunks are gathered and written joined.

Writing each message with a lock, a task and a ``send_all`` of its own costs several times what the
message does. Here synchronous code offers chunks, which costs an append, and one task writes all
that gathered since its last turn in one go. What waits is bounded in bytes: at the bound an offer
is refused, and the caller slows down whoever made it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from sadik_comms.errors import LocallyClosed

if TYPE_CHECKING:
    from sadik_comms.transport import Stream

WRITE_BYTES = 262_144
"""How much one write joins: more saves nothing, and copies more at once."""


class GatheringSender:
    """The sending half of a stream, for one task's synchronous code.

    Start `run` in a task, `offer` chunks from any synchronous code of its trio run, and `close`
    when there will be no more.

    ``pending_bytes_max`` bounds what is offered and not yet written (a write under way included).
    ``on_room``, if given, is called once after an offer was refused, as soon as no more than half
    of the bound is pending: the time to offer again.
    """

    __slots__ = (
        "_chunks",
        "_closed",
        "_lot",
        "_on_room",
        "_refused",
        "_stream",
        "pending_bytes",
        "pending_bytes_max",
    )

    def __init__(
        self,
        stream: Stream,
        *,
        pending_bytes_max: int,
        on_room: Callable[[], None] | None = None,
    ) -> None:
        if pending_bytes_max < 1:
            raise ValueError(f"pending_bytes_max is {pending_bytes_max}, must be at least 1")
        self.pending_bytes_max = pending_bytes_max
        self.pending_bytes = 0
        """Offered and not yet written."""
        self._stream = stream
        self._on_room = on_room
        self._chunks: deque[bytes] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False
        self._refused = False

    def offer(self, data: bytes) -> bool:
        """Queue ``data`` whole, or refuse it whole: False when it does not fit below the bound.

        Accepted means queued, not sent. Raises ValueError for a chunk larger than the bound, which
        would never fit, and `LocallyClosed` after `close` or once `run` has ended.
        """
        pending_bytes = self.pending_bytes + len(data)
        if self._closed:
            raise LocallyClosed(f"the sender to {self._stream.peer} is closed")
        if pending_bytes > self.pending_bytes_max:
            if len(data) > self.pending_bytes_max:
                raise ValueError(
                    f"a chunk of {len(data)} bytes never fits in {self.pending_bytes_max}"
                )
            self._refused = True
            return False
        self.pending_bytes = pending_bytes
        self._chunks.append(data)
        if self._lot:
            self._lot.unpark()
        return True

    def close(self) -> None:
        """Take no more offers; `run` returns when everything pending has been written."""
        self._closed = True
        self._lot.unpark_all()

    async def run(self) -> None:
        """Write what is offered, until `close`. Run it once.

        Raises what `Stream.send_all` raises; then, or when cancelled, what is pending is lost and
        later offers raise. Does not close the stream.
        """
        try:
            while True:
                while self._chunks:
                    data = self._gathered()
                    await self._stream.send_all(data)
                    self._written(len(data))
                if self._closed:
                    return
                await self._lot.park()
        finally:
            self._closed = True
            self._chunks.clear()

    def _gathered(self) -> bytes:
        """Take chunks from the front, at least one and else up to `WRITE_BYTES`, joined."""
        chunks = self._chunks
        if self.pending_bytes <= WRITE_BYTES:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            return data
        taken = [chunks.popleft()]
        size = len(taken[0])
        while chunks and size + len(chunks[0]) <= WRITE_BYTES:
            taken.append(chunks.popleft())
            size += len(taken[-1])
        return b"".join(taken)

    def _written(self, size: int) -> None:
        self.pending_bytes -= size
        if self._refused and self.pending_bytes * 2 <= self.pending_bytes_max:
            self._refused = False
            if self._on_room is not None:
                self._on_room()
