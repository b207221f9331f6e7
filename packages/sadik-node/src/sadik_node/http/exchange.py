"""One request and its one answer.

An exchange is made at the first byte of a request, admitted when its header is whole, started when
its body is and its turn has come, and over when its answer has been written. Whoever works on it
calls `Exchange.answer` once; after the client has gone that is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sadik_node.http.answers import NO_LENGTH, STATUS_LINES, Answer
from sadik_node.tokens import NOTHING, Grant

if TYPE_CHECKING:
    from sadik_node.http.connection import Connection
    from sadik_vnode.requests import Condition

__all__ = ["SAFE_METHODS", "Exchange"]

SAFE_METHODS = (b"GET", b"HEAD")

_NO_HEADERS: Mapping[bytes, bytes] = {}
_NO_LINES: Mapping[tuple[str, str], int] = {}


class Exchange:
    """What one request said and what became of it. All raw: bytes as they came."""

    # Defaults on the class, not slots: an exchange is made for every request, and most of them
    # change few of these.
    method = b""
    target = b""
    headers: Mapping[bytes, bytes]
    """By lower-case name. Other requests may share it: nobody changes it."""
    request_id = ""
    trace = ""
    """The request id, where every node that the request touches is to log it; else empty."""
    body = b""
    held_bytes = 0
    """Bytes of the body that are buffered, also in the server's budget."""
    body_max = 0
    """The most that its body may have; set when it is admitted."""
    has_body = False
    discards_body = False
    """The answer is known already; a small body is read and dropped to keep the connection."""
    wants_continue = False
    is_received = False
    is_safe = False
    keep_alive_10 = False
    """An HTTP/1.0 client asked to keep the connection, and must be told that it is kept."""
    close = False
    """The connection ends after this answer."""
    answered: Answer | None = None
    answered_by = ""
    """Name of the node that coordinated, for ``Sadik-Node``."""
    started_ns = 0
    grant: Grant
    """What its client may do."""
    operation = "view"
    """For the metrics."""
    siblings = 0
    """How many versions a read answered, for the metrics."""
    lines: Mapping[tuple[str, str], int]
    """Of a batch, how many operations ended how: by what was asked and outcome, for the metrics."""
    handler: Callable[[Any, Exchange], None] | None = None
    """Called with the application's service and this, when its turn has come."""
    context: Any = None
    """What admission found out and the handler needs."""
    condition: Condition | None = None
    """What a read is to be compared with before it is shown."""
    cancel: Callable[[], None] | None = None
    """To be called if the client goes before it is answered."""

    def __init__(self, connection: Connection) -> None:
        self.connection: Connection | None = connection
        self.parts: list[bytes | bytearray] = []
        self.headers = _NO_HEADERS
        self.grant = NOTHING
        self.lines = _NO_LINES

    def answer(self, answer: Answer) -> None:
        """Give the answer. Written when its turn comes; dropped if the client has gone."""
        if self.answered is not None:
            raise AssertionError("a request is answered once")
        self.answered = answer
        self.cancel = None
        connection = self.connection
        if connection is not None:
            connection.advance()

    def hold(self, count: int) -> bool:
        """Count bytes of an unfinished answer as held; False where the server holds too many."""
        connection = self.connection
        return connection is None or connection.hold(self, count)

    def head_of(self, answer: Answer, date: bytes) -> bytes:
        """The bytes of an answer to this exchange that stand before its body."""
        head = STATUS_LINES[answer.status] + date + answer.fields
        if answer.status not in NO_LENGTH:
            head += b"Content-Length: %d\r\n" % len(answer.body)
        if self.request_id:
            head += b"Sadik-Request-Id: " + self.request_id.encode() + b"\r\n"
        if self.answered_by:
            head += b"Sadik-Node: " + self.answered_by.encode() + b"\r\n"
        if self.close:
            return head + b"Connection: close\r\n\r\n"
        if self.keep_alive_10:
            return head + b"Connection: keep-alive\r\n\r\n"
        return head + b"\r\n"
