"""HTTP/1.1 without sockets: a request as bytes, and bytes as answers.

Parsing is httptools' (llhttp); what it leaves open is judged here: an answer to HEAD has no body
whatever its header says, informational answers are passed over, and an answer whose end would be
the end of the connection is refused, since half of it would look like all of it.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpResponseParser

from sadik_client.errors import InvalidRequestError
from sadik_client.response import Response

__all__ = ["ProtocolViolation", "ResponseParser", "field_line", "request_bytes"]

_HEADER_BYTES_MAX = 64 * 2**10
_FIELD_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_FIELD_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ProtocolViolation(Exception):  # noqa: N818 - it is caught here and told as BrokenAnswerError
    """The other side does not speak HTTP/1.1, or says more than it may."""


def field_line(name: str, value: str) -> bytes:
    """One line of a header.

    Raises:
        InvalidRequestError: name or value would end the line early, or cannot stand in one.
    """
    try:
        raw_name, raw_value = name.encode("ascii"), value.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{name!r} cannot be sent as a header field") from None
    if not _FIELD_NAME.fullmatch(raw_name):
        raise InvalidRequestError(f"{name!r} is no name of a header field")
    if not _FIELD_VALUE.fullmatch(raw_value) or raw_value != raw_value.strip(b" \t"):
        raise InvalidRequestError(
            f"the value of {name} has control characters, or blanks at an end"
        )
    return raw_name + b": " + raw_value + b"\r\n"


def request_bytes(
    method: str, target: str, node_fields: bytes, fields: bytes, body: bytes | None
) -> bytes:
    """A whole request. Fields are whole lines; a body of None is none, and not an empty one."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    head = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
    return b"".join((head, node_fields, fields, length, b"\r\n", body or b""))


class ResponseParser:
    """Reads the answers of one connection, one after another."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_bytes_max",
        "_done",
        "_fields",
        "_header_bytes",
        "_is_head",
        "_parser",
        "_spent",
        "_url",
        "is_reusable",
    )

    def __init__(self, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._parser: HttpResponseParser | None = None
        self._spent = False
        self.is_reusable = True
        """Whether the connection can carry another request; False until an answer is whole."""
        self.start("", is_head=False)

    def start(self, url: str, *, is_head: bool) -> None:
        """A request goes out to the node at ``url``: its answer is next."""
        self._url = url
        if self._parser is None or self._spent:
            self._parser = HttpResponseParser(self)
            self._spent = False
        self._is_head = is_head
        self.is_reusable = False
        self._reset()

    def feed(self, data: bytes) -> Response | None:
        """Take bytes; the answer once it is whole.

        Raises:
            ProtocolViolation: this is no answer that a node gives.
        """
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            # What a callback raises arrives as its cause.
            cause = error.__context__
            reason = cause if isinstance(cause, ProtocolViolation) else error
            raise ProtocolViolation(f"it is no HTTP answer: {reason}") from None
        return self._done

    def _reset(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._header_bytes = 0
        self._body_bytes = 0
        self._done: Response | None = None

    def _finish(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._reset()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self.is_reusable = self._parser.should_keep_alive()
        self._done = Response(status, self._fields, body, self._url)

    def on_message_begin(self) -> None:
        """Called by the parser: more than was asked for makes the connection useless."""
        if self._done is not None:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _HEADER_BYTES_MAX:
            raise ProtocolViolation(f"its header is above {_HEADER_BYTES_MAX} bytes")
        if self._done is None:
            self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        assert self._parser is not None
        if self._done is None and self._is_head and self._parser.get_status_code() >= 200:
            # The parser waits for the body that the header describes: it is of no more use.
            self._spent = True
            self._finish()

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._done is not None:
            self.is_reusable = False
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._body_bytes_max:
            raise ProtocolViolation(f"its body is above {self._body_bytes_max} bytes")
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._done is None:
            self._finish()
