"""What a client sends, made into requests: one reader for each connection.

The idea: httptools parses what arrived and calls back. A request whose header is whole is judged
at once, by its framing and then by the application, before its body is read; a body is counted as
it comes. What is wrong is answered there and then (`RequestReader.refuse`), and nothing after it on
the connection is looked at: whoever broke the framing may mean something else by every byte that
follows.

Fields that are known from before (`KnownHeaders`) go past the parser, to the same judges.

The reader puts requests at the end of the connection's queue and takes nothing from it.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

import httptools

from sadik_node.http.answers import Answer, problem
from sadik_node.http.exchange import SAFE_METHODS, Exchange
from sadik_node.http.framing import framing_fault
from sadik_node.http.known_headers import REQUEST_LINE, KnownHeader
from sadik_node.http.refusals import (
    header_too_large,
    malformed,
    overloaded,
    too_large,
    too_long_target,
    too_many_fields,
    too_slow,
)

if TYPE_CHECKING:
    from sadik_node.http.connection import Connection
    from sadik_node.http.server import HttpServer

__all__ = ["BETWEEN", "BODY", "DROPPING", "ENDED", "HEADER", "Reading", "RequestReader"]

_METHOD_START = re.compile(rb"[A-Z-]{1,24} ")
_LINES_END = b"\r\n\r\n"
_BLANK = re.compile(rb"[\r\n]+")
_NEXT = re.compile(rb"\r\n\r\n(?=[A-Z-]{1,24}(?:\Z| [^ \r\n]*(?:\Z| (?:HTTP/|[HTP]{0,4}\Z))))")
"""An empty line with a request line behind it, or with what may become one."""
_SMALL_BODY_BYTES = 64 * 2**10
_SMALL_PART_BYTES = 2**10
_FRAMING_BYTES_MAX = 16 * 2**10
_EXCHANGE_BYTES = 2**10
"""About what the objects of one request cost besides its bytes."""
_FAR_NS = 1 << 62


class Reading(enum.Enum):
    BETWEEN = 0
    HEADER = 1
    BODY = 2
    DROPPING = 3
    """Refused: what comes is counted and dropped."""
    ENDED = 4
    """The client sends no more."""


# Looking a member up in its class takes 0.2 µs on Python 3.11, a global next to nothing.
BETWEEN, HEADER, BODY, DROPPING, ENDED = Reading


class _Stop(Exception):  # noqa: N818 - raised in a callback to leave the parser, caught at once
    pass


class RequestReader:
    """The receiving side of one connection."""

    __slots__ = (
        "_body_bytes",
        "_carried",
        "_connection",
        "_data",
        "_dropped_bytes",
        "_fields",
        "_framing_bytes",
        "_header_bytes",
        "_headers",
        "_is_known",
        "_last",
        "_length",
        "_parser",
        "_raw",
        "_server",
        "_unfinished_bytes",
        "_window_bytes",
        "exchange",
        "reading",
    )

    def __init__(self, server: HttpServer, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._parser = httptools.HttpRequestParser(self)
        self._is_known = False
        """The body that is being received is of a request whose header went past the parser."""
        self.reading = BETWEEN
        self.exchange: Exchange | None = None
        """The request that is being received."""
        self._data = memoryview(b"")
        """What is being parsed, and what of the same header came before it."""
        self._carried = b""
        self._raw: bytes | None = None
        """Both together, where they have been looked at."""
        self._last = b""
        """The last bytes, where an empty line may be on its way."""
        self._length: int | None = None
        """The declared length of the body that is being received."""
        self._headers: dict[bytes, bytes] = {}
        """Fields of the request that is being received, by lower-case name."""
        self._fields = 0
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._body_bytes = 0
        self._window_bytes = 0
        self._framing_bytes = 0
        self._dropped_bytes = 0

    @property
    def waits_for_continue(self) -> bool:
        """Whether the client waits to be asked for a body."""
        return self.exchange is not None and self.exchange.wants_continue

    @property
    def is_at_end(self) -> bool:
        """Whether the client sends no more, or nothing more is wanted of it."""
        return self.reading is ENDED

    def feed(self, data: memoryview) -> None:
        """Take what has come, in portions that are of one request at most.

        So each request begins a portion, and its first line is where it has to be; the parser does
        not tell where it found it.
        """
        said = b""
        at, count = 0, len(data)
        while at < count and self.reading is not DROPPING:
            if self.reading is BODY and self._length is not None:
                end = min(count, at + self._length - self._body_bytes)
            else:
                said = said or bytes(data)
                end = self._begin_known(said, at)
                if end:
                    at = end
                else:
                    end = self._end_in(said, at)
            if end > at:
                part = data if end - at == count else data[at:end]
                at = end
                if self._is_known:
                    self._take_body(part)
                else:
                    self._take(part)
            if not self._connection.is_open:
                return
        self._connection.advance()

    def _begin_known(self, said: bytes, at: int) -> int:
        """Take a request's header from ``at`` on past the parser; where it ends, or 0.

        It may go past where the parser stands between requests and would take the line as it is
        and the fields as it took them before: then it would call back with nothing else.
        """
        if self.reading is not BETWEEN or self._last or self._connection.is_closing:
            return 0
        line = REQUEST_LINE.match(said, at)
        if line is None:
            return 0
        server = self._server
        found = server.known_headers.find(said, line.end())
        if found is None:
            return 0
        known, end = found
        method, target = line.groups()
        limits = server.limits
        size = len(target)
        if size > limits.target_bytes or known.header_bytes + size > limits.header_bytes:
            return 0
        self.exchange = exchange = Exchange(self._connection)
        self._connection.queue.append(exchange)
        exchange.method, exchange.target, exchange.headers = method, target, known.fields
        exchange.is_safe = method in SAFE_METHODS
        exchange.has_body = bool(known.length)
        self._header_bytes = known.header_bytes
        self.reading = BODY
        try:
            self._judge(exchange, known.length, is_10=False)
        except _Stop:
            return end
        if exchange.has_body:
            self._is_known = True
            self._connection.schedule(self._connection.due)
        else:
            self.on_message_complete()
        return end

    def _end_in(self, said: bytes, at: int) -> int:
        """Where a header or a chunked body that goes on at ``at`` may end, or all that was said.

        Both end with an empty line. Of those that look like one within chunks only such count as
        have the next request behind them: cutting there does no harm but takes time.
        """
        if not at and self._last:
            end = (self._last + said[:3]).find(_LINES_END)
            if end >= 0:
                end += len(_LINES_END) - len(self._last)
                self._last = b""
                return end
        if self.reading is BODY:
            found = _NEXT.search(said, at)
            end = -1 if found is None else found.start()
        else:
            blank = _BLANK.match(said, at) if self.reading is BETWEEN else None
            end = said.find(_LINES_END, at if blank is None else blank.end())
        if end < 0:
            self._last = (self._last + said[max(at, len(said) - 3) :])[-3:]
            return len(said)
        self._last = b""
        return end + len(_LINES_END)

    def _take(self, data: memoryview) -> None:
        """Have the parser call back, and count what it holds back."""
        body_bytes = self._body_bytes
        before = self.reading
        exchange = self.exchange
        self._data = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # Nobody is upgraded: the request was taken as if it had not asked.
        except httptools.HttpParserError as error:
            self._on_parser_error(error, data)
        self._carried = self._received() if self.reading is HEADER else b""
        self._raw = None
        if self.reading is HEADER:
            if self.exchange is exchange:
                # The parser shows a field only when it is whole: count what it holds back.
                self._unfinished_bytes += len(data)
                if self._unfinished_bytes > self._server.limits.header_bytes:
                    self.refuse(header_too_large(self._server.limits.header_bytes))
            self._connection.schedule(self._connection.due)
        elif self.reading is BODY:
            if before is BODY and self._body_bytes == body_bytes:
                # Chunk sizes, extensions and trailers alone: nothing that a body needs much of.
                self._framing_bytes += len(data)
                if self._framing_bytes > _FRAMING_BYTES_MAX:
                    self.refuse(malformed("a chunked body with too much between its chunks"))
            self._connection.schedule(self._connection.due)

    def _take_body(self, data: memoryview) -> None:
        """Do as the parser does with a body of which it knows the length."""
        try:
            self.on_body(bytes(data))
        except _Stop:
            return
        if self._body_bytes == self._length:
            self.on_message_complete()
        else:
            self._connection.schedule(self._connection.due)

    def _received(self) -> bytes:
        """What has come of the header that is being received, but for blank lines before it."""
        if self._raw is None:
            self._raw = (self._carried + self._data).lstrip(b"\r\n")
        return self._raw

    def _is_line(self, method: bytes, target: bytes, version: str) -> bool:
        """Whether the request line stands there as HTTP has it.

        The parser takes several blanks for one, and other protocols' names for ours.
        """
        line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
        return self._received().startswith(line)

    def _on_parser_error(self, error: Exception, data: memoryview) -> None:
        cause = error.__context__
        if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
            if isinstance(cause, _Stop):
                return
            raise cause
        if self._connection.is_closing or not self._connection.is_open:
            self.reading = DROPPING
            return
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            if _METHOD_START.match(self._received()):
                answer = problem(
                    405,
                    "no resource knows this method",
                    fields=b"Allow: GET, HEAD, PUT, POST, DELETE\r\n",
                )
            else:
                answer = malformed("this is no HTTP/1.1 request")
        else:
            answer = malformed(f"malformed HTTP: {error}")
        self.refuse(answer)

    def drop(self, count: int) -> None:
        """Count bytes that came after a refusal; beyond the bound nothing more is read."""
        self._dropped_bytes += count
        if self._dropped_bytes > self._server.limits.drain_bytes:
            self.reading = ENDED

    def on_due(self, now: int) -> bool:
        """Judge the pace of a request that is being received. False if none is."""
        limits = self._server.limits
        if self.reading is HEADER:
            seconds = limits.header_ns // 10**9
            detail = f"the header did not come within {seconds} s"
            self.refuse(too_slow(detail, "header_timeout"))
        elif self.reading is BODY and not self.waits_for_continue:
            wanted = limits.body_rate_bytes * limits.body_window_ns // 10**9
            if self._body_bytes - self._window_bytes >= wanted:
                self._window_bytes = self._body_bytes
                self._connection.schedule(now + limits.body_window_ns)
                return True
            detail = f"the body came at less than {limits.body_rate_bytes} bytes a second"
            self.refuse(too_slow(detail, "body_too_slow"))
        else:
            return False
        self._connection.advance()
        return True

    def end(self) -> None:
        """The client has closed its side: a request that is not whole was not made."""
        if self.exchange is not None:
            self._connection.forget(self.exchange)
            self.exchange = None
        self.reading = ENDED

    def stop(self) -> None:
        """Nothing more is wanted of this client: what comes is dropped."""
        self.exchange = None
        if self.reading is not ENDED:
            self.reading = DROPPING

    def release(self) -> None:
        """Let the parser go: it holds bound methods of this object, a cycle for the collector."""
        self.exchange = None
        del self._parser

    def refuse(self, answer: Answer) -> None:
        """Answer the request that is being received; then the connection ends."""
        exchange = self.exchange
        if exchange is None:
            exchange = Exchange(self._connection)
            self._connection.queue.append(exchange)
        self._connection.let_go(exchange)
        exchange.parts = []
        exchange.answered = answer
        exchange.close = True
        exchange.is_received = True
        self.exchange = None
        self._connection.is_closing = True
        self.reading = DROPPING

    # What the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._connection.is_closing:
            self.reading = DROPPING
            raise _Stop
        server = self._server
        self.exchange = exchange = Exchange(self._connection)
        exchange.headers = self._headers = {}
        self.reading = HEADER
        self._header_bytes = self._unfinished_bytes = self._fields = 0
        self._connection.queue.append(exchange)
        self._connection.due = server.now + server.limits.header_ns

    def on_url(self, part: bytes) -> None:
        """The target, or the next part of it."""
        exchange = self.exchange
        assert exchange is not None
        exchange.target = exchange.target + part if exchange.target else part
        if len(exchange.target) > self._server.limits.target_bytes:
            self.refuse(too_long_target(self._server.limits.target_bytes))
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, or one trailer field, which is dropped."""
        exchange = self.exchange
        assert exchange is not None
        if self.reading is BODY:
            self._framing_bytes += len(name) + len(value)
            return
        self._header_bytes += len(name) + len(value) + 4
        self._fields += 1
        if self._fields > self._server.limits.header_fields:
            self.refuse(too_many_fields(self._server.limits.header_fields))
            raise _Stop
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name in self._server.application.single_fields or name.startswith(b"sadik-"):
                self.refuse(malformed(f"the field {name.decode('latin-1')} stands there twice"))
                raise _Stop
            headers[name] += b", " + value
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """The header is whole: judge the framing, then ask the application."""
        exchange = self.exchange
        assert exchange is not None
        server = self._server
        parser = self._parser
        headers = exchange.headers
        self.reading = BODY
        if self._header_bytes + len(exchange.target) > server.limits.header_bytes:
            self.refuse(header_too_large(server.limits.header_bytes))
            raise _Stop
        exchange.method = method = parser.get_method()
        exchange.is_safe = method in SAFE_METHODS
        version = parser.get_http_version()
        is_10 = version != "1.1"
        wrong = framing_fault(version, method, headers)
        if not self._is_line(method, exchange.target, version):
            wrong = "the request line is not a method, a target and HTTP/1.1 with a blank between"
        length = headers.get(b"content-length")
        exchange.has_body = b"transfer-encoding" in headers or (
            length is not None and length.strip(b"0") != b""
        )
        if wrong is None and exchange.has_body and parser.should_upgrade():
            # The parser would not show the body of such a request.
            wrong = "an upgrade is not offered, least of all with a body"
        if wrong is not None:
            self.refuse(malformed(wrong))
            raise _Stop
        if not parser.should_keep_alive():
            exchange.close = True
        elif is_10:
            exchange.keep_alive_10 = True
        declared = None if length is None else int(length)
        if not (is_10 or exchange.close or parser.should_upgrade()):
            self._note_known(exchange, declared)
        self._judge(exchange, declared, is_10=is_10)

    def _note_known(self, exchange: Exchange, length: int | None) -> None:
        """Remember an ordinary header: of one who goes on, with a plain body or none."""
        headers = exchange.headers
        if b"transfer-encoding" not in headers and b"expect" not in headers:
            line = REQUEST_LINE.match(self._received())
            if line is not None:
                known = KnownHeader(headers, self._header_bytes, length)
                self._server.known_headers.note(self._received()[line.end() :], known)

    def _judge(self, exchange: Exchange, length: int | None, *, is_10: bool) -> None:
        """Ask the application about a request whose framing is right."""
        server = self._server
        exchange.started_ns = server.clock_ns()
        refusal = server.application.admit(exchange)
        self._admitted(exchange, refusal, length, is_10=is_10)
        if not self._connection.is_open:
            raise _Stop

    def _admitted(
        self, exchange: Exchange, refusal: Answer | None, length: int | None, *, is_10: bool
    ) -> None:
        server = self._server
        declared = length if exchange.has_body else None
        if refusal is None and declared is not None and declared > exchange.body_max:
            refusal = too_large(declared, exchange.body_max)
        is_spare = self._connection.is_spare
        if refusal is None and exchange.operation != "view" and (is_spare or not server.has_room):
            refusal = overloaded()
        exchange.close = exchange.close or is_spare
        self._hold(exchange, _EXCHANGE_BYTES + self._header_bytes + len(exchange.target))
        expects = exchange.headers.get(b"expect")
        if expects is not None and refusal is None and expects.lower() != b"100-continue":
            refusal = malformed("the only expectation known is 100-continue")
        if refusal is not None:
            is_small = length is not None and length <= _SMALL_BODY_BYTES and expects is None
            if exchange.has_body and not is_small:
                self.refuse(refusal)
                raise _Stop
            exchange.answered = refusal
            exchange.discards_body = True
            exchange.body_max = _SMALL_BODY_BYTES
        elif exchange.has_body and expects is not None and not is_10:
            exchange.wants_continue = True
            if self._connection.queue[0] is exchange:
                exchange.wants_continue = False
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._body_bytes = self._window_bytes = self._framing_bytes = 0
        self._length = declared
        if exchange.has_body:
            self._connection.due = server.now + server.limits.body_window_ns

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        exchange = self.exchange
        assert exchange is not None
        count = len(part)
        self._body_bytes += count
        self._framing_bytes = 0
        if self._body_bytes > exchange.body_max:
            self.refuse(too_large(None, exchange.body_max))
            raise _Stop
        if exchange.discards_body:
            return
        exchange.wants_continue = False
        self._hold(exchange, count)
        if count >= _SMALL_PART_BYTES or count == self._length:
            exchange.parts.append(part)
        elif exchange.parts and isinstance(exchange.parts[-1], bytearray):
            # A body in tiny chunks would cost many times its size as so many objects.
            exchange.parts[-1] += part
        else:
            exchange.parts.append(bytearray(part))

    def _hold(self, exchange: Exchange, count: int) -> None:
        exchange.held_bytes += count
        self._connection.held_bytes += count
        self._server.traffic.held_bytes += count

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self.exchange
        assert exchange is not None
        parts = exchange.parts
        if parts:
            exchange.body = b"".join(parts)
            exchange.parts = []
        exchange.is_received = True
        exchange.wants_continue = False
        self.exchange = None
        self._is_known = False
        self.reading = BETWEEN
        self._connection.due = _FAR_NS
        if exchange.close:
            self._connection.is_closing = True
