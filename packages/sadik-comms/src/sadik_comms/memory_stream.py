"""Streams in memory: what a `MemoryNetwork` opens between its hosts.

Each stream is two pipes. A pipe holds what was sent in order: data, the end, a close, a reset. The
head of it arrives when its time has come and the link is not cut; what has arrived stays readable.
Everything that one end learns about the other travels this way, so a cut hides a close too.
Nothing runs in the background: whoever waits works out when the next thing is due.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import attrs
import trio

from sadik_comms.errors import LocallyClosed, StreamBroken
from sadik_comms.transport import RECEIVE_BYTES, Stream


class Mark(enum.Enum):
    """What a pipe carries besides data."""

    END = enum.auto()
    """Nothing more will be sent."""
    CLOSE = enum.auto()
    """Nothing more will be sent, nor received."""
    RESET = enum.auto()
    """The stream is broken; what has not been received is lost."""


Item: TypeAlias = bytes | Mark


@attrs.define(eq=False)
class Link:
    """One direction between two hosts."""

    cut: bool = False
    delay_s: float = 0.0


@attrs.define(eq=False)
class Host:
    """One named host of a network."""

    paused: bool = False
    """Its tasks neither read nor write nor take streams, as those of a stopped process."""


@attrs.define(eq=False)
class Pipe:
    """One direction of a stream: what was sent, what has arrived, and what arrived last."""

    link: Link
    travelling: deque[tuple[float, Item]] = attrs.field(factory=deque)
    arrived: bytearray = attrs.field(factory=bytearray)
    state: Mark | None = None
    held_bytes: int = 0
    """Sent and not yet received: travelling and arrived."""

    def send(self, item: Item) -> None:
        at = trio.current_time() + self.link.delay_s
        if isinstance(item, bytes):
            self.held_bytes += len(item)
        self.travelling.append((at, item))
        self.advance()

    def advance(self) -> None:
        """Let arrive what is due, in order, also where the delay has become shorter."""
        if not self.travelling or self.link.cut:
            return
        now = trio.current_time()
        while self.travelling and self.travelling[0][0] <= now:
            _, item = self.travelling.popleft()
            if isinstance(item, bytes):
                if self.state is None:
                    self.arrived += item
            elif self.state is not Mark.RESET:
                self.state = item
                if item is Mark.RESET:
                    self.drop()

    def drop(self) -> None:
        self.travelling.clear()
        self.arrived.clear()
        self.held_bytes = 0

    def take(self, max_bytes: int) -> bytes:
        taken = bytes(self.arrived[:max_bytes])
        del self.arrived[:max_bytes]
        self.held_bytes -= len(taken)
        return taken

    @property
    def next_arrival(self) -> float:
        """When waiting may end by itself, on trio's clock; infinite without such a time."""
        return self.travelling[0][0] if self.travelling and not self.link.cut else math.inf


class MemoryStream(Stream):
    """One end of a stream in memory; made by `MemoryTransport`."""

    __slots__ = (
        "_buffer_bytes",
        "_closed",
        "_ended",
        "_host",
        "_incoming",
        "_lot",
        "_on_close",
        "_other",
        "_outgoing",
        "_peer",
        "_receiving",
        "_sending",
    )
    _other: MemoryStream

    def __init__(
        self,
        peer: str,
        host: Host,
        incoming: Pipe,
        outgoing: Pipe,
        buffer_bytes: int,
        on_close: Callable[[MemoryStream], None],
    ) -> None:
        self._peer = peer
        self._host = host
        self._incoming = incoming
        self._outgoing = outgoing
        self._buffer_bytes = buffer_bytes
        self._on_close = on_close
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False
        self._ended = False
        self._receiving = False
        self._sending = False

    def join(self, other: MemoryStream) -> None:
        """Make this and ``other``, whose pipes are this one's exchanged, two ends of a stream."""
        assert self._incoming is other._outgoing
        assert self._outgoing is other._incoming
        self._other = other
        other._other = self

    @property
    def peer(self) -> str:
        return self._peer

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                await self._while_paused()
                self._check_open()
                incoming = self._incoming
                if incoming.arrived:
                    taken = incoming.take(max_bytes)
                    self._other.wake()
                    return taken
                if incoming.state is not None:
                    return b""
                await self._wait()
        finally:
            self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            with memoryview(data) as whole, whole.cast("B") as view:
                sent = 0
                while True:
                    await self._while_paused()
                    self._check_sendable()
                    room = self._buffer_bytes - self._outgoing.held_bytes
                    if sent < len(view) and room > 0:
                        self._outgoing.send(bytes(view[sent : sent + room]))
                        sent = min(sent + room, len(view))
                        self._other.wake()
                    if sent == len(view):
                        return
                    await self._wait()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint()
        await self._while_paused()
        self._check_open()
        if not self._ended:
            self._ended = True
            self._outgoing.send(Mark.END)
            self._other.wake()

    async def aclose(self) -> None:
        self._shut(Mark.CLOSE)
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self._shut(Mark.RESET)

    def wake(self) -> None:
        """Let the tasks that wait in this end look again."""
        self._lot.unpark_all()

    def settle(self) -> None:
        """Let arrive what is due, before a link changes."""
        self._incoming.advance()

    def break_now(self) -> None:
        """Break this end at once, whatever the links are."""
        self._incoming.drop()
        self._outgoing.drop()
        self._incoming.state = Mark.RESET
        self.wake()

    def _shut(self, mark: Mark) -> None:
        if self._closed:
            return
        self._closed = True
        self._outgoing.send(mark)
        # What the peer sent and will still send is lost; its buffer is as good as empty.
        self._incoming.drop()
        self._on_close(self)
        self.wake()
        self._other.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise LocallyClosed(f"the stream to {self._peer} was closed on this side")
        self._incoming.advance()
        if self._incoming.state is Mark.RESET:
            raise StreamBroken(f"the stream to {self._peer} broke: reset")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._ended:
            raise LocallyClosed(f"the sending half of the stream to {self._peer} is closed")
        if self._incoming.state is Mark.CLOSE:
            raise StreamBroken(f"the stream to {self._peer} broke: the peer has closed")

    async def _while_paused(self) -> None:
        while self._host.paused and not self._closed:
            await self._lot.park()

    async def _wait(self) -> None:
        """Sleep until something changed, or the next thing from the peer is due."""
        with trio.move_on_at(self._incoming.next_arrival):
            await self._lot.park()
