"""The lines of a batch: what one asks, read with care, and what became of it, written.

A line is one flat JSON object. Unknown names are refused rather than ignored: a misspelt
``context`` would make a blind write.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

from attrs import define

from sadik_node.http.answers import Answer, last_modified, problem
from sadik_node.http.kv import CONTENT_TYPE, Options, sibling_document, ttl_seconds
from sadik_node.http.limits import HttpLimits
from sadik_node.http.names import parse_bucket, parse_key
from sadik_node.http.service import refusal_answer, unavailable_answer
from sadik_node.http.target import BadTarget
from sadik_vnode.buckets import TTL_SECONDS_MAX
from sadik_vnode.requests import (
    Delete,
    Found,
    Get,
    Missing,
    Put,
    Refused,
    Request,
    Result,
    Unavailable,
    VersionView,
    Written,
)

__all__ = ["Operation", "parse_line", "request_of", "result_line"]

_NAMES = {
    "get": {"op", "bucket", "key", "context"},
    "put": {"op", "bucket", "key", "context", "value_b64", "content_type", "meta", "ttl_seconds"},
    "delete": {"op", "bucket", "key", "context"},
}
_NESTING_MAX = 8
_BRACKETS_HARMLESS = 64
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_OPENING = re.compile(rb"[\[{]")
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,1024}")
_META_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_META_VALUE = re.compile(r"(?:[^\x00-\x1f\x7f]|\t)*")


@define(slots=True)
class Operation:
    """What one line asks. The value is still encoded: it is decoded when its turn comes."""

    op: str
    bucket: str
    key: bytes
    context: str | None = None
    value_b64: str = ""
    content_type: str | None = None
    meta: tuple[tuple[str, str], ...] = ()
    ttl_s: int | None = None


def parse_line(line: bytes, limits: HttpLimits) -> Operation:
    """Read one line.

    Raises:
        BadTarget: with what is wrong with it.
    """
    document = _parse_json(line)
    op = document.get("op")
    accepted = _NAMES.get(op) if isinstance(op, str) else None
    if accepted is None:
        raise BadTarget('"op" must be "get", "put" or "delete"')
    assert isinstance(op, str)
    unknown = document.keys() - accepted
    if unknown:
        raise BadTarget(
            f"unknown name {min(unknown)!r} in a {op}; accepted: {', '.join(sorted(accepted))}"
        )
    bucket = parse_bucket(_text(document, "bucket"))
    operation = Operation(op, bucket, parse_key(_text(document, "key")))
    context = document.get("context")
    if context is not None:
        if not isinstance(context, str) or not context.isascii():
            raise BadTarget('"context" must be the context that an answer gave')
        if len(context) > limits.context_bytes:
            raise BadTarget(f'"context" has more than {limits.context_bytes} bytes')
        operation.context = context
    if op == "put":
        _parse_put(document, operation, limits)
    return operation


def _parse_json(line: bytes) -> dict[str, object]:
    # Before the parser, which recurses. Few brackets cannot nest deeply: most lines end here.
    if line.count(b"[") + line.count(b"{") > _BRACKETS_HARMLESS:
        bare = _STRING.sub(b"", line)
        if len(_OPENING.findall(bare)) > _NESTING_MAX:
            raise BadTarget("a line of a batch is one flat JSON object")
    try:
        document = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadTarget("the line is not UTF-8") from None
    except ValueError as error:
        raise BadTarget(f"the line is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadTarget('a line of a batch is a JSON object, such as {"op": "get", ...}')
    return document


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands there twice")
    return document


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


# `json.loads` would make one for each line.
_DECODER = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_no_constant)


def _text(document: dict[str, object], name: str) -> bytes:
    value = document.get(name)
    if not isinstance(value, str):
        raise BadTarget(f'"{name}" must be there, a string')
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadTarget(f'"{name}" has half a surrogate pair, which is no character') from None


def _parse_put(document: dict[str, object], operation: Operation, limits: HttpLimits) -> None:
    value = document.get("value_b64")
    if not isinstance(value, str):
        raise BadTarget('a put needs "value_b64", a string: the value in base64')
    operation.value_b64 = value
    content_type = document.get("content_type")
    if content_type is not None:
        if not isinstance(content_type, str) or not _CONTENT_TYPE.fullmatch(content_type):
            raise BadTarget('"content_type" must be 1 to 1024 printable ASCII characters')
        operation.content_type = content_type
    ttl_s = document.get("ttl_seconds")
    if ttl_s is not None:
        if type(ttl_s) is not int or not 1 <= ttl_s <= TTL_SECONDS_MAX:
            raise BadTarget(f'"ttl_seconds" must be an integer from 1 to {TTL_SECONDS_MAX}')
        operation.ttl_s = ttl_s
    meta = document.get("meta")
    if meta is not None:
        operation.meta = _parse_meta(meta, limits.meta_bytes)


def _parse_meta(meta: object, limit: int) -> tuple[tuple[str, str], ...]:
    if not isinstance(meta, dict):
        raise BadTarget('"meta" must be an object of names and strings')
    found: dict[str, str] = {}
    size = 0
    for name, value in meta.items():
        is_value = isinstance(value, str) and _META_VALUE.fullmatch(value)
        if not is_value or not _META_NAME.fullmatch(name) or name.lower() in found:
            raise BadTarget('"meta" must have names that can be header fields, and strings')
        try:
            size += len("sadik-meta-") + len(name) + len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise BadTarget('"meta" has half a surrogate pair, which is no character') from None
        found[name.lower()] = value.strip(" \t")
    if size > limit:
        raise BadTarget(f'"meta" has {size} bytes; {limit} are accepted in all')
    return tuple(sorted(found.items()))


def request_of(
    operation: Operation, options: Options, timeout_ns: int, trace: str, value_bytes_max: int
) -> Request | Answer:
    """What to ask the engine for, or the 400 or 413 of a value that is none."""
    o = operation
    if o.op == "get":
        return Get(
            o.bucket, o.key, timeout_ns, options.r, options.pr, options.sloppy, trace, o.context
        )  # fmt: skip
    if o.op == "delete":
        return Delete(
            o.bucket, o.key, timeout_ns, o.context, options.r, options.w, options.pw, options.dw,
            options.sloppy, trace,
        )  # fmt: skip
    try:
        value = binascii.a2b_base64(o.value_b64, strict_mode=True)
    except ValueError as error:
        return problem(400, f'"value_b64" is not base64: {error}', reason="malformed")
    if len(value) > value_bytes_max:
        return problem(
            413, f"{len(value)} bytes exceeds the limit of {value_bytes_max} bytes",
            reason="value_too_large",
        )  # fmt: skip
    return Put(
        o.bucket, o.key, value, timeout_ns, o.content_type, o.meta, o.context, options.w,
        options.pw, options.dw, options.sloppy, trace, None, o.ttl_s,
    )  # fmt: skip


def result_line(result: Result) -> Answer:
    """The status and the line of a result; contexts and tags are known to need no escapes."""
    match result:
        case Found():
            return _found(result)
        case Written():
            line = (
                f'{{"status": 204, "title": "No Content", "context": "{result.context}", '
                f'"etag": "\\"{result.etag}\\""}}\n'
            )
            return Answer(204, b"", line.encode("ascii"))
        case Missing():
            if result.context is None:
                return problem(404, "there is no such key")
            detail = "the key was deleted, or has expired"
            return problem(404, detail, context=result.context)
        case Refused():
            return refusal_answer(result)
        case Unavailable():
            return unavailable_answer(result)
        case _:
            raise AssertionError(f"{type(result).__name__} answers no operation of a batch")


def _found(result: Found) -> Answer:
    if len(result.versions) > 1:
        document = {
            "status": 300,
            "title": "Multiple Choices",
            "context": result.context,
            "etag": f'"{result.etag}"',
            "siblings": [sibling_document(each) for each in result.versions],
        }
        text = json.dumps(document, ensure_ascii=False) + "\n"
        return Answer(300, b"", text.encode("utf-8", "backslashreplace"))
    (version,) = result.versions
    head = (
        f'{{"status": 200, "title": "OK", "context": "{result.context}", '
        f'"etag": "\\"{result.etag}\\"", "last_modified": "{last_modified(version.timestamp)}"'
        f'{_properties(version)}, "value_b64": "'
    )
    return Answer(200, b"", head.encode("ascii") + base64.b64encode(version.value) + b'"}\n')


def _properties(version: VersionView) -> str:
    is_plain = version.content_type == CONTENT_TYPE and not version.meta
    if is_plain and version.expires_ms is None:
        return ""
    shown: dict[str, object] = {}
    if version.content_type != CONTENT_TYPE:
        shown["content_type"] = version.content_type
    if version.meta:
        shown["meta"] = dict(version.meta)
    if version.expires_ms is not None:
        shown["ttl_seconds"] = ttl_seconds(version.expires_ms)
    return "".join([f', "{name}": {json.dumps(value)}' for name, value in shown.items()])
