"""Which requests are logged, and as what.

A client that names its request (``Sadik-Request-Id``) wants to find it again, on every node that it
touches; the others are worth a line only when something was wrong with them. A request gets one
line on the node that answered it, whatever happened to it.
"""

from __future__ import annotations

from sadik_machine import MILLISECOND
from sadik_node.http.answers import Answer
from sadik_node.http.exchange import Exchange
from sadik_node.log import Log

__all__ = ["RequestLog"]

_ORDINARY = (404, 412)
"""Answers that say what is, and blame nobody."""

_TARGET_CHARACTERS = 200


class RequestLog:
    """Writes requests to a log: ``requests`` and ``slow_ms`` as in the configuration."""

    def __init__(self, log: Log, requests: str = "named", slow_ms: int = 1000) -> None:
        self._log = log
        self._slow_ns = slow_ms * MILLISECOND
        self.wants_any = requests != "none"
        self.wants_all = requests == "all"
        """Whether every request is to be logged, on every node that it touches."""
        self.wants_named = self.wants_any
        """Whether those with a client's own id are."""

    def answered(self, exchange: Exchange, answer: Answer, took_ns: int) -> None:
        """This answer goes out now."""
        status = answer.status
        if status >= 400 and status not in _ORDINARY:
            if self.wants_any:
                self._write(
                    "request_failed" if status >= 500 else "request_refused", exchange, took_ns,
                    status=status, reason=answer.reason or "other",
                )  # fmt: skip
        elif 0 < self._slow_ns < took_ns and self.wants_any:
            self._write("request_slow", exchange, took_ns, status=status)
        elif exchange.trace:
            self._write("request", exchange, took_ns, status=status)

    def cancelled(self, exchange: Exchange, took_ns: int) -> None:
        """The client of a request that was under way has gone."""
        if exchange.trace:
            self._write("request_cancelled", exchange, took_ns)

    def _write(self, event: str, exchange: Exchange, took_ns: int, **more: object) -> None:
        self._log.event(
            event,
            request=exchange.request_id,
            op=exchange.operation,
            method=exchange.method.decode("ascii", "backslashreplace"),
            # Encoded as it came: no byte of it can do harm on a terminal.
            target=exchange.target[:_TARGET_CHARACTERS].decode("ascii", "backslashreplace"),
            ms=round(took_ns / MILLISECOND, 1),
            **more,
        )
