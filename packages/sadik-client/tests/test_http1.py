"""The parser of answers: whatever way the bytes come, and whatever bytes they are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_client.http1 import ProtocolViolation, ResponseParser

STREAM = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
)  # fmt: skip
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n"
)


def feed(parser: ResponseParser, pieces: list[bytes]) -> object:
    found = None
    for piece in pieces:
        assert found is None
        found = parser.feed(piece)
    return found


@pytest.mark.parametrize("stream", [STREAM, CHUNKED])
@given(cuts=st.lists(st.integers(0, 100)))
def test_an_answer_is_the_same_however_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    parser = ResponseParser(100)
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    response = feed(parser, pieces)
    assert response is not None
    assert (response.status, response.body) == (200, b"hello")  # type: ignore[attr-defined]
    assert parser.is_reusable


@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_violation(data: bytes) -> None:
    parser = ResponseParser(100)
    try:
        response = parser.feed(b"HTTP/1.1 " + data)
    except ProtocolViolation:
        return
    assert response is None or response.status >= 200


@pytest.mark.parametrize(
    "stream",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + bytes(101),
     b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"SSH-2.0-x\r\n"],
)  # fmt: skip
def test_violations(stream: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        ResponseParser(100).feed(stream)


def test_an_answer_without_an_end_never_ends() -> None:
    parser = ResponseParser(100)
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nhalf of it") is None
    assert not parser.is_reusable


@pytest.mark.parametrize("after", [STREAM[25:], b"x"])
def test_more_than_was_asked_for_ends_the_connection(after: bytes) -> None:
    parser = ResponseParser(100)
    parser.start("", is_head=False)
    whole = b"HTTP/1.1 204 No Content\r\n\r\n"
    try:
        response = parser.feed(whole + after)
    except ProtocolViolation:
        return
    assert response is not None
    assert response.status == 204
    assert not parser.is_reusable


def test_heads_have_no_body_and_leave_the_connection_usable() -> None:
    parser = ResponseParser(100)
    for is_head in (True, False, True, False):
        parser.start("http://n1:7070", is_head=is_head)
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if is_head else b"hello")
        response = parser.feed(data)
        assert response is not None
        assert response.body == (b"" if is_head else b"hello")
        assert response.url == "http://n1:7070"
        assert parser.is_reusable
