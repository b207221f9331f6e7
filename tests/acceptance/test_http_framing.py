"""HTTP/1.1 as bytes: keep-alive, pipelining, chunks, 100-continue, and what is refused."""

from __future__ import annotations

import pytest
from http_checks import check_problem
from raw_http import RawConnection, ask_raw
from real_cluster import RealCluster, RealNode

HOST = b"Host: localhost\r\n"
MIB = 2**20


@pytest.fixture
def node(shared: RealCluster) -> RealNode:
    return shared.nodes[0]


def put_request(key: bytes, value: bytes, *fields: bytes) -> bytes:
    lines = [b"PUT /v1/kv/framing/%b HTTP/1.1" % key, b"Host: localhost", *fields]
    lines.append(b"Content-Length: %d" % len(value))
    return b"\r\n".join(lines) + b"\r\n\r\n" + value


def get_request(key: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"GET /v1/kv/framing/%b HTTP/%b" % (key, version), b"Host: localhost", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_connection_is_kept(node: RealNode) -> None:
    with RawConnection(node) as connection:
        for number in range(50):
            connection.send(put_request(b"kept", b"%d" % number))
            assert connection.read_answer().status == 204
            connection.send(get_request(b"kept"))
            assert connection.read_answer().body == b"%d" % number
            connection.send(get_request(b"none"))
            assert connection.read_answer().status == 404


def test_pipelined_requests_are_answered_in_order(node: RealNode) -> None:
    with RawConnection(node) as connection:
        requests = b""
        for number in range(40):
            requests += put_request(b"piped", b"%d" % number) + get_request(b"piped")
            requests += get_request(b"piped").replace(b"GET", b"HEAD", 1)
        connection.send(requests)
        for number in range(40):
            assert connection.read_answer().status == 204
            assert connection.read_answer().body == b"%d" % number
            head = connection.read_answer(is_head=True)
            assert (head.status, head.headers["content-length"]) == (200, str(len(str(number))))


def test_requests_may_arrive_a_byte_at_a_time(node: RealNode) -> None:
    with RawConnection(node) as connection:
        for byte in connection.dressed(put_request(b"slow", b"value") + get_request(b"slow")):
            connection.send(bytes([byte]))
        assert connection.read_answer().status == 204
        assert connection.read_answer().body == b"value"


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"b\r\nhello world\r\n0\r\n\r\n",
        b"000B\r\nhello world\r\n00\r\n\r\n",
        b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"5\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: dropped\r\n\r\n",
    ],
)
def test_a_chunked_body_is_put_together(node: RealNode, body: bytes) -> None:
    head = b"PUT /v1/kv/framing/chunked HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    with RawConnection(node) as connection:
        connection.send(head + body + get_request(b"chunked"))
        assert connection.read_answer().status == 204
        assert connection.read_answer().body == b"hello world"


def test_an_empty_chunked_body_is_an_empty_value(node: RealNode) -> None:
    head = b"PUT /v1/kv/framing/no-chunk HTTP/1.1\r\n" + HOST
    answer = ask_raw(node, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert answer.status == 204
    assert node.ask("GET", "/v1/kv/framing/no-chunk").body == b""


def test_a_chunked_body_above_the_limit_is_refused(node: RealNode) -> None:
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    head = b"PUT /v1/kv/framing/over HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    with RawConnection(node) as connection:
        connection.send(head + chunk * 65)
        check_problem(connection.read_answer(), 413)
        assert connection.is_ended()
    assert node.ask("GET", "/v1/kv/framing/over").status == 404


def test_100_continue_comes_before_the_body_and_a_refusal_instead_of_it(node: RealNode) -> None:
    request = put_request(b"expected", b"value", b"Expect: 100-continue")
    with RawConnection(node) as connection:
        connection.send(request.removesuffix(b"value"))
        assert connection.read_answer().status == 100
        connection.send(b"value")
        assert connection.read_answer().status == 204
    with RawConnection(node) as connection:
        over = put_request(b"expected", b"", b"Expect: 100-continue")
        connection.send(over.replace(b"Length: 0", b"Length: %d" % (5 * MIB)))
        check_problem(connection.read_answer(), 413)
        assert connection.is_ended()
    assert node.ask("GET", "/v1/kv/framing/expected").body == b"value"


def test_close_is_done_and_said(node: RealNode) -> None:
    with RawConnection(node) as connection:
        connection.send(get_request(b"none", b"Connection: close"))
        answer = connection.read_answer()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert connection.is_ended()


def test_http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept(node: RealNode) -> None:
    assert ask_raw(node, put_request(b"old", b"value")).status == 204
    with RawConnection(node) as connection:
        line = b"GET /v1/kv/framing/old HTTP/1.0\r\n"
        connection.send(line + connection.token_field + b"\r\n")
        assert connection.read_answer().body == b"value"
        assert connection.is_ended()
    with RawConnection(node) as connection:
        for _ in range(2):
            connection.send(get_request(b"old", b"Connection: keep-alive", version=b"1.0"))
            answer = connection.read_answer()
            assert (answer.body, answer.headers["connection"]) == (b"value", "keep-alive")


def test_an_absolute_target_is_taken(node: RealNode) -> None:
    assert ask_raw(node, put_request(b"absolute", b"value")).status == 204
    target = b"http://localhost/v1/kv/framing/absolute"
    answer = ask_raw(node, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.body == b"value"


PUT = b"PUT /v1/kv/framing/smuggled HTTP/1.1\r\n"
GET = b"GET /v1/kv/framing/smuggled HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "no host": GET + b"\r\n",
    "two hosts": GET + HOST + HOST + b"\r\n",
    "length and chunked": PUT + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked and length": PUT + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": PUT + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "two equal lengths": PUT + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": PUT + HOST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": PUT + HOST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": PUT + HOST + b"Content-Length: -5\r\n\r\nhello",
    "a length in hex": PUT + HOST + b"Content-Length: 0x5\r\n\r\nhello",
    "an endless length": PUT + HOST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nhello",
    "gzip, chunked": PUT + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": PUT + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "not chunked": PUT + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked, 1.0": PUT.replace(b"1.1", b"1.0") + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "a space before the colon": GET + HOST + b"Content-Length : 5\r\n\r\nhello",
    "a folded field": GET + HOST + b"Name: value\r\n folded\r\n\r\n",
    "a field without a colon": GET + HOST + b"Name\r\n\r\n",
    "a field without a name": GET + HOST + b": value\r\n\r\n",
    "a NUL in a field": GET + HOST + b"Name: va\0lue\r\n\r\n",
    "a bare LF after the request line": GET.replace(b"\r\n", b"\n") + HOST + b"\r\n",
    "a bare LF after a field": GET + b"Host: localhost\n\r\n",
    "a bare LF at the end": GET + HOST + b"\n",
    "a bare CR in a field": GET + HOST + b"Name: va\rlue\r\n\r\n",
    "another version": GET.replace(b"1.1", b"1.2") + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /v1/kv/framing/smuggled\r\n\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
    "a space in the target": b"GET /v1/kv/framing/a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no slash": b"GET v1/kv/framing/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a chunk of no number": PUT + HOST + CHUNKED + b"\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "a chunk of a negative number": PUT + HOST + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": PUT + HOST + CHUNKED + b"\r\n3\r\nhello\r\n0\r\n\r\n",
    "a chunk ended by LF": PUT + HOST + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
    "an endless chunk": PUT + HOST + CHUNKED + b"\r\n" + b"f" * 40 + b"\r\nhello",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_is_refused_and_no_second_one_is_read_out_of_it(
    node: RealNode, request_bytes: bytes
) -> None:
    with RawConnection(node) as connection:
        connection.send(request_bytes)
        check_problem(connection.read_answer(), 400, 405)
        # Whatever stood behind it on the connection is never taken for a request.
        connection.send(put_request(b"smuggled", b"no"))
        assert connection.is_ended()
    assert node.ask("GET", "/v1/kv/framing/smuggled").status == 404


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/kv/framing/a#b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v1/kv/framing/a%zz HTTP/1.1\r\n" + HOST + b"\r\n",
        put_request(b"cake", b"value", b"Expect: cake"),
        put_request(b"context", b"value", b"Sadik-Context: forged"),
        get_request(b"twice", b"Sadik-Request-Id: a", b"Sadik-Request-Id: b"),
    ],
)
def test_a_request_that_is_wrong_and_whole_is_refused(node: RealNode, request_bytes: bytes) -> None:
    check_problem(ask_raw(node, request_bytes), 400)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"".join(b"Field-%d: %b\r\n" % (n, b"x" * 1000) for n in range(17)), 431),
        (b"Field: %b\r\n" % (b"x" * 17_000), 431),
        (b"".join(b"F%d: \r\n" % number for number in range(5000)), 431),
        (b"Sadik-Context: %b\r\n" % (b"x" * 12_289), 400),
    ],
)
def test_a_header_that_is_too_large_is_refused(node: RealNode, fields: bytes, status: int) -> None:
    check_problem(ask_raw(node, GET + HOST + fields + b"\r\n"), status, 431)


def test_a_target_that_is_too_long_is_refused(node: RealNode) -> None:
    target = b"GET /v1/kv/framing/%b HTTP/1.1\r\n" % (b"x" * 10_000)
    check_problem(ask_raw(node, target + HOST + b"\r\n"), 414)


def test_a_client_that_leaves_in_the_middle_harms_nobody(node: RealNode) -> None:
    for cut in (1, 20, 60, len(put_request(b"cut", b"x" * 100)) - 1):
        with RawConnection(node) as connection:
            connection.send(put_request(b"cut", b"x" * 100)[:cut])
    assert node.ask("GET", "/v1/kv/framing/cut").status == 404
    assert node.ask("GET", "/healthz").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("begun", [b"GET /v1", GET + b"Host: local"])
def test_a_header_that_never_ends_is_given_up_after_10_seconds(
    node: RealNode, begun: bytes
) -> None:
    with RawConnection(node, timeout_s=15) as connection:
        connection.send(begun)
        check_problem(connection.read_answer(), 408)
        assert connection.is_ended()
