"""``/v1/backup`` and ``/v1/restore``: this node's own replicas, for whoever copies a cluster.

`sadik-node backup` and `restore` are who asks. Records travel as CBOR, for keys and values are any
bytes: a record is ``[bucket, key, versions, context]``, a version ``[actor, counter, head, body or
null, size]``. Sums are JSON. `docs/backup.md` describes all of it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sadik_machine import PlainError, decode_plain, encode_plain
from sadik_node.http.answers import Answer, json_answer, problem
from sadik_node.http.exchange import Exchange
from sadik_node.http.names import parse_bucket, parse_integer, parse_key
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget, parse_query
from sadik_vnode.keyspace import KEY_BYTES_MAX
from sadik_vnode.requests import (
    BodyResult,
    CopyBody,
    CopyRecords,
    CopySums,
    RecordsResult,
    Refused,
    Result,
    SumsResult,
    TakenResult,
    TakeRecords,
    Unavailable,
)
from sadik_vnode.tree import MIDDLES

__all__ = [
    "RECORDS_PARAMETERS",
    "SUMS_PARAMETERS",
    "VALUE_PARAMETERS",
    "admit_records",
    "admit_restore",
    "admit_sums",
    "admit_value",
]

SUMS_PARAMETERS = {"partition": "only this partition; default all"}
RECORDS_PARAMETERS = {
    "middle": "which share of the hash tree, from 0 to 4095",
    "after": "a page's `next`, in hexadecimal",
}
VALUE_PARAMETERS = {"dot": "the version: actor in hexadecimal, a colon, counter"}

_CBOR: Final = b"Content-Type: application/cbor\r\n"
_BINARY: Final = b"Content-Type: application/octet-stream\r\n"
_CBOR_TYPE: Final = b"application/cbor"
_DOT: Final = re.compile(rb"([0-9a-f]{2,24}):([0-9]{1,19})")
_ROW_BYTES_MAX: Final = 511
_OVERHEAD_BYTES: Final = 1 << 20
"""What a value's key, head and context may come to beside it."""


def admit_sums(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    """Judge ``GET /v1/backup/sums?partition=``."""
    given = _parameters(query, SUMS_PARAMETERS)
    partition = None
    if "partition" in given:
        partition = parse_integer("partition", given["partition"], 0, MIDDLES - 1)
    return _admit(service, exchange, CopySums(partition))


def admit_records(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    """Judge ``GET /v1/backup/records?middle=&after=``."""
    given = _parameters(query, RECORDS_PARAMETERS)
    if "middle" not in given:
        raise BadTarget("middle is missing: a number from 0 to 4095")
    middle = parse_integer("middle", given["middle"], 0, MIDDLES - 1)
    after = None
    if "after" in given:
        try:
            after = bytes.fromhex(given["after"].decode("ascii"))
        except ValueError:
            raise BadTarget("after must be what a page gave as next, in hexadecimal") from None
        if not 0 < len(after) <= _ROW_BYTES_MAX:
            raise BadTarget("after must be what a page gave as next, in hexadecimal")
    return _admit(service, exchange, CopyRecords(middle, after))


def admit_value(
    service: Service, exchange: Exchange, bucket: bytes, key: bytes, query: bytes
) -> Answer | None:
    """Judge ``GET /v1/backup/values/{bucket}/{key}?dot=``."""
    dot = _DOT.fullmatch(_parameters(query, VALUE_PARAMETERS).get("dot", b""))
    if dot is None or len(dot[1]) % 2:
        raise BadTarget("dot must be an actor in hexadecimal, a colon, and a counter")
    actor, counter = bytes.fromhex(dot[1].decode("ascii")), int(dot[2])
    request = CopyBody(parse_bucket(bucket), parse_key(key), (actor, counter))
    return _admit(service, exchange, request)


def admit_restore(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    """Judge ``POST /v1/restore`` by its header."""
    _parameters(query, {})
    headers = exchange.headers
    if not exchange.has_body and b"content-length" not in headers:
        return problem(411, "records need Content-Length", reason="length_required")
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _CBOR_TYPE:
        return problem(415, "records are sent as application/cbor", reason="other")
    limits = service.limits
    exchange.operation = "copy"
    exchange.body_max = max(limits.batch_bytes, limits.value_bytes + _OVERHEAD_BYTES)
    exchange.handler = _restore
    return service.hindrance()


def _parameters(query: bytes, accepted: dict[str, str]) -> dict[str, bytes]:
    given = parse_query(query)
    for name in given:
        if name not in accepted:
            known = ", ".join(accepted) or "none"
            raise BadTarget(f"unknown query parameter {name!r}; accepted: {known}")
    return given


def _admit(service: Service, exchange: Exchange, request: object) -> Answer | None:
    exchange.operation = "copy"
    exchange.context = request
    exchange.handler = _copy
    return service.hindrance()


def _copy(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish)


def _restore(service: Service, exchange: Exchange) -> None:
    body, exchange.body = exchange.body, b""
    try:
        records = decode_plain(body)
        is_right = type(records) is tuple and all(map(_is_record, records))
    except PlainError as error:
        exchange.answer(problem(400, f"the body is not CBOR: {error}", reason="malformed"))
        return
    if not is_right:
        exchange.answer(problem(400, "the body is not an array of records", reason="malformed"))
        return
    service.ask(exchange, TakeRecords(records), _finish)


def _is_record(record: Any) -> bool:
    return (
        type(record) is tuple
        and len(record) == 4
        and type(record[0]) is str
        and type(record[1]) is bytes
        and len(record[1]) <= KEY_BYTES_MAX
        and type(record[2]) is tuple
        and all(map(_is_version, record[2]))
        and type(record[3]) is tuple
    )


def _is_version(version: Any) -> bool:
    return type(version) is tuple and tuple(map(type, version)) == (bytes, int, bytes, bytes, int)


def _finish(service: Service, exchange: Exchange, result: Result) -> None:
    match result:
        case SumsResult():
            sums = {str(number): f"{value:032x}" for number, value in result.sums.items()}
            exchange.answer(json_answer(
                {"node": service.view.own_name, "partitions": result.partitions, "sums": sums}
            ))  # fmt: skip
        case RecordsResult():
            exchange.answer(Answer(200, _CBOR, encode_plain((result.next, result.records))))
        case BodyResult(None):
            exchange.answer(problem(404, "this node holds no such version", reason="not_found"))
        case BodyResult(body):
            assert body is not None
            exchange.answer(Answer(200, _BINARY, body))
        case TakenResult():
            exchange.answer(json_answer({"taken": result.count}))
        case Refused():
            exchange.answer(refusal_answer(result))
        case Unavailable():
            exchange.answer(unavailable_answer(result))
        case _:
            raise AssertionError(f"{type(result).__name__} answers no copy")
