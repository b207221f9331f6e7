"""Bucket properties over HTTP."""

from __future__ import annotations

import json

import attrs

from sadik_node.http.answers import Answer, json_answer, problem
from sadik_node.http.exchange import Exchange
from sadik_node.http.names import parse_bucket
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget
from sadik_node.tokens import Action
from sadik_vnode.requests import (
    BucketList,
    BucketReset,
    BucketResult,
    BucketSet,
    BucketShow,
    BucketsResult,
    Refused,
    Result,
    Unavailable,
)

__all__ = ["admit_bucket", "admit_buckets"]

_READ_ONLY = ("n", "bucket")
# What curl says of `-d` where it is told nothing: as good as nothing said.
_JSON_TYPES = (b"application/json", b"application/x-www-form-urlencoded", b"text/plain", b"")
_NESTING_MAX = 4


def admit_bucket(
    service: Service, exchange: Exchange, raw_bucket: bytes, query: bytes
) -> Answer | None:
    """Judge a request for one bucket's properties."""
    exchange.operation = "bucket"
    _refuse_query(query)
    bucket = parse_bucket(raw_bucket)
    if exchange.method == b"PUT":
        headers = exchange.headers
        if not exchange.has_body and b"content-length" not in headers:
            return problem(411, "a PUT needs Content-Length or chunked Transfer-Encoding",
                           reason="length_required")  # fmt: skip
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media not in _JSON_TYPES and not media.endswith(b"+json"):
            return problem(415, "bucket properties come as JSON: send application/json",
                           reason="other")  # fmt: skip
        exchange.body_max = service.limits.json_bytes
        exchange.context = bucket
        exchange.handler = _set
    elif exchange.method == b"DELETE":
        exchange.context = BucketReset(bucket)
        exchange.handler = _ask
    else:
        exchange.context = BucketShow(bucket)
        exchange.handler = _ask
    return service.hindrance()


def admit_buckets(service: Service, exchange: Exchange, query: bytes) -> Answer | None:
    """Judge a request for the buckets that have properties of their own."""
    exchange.operation = "bucket"
    _refuse_query(query)
    exchange.context = BucketList()
    exchange.handler = _ask
    return service.hindrance()


def _refuse_query(query: bytes) -> None:
    if query:
        raise BadTarget("there are no query parameters here")


def _ask(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish)


def _set(service: Service, exchange: Exchange) -> None:
    try:
        changes = _parse(exchange.body)
    except BadTarget as error:
        exchange.answer(problem(400, str(error), reason="malformed"))
        return
    service.ask(exchange, BucketSet(exchange.context, changes), _finish)


def _parse(body: bytes) -> dict[str, object]:
    # Depth first: the parser recurses, and a megabyte of brackets is a stack overflow.
    if body.count(b"[") + body.count(b"{") > _NESTING_MAX:
        raise BadTarget("bucket properties are one flat JSON object")
    try:
        document = json.loads(body, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadTarget(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadTarget('bucket properties are a JSON object, such as {"r": "quorum"}')
    fixed = [name for name in _READ_ONLY if name in document]
    if fixed:
        raise BadTarget(f"{' and '.join(fixed)}: read-only; leave out")
    return document


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands there twice")
    return document


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _finish(service: Service, exchange: Exchange, result: Result) -> None:
    exchange.answered_by = service.view.own_name
    match result:
        case BucketResult():
            exchange.answer(json_answer(_document(result)))
        case BucketsResult():
            grant = exchange.grant
            shown = [each for each in result.buckets if grant.allows(Action.READ, each.bucket)]
            exchange.answer(json_answer({"buckets": [_document(each) for each in shown]}))
        case Refused():
            exchange.answer(refusal_answer(result))
        case Unavailable():
            exchange.answer(unavailable_answer(result))
        case _:
            raise AssertionError(f"{type(result).__name__} answers no request for a bucket")


def _document(result: BucketResult) -> dict[str, object]:
    return {"bucket": result.bucket, **attrs.asdict(result.properties), "n": result.n}
