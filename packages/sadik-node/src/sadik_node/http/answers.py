"""Answers as bytes: status, fields and body, ready but for what the connection adds.

The connection adds the framing (``Content-Length``, ``Connection``, ``Date``); an answer has the
rest. Fields are kept as the bytes that go out, so that an answer is made once and joined once.
"""

from __future__ import annotations

import json
from email.utils import formatdate
from functools import lru_cache

from attrs import define

from sadik_machine import timestamp_wall_ns

__all__ = [
    "NO_LENGTH",
    "STATUS_LINES",
    "Answer",
    "field_line",
    "http_date",
    "json_answer",
    "last_modified",
    "outcome_of",
    "problem",
    "text_answer",
]

_TITLES = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    300: "Multiple Choices",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}

_OUTCOMES = {
    200: "ok",
    202: "ok",
    204: "ok",
    300: "siblings",
    304: "ok",
    404: "not_found",
    500: "failed",
    504: "indeterminate",
    507: "not_applied",
}
_OVERLOAD = ("overloaded", "draining", "not_ready")

STATUS_LINES = {
    status: f"HTTP/1.1 {status} {title}\r\n".encode() for status, title in _TITLES.items()
}
"""The first line of an answer, by status."""

NO_LENGTH = (204, 304)
"""The statuses whose answers have no body, and so no Content-Length."""

_PROBLEM = b"Content-Type: application/problem+json\r\n"
_JSON = b"Content-Type: application/json\r\n"


@define(slots=True)
class Answer:
    """One answer. ``fields`` are whole header lines; ``reason`` is a word for the metrics."""

    status: int
    fields: bytes = b""
    body: bytes = b""
    reason: str = ""


def outcome_of(status: int, reason: str) -> str:
    """How a request ended, as the metrics name it."""
    if status == 503:
        return "overloaded" if reason in _OVERLOAD else "not_applied"
    return _OUTCOMES.get(status, "refused")


def field_line(name: str, value: str) -> bytes:
    """One header line. What could end the line early is replaced by a space."""
    if "\r" in value or "\n" in value or "\0" in value:
        value = value.replace("\r", " ").replace("\n", " ").replace("\0", " ")
    return f"{name}: {value}\r\n".encode()


def problem(
    status: int,
    detail: str,
    *,
    reason: str = "",
    fields: bytes = b"",
    kind: str = "about:blank",
    retry_after_s: int = 1,
    **more: object,
) -> Answer:
    """A problem document (RFC 9457). ``more`` are its members beyond the standard four.

    Every 429 and 503 bears Retry-After.
    """
    if status in (429, 503):
        fields += b"Retry-After: %d\r\n" % max(1, retry_after_s)
    document = {"type": kind, "title": _TITLES[status], "status": status, "detail": detail, **more}
    return Answer(status, _PROBLEM + fields, _dumps(document), reason)


def json_answer(document: object, status: int = 200, fields: bytes = b"") -> Answer:
    """A JSON document."""
    return Answer(status, _JSON + fields, _dumps(document))


def text_answer(text: str, content_type: str = "text/plain; charset=utf-8") -> Answer:
    """A text for people."""
    return Answer(200, field_line("Content-Type", content_type), text.encode())


def _dumps(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def last_modified(timestamp: int) -> str:
    """The HTTP date of a hybrid timestamp."""
    return http_date(timestamp_wall_ns(timestamp) // 1_000_000_000)


@lru_cache(maxsize=256)
def http_date(seconds: int) -> str:
    """A time in Unix seconds as HTTP has it."""
    return formatdate(seconds, usegmt=True)
