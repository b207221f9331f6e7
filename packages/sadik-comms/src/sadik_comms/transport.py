"""The trait of a transport: how duplex byte streams between nodes are opened.

A `Transport` dials an address and gives a `Stream`, or listens at one and gives a `Listener`, which
hands every stream that arrives to a handler. A stream is bytes in order, both ways, and nothing
else: no messages, no identity, no retries. What carries the bytes is the transport's own business,
so TLS is a transport that wraps another's streams, and a test's network is a transport too.

Rules that every transport keeps (`sadik_comms.conformance` checks them):

- Cancellation is trio's. Every ``async`` method here that returns was a checkpoint, whether it had
  to wait or not. A cancelled `Stream.receive_some` has taken nothing. A cancelled `Stream.send_all`
  has sent a prefix of unknown length, so the stream is good for nothing but closing (after which
  the peer finds it ended, or broken). A cancelled
  ``aclose`` has closed. A cancelled `Transport.dial` or `Transport.listen` leaves nothing open.
- One task at a time in each direction. A second one in the same direction is a fault of the caller
  and gets ``trio.BusyResourceError``.
- Only this package's errors (`CommsError`) come out of a transport.
- Memory is bounded: a peer that does not read makes `Stream.send_all` wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from types import TracebackType

    import trio

    from sadik_comms.address import Address

RECEIVE_BYTES = 65536
"""What `Stream.receive_some` takes at most unless told otherwise."""


class Stream(ABC):
    """Bytes in order, both ways, between this node and a peer.

    An ``async with`` block closes it at the end.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def peer(self) -> str:
        """Who is at the other end, for logs, such as ``"127.0.0.1:40312"``. It proves nothing."""

    @property
    def proven_names(self) -> frozenset[str] | None:
        """The names that the other side has proven to bear; None where the transport proves none.

        An empty set is a proof without a name: the other side belongs here, but is nobody.
        """
        return None

    @abstractmethod
    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """Wait for bytes and return 1 to ``max_bytes`` of them, or ``b""`` at the end.

        The end is when the peer has closed, or sent its end by `send_eof`, and all that it sent
        before was received; it is then told again at each call.

        Raises `StreamBroken` when the stream is gone (bytes not yet received may be lost then),
        and `LocallyClosed`.
        """

    @abstractmethod
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, waiting while the peer is slow to read.

        Returning means that the bytes were handed on, not that the peer has them. ``data`` must not
        change until then.

        Raises `StreamBroken` when the stream is gone or the peer has closed (sooner or later: the
        news may still be on its way), and `LocallyClosed`, also after `send_eof`. After either, or
        a cancellation, how much was sent is unknown.
        """

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Send what can be sent of ``data`` without waiting; how many bytes of its beginning.

        For who has little to send and no task to wait in: a task's turn costs more than the bytes.
        It never raises and may send nothing, as where another task is sending, where the stream is
        gone, or where a transport knows no such way: then `send_all` is the way, and says why.
        """
        return 0

    @property
    def descriptor(self) -> int | None:
        """What can be read from, as the system sees it, when `receive_now` would not return None.

        None where a transport has no such thing: then `receive_some` is the way.
        """
        return None

    def receive_now(self, max_bytes: int = RECEIVE_BYTES) -> bytes | None:
        """What `receive_some` returns, or raises, if it need not wait for it; else None.

        For who waits for many streams in one place, by their `descriptor`. Not while a task is in
        `receive_some`.
        """
        return None

    @abstractmethod
    async def send_eof(self) -> None:
        """Say that nothing more will be sent; the peer still may send. Twice is harmless.

        Raises `StreamBroken` and `LocallyClosed`.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close both directions. Never fails, never waits for the peer; twice is harmless.

        The peer gets what was sent before and then the end, unless it had sent what this side
        never received: then its stream may be broken instead, and bytes lost.
        """

    @abstractmethod
    def abort(self) -> None:
        """Close at once, from synchronous code too; the peer's stream breaks.

        For a peer that misbehaves, or a stream in an unknown state. Bytes on the way are lost.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


Handler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""What a `Listener` runs for every stream; the stream is closed when it returns or raises."""


class Listener(ABC):
    """An address that peers can dial: from `Transport.listen` on, streams wait to be served.

    An ``async with`` block closes it at the end.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def address(self) -> Address:
        """What was really bound: a port 0 has become the port that was found."""

    @abstractmethod
    async def serve(self, handler: Handler, nursery: trio.Nursery) -> None:
        """Take streams until the listener is closed; run ``handler(stream)`` in ``nursery`` each.

        The stream is closed after its handler. What a handler raises is raised in ``nursery``, so
        handlers catch what they expect (`StreamBroken` above all). A connection that cannot be
        taken never ends the serving. Returns when the listener has been closed by another task;
        cancelling ends the serving and leaves the listener open, and handlers go on in either case.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop listening: new dials are refused, and streams nobody has taken yet are broken.

        Streams already handed out live on. Never fails; twice is harmless.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class Transport(ABC):
    """A way to open streams. Holds settings, not connections, so it needs no closing."""

    __slots__ = ()

    @abstractmethod
    async def dial(self, address: Address) -> Stream:
        """Open a stream to whoever listens at ``address``.

        Success means that the peer's machine took the connection, not that its process is alive;
        but a transport that shakes hands waits until the listener is served.
        Raises `DialFailed`, within the transport's own timeout.
        """

    @abstractmethod
    async def listen(self, address: Address) -> Listener:
        """Listen at ``address``; port 0 finds a free one (see `Listener.address`).

        A port whose last holder was killed is free at once. Raises `AddressInUse` when somebody
        listens there, else `ListenFailed`.
        """


async def run_handler(handler: Handler, stream: Stream) -> None:
    """Run ``handler(stream)`` and close the stream: what a `Listener` starts for every stream."""
    async with stream:
        await handler(stream)
