"""The client for trio: a shell that performs the core's actions on trio's sockets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, assert_never

import trio

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
    CHUNK_BYTES,
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


class Client(AsyncClient):
    """Talks to a cluster from trio. Use it as an async context manager, or `aclose` it."""

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
        self._places = trio.Semaphore(self._core.settings.connections_max)

    async def _run(self, steps: Steps[_T]) -> _T:
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
                    began = _now_ns()
                    has_place = has_place or await self._enter(action.budget_ns)
                    outcome: Outcome = Entered(began) if has_place else NO_PLACE
                else:
                    outcome = await self._perform(action)
                event = Event(_now_ns(), outcome)
        finally:
            # After a cancellation, or an error of the caller's own function, it is not at its end.
            steps.close()
            if has_place:
                self._places.release()

    async def _enter(self, budget_ns: int) -> bool:
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            with trio.move_on_after(budget_ns / 1e9) as scope:
                await self._places.acquire()
            return not scope.cancelled_caught
        return True

    async def _perform(self, action: Action) -> Outcome:
        match action:
            case Exchange(link, data, deadline_ns):
                assert isinstance(link, _StreamLink)
                return await link.exchange(data, deadline_ns)
            case Receive(link, deadline_ns):
                assert isinstance(link, _StreamLink)
                return await link.exchange(b"", deadline_ns)
            case Open():
                return await self._open(action)
            case Sleep(until_ns):
                await trio.sleep_until(until_ns / 1e9)
                return None
            case Resolve(resolver, entry):
                return Resolved(resolver(entry))
            case Enter():
                raise AssertionError("entering is the loop's own")
            case _:
                assert_never(action)

    async def _open(self, action: Open) -> Opened | Broken:
        host, port, is_tls = action.address
        link: _StreamLink | None = None
        with trio.move_on_at(action.deadline_ns / 1e9):
            try:
                stream = await trio.open_tcp_stream(host, port)
                link = _StreamLink(stream, None)
                if is_tls:
                    if self._ssl_context is None:
                        self._ssl_context = default_ssl_context()
                    secured = trio.SSLStream(
                        stream, self._ssl_context, server_hostname=host, https_compatible=True
                    )
                    link = _StreamLink(stream, secured)
                    await secured.do_handshake()
            except (OSError, trio.BrokenResourceError) as error:
                if link is not None:
                    link.close()
                cause = _cause_of(error)
                return not_opened(cause, reason_of(cause))
            except BaseException:
                if link is not None:
                    link.close()
                raise
            return Opened(link)
        return TIMED_OUT._replace(nothing_sent=True)


class _StreamLink:
    """A connected stream, in the clear or secured."""

    __slots__ = ("_secured", "_socket")

    def __init__(
        self, stream: trio.SocketStream, secured: trio.SSLStream[trio.SocketStream] | None
    ) -> None:
        # The socket itself where there is no TLS: it is quicker, and tells what was sent.
        self._socket = stream.socket
        self._secured = secured

    def close(self) -> None:
        self._socket.close()

    def is_stale(self) -> bool:
        return self._socket.is_readable()

    async def exchange(self, data: bytes, deadline_ns: int) -> Received | Broken:
        sent = 0
        with trio.move_on_at(deadline_ns / 1e9):
            try:
                if self._secured is not None:
                    sent = len(data)  # how much of it went out nobody knows
                    if data:
                        await self._secured.send_all(data)
                    return Received(bytes(await self._secured.receive_some(CHUNK_BYTES)))
                while sent < len(data):
                    sent += await self._socket.send(memoryview(data)[sent:] if sent else data)
                return Received(await self._socket.recv(CHUNK_BYTES))
            except (OSError, trio.BrokenResourceError) as error:
                return Broken(reason_of(_cause_of(error)), nothing_sent=bool(data) and not sent)
        return TIMED_OUT._replace(nothing_sent=bool(data) and not sent)


def _now_ns() -> int:
    return int(trio.current_time() * 1e9)


def _cause_of(error: Exception) -> Exception:
    """What the system said, below what trio made of it."""
    cause = error.__cause__
    if isinstance(cause, ExceptionGroup):
        cause = cause.exceptions[0]  # of several addresses; one stands for all
    return cause if isinstance(cause, Exception) else error
