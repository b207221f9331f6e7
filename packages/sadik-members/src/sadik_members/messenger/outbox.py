"""What waits to be written to one stream: gathered by senders, taken by one writer.

`Outbox.offer` is synchronous and costs a few list operations: many messages leave in one write,
and nothing is awaited per message.
"""

from __future__ import annotations

import struct

import trio

__all__ = ["SEQUENCE_BYTES", "Outbox"]

_HEAD = struct.Struct(">IQ")
SEQUENCE_BYTES = 8


class Outbox:
    """Messages for one stream of one link, numbered from 1.

    ``pending_bytes`` counts what is being written too. A message is taken while it and
    ``pending_bytes`` stay within ``bytes_max``; with ``may_exceed``, while ``pending_bytes`` alone
    does, so that one large value always finds room.
    """

    __slots__ = (
        "_bytes_max",
        "_chunks",
        "_is_closing",
        "_may_exceed",
        "_messages",
        "_number",
        "_wake",
        "_writing_bytes",
        "is_full",
        "pending_bytes",
    )

    def __init__(self, bytes_max: int, *, may_exceed: bool) -> None:
        self._number = 0
        self._bytes_max = bytes_max
        self._may_exceed = may_exceed
        self._chunks: list[bytes] = []
        self._messages: list[object] = []
        self._wake: trio.Event | None = None
        self._writing_bytes = 0
        self._is_closing = False
        self.pending_bytes = 0
        self.is_full = False

    def offer(self, message: object, payload: bytes) -> bool:
        """Queue a message; False, and nothing is queued, at the bound."""
        size = len(payload) + SEQUENCE_BYTES
        if self.pending_bytes + (0 if self._may_exceed else size) > self._bytes_max:
            self.is_full = True
            return False
        self._number += 1
        self._chunks.append(_HEAD.pack(size, self._number))
        self._chunks.append(payload)
        self._messages.append(message)
        self.pending_bytes += size
        if self._wake is not None:
            self._wake.set()
            self._wake = None
        return True

    async def wait(self) -> bool:
        """Wait for something to write; False when closing and all has been written."""
        while not self._chunks:
            if self._is_closing:
                return False
            self._wake = trio.Event()
            await self._wake.wait()
        return True

    def take(self, about_bytes: int) -> tuple[bytes, int]:
        """The bytes to write next, and of how many messages; from now on they may have been sent.

        All that waits if that is at most ``about_bytes``; else a part, of at least one message.
        """
        chunks, messages = self._chunks, self._messages
        count = len(messages)
        if self.pending_bytes > about_bytes and count > 1:
            size = count = 0
            while size < about_bytes and count < len(messages):
                size += len(chunks[2 * count + 1])
                count += 1
        data = b"".join(chunks[: 2 * count])
        del chunks[: 2 * count]
        del messages[:count]
        self._writing_bytes = len(data) - 4 * count
        return data, count

    def wrote(self) -> bool:
        """What was taken has been written. Whether the outbox was full and has room again."""
        self.pending_bytes -= self._writing_bytes
        self._writing_bytes = 0
        if self.is_full and 2 * self.pending_bytes <= self._bytes_max:
            self.is_full = False
            return True
        return False

    def close(self) -> None:
        """Let the writer end when all has been written."""
        self._is_closing = True
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def take_unsent(self) -> list[object]:
        """The messages that were never part of a write."""
        unsent, self._messages = self._messages, []
        self._chunks.clear()
        self.pending_bytes = self._writing_bytes
        return unsent
