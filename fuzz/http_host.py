"""The HTTP server of a node without sockets: real but for the kernel and the disk.

Connection, reader, routes, handlers and engine are the node's own. What is put in their place is
the kernel, which says when a connection can be read and written (`HttpHost.converse`), the trio
task that would listen to it, and the disk (`EngineHost`). Time stands still while a client speaks.
"""

from __future__ import annotations

import enum
import io
import select
from collections.abc import Iterable
from typing import NoReturn

import attrs
from engine_host import WALL_S, EngineHost

from sadik_machine import SECOND
from sadik_metrics import NodeMetrics
from sadik_node.cluster_view import ClusterView
from sadik_node.http.access import Access
from sadik_node.http.answers import Answer
from sadik_node.http.application import HttpApplication
from sadik_node.http.connection import Connection
from sadik_node.http.exchange import Exchange
from sadik_node.http.hosts import LOOPBACK_NAMES, HostCheck
from sadik_node.http.limits import HttpLimits
from sadik_node.http.request_log import RequestLog
from sadik_node.http.server import LOOPBACK, HttpServer
from sadik_node.http.service import Service
from sadik_node.log import Log
from sadik_node.reactor import Reactor
from sadik_node.tokens import TokenFile
from sadik_vnode import EngineConfig

__all__ = ["LIMITS", "TOKEN", "Ending", "Heard", "HttpHost", "Taken"]

LIMITS = HttpLimits(
    value_bytes=1000, json_bytes=512, batch_bytes=2048, batch_lines=8, list_keys=10,
    batch_window=2, batch_window_bytes=1500, header_bytes=1024, header_fields=20, target_bytes=512,
    meta_bytes=256, context_bytes=512, pipelined=3, waiting=6, connection_bytes=4096,
    output_bytes=2048, drain_bytes=2048,
)  # fmt: skip
"""Small enough that an input of some hundred bytes meets every one of them."""

TOKEN = b"sadik_0123456789abcdef_" + b"A" * 43
"""What a guarded node's clients show."""

_TOKENS = TokenFile.parse(b"""\
[[token]]
name = "fuzz"
id = "0123456789abcdef"
sha256 = "0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a"
scopes = ["admin"]
""")
_TICKS_MAX = 300
_FD = 1 << 20  # the kernel gives no such number, so none is closed by mistake
_REQUEST_BYTES_MIN = len(b"GET / HTTP/1.1\r\n\r\n")
_EXCHANGE_BYTES = 1024
"""What the server counts for a request beside its bytes."""


class Ending(enum.Enum):
    """What a client does when it has said all."""

    ENDS = 0
    """It closes its side, and reads on."""
    IS_SILENT = 1
    """It waits for the server to close."""
    GOES = 2
    """Its connection breaks."""


class Wire:
    """The server's end of a connection, as `ClientSocket` has it."""

    def __init__(self, takes: int) -> None:
        self.incoming = bytearray()
        self.has_ended = False
        self.heard = bytearray()
        self.takes = takes
        """So many bytes go out before the client has to read."""
        self.room = takes
        self.is_shut = False
        self.is_closed = False

    def fileno(self) -> int:
        """See `ClientSocket`."""
        return _FD

    def recv_into(self, buffer: memoryview, /) -> int:
        """See `ClientSocket`."""
        assert not self.is_closed, "it reads from a closed socket"
        incoming = self.incoming
        if not incoming:
            if self.has_ended:
                return 0
            raise BlockingIOError
        count = min(len(buffer), len(incoming))
        buffer[:count] = incoming[:count]
        del incoming[:count]
        return count

    def send(self, data: bytes | memoryview, /) -> int:
        """See `ClientSocket`."""
        assert not self.is_shut, "it writes to a socket that it has shut"
        if not self.room:
            raise BlockingIOError
        count = min(self.room, len(data))
        self.heard += data[:count]
        self.room -= count
        return count

    def sendmsg(self, buffers: Iterable[bytes], /) -> int:
        """See `ClientSocket`."""
        return self.send(b"".join(buffers))

    def shutdown(self, _how: int, /) -> None:
        """See `ClientSocket`."""
        self.is_shut = True

    def close(self) -> None:
        """See `ClientSocket`."""
        self.is_shut = self.is_closed = True


@attrs.define
class Taken:
    """One request that was answered, in the order of the answers."""

    method: bytes
    target: bytes
    body: bytes | None
    """None where it was refused before its turn came."""
    operation: str
    status: int
    closes: bool


@attrs.define
class Heard:
    """What a client heard, and what the server thinks that it had said."""

    data: bytes
    taken: list[Taken]


class _Application(HttpApplication):
    """Notes what it is asked; a defect is no line in a log but a finding."""

    taken: list[Taken]
    bodies: dict[Exchange, bytes]

    def start(self, exchange: Exchange) -> None:
        """See `HttpApplication.start`."""
        self.bodies[exchange] = exchange.body
        super().start(exchange)

    def record(self, exchange: Exchange, answer: Answer) -> None:
        """See `HttpApplication.record`."""
        self.taken.append(Taken(
            exchange.method, exchange.target, self.bodies.pop(exchange, None), exchange.operation,
            answer.status, exchange.close,
        ))  # fmt: skip
        super().record(exchange, answer)

    def defect(self, error: Exception) -> NoReturn:
        """See `HttpApplication.defect`."""
        raise AssertionError("a defect") from error


class _Server(HttpServer):
    """A server to which somebody else says what the kernel would say."""

    def again(self, connection: Connection) -> None:
        """See `HttpServer.again`."""
        self._again.append(connection)

    def meet(self, wire: Wire) -> Connection:
        """A client has connected."""
        self._tick()
        connection = Connection(self, wire, LOOPBACK)
        self._by_address[LOOPBACK] = self._by_address.get(LOOPBACK, 0) + 1
        self._connections[connection.fd] = connection
        self._by_use[connection] = None
        connection.schedule(connection.due)
        return connection

    def happen(self, connection: Connection, flags: int) -> None:
        """The kernel says this."""
        self._serve(connection, flags)
        self.go_on()

    def go_on(self) -> None:
        """Turn until nothing is to be looked at again."""
        while self._again:
            again, self._again = self._again, []
            for connection in again:
                if connection.is_open:
                    self._serve(connection, select.EPOLLIN | select.EPOLLRDHUP)

    def tick(self) -> None:
        """It has become later."""
        self._tick()
        self.go_on()

    def close(self) -> None:
        """Give back what it has of the kernel."""
        self._close()


class _LogLines(io.StringIO):
    """Each event is one line, and nothing in it acts on a terminal."""

    def write(self, text: str, /) -> int:
        """See `io.StringIO`; nothing is kept."""
        assert text[-1] == "\n", text
        assert text[:-1].isprintable(), text
        return len(text)


class HttpHost:
    """One node that is a cluster by itself; ``guarded``: it asks clients for `TOKEN`."""

    def __init__(
        self,
        *,
        guarded: bool = False,
        limits: HttpLimits = LIMITS,
        instance: bytes = b"instance",
    ) -> None:
        config = EngineConfig(value_bytes_max=limits.value_bytes)
        self.engine = engine = EngineHost(1, config, instance)
        [own] = engine.members
        view = ClusterView(own, "n1")
        view.members, view.ring, view.not_ready = engine.members, engine.ring, ""
        metrics = NodeMetrics("fuzz")
        log = Log("n1", stream=_LogLines(), wall=self._wall_s)
        service = Service(
            engine, view, limits, metrics.exposition, lambda: {"name": "n1"}, self._defect,
            self._clock_ns,
        )  # fmt: skip
        access = Access(_TOKENS if guarded else None, self._clock_ns, self._wall_s)
        self._application = _Application(
            service, HostCheck(LOOPBACK_NAMES), access, metrics, RequestLog(log), id_prefix="t",
            clock_ns=self._clock_ns,
        )  # fmt: skip
        self.limits = limits
        self._reactor = Reactor()
        self._server = _Server(
            self._application, [], limits, self._clock_ns, self._wall_s, self._reactor
        )

    def close(self) -> None:
        """Give back what it has of the kernel."""
        self._server.close()
        self._reactor.close()

    def _clock_ns(self) -> int:
        return self.engine.now

    def _wall_s(self) -> float:
        return WALL_S + self.engine.now / SECOND

    @staticmethod
    def _defect(error: Exception) -> NoReturn:
        raise AssertionError("a defect") from error

    def converse(
        self,
        pieces: Iterable[bytes],
        ending: Ending,
        *,
        takes: int = 1 << 30,
        is_busy: bool = False,
    ) -> Heard:
        """One client's whole connection, that says these pieces, each when the last was read.

        It reads ``takes`` bytes at once. While the node ``is_busy`` its engine answers nothing
        until the client has said all.

        Raises:
            AssertionError: a promise was broken.
        """
        self._application.taken, self._application.bodies = [], {}
        wire = Wire(takes)
        server, connection = self._server, self._server.meet(wire)
        most = 0
        for piece in pieces:
            if not connection.is_open:
                break
            most = max(most, len(piece))
            wire.incoming += piece
            server.happen(connection, select.EPOLLIN)
            if not is_busy:
                self._settle(wire, connection)
            self._check_bounds(connection, most)
        self._settle(wire, connection)
        if connection.is_open and ending is not Ending.IS_SILENT:
            wire.has_ended = True
            gone = select.EPOLLHUP if ending is Ending.GOES else select.EPOLLRDHUP
            server.happen(connection, select.EPOLLIN | gone)
            self._settle(wire, connection)
        self._wait_closed(wire, connection)
        self._check_empty(wire)
        self.engine.pass_time(self.engine.now + SECOND // 100)
        return Heard(bytes(wire.heard), self._application.taken)

    def _settle(self, wire: Wire, connection: Connection) -> None:
        """Until nothing happens without the client or the clock."""
        while True:
            self._server.gather(True)
            self.engine.work()
            self._server.gather(False)
            self._server.go_on()
            if not connection.is_open or not connection.has_output:
                break
            wire.room = wire.takes
            self._server.happen(connection, select.EPOLLOUT)
        assert not wire.incoming or not connection.is_open or connection.is_busy, "it is stuck"

    def _wait_closed(self, wire: Wire, connection: Connection) -> None:
        """Let time pass until it has been closed."""
        server, engine = self._server, self.engine
        for _ in range(_TICKS_MAX):
            if not connection.is_open:
                return
            due = server.deadlines.first
            assert due is not None, "nothing will ever close it"
            deadline = engine.engine.deadline
            if engine.requests_open and deadline is not None:
                due = min(due, deadline)
            engine.pass_time(due)
            server.tick()
            self._settle(wire, connection)
        raise AssertionError("it is not closed")

    def _check_bounds(self, connection: Connection, read_bytes: int) -> None:
        """What one connection holds is within its limits, and what one read may bring beyond."""
        limits = self.limits
        read = read_bytes // _REQUEST_BYTES_MIN + 1
        assert len(connection.queue) <= limits.waiting + read, "too many requests wait"
        most = limits.connection_bytes + read_bytes + read * _EXCHANGE_BYTES
        most += max(limits.value_bytes, limits.batch_bytes)
        assert 0 <= connection.held_bytes <= most, "it holds too much"
        if connection.is_open:
            # The read in which a header begins is not counted, nor what the last one has too much.
            carried = len(connection._reader._carried)
            assert carried <= limits.header_bytes + 2 * read_bytes, "a long header"

    def _check_empty(self, wire: Wire) -> None:
        """Nothing is left of a connection that is over."""
        server = self._server
        assert wire.is_closed
        assert not server.connections
        assert not server.traffic.held_bytes, "bytes are held for nobody"
        assert not self.engine.requests_open, "a request is open for nobody"
        assert not server.deadlines.first
