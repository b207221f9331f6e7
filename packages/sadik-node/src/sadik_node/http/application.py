"""The application behind the server: request ids, host checks, routes, and the count of it all."""

from __future__ import annotations

import re
from collections.abc import Callable

from sadik_machine import to_seconds
from sadik_metrics import NodeMetrics
from sadik_node.http.access import Access, forbidden
from sadik_node.http.answers import Answer, outcome_of, problem
from sadik_node.http.elsewhere import Elsewhere
from sadik_node.http.exchange import Exchange
from sadik_node.http.hosts import HostCheck
from sadik_node.http.names import parse_bucket
from sadik_node.http.request_log import RequestLog
from sadik_node.http.routes import Needs, Route, Router
from sadik_node.http.service import Service
from sadik_node.http.target import BadTarget, parse_target

__all__ = ["HttpApplication"]

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_NOTHING = Needs.NOTHING
_KNOWN_REASONS = {
    "bad_quorum": "unknown_parameter",
    "bad_properties": "other",
}


class HttpApplication:
    """One node's HTTP API. ``id_prefix`` begins the request ids made here; ``clock_ns`` as the
    server's. With ``elsewhere`` what is the operators' is not served here, but there.
    """

    single_fields = frozenset({
        b"host", b"content-type", b"content-encoding", b"content-length", b"origin", b"expect",
        b"transfer-encoding", b"if-match", b"authorization",
    })  # fmt: skip

    def __init__(
        self,
        service: Service,
        hosts: HostCheck,
        access: Access,
        metrics: NodeMetrics,
        log: RequestLog,
        *,
        id_prefix: str,
        clock_ns: Callable[[], int],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._service = service
        self._hosts = hosts
        self._access = access
        self._metrics = metrics
        self._log = log
        self._router = Router()
        self._id_prefix = id_prefix
        self._ids_made = 0
        self._clock_ns = clock_ns

    def admit(self, exchange: Exchange) -> Answer | None:
        """See `Application.admit`."""
        try:
            return self._admit(exchange)
        except BadTarget as error:
            return problem(400, str(error), reason="malformed")

    def _admit(self, exchange: Exchange) -> Answer | None:
        headers, target = exchange.headers, exchange.target
        given = headers.get(b"sadik-request-id")
        if given is None:
            self._ids_made += 1
            exchange.request_id = f"{self._id_prefix}-{self._ids_made:x}"
            if self._log.wants_all:
                exchange.trace = exchange.request_id
        elif _REQUEST_ID.fullmatch(given):
            exchange.request_id = given.decode("ascii")
            if self._log.wants_named:
                exchange.trace = exchange.request_id
        else:
            raise BadTarget("Sadik-Request-Id must be 1 to 128 visible ASCII characters")
        # Other forms of target are for proxies: one that is wrong was not meant for us.
        is_close = exchange.close
        exchange.close = is_close or target[:1] != b"/"
        path, query, authority = parse_target(target)
        exchange.close = is_close
        host = headers.get(b"host") if authority is None else authority
        refusal = self._hosts.judge(host, headers.get(b"origin"))
        if refusal is not None:
            # Whoever sends no proper host may be talking past a proxy: do not go on with it.
            exchange.close = exchange.close or refusal.status == 400
            return refusal
        found = self._router.find(exchange.method, path)
        if isinstance(found, Answer):
            return found
        route, bucket, key = found
        refusal = self._judge(exchange, route, bucket)
        if refusal is None and self._elsewhere is not None:
            refusal = self._send_elsewhere(self._elsewhere, exchange, route, path)
        if refusal is not None:
            return refusal
        refusal = route.admit(self._service, exchange, bucket, key, query)
        if refusal is None and exchange.has_body and not exchange.body_max:
            raise BadTarget(f"{route.method} takes no body here")
        return refusal

    def _judge(self, exchange: Exchange, route: Route, bucket: bytes) -> Answer | None:
        """Who is it, and may they ask this at all?"""
        if route.needs is _NOTHING:
            return None
        refusal = self._access.identify(exchange)
        if refusal is not None or route.action is None:
            return refusal
        of = parse_bucket(bucket) if route.is_of_bucket else ""
        return forbidden(exchange.grant, route.action, of)

    def _send_elsewhere(
        self, elsewhere: Elsewhere, exchange: Exchange, route: Route, path: bytes
    ) -> Answer | None:
        """Is it served here? Judged after the client was, so that no stranger learns more of it."""
        if route.for_clients:
            return None
        connection = exchange.connection
        return elsewhere.misdirected(
            path.decode("latin-1")[:200],
            "" if connection is None else connection.address,
            is_known=route.needs is not _NOTHING or self._access.tokens is None,
        )

    def start(self, exchange: Exchange) -> None:
        """See `Application.start`."""
        assert exchange.handler is not None
        exchange.handler(self._service, exchange)

    def record(self, exchange: Exchange, answer: Answer) -> None:
        """See `Application.record`."""
        metrics = self._metrics
        status = answer.status
        operation = exchange.operation
        metrics.requests[operation, outcome_of(status, answer.reason)] += 1
        if exchange.lines:
            for line, count in exchange.lines.items():
                metrics.batch_operations[line] += count
        took_ns = 0
        if exchange.started_ns:
            took_ns = self._clock_ns() - exchange.started_ns
            metrics.request_duration_seconds[operation].observe(to_seconds(took_ns))
        if status < 400:
            if exchange.siblings:
                metrics.siblings.observe(exchange.siblings)
            elif operation == "put":
                metrics.value_bytes.observe(len(exchange.body))
        elif answer.reason and answer.reason not in ("not_applied", "indeterminate"):
            self.rejected(answer.reason)
        self._log.answered(exchange, answer, took_ns)

    def cancelled(self, exchange: Exchange) -> None:
        """See `Application.cancelled`."""
        self._metrics.requests[exchange.operation, "cancelled"] += 1
        self._log.cancelled(exchange, self._clock_ns() - exchange.started_ns)

    def rejected(self, reason: str) -> None:
        """See `Application.rejected`."""
        rejected = self._metrics.rejected
        reason = _KNOWN_REASONS.get(reason, reason)
        rejected[reason if reason in rejected else "other"] += 1

    def defect(self, error: Exception) -> None:
        """See `Application.defect`."""
        self._service.defect(error)
