"""Moves the messages of links: one task reads a stream, one writes it.

A task per message would cost many times the message. So a writer takes all that has gathered, and a
reader decodes all that one receive has brought and hands it over as one list.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from sadik_comms import CommsError, Stream
from sadik_machine import Codec, FrameReader, LinkState, NodeId, RemoteProtocolError
from sadik_members.hello import Hello, StreamKind
from sadik_members.messages import MESSAGES, JoinRequest
from sadik_members.messenger.events import Counters, MessengerEvents, MessengerLimits, Watcher
from sadik_members.messenger.link import Link
from sadik_members.messenger.outbox import SEQUENCE_BYTES, Outbox
from sadik_members.sequence import SequenceFilter

__all__ = ["Pump"]

HEARD_EVERY_S = 0.1
CLOSED = "the peer closed the stream"
ENDING_S = 1.0
"""How long one stream of a link may go on when the other has ended."""
SMALL_READ_BYTES = 65_536
BULK_READ_BYTES = 262_144

_OWN_CLASSES = frozenset(MESSAGES.classes.values())


class Pump:
    """Reads and writes the streams of all links of one messenger; ``down`` ends a link."""

    def __init__(
        self,
        codec: Codec,
        events: MessengerEvents,
        limits: MessengerLimits,
        counters: Counters,
        down: Callable[[Link, str], None],
        watcher: Watcher | None = None,
    ) -> None:
        self._codec = codec
        self._events = events
        self._limits = limits
        self._counters = counters
        self._down = down
        self._watcher = watcher
        self._held: trio.Event | None = None
        self._heard: dict[NodeId, None] = {}
        self._heard_event: trio.Event | None = None

    @property
    def is_held(self) -> bool:
        """Whether nothing is read."""
        return self._held is not None

    def hold(self) -> None:
        """Stop reading."""
        if self._held is None:
            self._held = trio.Event()

    def release(self) -> None:
        """Read on."""
        if self._held is not None:
            self._held.set()
            self._held = None

    async def write(self, link: Link, kind: StreamKind, stream: Stream, first: bytes) -> None:
        """Write ``first``, then what gathers, until the link ends or closes."""
        outbox = link.outbox(kind)
        try:
            if first:
                await stream.send_all(first)
            outbox.stream = stream
            while await outbox.wait():
                data, count = outbox.take(self._limits.write_bytes)
                await stream.send_all(data)
                self._wrote(link, outbox, len(data), count)
            await stream.send_eof()
        except CommsError as error:
            self._down(link, str(error))
        finally:
            outbox.stream = None

    def write_now(self, link: Link, outbox: Outbox) -> None:
        """Write what has gathered if that needs no waiting; else leave it to `write`."""
        sent, count = outbox.take_now(self._limits.write_bytes)
        if count:
            self._wrote(link, outbox, sent, count)
        else:
            self._counters.bytes_out += sent
            outbox.wake()

    def _wrote(self, link: Link, outbox: Outbox, size: int, count: int) -> None:
        counters = self._counters
        counters.writes += 1
        counters.messages_out += count
        counters.bytes_out += size
        if outbox.wrote():
            self._has_room(link)

    def _has_room(self, link: Link) -> None:
        if link.is_full and not (link.small.is_full or link.bulk.is_full):
            link.is_full = False
            self._events.on_link(link.node, LinkState.UP)

    async def read(self, link: Link, kind: StreamKind, stream: Stream, leftover: bytes) -> None:
        """Deliver ``leftover`` and what comes after it, until the stream ends."""
        limits, counters = self._limits, self._counters
        is_small = kind is StreamKind.SMALL
        reader = FrameReader(limits.small_frame_bytes if is_small else limits.bulk_frame_bytes)
        read_bytes = SMALL_READ_BYTES if is_small else BULK_READ_BYTES
        numbers = SequenceFilter()

        def take(data: bytes) -> None:
            counters.receives += 1
            counters.bytes_in += len(data)
            self._take(link, numbers, reader.feed(data))

        try:
            if leftover:
                take(leftover)
            while True:
                if self._held is not None:
                    await self._held.wait()
                if self._watcher is not None and stream.descriptor is not None:
                    if await _Watched(
                        self, self._watcher, link, stream, read_bytes, take
                    ).is_held():
                        continue
                    break
                data = await stream.receive_some(read_bytes)
                if not data:
                    self.closed(link)
                    break
                take(data)
        except (RemoteProtocolError, CommsError) as error:
            self.failed(link, stream, error)
            return
        if not link.is_down:
            # A peer that stops ends both, and the other may still bring messages.
            await trio.sleep(ENDING_S)
            self._down(link, CLOSED)

    def closed(self, link: Link) -> None:
        """The peer has closed one of its streams."""
        link.open_streams -= 1
        if not link.open_streams:
            self._down(link, CLOSED)

    def failed(self, link: Link, stream: Stream, error: RemoteProtocolError | CommsError) -> None:
        """A stream broke, or brought what it may not."""
        if isinstance(error, RemoteProtocolError):
            self._counters.reject(error.reason)
            detail = {"peer": link.node.hex(), "reason": error.reason, "detail": str(error)}
            self._events.on_log("bad_message", detail)
            stream.abort()
        self._down(link, str(error))

    def _take(self, link: Link, numbers: SequenceFilter, payloads: list[bytes]) -> None:
        """Decode and deliver what one read has brought."""
        messages: list[object] = []
        accept, decode = numbers.accept, self._codec.decode
        try:
            for payload in payloads:
                if not accept(int.from_bytes(payload[:SEQUENCE_BYTES], "big")):
                    self._counters.reject("duplicate")
                    continue
                try:
                    message = decode(payload[SEQUENCE_BYTES:])
                except RemoteProtocolError as error:
                    if error.reason != "unknown_message":
                        raise
                    # A later version's; its sender does without an answer.
                    self._counters.reject("unknown_message")
                    continue
                if type(message) is JoinRequest and not _is_of(message, link.hello):
                    self._counters.reject("forged")
                    continue
                if link.is_trusted or type(message) in _OWN_CLASSES:
                    messages.append(message)
                else:
                    self._counters.reject("not_a_member")
        finally:
            self._note_heard(link.node)
            if messages:
                self._counters.messages_in += len(messages)
                self._events.deliver(link.node, messages)

    def _note_heard(self, node: NodeId) -> None:
        self._heard[node] = None
        if self._heard_event is not None:
            self._heard_event.set()
            self._heard_event = None

    async def tell_heard(self) -> None:
        """Tell the host, a few times a second, who was heard."""
        while True:
            if not self._heard:
                self._heard_event = trio.Event()
                await self._heard_event.wait()
            await trio.sleep(HEARD_EVERY_S)
            heard, self._heard = tuple(self._heard), {}
            self._events.on_heard(heard)


class _Watched:
    """A stream that is read whenever there is something to read, until it ends or is held.

    Its end is acted on at once, as what it brought before: whoever is served in the same turn is
    not to be sent to a peer that has just gone.
    """

    def __init__(
        self,
        pump: Pump,
        watcher: Watcher,
        link: Link,
        stream: Stream,
        read_bytes: int,
        take: Callable[[bytes], None],
    ) -> None:
        descriptor = stream.descriptor
        assert descriptor is not None, "it can be watched"
        self._pump = pump
        self._watcher = watcher
        self._link = link
        self._stream = stream
        self._read_bytes = read_bytes
        self._take = take
        self._descriptor = descriptor
        self._is_over = trio.Event()
        self._is_forgotten = False
        self._is_held = False

    async def is_held(self) -> bool:
        """Read until reading is held (True), or the stream has ended or failed."""
        self._watcher.watch(self._descriptor, self._ready)
        try:
            await self._is_over.wait()
        finally:
            self._forget()
        return self._is_held

    def _ready(self) -> None:
        if self._pump.is_held:
            self._is_held = True
            self._end()
            return
        try:
            data = self._stream.receive_now(self._read_bytes)
            if data:
                self._take(data)
            elif data is not None:
                self._end()
                self._pump.closed(self._link)
        except (RemoteProtocolError, CommsError) as error:
            self._end()
            self._pump.failed(self._link, self._stream, error)

    def _end(self) -> None:
        self._forget()
        self._is_over.set()

    def _forget(self) -> None:
        if not self._is_forgotten:
            self._is_forgotten = True
            self._watcher.forget(self._descriptor)


def _is_of(request: JoinRequest, hello: Hello) -> bool:
    """Whether a node asks to be taken in as who it is: by the name that its hello has proven.

    A hello of 0.1.0 has no name, and proves none.
    """
    return not hello.name or request.name == hello.name
