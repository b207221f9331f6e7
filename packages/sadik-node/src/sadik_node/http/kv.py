"""Objects and listings: HTTP to `sadik_vnode.requests`, and results to answers."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Mapping
from functools import lru_cache

from attrs import frozen

from sadik_machine import SECOND, NodeId, timestamp_wall_ns
from sadik_node.http.answers import (
    Answer,
    field_line,
    http_date,
    json_answer,
    last_modified,
    problem,
)
from sadik_node.http.entity_tags import parse_condition
from sadik_node.http.exchange import Exchange
from sadik_node.http.names import (
    after_token,
    parse_after,
    parse_bucket,
    parse_flag,
    parse_integer,
    parse_key,
    parse_quorum,
    parse_timeout_ns,
    percent_encode,
)
from sadik_node.http.service import Service, refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget, parse_query
from sadik_vnode.buckets import TTL_SECONDS_MAX
from sadik_vnode.requests import (
    Condition,
    Delete,
    Found,
    Get,
    ListKeys,
    ListResult,
    Missing,
    Put,
    Quorum,
    Refused,
    Result,
    Tally,
    Unavailable,
    VersionView,
    Written,
)

__all__ = [
    "CONTENT_TYPE",
    "DELETE_PARAMETERS",
    "LIST_PARAMETERS",
    "NO_OPTIONS",
    "PUT_PARAMETERS",
    "READ_PARAMETERS",
    "Options",
    "admit_list",
    "admit_object",
    "parse_options",
    "sibling_document",
    "ttl_seconds",
]

TIMEOUT_NS = 5_000_000_000
LIST_LIMIT = 1000
CONTENT_TYPE = "application/octet-stream"
CONTENT_TYPE_BYTES_MAX = 1024

DELETE_PARAMETERS: dict[str, str] = {
    "r": "how many owner slots a read asks: 1 up, one, quorum or all",
    "w": "how many owner slots a write needs: 1 up, one, quorum or all",
    "pr": "how many of them must be owners themselves, for a read; 0 is off",
    "pw": "how many of them must be owners themselves, for a write; 0 is off",
    "dw": "how many of them must have it on disk; 0 is off",
    "sloppy": "whether fallbacks may stand in for owners: true or false",
    "timeout": "milliseconds for the whole request, 1 to 60000",
}
READ_PARAMETERS: dict[str, str] = {
    **DELETE_PARAMETERS,
    "resolve": "latest: of siblings only the one written last, with a context that covers it alone",
}
PUT_PARAMETERS: dict[str, str] = {
    **DELETE_PARAMETERS,
    "return": "body: answer 200 with the value written, not 204",
}
LIST_PARAMETERS: dict[str, str] = {
    "prefix": "only keys that start with it",
    "after": "only keys after it: the next of the page before",
    "limit": "how many keys at most, 1 to 10000",
}

# Stored documents are served from the origin of the console: they must not act in its name.
_INERT = b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"

_OCTETS = b"Content-Type: application/octet-stream\r\n"
_ONLY_VALUES = {"resolve": b"latest", "return": b"body"}


@frozen
class Options:
    """What the query of a request for objects says."""

    r: Quorum = None
    w: Quorum = None
    pr: Quorum = None
    pw: Quorum = None
    dw: Quorum = None
    sloppy: bool = True
    timeout_ns: int = TIMEOUT_NS
    latest: bool = False
    returns_body: bool = False


NO_OPTIONS = Options()


def admit_object(
    service: Service, exchange: Exchange, raw_bucket: bytes, raw_key: bytes, query: bytes
) -> Answer | None:
    """Judge a request for one object by its header; set what will handle it."""
    method = exchange.method
    options = parse_options(query, _PARAMETERS[method]) if query else NO_OPTIONS
    bucket, key = parse_bucket(raw_bucket), parse_key(raw_key)
    headers = exchange.headers
    context = headers.get(b"sadik-context")
    if context is not None and len(context) > service.limits.context_bytes:
        raise BadTarget(f"Sadik-Context has more than {service.limits.context_bytes} bytes")
    token = None if context is None else context.decode("latin-1")
    trace = exchange.trace
    condition = parse_condition(headers)
    ttl_s = _parse_ttl(method, headers)
    if exchange.is_safe:
        exchange.condition = condition
        exchange.operation = "get"
        exchange.context = Get(
            bucket, key, options.timeout_ns, options.r, options.pr, options.sloppy, trace, token,
            options.latest,
        )  # fmt: skip
        exchange.handler = _read
        return None  # what hinders it is looked for when it is asked, and so once
    if method == b"DELETE":
        exchange.operation = "delete"
        exchange.context = Delete(
            bucket, key, options.timeout_ns, token, options.r, options.w, options.pw, options.dw,
            options.sloppy, trace, condition,
        )  # fmt: skip
        exchange.handler = _delete
        return service.hindrance()
    exchange.operation = "put"
    if not exchange.has_body and b"content-length" not in headers:
        return problem(
            411, "a PUT needs Content-Length (0 for an empty value) or chunked Transfer-Encoding",
            reason="length_required",
        )  # fmt: skip
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return problem(
            415, "values are stored as they come: Content-Encoding is not kept, send none",
            reason="other",
        )  # fmt: skip
    meta: tuple[tuple[str, str], ...] = ()
    if len(headers) > 2:
        meta, excess = _parse_meta(headers, service.limits.meta_bytes)
        if excess is not None:
            return excess
    exchange.body_max = service.limits.value_bytes
    exchange.context = Put(
        bucket, key, b"", options.timeout_ns, _parse_content_type(headers), meta, token, options.w,
        options.pw, options.dw, options.sloppy, trace, condition, ttl_s,
    )  # fmt: skip
    exchange.handler = _put_and_show if options.returns_body else _put
    return service.hindrance()


def admit_list(
    service: Service, exchange: Exchange, raw_bucket: bytes, query: bytes
) -> Answer | None:
    """Judge a request for a page of keys."""
    exchange.operation = "list"
    bucket = parse_bucket(raw_bucket)
    given = parse_query(query)
    for name in given:
        if name not in LIST_PARAMETERS:
            raise _unknown(name, LIST_PARAMETERS)
    limit = given.get("limit")
    most = service.limits.list_keys
    after = given.get("after")
    exchange.context = ListKeys(
        bucket,
        given.get("prefix", b""),
        None if after is None else parse_after(after),
        min(LIST_LIMIT, most) if limit is None else parse_integer("limit", limit, 1, most),
        TIMEOUT_NS,
        exchange.trace,
    )
    exchange.handler = _list
    return service.hindrance()


_PARAMETERS = {
    b"GET": READ_PARAMETERS,
    b"HEAD": READ_PARAMETERS,
    b"PUT": PUT_PARAMETERS,
    b"DELETE": DELETE_PARAMETERS,
}


def parse_options(query: bytes, accepted: dict[str, str]) -> Options:
    """The options of a query; a parameter that is not ``accepted`` is a `BadTarget`."""
    given = parse_query(query)
    only: dict[str, bool] = {}
    quorums: dict[str, Quorum] = {}
    sloppy, timeout_ns = True, TIMEOUT_NS
    for name, value in given.items():
        if name not in accepted:
            raise _unknown(name, accepted)
        if name == "sloppy":
            sloppy = parse_flag(name, value)
        elif name == "timeout":
            timeout_ns = parse_timeout_ns(value)
        elif name in _ONLY_VALUES:
            if value != _ONLY_VALUES[name]:
                raise BadTarget(f"{name} must be {_ONLY_VALUES[name].decode()}")
            only[name] = True
        else:
            quorums[name] = parse_quorum(name, value)
    return Options(
        **quorums,
        sloppy=sloppy,
        timeout_ns=timeout_ns,
        latest="resolve" in only,
        returns_body="return" in only,
    )


def _unknown(name: str, accepted: dict[str, str]) -> BadTarget:
    return BadTarget(f"unknown query parameter {name!r}; accepted: {', '.join(accepted)}")


def _parse_content_type(headers: Mapping[bytes, bytes]) -> str | None:
    value = headers.get(b"content-type")
    if not value:
        return None
    if len(value) > CONTENT_TYPE_BYTES_MAX or not value.isascii():
        raise BadTarget(f"Content-Type must be ASCII of at most {CONTENT_TYPE_BYTES_MAX} bytes")
    return value.decode("ascii")


def _parse_ttl(method: bytes, headers: Mapping[bytes, bytes]) -> int | None:
    value = headers.get(b"sadik-ttl")
    if value is None:
        return None
    if method != b"PUT":
        raise BadTarget("Sadik-TTL says in how many seconds the value of a PUT expires")
    return parse_integer("Sadik-TTL", value, 1, TTL_SECONDS_MAX)


def _parse_meta(
    headers: Mapping[bytes, bytes], limit: int
) -> tuple[tuple[tuple[str, str], ...], Answer | None]:
    found: list[tuple[str, str]] = []
    size = 0
    for name, value in headers.items():
        if name.startswith(b"sadik-meta-"):
            size += len(name) + len(value)
            try:
                found.append((name[11:].decode("ascii"), value.decode("utf-8")))
            except UnicodeDecodeError:
                raise BadTarget("the value of a Sadik-Meta field must be UTF-8") from None
            if not found[-1][0]:
                raise BadTarget("a Sadik-Meta field needs a name after Sadik-Meta-")
    if size > limit:
        return (), problem(
            431, f"the Sadik-Meta fields have {size} bytes; {limit} are accepted in all",
            reason="header_too_large",
        )  # fmt: skip
    found.sort()
    return tuple(found), None


def _read(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish_read)


def _put(service: Service, exchange: Exchange) -> None:
    request: Put = exchange.context
    request.value = exchange.body
    service.ask(exchange, request, _finish_write)


def _put_and_show(service: Service, exchange: Exchange) -> None:
    request: Put = exchange.context
    request.value = exchange.body
    service.ask(exchange, request, _finish_shown_write)


def _delete(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish_write)


def _list(service: Service, exchange: Exchange) -> None:
    service.ask(exchange, exchange.context, _finish_list)


def _finish_read(service: Service, exchange: Exchange, result: Result) -> None:
    match result:
        case Found():
            fields = _context_fields(result.context, result.etag) + _replies(result.tally)
            _name_coordinator(service, exchange, result.coordinator)
            exchange.answer(_found(exchange, result, fields))
        case Missing():
            _name_coordinator(service, exchange, result.coordinator)
            exchange.answer(_missing(result, _replies(result.tally)))
        case _:
            exchange.answer(_not_done(service, exchange, result))


def _finish_write(service: Service, exchange: Exchange, result: Result) -> None:
    match result:
        case Written():
            _name_coordinator(service, exchange, result.coordinator)
            fields = _context_fields(result.context, result.etag) + _acks(result.tally)
            exchange.answer(Answer(204, fields))
        case Missing():
            _name_coordinator(service, exchange, result.coordinator)
            exchange.answer(_missing(result, _acks(result.tally)))
        case _:
            exchange.answer(_not_done(service, exchange, result))


def _finish_shown_write(service: Service, exchange: Exchange, result: Result) -> None:
    """As `_finish_write`, but with the new version as a read of it alone would show it."""
    if not isinstance(result, Written):
        _finish_write(service, exchange, result)
        return
    put: Put = exchange.context
    _name_coordinator(service, exchange, result.coordinator)
    written = VersionView(
        exchange.body,
        put.content_type or CONTENT_TYPE,
        put.meta,
        result.timestamp,
        result.etag,
        result.expires_ms,
    )
    fields = _context_fields(result.context, result.etag) + _acks(result.tally)
    exchange.answer(Answer(200, fields + _version_fields(written), written.value))


def _finish_list(service: Service, exchange: Exchange, result: Result) -> None:
    if not isinstance(result, ListResult):
        exchange.answer(_not_done(service, exchange, result))
        return
    lines = [f'{{"key": "{percent_encode(key)}"}}\n' for key in result.keys]
    following = None if result.next is None else after_token(result.next)
    lines.append(json.dumps({"next": following}) + "\n")
    exchange.answered_by = service.view.own_name
    exchange.answer(
        Answer(200, b"Content-Type: application/x-ndjson\r\n", "".join(lines).encode("ascii"))
    )


def _found(exchange: Exchange, result: Found, fields: bytes) -> Answer:
    condition = exchange.condition
    if condition is not None and not condition.holds(result.etag):
        if condition.if_match is None or Condition(condition.if_match).holds(result.etag):
            return Answer(304, fields)
        return problem(412, "the object has another entity tag", fields=fields)
    versions = result.versions
    exchange.siblings = result.siblings
    if len(versions) == 1:
        if result.siblings > 1:
            fields += b"Sadik-Siblings: %d\r\n" % result.siblings
        return Answer(200, fields + _version_fields(versions[0]), versions[0].value)
    document = {
        "context": result.context,
        "siblings": [sibling_document(each) for each in versions],
    }
    return json_answer(document, 300, fields + _INERT)


def _version_fields(version: VersionView) -> bytes:
    """What is said of one version in the header of an answer that has it as its body."""
    if version.content_type == CONTENT_TYPE:
        fields = _OCTETS
    else:
        fields = field_line("Content-Type", version.content_type)
    fields += _last_modified_fields(timestamp_wall_ns(version.timestamp) // SECOND)
    if version.expires_ms is not None:
        fields += b"Sadik-TTL: %d\r\n" % ttl_seconds(version.expires_ms)
    for name, value in version.meta:
        fields += field_line(f"Sadik-Meta-{name}", value)
    return fields


@lru_cache(maxsize=4096)
def _last_modified_fields(seconds: int) -> bytes:
    """What stands beside every version: made once for all that were written in one second."""
    return field_line("Last-Modified", http_date(seconds)) + _INERT


def ttl_seconds(expires_ms: int) -> int:
    """The seconds that are left by this node's wall clock, rounded up."""
    return max(-(-(expires_ms - time.time_ns() // 1_000_000) // 1000), 0)


def sibling_document(version: VersionView) -> dict[str, object]:
    """One version as JSON."""
    shown: dict[str, object] = {"value_b64": base64.b64encode(version.value).decode("ascii")}
    with contextlib.suppress(UnicodeDecodeError):
        shown["text"] = version.value.decode("utf-8")
    shown["content_type"] = version.content_type
    shown["meta"] = dict(version.meta)
    shown["etag"] = f'"{version.etag}"'
    shown["last_modified"] = last_modified(version.timestamp)
    if version.expires_ms is not None:
        shown["ttl_seconds"] = ttl_seconds(version.expires_ms)
    return shown


def _missing(result: Missing, fields: bytes) -> Answer:
    if result.context is None:
        return problem(404, "there is no such key", fields=fields)
    fields += field_line("Sadik-Context", result.context)
    return problem(404, "the key was deleted, or has expired", fields=fields)


def _not_done(service: Service, exchange: Exchange, result: Result) -> Answer:
    exchange.answered_by = service.view.own_name
    match result:
        case Refused():
            return refusal_answer(result)
        case Unavailable():
            return unavailable_answer(result)
        case _:
            raise AssertionError(f"{type(result).__name__} answers no request for an object")


def _name_coordinator(service: Service, exchange: Exchange, node: NodeId) -> None:
    view = service.view
    exchange.answered_by = view.own_name if node == view.own_id else view.name_of(node)


def _context_fields(context: str, etag: str) -> bytes:
    return f'Sadik-Context: {context}\r\nETag: "{etag}"\r\n'.encode("ascii")


def _acks(tally: Tally) -> bytes:
    return _acks_line(tally.needed, tally.got, tally.durable, tally.primaries, tally.hinted)


@lru_cache(maxsize=256)
def _acks_line(needed: int, got: int, durable: int, primaries: int, hinted: int) -> bytes:
    return b"Sadik-Acks: needed=%d, got=%d, durable=%d, primaries=%d, hinted=%d\r\n" % (
        needed, got, durable, primaries, hinted,
    )  # fmt: skip


def _replies(tally: Tally) -> bytes:
    return _replies_line(tally.needed, tally.got, tally.primaries)


@lru_cache(maxsize=256)
def _replies_line(needed: int, got: int, primaries: int) -> bytes:
    return b"Sadik-Replies: needed=%d, got=%d, primaries=%d\r\n" % (needed, got, primaries)
