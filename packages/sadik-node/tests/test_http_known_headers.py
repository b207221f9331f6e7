"""A request whose header is known from before is taken exactly as the parser takes it."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sadik_node.http.answers import Answer, text_answer
from sadik_node.http.connection import Connection
from sadik_node.http.exchange import Exchange
from sadik_node.http.known_headers import KnownHeader, KnownHeaders
from sadik_node.http.limits import HttpLimits
from sadik_node.http.server import HttpServer
from sadik_node.reactor import Reactor

LIMITS = HttpLimits(target_bytes=40, header_bytes=160, header_fields=6, value_bytes=50, waiting=3)

METHODS = [b"GET", b"PUT", b"HEAD", b"DELETE", b"POST", b"OPTIONS", b"PRI", b"get", b"GET "]
TARGETS = st.one_of(
    st.sampled_from([b"/k", b"/refused", b"/silent", b"*", b"//h/k", b"http://h/k", b"/k#x", b""]),
    st.text(st.characters(max_codepoint=255), max_size=45).map(
        lambda text: b"/" + text.encode("latin-1")
    ),
)
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2", b"http/1.1", b""]
FIELDS = [
    b"Host: h", b"Host: h", b"host:h", b"Accept: */*", b"X: a, b", b"X: \xe9", b"X:", b"X: a\r\n b",
    b"X : a", b"X: a\nY: b", b"nonsense", b"Connection: close", b"Connection: keep-alive",
    b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 0", b"Content-Length: 3",
    b"Content-Length: 60", b"Content-Length: +3", b"Transfer-Encoding: chunked",
    b"Expect: 100-continue", b"Sadik-Context: c", b"X-Long: " + b"x" * 80,
]  # fmt: skip
BODIES = [b"", b"", b"abc", b"a", b"x" * 60, b"3\r\nabc\r\n0\r\n\r\n", b"\r\n", b"\r\n\r\n"]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Mostly a request, and mostly a right one."""
    ordinary = [b"Host: h", *draw(st.sampled_from([[], [b"Accept: */*"], [b"Content-Length: 3"]]))]
    fields = draw(st.one_of(st.just(ordinary), st.lists(st.sampled_from(FIELDS), max_size=7)))
    line = b" ".join([
        draw(st.sampled_from(METHODS[:5] * 4 + METHODS)), draw(TARGETS),
        draw(st.sampled_from(VERSIONS)),
    ])  # fmt: skip
    return b"\r\n".join([line, *fields, b"", draw(st.sampled_from(BODIES))])


class Wire:
    """The server's end of a connection, as `ClientSocket` has it."""

    def __init__(self) -> None:
        self.incoming = b""
        self.heard = b""

    def fileno(self) -> int:
        return 1 << 20

    def recv_into(self, buffer: memoryview, /) -> int:
        if not self.incoming:
            raise BlockingIOError
        count = len(self.incoming)
        buffer[:count] = self.incoming
        self.incoming = b""
        return count

    def send(self, data: Any, /) -> int:
        self.heard += data
        return len(data)

    def sendmsg(self, buffers: Any, /) -> int:
        return self.send(b"".join(buffers))

    def shutdown(self, _how: int, /) -> None:
        pass

    def close(self) -> None:
        self.heard += b"[closed]"


class Noting:
    """An application that notes all that it is told of a request."""

    single_fields = frozenset({b"host", b"content-length"})

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def admit(self, exchange: Exchange) -> Answer | None:
        self._note("admit", exchange)
        exchange.body_max = LIMITS.value_bytes
        exchange.operation = "put"
        return text_answer("no") if exchange.target == b"/refused" else None

    def start(self, exchange: Exchange) -> None:
        self._note("start", exchange)
        if exchange.target != b"/silent":
            exchange.answer(text_answer("yes"))

    def _note(self, what: str, exchange: Exchange) -> None:
        assert exchange.connection is not None
        self.noted.append((
            what, exchange.method, exchange.target, dict(exchange.headers), exchange.body,
            exchange.has_body, exchange.is_safe, exchange.close, exchange.keep_alive_10,
            exchange.held_bytes, exchange.connection.held_bytes,
        ))  # fmt: skip

    def record(self, exchange: Exchange, answer: Answer) -> None:
        self.noted.append((answer.status, answer.reason, exchange.discards_body))

    def cancelled(self, exchange: Exchange) -> None:
        self.noted.append("cancelled")

    def rejected(self, reason: str) -> None:
        self.noted.append(reason)

    def defect(self, error: Exception) -> None:
        raise AssertionError from error


class Server(HttpServer):
    """A server that the test has read."""

    def again(self, connection: Connection) -> None:
        """See `HttpServer.again`: nothing waits in this kernel."""


class Forgetful(KnownHeaders):
    """Knows nothing."""

    def note(self, raw: bytes, header: KnownHeader) -> None:
        """See `KnownHeaders.note`."""


def said_to(known: KnownHeaders, pieces: list[bytes]) -> list[Any]:
    """All that comes of saying these pieces on two connections, one after the other."""
    application = Noting()
    reactor = Reactor()
    server = Server(application, [], LIMITS, lambda: 0, lambda: 0.0, reactor)
    server.known_headers = known
    states: list[Any] = [application.noted]
    for _ in range(2):
        wire = Wire()
        connection = Connection(server, wire, "loopback")
        server._connections[connection.fd] = connection
        server._by_address["loopback"] = 1
        server._by_use[connection] = None
        for piece in pieces:
            wire.incoming = piece
            server._serve(connection, 1)
            if connection.is_open:
                states.append((connection.due, connection._reader.reading, connection.held_bytes))
        connection.close()
        states += [wire.heard, server.traffic.held_bytes, server.traffic.received_bytes]
    server._close()
    reactor.close()
    return states


@given(st.lists(requests(), min_size=1, max_size=5), st.data())
def test_what_is_known_makes_no_difference(asked: list[bytes], data: st.DataObject) -> None:
    said = b"".join(asked)
    cuts = data.draw(st.lists(st.integers(0, len(said)), max_size=3)) if said else []
    at = data.draw(st.sampled_from(["whole", "by request", "anywhere"]))
    if at == "whole":
        pieces = [said]
    elif at == "by request":
        pieces = asked
    else:
        edges = sorted({0, *cuts, len(said)})
        pieces = [said[start:end] for start, end in itertools.pairwise(edges)]
    assert said_to(KnownHeaders(), pieces) == said_to(Forgetful(), pieces)


def test_every_printable_target_goes_past_the_parser_as_through_it() -> None:
    line = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n"
    for byte in range(0x21, 0x7F):
        for target in (b"a%cb" % byte, b"?a%cb" % byte, b"%c" % byte):
            pieces = [line % target]
            known = KnownHeaders()
            assert said_to(known, pieces) == said_to(Forgetful(), pieces), target


def test_an_ordinary_header_is_known_the_second_time() -> None:
    known = KnownHeaders()
    said_to(known, [b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"])
    found = known.find(b"DELETE /other HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", 24)
    assert found is not None
    assert found[0].length == 3


def test_no_more_than_so_many_headers_are_known() -> None:
    known = KnownHeaders()
    for number in range(1000):
        said_to(known, [b"GET /k HTTP/1.1\r\nHost: h\r\nX: %d\r\n\r\n" % number])
        assert len(known._known) <= 256


def test_what_is_said_of_framing_and_of_one_message_alone_is_not_remembered() -> None:
    known = KnownHeaders()
    for field in (
        b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close",
        b"Connection: Upgrade\r\nUpgrade: h2c", b"X: " + b"x" * 3000,
    ):  # fmt: skip
        said_to(known, [b"PUT /k HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n\r\n"])
    assert not known._known
