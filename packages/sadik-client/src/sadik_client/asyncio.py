"""The client for asyncio: a shell that performs the core's actions on asyncio's transports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, assert_never

from sadik_client.actions import (
    Action,
    Broken,
    Enter,
    Entered,
    Event,
    Exchange,
    Open,
    Opened,
    Outcome,
    Receive,
    Received,
    Resolve,
    Resolved,
    Sleep,
    Steps,
)
from sadik_client.async_api import AsyncClient, Session
from sadik_client.results import Resolver
from sadik_client.settings import Settings
from sadik_client.shell import (
    NO_PLACE,
    TIMED_OUT,
    default_ssl_context,
    make_core,
    not_opened,
    reason_of,
)

if TYPE_CHECKING:
    import ssl

__all__ = ["Client", "Session"]

_T = TypeVar("_T")
_UNREAD_BYTES_MAX = 2**20


class Client(AsyncClient):
    """Talks to a cluster from asyncio. Use it as an async context manager, or `aclose` it."""

    def __init__(
        self,
        urls: str | Sequence[str] = "http://127.0.0.1:7070",
        *,
        settings: Settings | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """See `sadik_client.blocking.Client`."""
        self._core = make_core(urls, settings, token, token_file, resolver)
        self._ssl_context = ssl_context
        self._places = asyncio.Semaphore(self._core.settings.connections_max)

    async def aclose(self) -> None:
        """Close the idle connections. Requests under way in other tasks go on."""
        self._core.close()
        # A transport closes its socket in the loop's next turn, which may be its last.
        await asyncio.sleep(0)

    async def _run(self, steps: Steps[_T]) -> _T:
        loop = asyncio.get_running_loop()
        event: Event | None = None
        has_place = False
        try:
            while True:
                try:
                    # The first step takes None, as generators want it.
                    action = steps.send(event)  # type: ignore[arg-type]
                except StopIteration as end:
                    result: _T = end.value
                    return result
                if isinstance(action, Enter):
                    began = int(loop.time() * 1e9)
                    has_place = has_place or await self._enter(action.budget_ns)
                    outcome: Outcome = Entered(began) if has_place else NO_PLACE
                else:
                    outcome = await self._perform(loop, action)
                event = Event(int(loop.time() * 1e9), outcome)
        finally:
            # After a cancellation, or an error of the caller's own function, it is not at its end.
            steps.close()
            if has_place:
                self._places.release()

    async def _enter(self, budget_ns: int) -> bool:
        if not self._places.locked():
            return await self._places.acquire()
        try:
            async with asyncio.timeout(budget_ns / 1e9):
                return await self._places.acquire()
        except TimeoutError:
            return False

    async def _perform(self, loop: asyncio.AbstractEventLoop, action: Action) -> Outcome:
        match action:
            case Exchange(link, data, deadline_ns):
                assert isinstance(link, _ProtocolLink)
                if not link.send(data):
                    return Broken(link.ended or "it closed the connection", nothing_sent=True)
                return await link.receive(deadline_ns)
            case Receive(link, deadline_ns):
                assert isinstance(link, _ProtocolLink)
                return await link.receive(deadline_ns)
            case Open():
                return await self._open(loop, action)
            case Sleep(until_ns):
                await asyncio.sleep(until_ns / 1e9 - loop.time())
                return None
            case Resolve(resolver, entry):
                return Resolved(resolver(entry))
            case Enter():
                raise AssertionError("entering is the loop's own")
            case _:
                assert_never(action)

    async def _open(self, loop: asyncio.AbstractEventLoop, action: Open) -> Opened | Broken:
        host, port, is_tls = action.address
        if is_tls and self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        try:
            async with asyncio.timeout_at(action.deadline_ns / 1e9):
                _, link = await loop.create_connection(
                    lambda: _ProtocolLink(loop), host, port,
                    ssl=self._ssl_context if is_tls else None,
                )  # fmt: skip
        except OSError as error:
            return not_opened(error, reason_of(error))
        return Opened(link)


class _ProtocolLink(asyncio.Protocol):
    """A connected transport. What comes is kept until it is asked for, within a bound.

    ``ended`` says why no more will come: an empty text if the node closed in good order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self.ended: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > _UNREAD_BYTES_MAX and not self._is_paused:
            assert self._transport is not None
            self._transport.pause_reading()
            self._is_paused = True
        self._wake()

    def eof_received(self) -> None:
        self.ended = ""
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended is None:
            self.ended = "" if exc is None else reason_of(exc)
        self._wake()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def is_stale(self) -> bool:
        assert self._transport is not None
        # Bytes that were not sent yet belong to a request that was answered early.
        unsent = self._transport.get_write_buffer_size()
        return self.ended is not None or bool(self._unread) or unsent > 0

    def send(self, data: bytes) -> bool:
        """Hand it to the transport; False where it is closed, so that nothing goes out."""
        assert self._transport is not None
        if self.ended is not None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True

    async def receive(self, deadline_ns: int) -> Received | Broken:
        if not self._unread and self.ended is None:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_at(deadline_ns / 1e9, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._unread:
            data = bytes(self._unread)
            self._unread.clear()
            if self._is_paused:
                assert self._transport is not None
                self._transport.resume_reading()
                self._is_paused = False
            return Received(data)
        if self.ended is None:
            return TIMED_OUT
        return Broken(self.ended) if self.ended else Received(b"")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
