"""The HTTP server: one epoll, callbacks.

The reason was measured: a task per connection costs twice to eighty times as much as this. The
node's reactor says when the epoll object is readable, and the server then drains every ready
socket. Sockets are registered once, edge-triggered, for reading and writing: nothing is changed per
request. Everything runs on one thread and nothing waits within a callback, so there are no locks.

Times are kept coarsely: the server's task ticks some times a second, takes the connections that are
due from one heap, and refreshes the cached clock and ``Date``.
"""

from __future__ import annotations

import errno
import ipaddress
import select
import socket
import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Protocol

import trio

from sadik_machine import Deadlines
from sadik_node.http.answers import Answer
from sadik_node.http.client_socket import ClientSocket, TlsSocket
from sadik_node.http.connection import Connection
from sadik_node.http.exchange import Exchange
from sadik_node.http.known_headers import KnownHeaders
from sadik_node.http.limits import FAR_ADDRESS_CONNECTIONS, HttpLimits
from sadik_node.http.output import Traffic
from sadik_node.http.refusals import too_many_connections
from sadik_node.reactor import Reactor

__all__ = ["LOOPBACK", "Application", "HttpServer", "client_of", "listen_at"]

LOOPBACK = "loopback"
"""What `client_of` calls this machine itself: its operator, or a proxy that serves many."""

_BUFFER_BYTES = 256 * 2**10
_SMALL_BUFFER_BYTES = 64 * 2**10
_EVENTS_AT_ONCE = 512
_ACCEPTS_AT_ONCE = 64
_BACKLOG = 4096
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Application(Protocol):
    """What stands behind the server."""

    single_fields: frozenset[bytes]
    """Header fields (lower case) that a request may bear only once."""

    def admit(self, exchange: Exchange) -> Answer | None:
        """The header is whole: refuse with an answer, or set ``handler`` and ``body_max``."""

    def start(self, exchange: Exchange) -> None:
        """The request is whole and its turn has come: work on it, and answer it some time."""

    def record(self, exchange: Exchange, answer: Answer) -> None:
        """This answer goes out now."""

    def cancelled(self, exchange: Exchange) -> None:
        """The client went before it was answered."""

    def rejected(self, reason: str) -> None:
        """A connection was turned away without a request."""

    def defect(self, error: Exception) -> None:
        """Something in this server is wrong; it has cost one connection."""


def listen_at(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at every address that ``host`` stands for.

    ``port`` 0 takes any free one, the same at all addresses. Raises OSError.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            bound_port = sockets[0].getsockname()[1] if len(sockets) > 1 else port
            sock.bind((address[0], bound_port, *address[2:]))
            sock.listen(_BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def client_of(host: str) -> str:
    """Whom an address belongs to, as clients are counted by: an IPv6 host has a whole /64."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return client_of(str(address.ipv4_mapped))
        if not address.is_loopback:
            return address.exploded[:19]
    return LOOPBACK if address.is_loopback else host


class HttpServer:
    """Serves an application at some listening sockets, which it owns from now on.

    ``clock_ns`` is a monotonic clock; with ``tls`` clients speak TLS. While ``reactor`` is waited
    for, `run` serves until it is cancelled; `drain` ends it gently.
    """

    def __init__(
        self,
        application: Application,
        sockets: Sequence[socket.socket],
        limits: HttpLimits,
        clock_ns: Callable[[], int],
        wall_s: Callable[[], float],
        reactor: Reactor,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._reactor = reactor
        self._tls = tls
        self.application = application
        self.limits = limits
        self.clock_ns = clock_ns
        self.deadlines: Deadlines[Connection] = Deadlines()
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.small_buffer = self.buffer[:_SMALL_BUFFER_BYTES]
        self.traffic = Traffic()
        self.known_headers = KnownHeaders()
        self.is_gathering = False
        """Whether small answers are gathered, to be sent together by `gather`."""
        self.gathered: list[Connection] = []
        """Who has some."""
        self.is_draining = False
        self.now = clock_ns()
        self.date = b""
        self._wall_s = wall_s
        self._listeners = {sock.fileno(): sock for sock in sockets}
        self._accepts_at = 0
        self._connections: dict[int, Connection] = {}
        self._by_address: dict[str, int] = {}
        self._by_use: OrderedDict[Connection, None] = OrderedDict()
        self._again: list[Connection] = []
        self._epoll = select.epoll()
        self._in_turn = False
        self._turns_soon = False
        self._drained = trio.Event()
        self._is_running = False
        self._is_paused = False
        for fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)

    @property
    def ports(self) -> list[int]:
        """The ports that are listened at."""
        return [sock.getsockname()[1] for sock in self._listeners.values()]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def has_room(self) -> bool:
        """Whether another request's body may be held."""
        return self.traffic.held_bytes < self.limits.held_bytes

    async def run(self) -> None:
        """Serve until cancelled; then all connections are closed."""
        self._tick()
        self._is_running = True
        if not self._is_paused:
            self._reactor.watch(self._epoll.fileno(), self._turn)
        try:
            await self._keep_time()
        finally:
            self._close()

    async def drain(self, deadline_ns: int) -> None:
        """Take no connection any more, finish what is under way, at the latest at ``deadline_ns``.

        Idle connections are closed at once. Returns when none is left, or at the deadline.
        """
        # Who has been connected, or has sent something, before this moment is under way already:
        # one turn takes them, the next reads what they said.
        self._turn()
        self._turn()
        self.is_draining = True
        for fd, sock in self._listeners.items():
            self._epoll.unregister(fd)
            sock.close()
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.drain()
        if self._connections:
            with trio.move_on_after(max(0, deadline_ns - self.clock_ns()) / 1e9):
                await self._drained.wait()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands by another certificate with those who come from now on."""
        self._tls = context

    def pause(self) -> None:
        """Do nothing until `resume`, as in a process that is stopped: the kernel goes on alone."""
        if not self._is_paused:
            self._is_paused = True
            self._reactor.forget(self._epoll.fileno())

    def resume(self) -> None:
        """Go on where it was."""
        if self._is_paused:
            self._is_paused = False
            if self._is_running:
                self._reactor.watch(self._epoll.fileno(), self._turn)
            self._turn_soon()

    def gather(self, is_gathering: bool) -> None:
        """Gather small answers from now on, or send what was gathered and gather no more.

        Sent one right after the other they cost less than each in between of other work, for the
        kernel wakes a client, and its processor, once.
        """
        self.is_gathering = is_gathering
        if not is_gathering and self.gathered:
            gathered, self.gathered = self.gathered, []
            for connection in gathered:
                connection.send_gathered()

    # What connections call

    def again(self, connection: Connection) -> None:
        """Read from this connection in the next turn, though no event may come for it."""
        self._again.append(connection)
        if not self._in_turn:
            self._turn_soon()

    def mark_idle(self, connection: Connection) -> None:
        """This connection waits for its client's next request."""
        self._by_use.move_to_end(connection)

    def forget(self, connection: Connection) -> None:
        """This connection is closing itself."""
        if self._connections.pop(connection.fd, None) is not None:
            left = self._by_address[connection.address] - 1
            if left:
                self._by_address[connection.address] = left
            else:
                del self._by_address[connection.address]
        self._by_use.pop(connection, None)
        self.deadlines.drop(connection)
        if self.is_draining and not self._connections:
            self._drained.set()

    # The loop

    def _turn_soon(self) -> None:
        """Have a turn though no event may come."""
        if not self._turns_soon:
            self._turns_soon = True
            self._reactor.call_soon(self._turn_now)

    def _turn_now(self) -> None:
        self._turns_soon = False
        if not (self._epoll.closed or self._is_paused):
            self._turn()

    def _turn(self) -> None:
        self._in_turn = True
        try:
            self._drain_ready()
        finally:
            self._in_turn = False
        if self._again:
            self._turn_soon()

    def _drain_ready(self) -> None:
        self.now = self.clock_ns()
        again, self._again = self._again, []
        for connection in again:
            if connection.is_open:
                self._serve(connection, select.EPOLLIN | select.EPOLLRDHUP)
        connections = self._connections
        arrived: list[socket.socket] = []
        for fd, flags in self._epoll.poll(0, _EVENTS_AT_ONCE):
            found = connections.get(fd)
            if found is not None:
                self._serve(found, flags)
            elif fd in self._listeners:
                arrived.append(self._listeners[fd])
        # Only now: a socket accepted earlier could take the number of one closed in this turn.
        for listener in arrived:
            self._accept(listener)

    def _serve(self, connection: Connection, flags: int) -> None:
        """Let a connection do what the kernel says it can. What goes wrong in it ends it alone."""
        try:
            if flags & (select.EPOLLERR | select.EPOLLHUP):
                # An error, or both directions closed: nobody reads an answer any more.
                connection.close()
                return
            if flags & select.EPOLLOUT and connection.has_output:
                connection.on_writable()
            if flags & select.EPOLLIN and connection.is_open:
                has_ended = bool(flags & select.EPOLLRDHUP)
                if connection.on_readable(to_end=has_ended):
                    self._again.append(connection)
        except Exception as error:  # noqa: BLE001 - a defect met by one client must not stop the node
            self.application.defect(error)
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        if self._accepts_at > self.now:
            return
        limits = self.limits
        for _ in range(_ACCEPTS_AT_ONCE):
            # One beyond the limit is taken, for only taking it shows that it is there.
            most = limits.connections + limits.connections_spare
            if len(self._connections) > most and not self._make_room():
                self._pause_accepting()
                return
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_FILES and not self._make_room():
                    self._pause_accepting()
                    return
                continue  # that connection died before it was taken, or there is room now
            self._take(sock, client_of(address[0]))

    def _take(self, sock: socket.socket, address: str) -> None:
        of_address = self._by_address.get(address, 0)
        most = self._connections_of(address)
        if of_address >= 2 * most:
            # Not even an answer for those who come faster than answers can be read.
            self.application.rejected("connections")
            sock.close()
            return
        sock.setblocking(False)
        client: ClientSocket = sock
        if self._tls is not None:
            try:
                client = TlsSocket(sock, self._tls)
            except OSError:
                self.application.rejected("tls")
                sock.close()
                return
        connection = Connection(self, client, address)
        self._by_address[address] = of_address + 1
        self._connections[connection.fd] = connection
        self._by_use[connection] = None
        connection.schedule(connection.due)
        self._epoll.register(
            connection.fd,
            select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET,
        )
        if of_address >= most:
            connection.turn_away(too_many_connections(most))
        elif len(self._connections) > self.limits.connections:
            connection.is_spare = not self._make_room()

    def _connections_of(self, address: str) -> int:
        """How many connections one address may have."""
        limits = self.limits
        if limits.connections_per_address:
            return limits.connections_per_address
        return sys.maxsize if address == LOOPBACK else FAR_ADDRESS_CONNECTIONS

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest, else who is longest in asking."""
        newest = next(reversed(self._by_use), None)
        asking: Connection | None = None
        for connection in self._by_use:
            if connection is newest:
                continue
            if not connection.is_busy:
                break
            if asking is None and connection.is_asking:
                asking = connection
        else:
            if asking is None:
                return False
            connection = asking
        self.application.rejected("connections")
        connection.close()
        return True

    def _pause_accepting(self) -> None:
        """Everybody is busy: leave newcomers in the kernel's queue until the next tick."""
        self._accepts_at = self.now + self.limits.tick_ns
        for fd in self._listeners:
            self._epoll.modify(fd, 0)

    async def _keep_time(self) -> None:
        while True:
            await trio.sleep(self.limits.tick_ns / 1e9)
            if not self._is_paused:
                self._tick()

    def _tick(self) -> None:
        self.now = now = self.clock_ns()
        self.date = b"Date: " + formatdate(int(self._wall_s()), usegmt=True).encode() + b"\r\n"
        for connection in self.deadlines.each_due(now):
            connection.scheduled = 1 << 62
            if connection.due > now:
                connection.schedule(connection.due)
            else:
                connection.on_due(now)
        if self._accepts_at and self._accepts_at <= now:
            self._accepts_at = 0
            for fd in self._listeners:
                self._epoll.modify(fd, select.EPOLLIN)

    def _close(self) -> None:
        for connection in list(self._connections.values()):
            connection.close()
        for sock in self._listeners.values():
            sock.close()
        self._listeners.clear()
        self._is_running = False
        self._reactor.forget(self._epoll.fileno())
        self._epoll.close()
