"""One client's connection: bytes in, requests in order, answers in order.

The idea: a `RequestReader` puts the requests that a client makes at the end of a queue. They are
started from its head: safe ones (GET, HEAD) several at once, any other alone, so that pipelining
never reorders what a client asked. Answers are written from the head of the same queue.

A refusal that leaves unread bytes on the way (a body too long, broken framing) ends the connection
with care: the answer is sent, our sending side is closed, and what still comes is read and dropped
for a while. Closing at once would reset the connection and the client would never see why.

Nothing here waits. The server calls `on_readable`, `on_writable` and `on_due`; whoever answers a
request calls `advance`.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING

from sadik_node.http.answers import NO_LENGTH, Answer
from sadik_node.http.client_socket import ClientSocket, PlainHttpError, TlsSocket
from sadik_node.http.exchange import Exchange
from sadik_node.http.output import Output
from sadik_node.http.refusals import PLAIN_HTTP
from sadik_node.http.request_reader import (
    BETWEEN,
    BODY,
    DROPPING,
    ENDED,
    HEADER,
    RequestReader,
)

if TYPE_CHECKING:
    from sadik_node.http.server import HttpServer

__all__ = ["Connection"]

_READS_AT_ONCE = 4
_GATHERED_BODY_BYTES = 2**14
"""A turn makes some hundred answers at most: gathered they take a few megabytes."""
_FAR_NS = 1 << 62


class Connection:
    """The state of one connection. ``due`` is when `on_due` is wanted, kept coarsely."""

    __slots__ = (
        "_advancing",
        "_gathered",
        "_is_shut",
        "_is_tls",
        "_output",
        "_reader",
        "_server",
        "_shaking",
        "_socket",
        "_started",
        "_started_unsafe",
        "address",
        "due",
        "fd",
        "held_bytes",
        "is_closing",
        "is_open",
        "is_spare",
        "queue",
        "scheduled",
    )

    def __init__(self, server: HttpServer, sock: ClientSocket, address: str) -> None:
        self._server = server
        self._socket = sock
        self._shaking = sock if isinstance(sock, TlsSocket) else None
        """The socket, until its TLS handshake is over."""
        self._is_tls = self._shaking is not None
        self.fd = sock.fileno()
        self.address = address
        """Whose connection it is, as connections are counted by."""
        self.is_open = True
        self.is_spare = False
        """Taken beyond the limit: good for one request for health or a view."""
        self.held_bytes = 0
        """Of its requests that are not answered."""
        self.due = server.now + (server.limits.header_ns if self._is_tls else server.limits.idle_ns)
        self.scheduled = _FAR_NS
        """The instant that stands in the server's heap; never later than ``due``."""
        self._reader = RequestReader(server, self)
        self.queue: deque[Exchange] = deque()
        """Requests from the oldest unanswered one to the one being received."""
        self._started = 0
        """How many at the head of the queue have been started."""
        self._started_unsafe = False
        self._advancing = False
        self._output = Output(sock, server.traffic)
        self._gathered = b""
        """Small answers that go out when the server has gathered those of others too."""
        self.is_closing = False
        """No further request is taken; the connection ends when the queue is empty."""
        self._is_shut = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received, worked on or answered."""
        return (
            bool(self.queue) or self._output.pending_bytes > 0 or self._reader.reading is DROPPING
        )

    @property
    def is_asking(self) -> bool:
        """Whether all that is under way is a header that has not come yet."""
        return (
            self._reader.reading is HEADER
            and len(self.queue) == 1
            and not self._output.pending_bytes
        )

    def _is_full(self) -> bool:
        limits = self._server.limits
        return len(self.queue) >= limits.waiting or self.held_bytes >= limits.connection_bytes

    @property
    def has_output(self) -> bool:
        """Whether something waits until the client has read."""
        return self._output.pending_bytes > 0

    # Input

    def on_readable(self, *, to_end: bool) -> bool:
        """Read what has come. True if there may be more: to be called again soon.

        A short read means that nothing is left, unless ``to_end``: then the end may stand behind;
        or under TLS, where it is the end of a record.
        """
        reader = self._reader
        for _ in range(_READS_AT_ONCE):
            reading = reader.reading
            if reading is ENDED or not self.is_open:
                return False
            if reading is BETWEEN and self._is_full():
                return False  # `advance` asks again once requests have been answered
            buffer = self._server.buffer if reading is BODY else self._server.small_buffer
            try:
                count = self._socket.recv_into(buffer)
            except BlockingIOError:
                self._note_shaken()
                return False
            except InterruptedError:
                continue
            except OSError as error:
                self._on_broken(error)
                return False
            if not count:
                self._on_end()
                return False
            self._server.traffic.received_bytes += count
            self._note_shaken()
            if reading is DROPPING:
                reader.drop(count)
                if reader.is_at_end and self._is_shut:
                    self.close()
            else:
                reader.feed(buffer[:count])
            if count < len(buffer) and not to_end and not self._is_tls:
                return False
        return True

    def _note_shaken(self) -> None:
        """From the end of the handshake on the client has the time that any has to ask."""
        if self._shaking is not None and self._shaking.is_established:
            self._shaking = None
            if not self.is_busy:
                self.due = self._server.now + self._server.limits.idle_ns

    def _on_broken(self, error: OSError) -> None:
        """The connection is gone, or its client could not shake hands."""
        shaking, self._shaking = self._shaking, None
        if shaking is not None:
            self._server.application.rejected("tls")
            if isinstance(error, PlainHttpError):
                shaking.answer_in_the_clear(PLAIN_HTTP)
        self.close()

    def _on_end(self) -> None:
        """The client sends no more; what it asked for wholly is still answered."""
        if self._is_shut:
            self.close()
            return
        self._reader.end()
        self.is_closing = True
        self.advance()

    # The queue

    def advance(self) -> None:
        """Write the answers whose turn it is; start the requests whose turn it is."""
        if self._advancing:
            return
        self._advancing = True
        was_full = self._is_full()
        try:
            self._work_off()
        finally:
            self._advancing = False
        self._settle(was_full=was_full)

    def _work_off(self) -> None:
        while self.queue and self.is_open:
            head = self.queue[0]
            if head.answered is not None and (head.is_received or head.close):
                self.queue.popleft()
                if self._started:
                    self._started -= 1
                if not self._started:
                    self._started_unsafe = False
                self._finish(head, head.answered)
            elif self._started >= len(self.queue) or not self._start_next():
                break

    def _settle(self, *, was_full: bool) -> None:
        """Nothing more can be done now: say what is waited for."""
        if not self.is_open:
            return
        if self.queue:
            if self.queue[0].wants_continue:
                self.queue[0].wants_continue = False
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif self._output.pending_bytes:
            pass  # its client has to read first, within the time for that
        elif not self.is_closing:
            self._server.mark_idle(self)
            self.schedule(self._server.now + self._server.limits.idle_ns)
        elif self._reader.is_at_end:
            self.close()
        if was_full and not self._is_full():
            self._server.again(self)

    def _start_next(self) -> bool:
        """Start the first request that has not been started, if it may; tell whether it was."""
        started = self._started
        queue = self.queue
        limits = self._server.limits
        if started >= limits.pipelined:
            return False
        exchange = queue[started]
        if not exchange.is_received or self._output.pending_bytes > limits.output_bytes:
            return False
        if started and (self._started_unsafe or not exchange.is_safe):
            return False
        self._started = started + 1
        self._started_unsafe = not exchange.is_safe
        if exchange.answered is None:
            self._server.application.start(exchange)
        return True

    def _finish(self, exchange: Exchange, answer: Answer) -> None:
        server = self._server
        self.let_go(exchange)
        exchange.connection = None
        if server.is_draining and not self.queue:
            exchange.close = True
        if exchange.close:
            self.is_closing = True
        server.application.record(exchange, answer)
        has_no_body = exchange.method == b"HEAD" or answer.status in NO_LENGTH
        head = exchange.head_of(answer, server.date)
        self.write(head, b"" if has_no_body else answer.body)
        if exchange.close and self.is_open:
            queue, self.queue = self.queue, deque()
            for later in queue:
                self.forget(later)
            self._reader.stop()
            if not self._output.pending_bytes:
                self._shut()

    def hold(self, exchange: Exchange, count: int) -> bool:
        """See `Exchange.hold`."""
        self._server.traffic.held_bytes += count
        self.held_bytes += count
        exchange.held_bytes += count
        return self._server.has_room

    def let_go(self, exchange: Exchange) -> None:
        """The body of this request is held no more."""
        self._server.traffic.held_bytes -= exchange.held_bytes
        self.held_bytes -= exchange.held_bytes
        exchange.held_bytes = 0

    # Output

    def write(self, head: bytes, body: bytes = b"") -> None:
        """Send this behind what waits already, or at the end of the turn."""
        if not self.is_open:
            return
        server = self._server
        if (
            server.is_gathering
            and len(body) <= _GATHERED_BODY_BYTES
            and not self.is_closing
            and not self._output.pending_bytes
        ):
            if not self._gathered:
                server.gathered.append(self)
            self._gathered += head + body
            return
        self.send_gathered()
        self._send(head, body)

    def send_gathered(self) -> None:
        """Send what was gathered, if anything was."""
        gathered, self._gathered = self._gathered, b""
        if gathered and self.is_open:
            self._send(gathered, b"")

    def _send(self, head: bytes, body: bytes) -> None:
        output = self._output
        waited = output.pending_bytes
        try:
            output.write(head, body)
        except OSError:
            self.close()
            return
        if output.pending_bytes and not waited:
            self.schedule(self._server.now + self._server.limits.stall_ns)

    def on_writable(self) -> None:
        """The client has read: write more of what waits."""
        output = self._output
        try:
            output.flush()
        except OSError:
            self.close()
            return
        if output.pending_bytes:
            self.due = self._server.now + self._server.limits.stall_ns
        elif self.is_closing and not self.queue:
            self._shut()
        else:
            self.advance()

    # The end

    def turn_away(self, answer: Answer) -> None:
        """Answer before anything was asked, and end."""
        self._reader.refuse(answer)
        self.advance()

    def schedule(self, due: int) -> None:
        """Be called with `on_due` at about this instant."""
        self.due = due
        if due < self.scheduled:
            self.scheduled = due
            self._server.deadlines.set(self, due)

    def on_due(self, now: int) -> None:
        """A time has run out: which one depends on what the connection was doing."""
        limits = self._server.limits
        if self._output.pending_bytes or self._is_shut:
            self.close()
        elif self._reader.on_due(now):
            pass
        elif self.queue:
            self.schedule(now + limits.idle_ns)
        else:
            self._server.application.rejected("idle" if self._shaking is None else "tls")
            self.close()

    def drain(self) -> None:
        """The server stops: go when idle, finish what is under way otherwise."""
        if not self.is_busy and self._reader.reading is BETWEEN:
            self.close()

    def _shut(self) -> None:
        """All is answered: close our side and drop what still comes, for a while."""
        if self._is_shut:
            return
        self._is_shut = True
        if self._reader.is_at_end:
            self.close()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.schedule(self._server.now + self._server.limits.drain_ns)
        self._server.again(self)

    def forget(self, exchange: Exchange) -> None:
        """The client of this exchange has gone, or never finished asking."""
        exchange.connection = None
        self.let_go(exchange)
        if self.queue and self.queue[-1] is exchange:
            self.queue.pop()
        if exchange.cancel is not None:
            cancel, exchange.cancel = exchange.cancel, None
            self._server.application.cancelled(exchange)
            cancel()

    def close(self) -> None:
        """End at once; whatever was under way is cancelled."""
        self.send_gathered()
        if not self.is_open:
            return
        self.is_open = False
        self._output.clear()
        queue, self.queue = self.queue, deque()
        for exchange in queue:
            self.forget(exchange)
        self._server.forget(self)
        self._socket.close()
        # Each holds the other. The collector of cycles, which looks seldom, and at what has lived
        # long hardly ever, would keep the memory of thousands of connections for thousands more.
        self._reader.release()
        del self._reader
