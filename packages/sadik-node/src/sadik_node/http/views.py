"""Views of the cluster and the node: JSON, health, metrics, and a front page for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sadik_machine import MILLISECOND, NodeId, node_id_hex, timestamp_wall_ns
from sadik_metrics import CONTENT_TYPE as METRICS_TYPE
from sadik_node.http.answers import Answer, field_line, json_answer, problem, text_answer
from sadik_node.http.exchange import Exchange
from sadik_node.http.kv import TIMEOUT_NS
from sadik_node.http.names import parse_bucket, parse_key, percent_encode
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_vnode.requests import (
    Explain,
    ExplainReplica,
    ExplainResult,
    ExplainVersion,
    Hints,
    HintsResult,
    Refused,
    Result,
    Unavailable,
)

__all__ = [
    "admit_explain",
    "health",
    "hints",
    "members",
    "metrics",
    "readiness",
    "ring",
    "status",
]

View = Callable[[Service, Exchange], None]


def members(service: Service, exchange: Exchange) -> None:
    """``GET /v1/members``."""
    view = service.view
    shown = [
        {
            "name": member.name,
            "id": node_id_hex(member.id),
            "state": view.state_of(member),
            "http": member.http,
            "peer": member.peer,
            "zone": member.zone,
            "weight": member.weight,
            "incarnation": member.incarnation,
            "boot": member.boot_number,
            "self": member.id == view.own_id,
        }
        for member in sorted(view.members.values(), key=lambda each: (each.name, each.id))
    ]
    exchange.answer(json_answer({"members": shown}))


def ring(service: Service, exchange: Exchange) -> None:
    """``GET /v1/ring``."""
    view = service.view
    now = view.ring
    if now is None:
        exchange.answer(problem(
            503, f"this node knows no ring yet: {view.not_ready or 'it is starting'}",
            reason="not_ready",
        ))  # fmt: skip
        return
    names: dict[NodeId, str] = {}
    owners = [
        [names.setdefault(owner, view.name_of(owner)) for owner in register.readers]
        for register in now.registers
    ]
    exchange.answer(json_answer({
        "epoch": now.epoch,
        "partitions": now.partitions,
        "replicas": now.replicas,
        "owners": owners,
    }))  # fmt: skip


def status(service: Service, exchange: Exchange) -> None:
    """``GET /v1/status``."""
    exchange.answer(json_answer(service.status()))


def hints(service: Service, exchange: Exchange) -> None:
    """``GET /v1/hints``: the hint notes that wait, and for whom."""
    service.ask(exchange, Hints(), _finish_hints)


def _finish_hints(service: Service, exchange: Exchange, result: Result) -> None:
    if isinstance(result, HintsResult):
        view = service.view
        by_node = {view.name_of(node): count for node, count in result.by_node.items()}
        exchange.answer(json_answer(
            {"total": result.total, "bytes": result.bytes, "by_node": by_node}
        ))  # fmt: skip
    else:
        exchange.answer(_not_done(result))


def admit_explain(
    service: Service, exchange: Exchange, raw_bucket: bytes, raw_key: bytes
) -> Answer | None:
    """Judge ``GET /v1/explain/{bucket}/{key}``."""
    exchange.operation = "explain"
    exchange.context = Explain(
        parse_bucket(raw_bucket), parse_key(raw_key), TIMEOUT_NS, exchange.trace
    )
    exchange.handler = _explain
    return service.hindrance()


def _explain(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish_explain)


def _finish_explain(service: Service, exchange: Exchange, result: Result) -> None:
    if not isinstance(result, ExplainResult):
        exchange.answer(_not_done(result))
        return
    asked: Explain = exchange.context
    name = service.view.name_of
    exchange.answer(json_answer({
        "bucket": asked.bucket,
        "key": percent_encode(asked.key),
        "partition": result.partition,
        "epoch": result.epoch,
        "owners": [name(node) for node in result.owners],
        "fallbacks": [name(node) for node in result.fallbacks],
        "replicas": [_replica(service, each) for each in result.replicas],
        "hints": [{"on": name(holder), "for": name(owner)} for holder, owner in result.hints],
        "writes": result.writes,
    }))  # fmt: skip


def _replica(service: Service, replica: ExplainReplica) -> dict[str, object]:
    return {
        "node": service.view.name_of(replica.node),
        "owner": replica.is_owner,
        "state": replica.state,
        "versions": [_version(version) for version in replica.versions],
        "behind": replica.behind,
        "why": replica.why,
    }


def _version(version: ExplainVersion) -> dict[str, object]:
    shown: dict[str, object] = {
        "dot": version.dot,
        "bytes": version.size_bytes,
        "deleted": version.deleted,
        "time": _iso(timestamp_wall_ns(version.timestamp)),
        "replaced": version.is_replaced,
    }
    if version.expires_ms is not None:
        shown["expires"] = _iso(version.expires_ms * MILLISECOND)
    return shown


def _not_done(result: Result) -> Answer:
    match result:
        case Refused():
            return refusal_answer(result)
        case Unavailable():
            return unavailable_answer(result)
        case _:
            raise AssertionError(f"{type(result).__name__} answers no view")


def _iso(wall_ns: int) -> str:
    moment = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def health(_service: Service, exchange: Exchange) -> None:
    """``GET /healthz``: the process is alive and its loop turns."""
    exchange.answer(text_answer("ok\n"))


def readiness(service: Service, exchange: Exchange) -> None:
    """``GET /readyz``."""
    reason = "it is stopping" if service.is_draining else service.view.not_ready
    if reason:
        exchange.answer(problem(503, f"this node is not ready: {reason}", reason="not_ready"))
    else:
        exchange.answer(text_answer("ready\n"))


def metrics(service: Service, exchange: Exchange) -> None:
    """``GET /metrics``."""
    exchange.answer(Answer(200, field_line("Content-Type", METRICS_TYPE), service.exposition()))
