"""Streams over TCP.

What TCP leaves open is settled here: small writes go out at once (``TCP_NODELAY``, since writers
above gather), a peer that vanished without a word is noticed (keep-alive probes, and
``TCP_USER_TIMEOUT`` for bytes never acknowledged), a port whose last holder was killed can be bound
again (``SO_REUSEADDR``), and running out of file descriptors delays new connections instead of
ending the listener.

What it cannot do: an answer on the connection means that the peer's kernel is alive; a stopped
process accepts connections too. Liveness is a question for the layers above.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, TypeAlias

import attrs
import trio

from sadik_comms.address import Address
from sadik_comms.backoff import Backoff
from sadik_comms.errors import (
    AcceptFailed,
    AddressInUse,
    CommsError,
    DialFailed,
    ListenFailed,
    LocallyClosed,
    StreamBroken,
)
from sadik_comms.transport import (
    RECEIVE_BYTES,
    Handler,
    Listener,
    Stream,
    Transport,
    run_handler,
)

_DIAL_HINTS = {
    errno.ECONNREFUSED: "nobody listens there: is that node running, and is this its peer address?",
    errno.EHOSTUNREACH: "no way to that host: is it up, and the network between?",
    errno.ENETUNREACH: "no route to that network: check this machine's network",
    errno.ETIMEDOUT: "is the host up, and does a firewall drop the packets?",
    errno.EMFILE: "this process is out of file descriptors: raise its limit (ulimit -n)",
    errno.ENFILE: "this machine is out of file descriptors",
    errno.EADDRNOTAVAIL: "this machine has no free local port, or not that kind of address",
}
_LISTEN_HINTS = {
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
    errno.EACCES: "not permitted: ports below 1024 need privileges",
    errno.EMFILE: "this process is out of file descriptors: raise its limit (ulimit -n)",
}
# The connection died while it waited; the next one is not concerned, so no pause.
_ACCEPT_AT_ONCE = frozenset({errno.ECONNABORTED, errno.EPROTO})
_ACCEPT_HINTS = {
    errno.EMFILE: "this process is out of file descriptors: raise its limit (ulimit -n)",
    errno.ENFILE: "this machine is out of file descriptors",
}
_ACCEPT_PAUSE_INITIAL_NS = 10_000_000
_ACCEPT_PAUSE_MAXIMUM_NS = 1_000_000_000
# Other sockets of a name must get the port that the first one found; it may be taken there.
_SHARED_PORT_TRIES = 8
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
# Unsent bytes that the kernel holds before it says "full": enough to keep a fast link busy, and
# little enough that back-pressure is felt before megabytes are queued.
_UNSENT_BYTES = 131_072

_Place: TypeAlias = tuple[socket.AddressFamily, Any]


class TcpStream(Stream):
    """One TCP connection; made by `TcpTransport`."""

    __slots__ = ("_broken", "_closed", "_ended", "_peer", "_sending", "_socket")

    def __init__(self, sock: socket.socket, peer: str) -> None:
        """Take over ``sock``, connected and non-blocking."""
        self._socket = sock
        self._peer = peer
        self._broken: Exception | None = None
        self._closed = False
        self._ended = False
        self._sending = False

    @property
    def peer(self) -> str:
        return self._peer

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, must be at least 1")
        self._check_open()
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except (OSError, trio.ClosedResourceError) as error:
                raise self._translated(error) from error
            data = self.receive_now(max_bytes)
            if data is not None:
                return data

    @property
    def descriptor(self) -> int | None:
        return None if self._closed else self._socket.fileno()

    def receive_now(self, max_bytes: int = RECEIVE_BYTES) -> bytes | None:
        self._check_open()
        try:
            data = self._socket.recv(max_bytes)
        except BlockingIOError:
            # Readiness is a hint; the kernel may have dropped what it announced.
            return None
        except OSError as error:
            raise self._translated(error) from error
        if not data and self._broken is not None:
            # The kernel tells of a broken connection once, perhaps to the sender, and calls it
            # ended from then on; it must not pass for an end that the peer meant.
            raise self._translated(self._broken)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._check_open()
        if self._ended:
            raise LocallyClosed(f"the sending half of the stream to {self._peer} is closed")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._sending = True
        try:
            with memoryview(data) as whole, whole.cast("B") as rest:
                sent = self._send_some(rest)
                if sent == len(rest):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                while sent < len(rest):
                    await trio.lowlevel.wait_writable(self._socket)
                    sent += self._send_some(rest[sent:])
        except (OSError, trio.ClosedResourceError) as error:
            raise self._translated(error) from error
        finally:
            self._sending = False

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        if self._sending or self._ended or self._closed:
            return 0
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._broken = error
            return 0

    def _send_some(self, data: memoryview) -> int:
        """Hand the kernel what it takes now; 0 when it is full."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint()
        self._check_open()
        if self._ended:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._translated(error) from error
        self._ended = True

    async def aclose(self) -> None:
        self._close()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        if not self._closed:
            # Lingering for zero seconds makes close() send a reset and drop what is queued.
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _check_open(self) -> None:
        if self._closed:
            raise LocallyClosed(f"the stream to {self._peer} was closed on this side")

    def _translated(self, error: Exception) -> CommsError:
        if self._closed:
            return LocallyClosed(f"the stream to {self._peer} was closed on this side")
        self._broken = error
        return StreamBroken(f"the stream to {self._peer} broke: {error}")


class TcpListener(Listener):
    """One bound port, on one or more addresses of a name; made by `TcpTransport.listen`."""

    __slots__ = ("_address", "_closed", "_sockets", "_transport")

    def __init__(
        self, transport: TcpTransport, address: Address, sockets: list[socket.socket]
    ) -> None:
        self._transport = transport
        self._address = address
        self._sockets = sockets
        self._closed = False

    @property
    def address(self) -> Address:
        return self._address

    async def serve(self, handler: Handler, nursery: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as accepting:
            for sock in self._sockets:
                accepting.start_soon(self._accept_all, sock, handler, nursery)

    async def _accept_all(
        self, listening: socket.socket, handler: Handler, nursery: trio.Nursery
    ) -> None:
        pause = Backoff(
            self._transport.random,
            initial_ns=_ACCEPT_PAUSE_INITIAL_NS,
            maximum_ns=_ACCEPT_PAUSE_MAXIMUM_NS,
        )
        while listening.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(listening)
                sock, name = listening.accept()
            except BlockingIOError:
                continue
            except trio.ClosedResourceError:
                return
            except OSError as error:
                if listening.fileno() < 0:
                    return
                if error.errno not in _ACCEPT_AT_ONCE:
                    self._report(error)
                    await trio.sleep(pause.next_ns() / _NS_PER_S)
                continue
            pause.reset()
            sock.setblocking(False)
            self._transport.configure(sock)
            nursery.start_soon(run_handler, handler, TcpStream(sock, _described(name)))

    def _report(self, error: OSError) -> None:
        if self._transport.on_accept_error is not None:
            reason = _ACCEPT_HINTS.get(error.errno or 0, error.strerror or str(error))
            failed = AcceptFailed(self._address, reason)
            failed.__cause__ = error
            self._transport.on_accept_error(failed)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            for sock in self._sockets:
                trio.lowlevel.notify_closing(sock)
                sock.close()
        await trio.lowlevel.checkpoint()


@attrs.frozen(kw_only=True)
class TcpTransport(Transport):
    """TCP with its settings; several nodes of a process may share one.

    - ``dial_timeout_ns``: resolving the name and connecting together take at most this long.
    - ``user_timeout_ns``: a stream breaks whose peer's kernel has answered nothing for this long,
      or (Linux) whose peer has read nothing for this long while bytes wait for it. The silence of
      a healthy idle peer breaks nothing. Longer than any pause that a slow reader may make.
    - ``send_buffer_bytes``, ``receive_buffer_bytes``: of the kernel, per stream; None leaves the
      kernel to tune them, which is best unless memory is tight.
    - ``backlog``: how many connections wait in the kernel to be served.
    - ``on_accept_error``: told of each connection that could not be taken (out of file descriptors,
      say); called in the serving task, must not block or raise.
    - ``random``: the jitter of pauses after such an error.
    """

    dial_timeout_ns: int = 2 * _NS_PER_S
    user_timeout_ns: int = 30 * _NS_PER_S
    send_buffer_bytes: int | None = None
    receive_buffer_bytes: int | None = None
    backlog: int = 512
    on_accept_error: Callable[[AcceptFailed], None] | None = None
    random: Random = attrs.field(factory=Random, repr=False, eq=False)

    async def dial(self, address: Address) -> TcpStream:
        if address.port == 0:
            await trio.lowlevel.checkpoint()
            raise DialFailed(address, "port 0 is only good to listen at")
        timeout_s = self.dial_timeout_ns / _NS_PER_S
        try:
            with trio.fail_after(timeout_s):
                stream = await trio.open_tcp_stream(address.host, address.port)
        except trio.TooSlowError:
            reason = f"no answer within {timeout_s:g} s: {_DIAL_HINTS[errno.ETIMEDOUT]}"
            raise DialFailed(address, reason) from None
        except (OSError, UnicodeError) as error:
            raise DialFailed(address, _dial_reason(address, error)) from error
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        try:
            self_connected = sock.getsockname() == sock.getpeername()
        except OSError as error:
            sock.close()
            raise DialFailed(address, f"broken at once: {error.strerror}") from error
        if self_connected:
            # Nobody listens, and the kernel drew that very port for this end: TCP then connects
            # the socket to itself, which would also keep the real listener from binding it, after
            # an orderly close for another minute.
            TcpStream(sock, str(address)).abort()
            raise DialFailed(address, f"refused: {_DIAL_HINTS[errno.ECONNREFUSED]}")
        self.configure(sock)
        return TcpStream(sock, str(address))

    async def listen(self, address: Address) -> TcpListener:
        try:
            found = await trio.socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except (OSError, UnicodeError) as error:
            raise ListenFailed(address, f"the name does not resolve ({error})") from error
        places = list(dict.fromkeys((place[0], place[4]) for place in found))
        for attempt in range(_SHARED_PORT_TRIES):
            try:
                sockets = self._bound(places, address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    if address.port == 0 and attempt + 1 < _SHARED_PORT_TRIES:
                        continue
                    reason = "somebody listens there: stop that process, or choose another port"
                    raise AddressInUse(address, reason) from error
                reason = _LISTEN_HINTS.get(error.errno or 0, error.strerror or str(error))
                raise ListenFailed(address, reason) from error
            bound = Address(address.host, sockets[0].getsockname()[1])
            return TcpListener(self, bound, sockets)
        raise AssertionError("unreachable: the last try returns or raises")

    def _bound(self, places: Sequence[_Place], address: Address) -> list[socket.socket]:
        """Bind and listen at every place, all with one port; OSError if that cannot be."""
        sockets: list[socket.socket] = []
        skipped: OSError | None = None
        port = address.port
        with contextlib.ExitStack() as undo:
            for family, name in places:
                try:
                    place = (name[0], port, *name[2:])
                    sock = _listening(family, place, self.backlog, address.host == "::")
                except OSError as error:
                    # A name may have addresses of a family that this machine lacks.
                    if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        raise
                    skipped = error
                    continue
                sockets.append(undo.enter_context(sock))
                port = sock.getsockname()[1]
            if not sockets:
                assert skipped is not None, "getaddrinfo never answers with an empty list"
                raise skipped
            undo.pop_all()
        return sockets

    def configure(self, sock: socket.socket) -> None:
        """Set this transport's options on a connected socket."""
        # A connection may be reset already; its first use will say so, not its options.
        with contextlib.suppress(OSError):
            if os.name == "posix":
                # The kernel draws the dialling end's port where listeners may want theirs; without
                # this it stays barred to them, for a minute even after closing.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            timeout_ms = max(1, self.user_timeout_ns // _NS_PER_MS)
            probe_s = max(1, timeout_ms // 4000)
            for option, value in (
                ("TCP_USER_TIMEOUT", timeout_ms),
                ("TCP_KEEPIDLE", probe_s),
                ("TCP_KEEPINTVL", probe_s),
                ("TCP_KEEPCNT", 4),
                ("TCP_NOTSENT_LOWAT", _UNSENT_BYTES),
            ):
                if hasattr(socket, option):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            if self.send_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer_bytes)
            if self.receive_buffer_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer_bytes)


def _listening(
    family: socket.AddressFamily, name: Any, backlog: int, both_families: bool
) -> socket.socket:
    """Return a socket bound to ``name`` that listens; OSError leaves none behind."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if os.name == "posix":
            # Elsewhere this option lets a second process steal the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # A name of both families gets a socket for each; the wildcard gets one for all.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both_families else 1)
        sock.bind(name)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _described(name: Any) -> str:
    """Return a socket's name as text; IPv4 peers of a socket for both families as plain IPv4."""
    host: str = name[0].removeprefix("::ffff:") if "." in name[0] else name[0]
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


def _causes(error: BaseException) -> Iterator[OSError]:
    """Yield the errors of single attempts that trio gathered below ``error``, or itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _causes(part)
    elif isinstance(error, OSError):
        if error.errno is None and error.__cause__ is not None:
            yield from _causes(error.__cause__)
        else:
            yield error


def _dial_reason(address: Address, error: Exception) -> str:
    """Say why dialling failed; several addresses of a name may fail for several reasons."""
    reasons: dict[str, None] = {}
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            reasons[
                f"the name {address.host!r} does not resolve ({cause.strerror}): "
                "check its spelling and this machine's DNS"
            ] = None
        else:
            text = cause.strerror or str(cause)
            hint = _DIAL_HINTS.get(cause.errno or 0)
            reasons[f"{text}: {hint}" if hint else text] = None
    return "; ".join(reasons) or str(error)
