"""Requests as values: what goes out, and what may be done when no good answer comes back."""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from sadik_client.encoding import (
    check_bucket,
    encode_key,
    encode_query,
    key_bytes,
    object_path,
)
from sadik_client.errors import InvalidRequestError
from sadik_client.http1 import field_line

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_OPERATIONS_MAX",
    "TIMEOUT_MS_MAX",
    "BatchDelete",
    "BatchGet",
    "BatchOperation",
    "BatchPut",
    "Call",
    "Quorum",
    "batch_body",
    "delete_call",
    "get_call",
    "put_call",
]

BATCH_OPERATIONS_MAX = 1000
BATCH_BYTES_MAX = 16 * 2**20
TIMEOUT_MS_MAX = 60_000

Quorum: TypeAlias = int | Literal["one", "quorum", "all"]
"""How many replicas: a number, or a word."""

_TEXT = "text/plain; charset=utf-8"


class Call(NamedTuple):
    """One request. ``fields`` are whole lines of its header, without those of the node."""

    method: str
    target: str
    fields: bytes = b""
    body: bytes | None = None
    bucket: str = ""
    key: bytes = b""
    """Of which key it is, to find its owners; none if it is of none."""
    is_read: bool = True
    takes_timeout: bool = False
    """Whether the node can be told how long it has."""
    takes_long: bool = False
    """Whether it may take a node longer than one object does: then only the budget bounds it."""
    repeat_indeterminate: bool = False
    timeout_s: float | None = None
    """The budget, if it is not the client's."""


class BatchGet(NamedTuple):
    """Read a key, as one operation of a batch."""

    bucket: str
    key: bytes | str


class BatchPut(NamedTuple):
    """Write a key, as one operation of a batch."""

    bucket: str
    key: bytes | str
    value: bytes | str
    context: str | None = None


class BatchDelete(NamedTuple):
    """Delete a key, as one operation of a batch."""

    bucket: str
    key: bytes | str
    context: str | None = None


BatchOperation: TypeAlias = BatchGet | BatchPut | BatchDelete


def get_call(
    bucket: str,
    key: bytes | str,
    *,
    method: str = "GET",
    r: Quorum | None = None,
    pr: Quorum | None = None,
    sloppy: bool | None = None,
    context: str | None = None,
    if_match: str | None = None,
    if_none_match: str | None = None,
    latest: bool = False,
    timeout_s: float | None = None,
) -> Call:
    """A read of one key.

    Raises:
        InvalidRequestError: no node would understand it.
    """
    raw = key_bytes(key)
    query = encode_query(
        (("r", _quorum(r)), ("pr", _quorum(pr)), ("sloppy", _flag(sloppy)),
         ("resolve", "latest" if latest else None))
    ) if r is not None or pr is not None or sloppy is not None or latest else ""  # fmt: skip
    fields = _conditions(context, if_match, if_none_match)
    return Call(
        method, object_path(check_bucket(bucket), raw) + query, fields, None, bucket, raw,
        takes_timeout=True, timeout_s=timeout_s,
    )  # fmt: skip


def put_call(
    bucket: str,
    key: bytes | str,
    value: bytes | str,
    *,
    context: str | None = None,
    content_type: str | None = None,
    meta: Mapping[str, str] | None = None,
    ttl_s: int | None = None,
    if_match: str | None = None,
    if_none_match: str | None = None,
    w: Quorum | None = None,
    pw: Quorum | None = None,
    dw: Quorum | None = None,
    sloppy: bool | None = None,
    return_body: bool = False,
    repeat_indeterminate: bool = False,
    timeout_s: float | None = None,
) -> Call:
    """A write of one key.

    Raises:
        InvalidRequestError: no node would understand it.
    """
    raw = key_bytes(key)
    if isinstance(value, str):
        value = value.encode()
        content_type = content_type or _TEXT
    query = encode_query(
        (("w", _quorum(w)), ("pw", _quorum(pw)), ("dw", _quorum(dw)), ("sloppy", _flag(sloppy)),
         ("return", "body" if return_body else None))
    )  # fmt: skip
    fields = b""
    if content_type is not None:
        if not content_type.isascii():
            raise InvalidRequestError("the content type must be ASCII")
        fields += field_line("Content-Type", content_type)
    if ttl_s is not None:
        if ttl_s < 1:
            raise InvalidRequestError("a time to live is at least one second")
        fields += field_line("Sadik-TTL", str(ttl_s))
    for name, text in (meta or {}).items():
        fields += field_line(f"Sadik-Meta-{name}", text)
    return Call(
        "PUT",
        object_path(check_bucket(bucket), raw) + query,
        fields + _conditions(context, if_match, if_none_match),
        value,
        bucket,
        raw,
        is_read=False,
        takes_timeout=True,
        repeat_indeterminate=repeat_indeterminate,
        timeout_s=timeout_s,
    )


def delete_call(
    bucket: str,
    key: bytes | str,
    *,
    context: str | None = None,
    if_match: str | None = None,
    r: Quorum | None = None,
    w: Quorum | None = None,
    pw: Quorum | None = None,
    dw: Quorum | None = None,
    sloppy: bool | None = None,
    repeat_indeterminate: bool = False,
    timeout_s: float | None = None,
) -> Call:
    """A delete of one key.

    Raises:
        InvalidRequestError: no node would understand it.
    """
    raw = key_bytes(key)
    query = encode_query(
        (("r", _quorum(r)), ("w", _quorum(w)), ("pw", _quorum(pw)), ("dw", _quorum(dw)),
         ("sloppy", _flag(sloppy)))
    )  # fmt: skip
    return Call(
        "DELETE",
        object_path(check_bucket(bucket), raw) + query,
        _conditions(context, if_match, None),
        None,
        bucket,
        raw,
        is_read=False,
        takes_timeout=True,
        repeat_indeterminate=repeat_indeterminate,
        timeout_s=timeout_s,
    )


def batch_body(operations: Sequence[BatchOperation]) -> bytes:
    """Operations as the lines of a batch.

    Raises:
        InvalidRequestError: they are too many, too large, or none of them.
    """
    if not 1 <= len(operations) <= BATCH_OPERATIONS_MAX:
        raise InvalidRequestError(
            f"a batch has 1 to {BATCH_OPERATIONS_MAX} operations, not {len(operations)}"
        )
    body = b"".join([_batch_line(each) for each in operations])
    if len(body) > BATCH_BYTES_MAX:
        raise InvalidRequestError(
            f"the batch has {len(body)} bytes encoded; {BATCH_BYTES_MAX} are accepted"
        )
    return body


def _batch_line(operation: BatchOperation) -> bytes:
    line: dict[str, str] = {
        "bucket": check_bucket(operation.bucket),
        "key": encode_key(key_bytes(operation.key)),
    }
    match operation:
        case BatchGet():
            line["op"] = "get"
        case BatchPut(value=value):
            line["op"] = "put"
            raw = value.encode() if isinstance(value, str) else value
            line["value_b64"] = binascii.b2a_base64(raw, newline=False).decode()
        case BatchDelete():
            line["op"] = "delete"
    if not isinstance(operation, BatchGet) and operation.context is not None:
        line["context"] = operation.context
    return json.dumps(line).encode() + b"\n"


def _conditions(context: str | None, if_match: str | None, if_none_match: str | None) -> bytes:
    fields = b""
    if context is not None:
        fields += field_line("Sadik-Context", context)
    if if_match is not None:
        fields += field_line("If-Match", if_match)
    if if_none_match is not None:
        fields += field_line("If-None-Match", if_none_match)
    return fields


def _quorum(value: Quorum | None) -> str | None:
    return None if value is None else str(value)


def _flag(value: bool | None) -> str | None:
    return None if value is None else ("true" if value else "false")
