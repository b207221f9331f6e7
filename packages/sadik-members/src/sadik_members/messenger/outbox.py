"""What waits to be written to one stream: gathered by senders, taken by one writer.

`Outbox.offer` is synchronous and costs a few list operations: many messages leave in one write,
and nothing is awaited per message. Mostly the stream takes them at once (`Outbox.take_now`), and
the writer, whose waking costs as much as some messages, sleeps on.
"""

from __future__ import annotations

import struct

import trio

from sadik_comms import Stream

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
        "_rest",
        "_wake",
        "_writing",
        "_writing_bytes",
        "is_full",
        "pending_bytes",
        "stream",
    )

    def __init__(self, bytes_max: int, *, may_exceed: bool) -> None:
        self._number = 0
        self._bytes_max = bytes_max
        self._may_exceed = may_exceed
        self._chunks: list[bytes] = []
        self._messages: list[object] = []
        self._wake: trio.Event | None = None
        self._writing = 0
        self._writing_bytes = 0
        self._rest = b""
        """What the stream did not take at once, of messages that have been taken."""
        self.stream: Stream | None = None
        """Where the writer writes, while there is one."""
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
        return True

    def wake(self) -> None:
        """Have the writer write what was offered."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def wait(self) -> bool:
        """Wait for something to write; False when closing and all has been written."""
        while not (self._chunks or self._rest):
            if self._is_closing:
                return False
            self._wake = trio.Event()
            await self._wake.wait()
        return True

    def take(self, about_bytes: int) -> tuple[bytes, int]:
        """The bytes to write next, and of how many messages; from now on they may have been sent.

        All that waits if that is at most ``about_bytes``; else a part, of at least one message.
        What was left of messages that were taken before comes first, and by itself.
        """
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest, self._writing
        data, count = self._front(about_bytes)
        self._drop(data, count)
        return data, count

    def take_now(self, about_bytes: int) -> tuple[int, int]:
        """Have the stream take at once what `take` would give, or what it can of it.

        How many bytes it took, and how many messages are wholly written with them. None are if the
        writer is at work already. The writer is woken for what is left.
        """
        stream = self.stream
        if stream is None or self._wake is None or not self._chunks:
            return 0, 0
        data, count = self._front(about_bytes)
        sent = stream.send_now(data)
        if sent:
            self._drop(data, count)
            self._rest = data[sent:]
        if self._chunks or self._rest:
            self.wake()
        return sent, count if sent == len(data) else 0

    def _front(self, about_bytes: int) -> tuple[bytes, int]:
        chunks, messages = self._chunks, self._messages
        count = len(messages)
        if self.pending_bytes > about_bytes and count > 1:
            size = count = 0
            while size < about_bytes and count < len(messages):
                size += len(chunks[2 * count + 1])
                count += 1
        return b"".join(chunks[: 2 * count]), count

    def _drop(self, data: bytes, count: int) -> None:
        """From now on these may have been sent."""
        del self._chunks[: 2 * count]
        del self._messages[:count]
        self._writing = count
        self._writing_bytes = len(data) - 4 * count

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
        self.wake()

    def take_unsent(self) -> list[object]:
        """The messages that were never part of a write."""
        unsent, self._messages = self._messages, []
        self._chunks.clear()
        self.pending_bytes = self._writing_bytes
        return unsent
