"""One HTTP answer, whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["REASONS", "Response"]

REASONS: Mapping[int, str] = {
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
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}
"""What statuses are called where no problem document says better."""

_RETRY_AFTER_S_MAX = 3600.0


class Response(NamedTuple):
    """What a node answered. ``fields`` are as they came, their names in lower case."""

    status: int
    fields: Mapping[bytes, bytes]
    body: bytes
    url: str = ""
    """The base URL of the node that answered."""

    @property
    def headers(self) -> dict[str, str]:
        """The fields as text, their names in lower case."""
        return {name.decode("latin-1"): _text(value) for name, value in self.fields.items()}

    def header(self, name: str) -> str | None:
        """One field, its name in lower case."""
        value = self.fields.get(name.encode())
        return None if value is None else _text(value)

    @property
    def context(self) -> str | None:
        """The causal context that came with it."""
        return self.header("sadik-context")

    @property
    def reason(self) -> str:
        """What its status is called."""
        return REASONS.get(self.status, "unknown status")

    @property
    def retry_after_s(self) -> float | None:
        """The seconds of Retry-After, if it has any."""
        text = self.header("retry-after") or ""
        return min(float(text), _RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document, or an empty one where the body is none."""
        if b"json" not in self.fields.get(b"content-type", b""):
            return {}
        try:
            found = self.json()
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def complaint(self) -> str:
        """What was wrong, in one line for a person."""
        problem = self.problem
        title = problem.get("title") or self.reason
        detail = problem.get("detail")
        line = f"{self.status} {title}{f': {detail}' if detail and detail != title else ''}"
        if "needed" in problem and "got" in problem:
            line += f" (needed {problem['needed']}, got {problem['got']})"
        outcome = problem.get("outcome")
        if outcome == "not_applied":
            line += "; nothing was applied"
        elif outcome == "indeterminate":
            line += "; it may or may not have been applied"
        return line


def _text(value: bytes) -> str:
    # Nodes send UTF-8; what is not stays visible as escapes.
    return value.decode("utf-8", "backslashreplace")
