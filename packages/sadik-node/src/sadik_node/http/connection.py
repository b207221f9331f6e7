"""One client's connection: bytes in, requests in order, answers in order.

The idea: httptools parses what arrived and calls back; a request whose header is whole is admitted
(or refused) by the application at once, before its body is read. Requests wait in a queue and are
started from its head: safe ones (GET, HEAD) several at once, any other alone, so that pipelining
never reorders what a client asked. Answers are written from the head of the same queue.

A refusal that leaves unread bytes on the way (a body too long, broken framing) ends the connection
with care: the answer is sent, our sending side is closed, and what still comes is read and dropped
for a while. Closing at once would reset the connection and the client would never see why.

Nothing here waits. The server calls `on_readable`, `on_writable` and `on_due`; whoever answers a
request calls `advance`.
"""

from __future__ import annotations

import enum
import re
import socket
from collections import deque
from typing import TYPE_CHECKING

import httptools

from sadik_node.http.answers import NO_LENGTH, Answer, problem
from sadik_node.http.exchange import SAFE_METHODS, Exchange
from sadik_node.http.framing import framing_fault
from sadik_node.http.output import Output
from sadik_node.http.refusals import (
    header_too_large,
    malformed,
    overloaded,
    too_large,
    too_long_target,
    too_slow,
)

if TYPE_CHECKING:
    from sadik_node.http.server import HttpServer

__all__ = ["Connection"]

_METHOD_START = re.compile(rb"[A-Z-]{1,24} ")
_SMALL_BODY_BYTES = 64 * 2**10
_FRAMING_BYTES_MAX = 16 * 2**10
_READS_AT_ONCE = 4
_FAR_NS = 1 << 62


class _Reading(enum.Enum):
    BETWEEN = 0
    HEADER = 1
    BODY = 2
    DROPPING = 3
    """Refused: what comes is counted and dropped."""
    ENDED = 4
    """The client sends no more."""


class _Stop(Exception):  # noqa: N818 - raised in a callback to leave the parser, caught at once
    pass


class Connection:
    """The state of one connection. ``due`` is when `on_due` is wanted, kept coarsely."""

    __slots__ = (
        "_advancing",
        "_body_bytes",
        "_dropped_bytes",
        "_exchange",
        "_framing_bytes",
        "_header_bytes",
        "_is_closing",
        "_is_shut",
        "_output",
        "_parser",
        "_queue",
        "_reading",
        "_server",
        "_socket",
        "_started",
        "_started_unsafe",
        "_unfinished_bytes",
        "_window_bytes",
        "due",
        "fd",
        "is_open",
        "scheduled",
    )

    def __init__(self, server: HttpServer, sock: socket.socket) -> None:
        self._server = server
        self._socket = sock
        self.fd = sock.fileno()
        self.is_open = True
        self.due = server.now + server.limits.idle_ns
        self.scheduled = _FAR_NS
        """The instant that stands in the server's heap; never later than ``due``."""
        self._parser = httptools.HttpRequestParser(self)
        self._reading = _Reading.BETWEEN
        self._exchange: Exchange | None = None
        """The request that is being received."""
        self._queue: deque[Exchange] = deque()
        """Requests from the oldest unanswered one to the one being received."""
        self._started = 0
        """How many at the head of the queue have been started."""
        self._started_unsafe = False
        self._advancing = False
        self._output = Output(sock, server.traffic)
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._body_bytes = 0
        self._window_bytes = 0
        self._framing_bytes = 0
        self._dropped_bytes = 0
        self._is_closing = False
        """No further request is taken; the connection ends when the queue is empty."""
        self._is_shut = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received, worked on or answered."""
        return (
            bool(self._queue)
            or self._output.pending_bytes > 0
            or self._reading is _Reading.DROPPING
        )

    @property
    def has_output(self) -> bool:
        """Whether something waits until the client has read."""
        return self._output.pending_bytes > 0

    @property
    def _waits_for_continue(self) -> bool:
        return self._exchange is not None and self._exchange.wants_continue

    # Input

    def on_readable(self, *, to_end: bool) -> bool:
        """Read what has come. True if there may be more: to be called again soon.

        A short read means that nothing is left, unless ``to_end``: then the end may stand behind.
        """
        for _ in range(_READS_AT_ONCE):
            reading = self._reading
            if reading is _Reading.ENDED or not self.is_open:
                return False
            if len(self._queue) >= self._server.limits.waiting and reading is _Reading.BETWEEN:
                return False  # `advance` asks again once requests have been answered
            buffer = self._server.buffer if reading is _Reading.BODY else self._server.small_buffer
            try:
                count = self._socket.recv_into(buffer)
            except BlockingIOError:
                return False
            except InterruptedError:
                continue
            except OSError:
                self.close()
                return False
            if not count:
                self._on_end()
                return False
            self._server.traffic.received_bytes += count
            if reading is _Reading.DROPPING:
                self._drop(count)
            else:
                self._feed(buffer[:count])
            if count < len(buffer) and not to_end:
                return False
        return True

    def _feed(self, data: memoryview) -> None:
        body_bytes = self._body_bytes
        before = self._reading
        exchange = self._exchange
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nobody is upgraded; the request was taken as if it had not asked.
            rest = data[upgrade.args[0] :]
            if rest:
                self._feed(rest)
                return
        except httptools.HttpParserError as error:
            self._on_parser_error(error, data)
        if not self.is_open:
            return
        if self._reading is _Reading.HEADER:
            if self._exchange is exchange:
                # The parser shows a field only when it is whole: count what it holds back.
                self._unfinished_bytes += len(data)
                if self._unfinished_bytes > self._server.limits.header_bytes:
                    self._refuse(header_too_large(self._server.limits.header_bytes))
            self.schedule(self.due)
        elif self._reading is _Reading.BODY:
            if before is _Reading.BODY and self._body_bytes == body_bytes:
                # Chunk sizes, extensions and trailers alone: nothing that a body needs much of.
                self._framing_bytes += len(data)
                if self._framing_bytes > _FRAMING_BYTES_MAX:
                    self._refuse(malformed("a chunked body with too much between its chunks"))
            self.schedule(self.due)
        self.advance()

    def _on_parser_error(self, error: Exception, data: memoryview) -> None:
        cause = error.__context__
        if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
            if isinstance(cause, _Stop):
                return
            raise cause
        if self._is_closing or not self.is_open:
            self._reading = _Reading.DROPPING
            return
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            if _METHOD_START.match(data):
                answer = problem(
                    405,
                    "no resource knows this method",
                    fields=b"Allow: GET, HEAD, PUT, POST, DELETE\r\n",
                )
            else:
                answer = malformed("this is no HTTP/1.1 request")
        else:
            answer = malformed(f"malformed HTTP: {error}")
        self._refuse(answer)

    def _on_end(self) -> None:
        """The client sends no more; what it asked for wholly is still answered."""
        if self._is_shut:
            self.close()
            return
        if self._exchange is not None:
            self._forget(self._exchange)
            self._exchange = None
        self._reading = _Reading.ENDED
        self._is_closing = True
        self.advance()

    def _drop(self, count: int) -> None:
        self._dropped_bytes += count
        if self._dropped_bytes > self._server.limits.drain_bytes:
            self._reading = _Reading.ENDED
            if self._is_shut:
                self.close()

    # What the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._is_closing:
            self._reading = _Reading.DROPPING
            raise _Stop
        server = self._server
        self._exchange = exchange = Exchange(self)
        self._reading = _Reading.HEADER
        self._header_bytes = self._unfinished_bytes = 0
        self._queue.append(exchange)
        self.due = server.now + server.limits.header_ns

    def on_url(self, part: bytes) -> None:
        """The target, or the next part of it."""
        exchange = self._exchange
        assert exchange is not None
        exchange.target = exchange.target + part if exchange.target else part
        if len(exchange.target) > self._server.limits.target_bytes:
            self._refuse(too_long_target(self._server.limits.target_bytes))
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, or one trailer field, which is dropped."""
        exchange = self._exchange
        assert exchange is not None
        if self._reading is _Reading.BODY:
            self._framing_bytes += len(name) + len(value)
            return
        self._header_bytes += len(name) + len(value) + 4
        name = name.lower()
        headers = exchange.headers
        if name in headers:
            if name in self._server.application.single_fields or name.startswith(b"sadik-"):
                self._refuse(malformed(f"the field {name.decode('latin-1')} stands there twice"))
                raise _Stop
            headers[name] += b", " + value
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """The header is whole: judge the framing, then ask the application."""
        exchange = self._exchange
        assert exchange is not None
        server = self._server
        parser = self._parser
        headers = exchange.headers
        self._reading = _Reading.BODY
        if self._header_bytes + len(exchange.target) > server.limits.header_bytes:
            self._refuse(header_too_large(server.limits.header_bytes))
            raise _Stop
        exchange.method = method = parser.get_method()
        exchange.is_safe = method in SAFE_METHODS
        version = parser.get_http_version()
        is_10 = version != "1.1"
        wrong = framing_fault(version, method, headers)
        length = headers.get(b"content-length")
        exchange.has_body = b"transfer-encoding" in headers or (
            length is not None and length.strip(b"0") != b""
        )
        if wrong is None and exchange.has_body and parser.should_upgrade():
            # The parser would not show the body of such a request.
            wrong = "an upgrade is not offered, least of all with a body"
        if wrong is not None:
            self._refuse(malformed(wrong))
            raise _Stop
        if not parser.should_keep_alive():
            exchange.close = True
        elif is_10:
            exchange.keep_alive_10 = True
        exchange.started_ns = server.clock_ns()
        refusal = server.application.admit(exchange)
        self._admitted(exchange, refusal, None if length is None else int(length), is_10=is_10)
        if not self.is_open:
            raise _Stop

    def _admitted(
        self, exchange: Exchange, refusal: Answer | None, length: int | None, *, is_10: bool
    ) -> None:
        server = self._server
        if exchange.has_body:
            if refusal is None and length is not None and length > exchange.body_max:
                refusal = too_large(length, exchange.body_max)
            if refusal is None and not server.has_room:
                refusal = overloaded()
        expects = exchange.headers.get(b"expect")
        if expects is not None and refusal is None and expects.lower() != b"100-continue":
            refusal = malformed("the only expectation known is 100-continue")
        if refusal is not None:
            is_small = length is not None and length <= _SMALL_BODY_BYTES and expects is None
            if exchange.has_body and not is_small:
                self._refuse(refusal)
                raise _Stop
            exchange.answered = refusal
            exchange.discards_body = True
            exchange.body_max = _SMALL_BODY_BYTES
        elif exchange.has_body and expects is not None and not is_10:
            exchange.wants_continue = True
            if self._queue[0] is exchange:
                exchange.wants_continue = False
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._body_bytes = self._window_bytes = self._framing_bytes = 0
        if exchange.has_body:
            self.due = server.now + server.limits.body_window_ns

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        exchange = self._exchange
        assert exchange is not None
        count = len(part)
        self._body_bytes += count
        self._framing_bytes = 0
        if self._body_bytes > exchange.body_max:
            self._refuse(too_large(None, exchange.body_max))
            raise _Stop
        if exchange.discards_body:
            return
        exchange.wants_continue = False
        exchange.parts.append(part)
        exchange.held_bytes += count
        self._server.traffic.held_bytes += count

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self._exchange
        assert exchange is not None
        parts = exchange.parts
        if parts:
            exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
            exchange.parts = []
        exchange.is_received = True
        exchange.wants_continue = False
        self._exchange = None
        self._reading = _Reading.BETWEEN
        self.due = _FAR_NS
        if exchange.close:
            self._is_closing = True

    # The queue

    def advance(self) -> None:
        """Write the answers whose turn it is; start the requests whose turn it is."""
        if self._advancing:
            return
        self._advancing = True
        was_full = len(self._queue) >= self._server.limits.waiting
        try:
            self._work_off()
        finally:
            self._advancing = False
        self._settle(was_full=was_full)

    def _work_off(self) -> None:
        while self._queue and self.is_open:
            head = self._queue[0]
            if head.answered is not None and (head.is_received or head.close):
                self._queue.popleft()
                self._started = max(0, self._started - 1)
                if not self._started:
                    self._started_unsafe = False
                self._finish(head, head.answered)
            elif not self._start_next():
                break

    def _settle(self, *, was_full: bool) -> None:
        """Nothing more can be done now: say what is waited for."""
        if not self.is_open:
            return
        if self._queue:
            if self._queue[0].wants_continue:
                self._queue[0].wants_continue = False
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif self._output.pending_bytes:
            pass  # its client has to read first, within the time for that
        elif not self._is_closing:
            self._server.mark_idle(self)
            self.schedule(self._server.now + self._server.limits.idle_ns)
        elif self._reading is _Reading.ENDED:
            self.close()
        if was_full and len(self._queue) < self._server.limits.waiting:
            self._server.again(self)

    def _start_next(self) -> bool:
        """Start the first request that has not been started, if it may; tell whether it was."""
        started = self._started
        queue = self._queue
        limits = self._server.limits
        if started >= len(queue) or started >= limits.pipelined:
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
        self._let_go(exchange)
        exchange.connection = None
        if server.is_draining and not self._queue:
            exchange.close = True
        if exchange.close:
            self._is_closing = True
        server.application.record(exchange, answer)
        has_no_body = exchange.method == b"HEAD" or answer.status in NO_LENGTH
        head = exchange.head_of(answer, server.date)
        self._write(head, b"" if has_no_body else answer.body)
        if exchange.close and self.is_open:
            queue, self._queue = self._queue, deque()
            for later in queue:
                self._forget(later)
            self._exchange = None
            if self._reading is not _Reading.ENDED:
                self._reading = _Reading.DROPPING
            if not self._output.pending_bytes:
                self._shut()

    def hold(self, exchange: Exchange, count: int) -> bool:
        """See `Exchange.hold`."""
        self._server.traffic.held_bytes += count
        exchange.held_bytes += count
        return self._server.has_room

    def _let_go(self, exchange: Exchange) -> None:
        """Its body is held no more."""
        self._server.traffic.held_bytes -= exchange.held_bytes
        exchange.held_bytes = 0

    def _refuse(self, answer: Answer) -> None:
        """Answer the request that is being received; then the connection ends."""
        exchange = self._exchange
        if exchange is None:
            exchange = Exchange(self)
            self._queue.append(exchange)
        self._let_go(exchange)
        exchange.parts = []
        exchange.answered = answer
        exchange.close = True
        exchange.is_received = True
        self._exchange = None
        self._is_closing = True
        self._reading = _Reading.DROPPING

    # Output

    def _write(self, head: bytes, body: bytes = b"") -> None:
        if not self.is_open:
            return
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
        elif self._is_closing and not self._queue:
            self._shut()
        else:
            self.advance()

    # The end

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
        elif self._reading is _Reading.HEADER:
            seconds = limits.header_ns // 10**9
            detail = f"the header did not come within {seconds} s"
            self._refuse(too_slow(detail, "header_timeout"))
            self.advance()
        elif self._reading is _Reading.BODY and not self._waits_for_continue:
            wanted = limits.body_rate_bytes * limits.body_window_ns // 10**9
            if self._body_bytes - self._window_bytes < wanted:
                detail = f"the body came at less than {limits.body_rate_bytes} bytes a second"
                self._refuse(too_slow(detail, "body_too_slow"))
                self.advance()
            else:
                self._window_bytes = self._body_bytes
                self.schedule(now + limits.body_window_ns)
        elif self._queue:
            self.schedule(now + limits.idle_ns)
        else:
            self._server.application.rejected("idle")
            self.close()

    def drain(self) -> None:
        """The server stops: go when idle, finish what is under way otherwise."""
        if not self.is_busy and self._reading is _Reading.BETWEEN:
            self.close()

    def _shut(self) -> None:
        """All is answered: close our side and drop what still comes, for a while."""
        if self._is_shut:
            return
        self._is_shut = True
        if self._reading is _Reading.ENDED:
            self.close()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.schedule(self._server.now + self._server.limits.drain_ns)
        self._server.again(self)

    def _forget(self, exchange: Exchange) -> None:
        """The client of this exchange has gone, or never finished asking."""
        exchange.connection = None
        self._let_go(exchange)
        if self._queue and self._queue[-1] is exchange:
            self._queue.pop()
        if exchange.cancel is not None:
            cancel, exchange.cancel = exchange.cancel, None
            self._server.application.cancelled(exchange)
            cancel()

    def close(self) -> None:
        """End at once; whatever was under way is cancelled."""
        if not self.is_open:
            return
        self.is_open = False
        self._output.clear()
        queue, self._queue = self._queue, deque()
        for exchange in queue:
            self._forget(exchange)
        self._exchange = None
        self._server.forget(self)
        self._socket.close()
        # The parser holds bound methods of this object: a cycle for the collector otherwise.
        del self._parser
