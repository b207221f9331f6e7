"""What the server refuses, and that the client always sees why."""

from __future__ import annotations

import json

import attrs
import pytest
import trio

from node_fakes import Site, site
from sadik_machine import MILLISECOND
from sadik_node.http.limits import HttpLimits

OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"GET /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\n"
PUT = b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\n"

FRAMING = {
    "both lengths": PUT + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": PUT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": PUT + b"Content-Length: 1, 1\r\n\r\na",
    "a signed length": PUT + b"Content-Length: +1\r\n\r\na",
    "a length of letters": PUT + b"Content-Length: ten\r\n\r\n",
    "an empty length": PUT + b"Content-Length: \r\n\r\n",
    "a huge length": PUT + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "another coding": PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a made-up coding": PUT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": PUT
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding in 1.0": b"PUT /v1/kv/b/k HTTP/1.0\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a broken chunk size": PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "a huge chunk size": PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
    "chunks with bare line feeds": PUT + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": OK[:-2] + b"Host: localhost\r\n\r\n",
    "a host with a path": b"GET /healthz HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "a folded field": HEAD + b"X: a\r\n b\r\n\r\n",
    "a space before the colon": HEAD + b"X : a\r\n\r\n",
    "a field without a colon": HEAD + b"nonsense\r\n\r\n",
    "a zero byte in a field": HEAD + b"X: a\0b\r\n\r\n",
    "a bare carriage return": HEAD + b"X: a\rb\r\n\r\n",
    "a bare line feed": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "a field name in brackets": HEAD + b"X(): a\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/2 in clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a target with a space": b"GET /v1/kv/b/a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a raw byte in the target": b"GET /v1/kv/b/\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an upgrade with a body": PUT
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a context twice": HEAD + b"Sadik-Context: a\r\nSadik-Context: b\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMING)
async def test_broken_framing_is_a_400_and_the_end_of_the_connection(name: str) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(FRAMING[name])
            assert got.status == 400, got
            assert got.fields["content-type"] == "application/problem+json"
            document = json.loads(got.body)
            assert document["status"] == 400
            assert document["type"]
            assert document["title"] == "Bad Request"
            assert document["detail"]
            assert got.fields["connection"] == "close"
            assert await wire.ended()
            assert not here.engine.seen, "nothing of it reached the engine"
            assert here.metrics.rejected["malformed"] == 1
            other = await here.connect()
            assert (await other.ask(OK)).status == 200, "others are unaffected"


@pytest.mark.parametrize("name", FRAMING)
async def test_broken_framing_is_refused_byte_by_byte_too(name: str) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            for at in range(len(FRAMING[name])):
                await wire.send(FRAMING[name][at : at + 1])
            got = await wire.answer()
            assert got.status == 400
            assert await wire.ended()


SEMANTIC = {
    "an unknown path": (b"GET /v1/nothing", 404),
    "an unknown bucket path": (b"GET /v1/kv", 404),
    "a POST": (b"POST /v1/kv/b/k", 405),
    "an OPTIONS": (b"OPTIONS /v1/kv/b/k", 405),
    "a PUT of a view": (b"PUT /v1/members", 405),
    "an unknown parameter": (b"GET /v1/kv/b/k?x=1", 400),
    "a parameter twice": (b"GET /v1/kv/b/k?r=1&r=1", 400),
    "r of zero": (b"GET /v1/kv/b/k?r=0", 400),
    "r of a word": (b"GET /v1/kv/b/k?r=most", 400),
    "r of nothing": (b"GET /v1/kv/b/k?r=", 400),
    "a negative w": (b"DELETE /v1/kv/b/k?w=-1", 400),
    "a broken flag": (b"GET /v1/kv/b/k?sloppy=yes", 400),
    "no timeout at all": (b"GET /v1/kv/b/k?timeout=0", 400),
    "a timeout too long": (b"GET /v1/kv/b/k?timeout=60001", 400),
    "a fractional timeout": (b"GET /v1/kv/b/k?timeout=1.5", 400),
    "a malformed percent in a key": (b"GET /v1/kv/b/a%zz", 400),
    "half a percent in a key": (b"GET /v1/kv/b/a%4", 400),
    "a malformed percent in a parameter": (b"GET /v1/kv/b?prefix=%", 400),
    "an empty key": (b"GET /v1/kv/b/", 400),
    "a key too long": (b"GET /v1/kv/b/" + b"k" * 401, 400),
    "a bucket with a slash in it": (b"GET /v1/kv/a%2Fb/k", 400),
    "an empty bucket": (b"GET /v1/kv//k", 400),
    "a bucket too long": (b"GET /v1/kv/" + b"b" * 65 + b"/k", 400),
    "a limit of zero": (b"GET /v1/kv/b?limit=0", 400),
    "a limit too high": (b"GET /v1/kv/b?limit=10001", 400),
    "an unknown list parameter": (b"GET /v1/kv/b?r=2", 400),
    "a parameter for a view": (b"GET /v1/ring?x", 400),
    "a fragment": (b"GET /v1/kv/b/k#x", 400),
    "a batch without a length": (b"POST /v1/batch", 411),
}


@pytest.mark.parametrize("name", SEMANTIC)
async def test_a_wrong_question_is_refused_and_the_connection_lives_on(name: str) -> None:
    request, status = SEMANTIC[name]
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(request + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert got.status == status, got
            assert json.loads(got.body)["status"] == status
            if status == 405:
                assert "GET" in got.fields["allow"]
            assert not here.engine.seen
            assert (await wire.ask(OK)).status == 200


MALFORMED_FIELDS = [
    b"If-Match: x",
    b'If-Match: "x" "y"',
    b'If-Match: "x',
    b"If-Match:",
    b'If-Match: *, "x"',
    b"If-None-Match: W/x",
    b'If-None-Match: "x",, "y"',
    b"Sadik-TTL: 0",
    b"Sadik-TTL: -5",
    b"Sadik-TTL: 1.5",
    b"Sadik-TTL: soon",
    b"Sadik-TTL: 1000000000",
    b"Sadik-TTL: 5\r\nSadik-TTL: 6",
    b'If-Match: "x"\r\nIf-Match: "y"',
]


@pytest.mark.parametrize("field", MALFORMED_FIELDS)
async def test_a_malformed_condition_or_time_to_live_is_refused(field: bytes) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(PUT + field + b"\r\nContent-Length: 1\r\n\r\na")
            assert got.status == 400, got
            name = field.partition(b":")[0].decode()
            assert name.lower() in json.loads(got.body)["detail"].lower()
            assert not here.engine.seen


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_time_to_live_is_for_what_is_written(method: str) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            head = f"{method} /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nSadik-TTL: 5\r\n\r\n"
            assert (await wire.ask(head.encode())).status == 400
            assert not here.engine.seen


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "return=body"), ("DELETE", "return=body"), ("PUT", "resolve=latest"),
        ("GET", "resolve=first"), ("GET", "resolve="), ("PUT", "return=all"),
    ],
)  # fmt: skip
async def test_a_parameter_of_another_method_is_refused(method: str, query: str) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            head = f"{method} /v1/kv/b/k?{query} HTTP/1.1\r\nHost: localhost\r\n"
            if method == "PUT":
                head += "Content-Length: 0\r\n"
            got = await wire.ask(head.encode() + b"\r\n")
            assert got.status == 400
            assert query.partition("=")[0] in json.loads(got.body)["detail"]
            assert not here.engine.seen


async def test_a_put_says_how_long_it_is() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            assert (await wire.ask(PUT + b"\r\n")).status == 411
            assert (await wire.ask(PUT + b"Content-Length: 0\r\n\r\n")).status == 204


async def test_an_encoded_value_is_refused_because_its_encoding_would_be_lost() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(PUT + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na")
            assert got.status == 415


async def test_methods_unknown_to_the_parser_are_a_405() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            assert (await wire.ask(b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 405


BIG = [
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (HEAD + b"X: " + b"a" * 17_000 + b"\r\n\r\n", 431),
    (HEAD + b"X: " + b"a" * 200_000 + b"\r\n\r\n", 431),
    (HEAD + b"".join(b"X%d: a\r\n" % n for n in range(2000)) + b"\r\n", 431),
    (PUT + b"Sadik-Meta-A: " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n", 431),
    (HEAD + b"Sadik-Context: " + b"a" * 12_500 + b"\r\n\r\n", 400),
]


@pytest.mark.parametrize(("request_", "status"), BIG)
async def test_headers_are_bounded(request_: bytes, status: int) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(request_)
            assert got.status == status


async def test_many_small_requests_in_one_packet_are_no_large_header() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            count = 3000
            half = len(OK) // 2
            await wire.send(OK * count + OK[:half])
            for _ in range(count):
                assert (await wire.answer()).status == 200
            await wire.send(OK[half:])
            assert (await wire.answer()).status == 200


async def test_a_body_is_refused_by_its_declared_length_and_the_client_sees_it() -> None:
    limits = HttpLimits(value_bytes=1000)
    async with site(limits) as here:
        with trio.fail_after(10):
            for field in (b"Content-Length: 3000000", b"Transfer-Encoding: chunked"):
                wire = await here.connect()
                # A client that first sends all of its body and only then reads.
                await wire.send(PUT + field + b"\r\n\r\n")
                await wire.send((b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n") * 3)
                got = await wire.answer()
                assert got.status == 413
                assert "1000" in json.loads(got.body)["detail"]
                assert await wire.ended()
            assert here.server.traffic.held_bytes == 0
            assert not here.engine.seen


async def test_a_client_that_goes_on_after_a_refusal_is_cut_off_in_the_end() -> None:
    limits = HttpLimits(value_bytes=1000, drain_bytes=1 << 20)
    async with site(limits) as here:
        with trio.fail_after(20):
            wire = await here.connect()
            await wire.send(PUT + b"Content-Length: 99999999\r\n\r\n")
            assert (await wire.answer()).status == 413
            with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it happens
                await wire.send(bytes(200 << 20))


async def test_a_body_at_the_limit_is_taken_with_either_framing() -> None:
    async with site(HttpLimits(value_bytes=100_000)) as here:
        with trio.fail_after(10):
            wire = await here.connect()
            value = bytes(100_000)
            got = await wire.ask(PUT + b"Content-Length: 100000\r\n\r\n" + value)
            assert got.status == 204
            chunks = b"".join(b"2710\r\n" + bytes(10_000) + b"\r\n" for _ in range(10))
            got = await wire.ask(
                PUT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
            )
            assert got.status == 204
            assert (await wire.ask(HEAD + b"\r\n")).body == value


async def test_trailers_and_chunk_extensions_never_become_fields_of_the_next_request() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            body = b"3;x=y\r\nabc\r\n0\r\nHost: evil\r\nSadik-Context: x\r\n\r\n"
            got = await wire.ask(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + body)
            assert got.status == 204
            assert (await wire.ask(HEAD + b"\r\n")).body == b"abc"


@pytest.mark.parametrize("endless", [b"0;" + b"x" * 100_000, b"0\r\nT: " + b"x" * 100_000])
async def test_what_stands_between_chunks_is_bounded(endless: bytes) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
            await wire.send(endless)
            await wire.send(endless[-50_000:])
            assert (await wire.answer()).status == 400


def _quick(**changes: int) -> HttpLimits:
    return attrs.evolve(HttpLimits(tick_ns=5 * MILLISECOND), **changes)


async def test_a_header_has_its_time() -> None:
    async with site(_quick(header_ns=30 * MILLISECOND)) as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(HEAD)
            assert (await wire.answer()).status == 408
            assert await wire.ended()


async def test_a_body_has_its_pace() -> None:
    async with site(_quick(body_window_ns=30 * MILLISECOND, body_rate_bytes=100_000)) as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(PUT + b"Content-Length: 4000\r\n\r\nabc")
            assert (await wire.answer()).status == 408
            assert await wire.ended()
            assert here.server.traffic.held_bytes == 0


async def test_idle_connections_end() -> None:
    async with site(_quick(idle_ns=30 * MILLISECOND)) as here:
        with trio.fail_after(10):
            silent, once = await here.connect(), await here.connect()
            assert (await once.ask(OK)).status == 200
            assert await silent.ended()
            assert await once.ended()
            assert here.server.connections == 0


async def test_at_the_limit_the_longest_idle_goes_first() -> None:
    async with site(HttpLimits(connections=3)) as here:
        with trio.fail_after(10):
            wires = [await here.connect() for _ in range(3)]
            for wire in (wires[1], wires[0], wires[2]):
                assert (await wire.ask(OK)).status == 200
            newcomer = await here.connect()
            assert (await newcomer.ask(OK)).status == 200
            assert await wires[1].ended()
            assert (await wires[0].ask(OK)).status == 200
            assert here.metrics.rejected["connections"] == 1


async def _judge(here: Site, fields: bytes, target: bytes = b"/healthz") -> int:
    wire = await here.connect()
    got = await wire.ask(b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n\r\n")
    return got.status


async def test_a_web_page_cannot_drive_a_node_on_loopback() -> None:
    async with site() as here:
        with trio.fail_after(10):
            for ours in (b"localhost", b"LOCALHOST:7070", b"127.0.0.1:1", b"[::1]:7070"):
                assert await _judge(here, b"Host: " + ours) == 200
            for theirs in (b"evil.example", b"localhost.evil.example:7070", b"10.0.0.1"):
                assert await _judge(here, b"Host: " + theirs) == 421
            host = b"Host: localhost:7070\r\n"
            assert await _judge(here, host + b"Origin: http://localhost:7070") == 200
            for page in (b"http://evil.example", b"null", b"http://localhost:3000"):
                assert await _judge(here, host + b"Origin: " + page) == 403
            assert await _judge(here, b"Host: x", b"http://localhost/healthz") == 200
            assert await _judge(here, b"Host: localhost", b"http://evil.example/healthz") == 421


async def test_beyond_loopback_any_name_is_taken() -> None:
    async with site(names=None) as here:
        with trio.fail_after(10):
            assert await _judge(here, b"Host: node.example:7070") == 200
            assert await _judge(here, b"Host: no host") == 400
