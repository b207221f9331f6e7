"""The refusals that a connection gives by itself, before anybody has seen the request."""

from __future__ import annotations

from sadik_node.http.answers import Answer, problem

__all__ = [
    "PLAIN_HTTP",
    "header_too_large",
    "malformed",
    "overloaded",
    "too_large",
    "too_long_target",
    "too_many_connections",
    "too_many_fields",
    "too_slow",
]

_SAID = b"this port speaks TLS: ask for https, not http\n"

PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SAID), _SAID)
)
"""All that a client without TLS gets from a port that wants it, whatever it asked."""


def malformed(detail: str) -> Answer:
    """400: this is not HTTP as it is spoken here."""
    return problem(400, detail, reason="malformed")


def too_slow(detail: str, reason: str) -> Answer:
    """408."""
    return problem(408, detail, reason=reason)


def too_large(length: int | None, limit: int) -> Answer:
    """413: of a declared length, or of a body that has grown beyond the limit."""
    said = f"{length} bytes" if length is not None else "the body"
    return problem(413, f"{said} exceeds the limit of {limit} bytes", reason="value_too_large")


def too_long_target(limit: int) -> Answer:
    """414."""
    return problem(414, f"the request target is above {limit} bytes", reason="uri_too_long")


def header_too_large(limit: int) -> Answer:
    """431."""
    return problem(431, f"the header is above {limit} bytes", reason="header_too_large")


def too_many_fields(limit: int) -> Answer:
    """431: as many fields as no honest request has."""
    return problem(431, f"there are more than {limit} header fields", reason="header_too_large")


def too_many_connections(limit: int) -> Answer:
    """429: this address has all the connections that one may have."""
    return problem(
        429, f"this address has {limit} connections, as many as one may", reason="connections"
    )


def overloaded() -> Answer:
    """503: the budget for bodies and answers is used up."""
    return problem(
        503,
        "this node holds as many unanswered requests as it can; nothing was applied",
        reason="overloaded",
        outcome="not_applied",
        retry=True,
    )
