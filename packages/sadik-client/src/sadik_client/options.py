"""What requests on keys can be told, as keyword arguments; the same in every shell.

Quorums (``r w pr pw dw``) are a number or ``"one"``, ``"quorum"``, ``"all"``; left out, the
bucket's properties decide. ``sloppy=False`` admits owners only. ``timeout_s`` is the budget of the
whole request with all its tries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from sadik_client.calls import Quorum
from sadik_client.results import Resolver

__all__ = [
    "DeleteOptions",
    "GetOptions",
    "HeadOptions",
    "PutOptions",
    "SessionDeleteOptions",
    "SessionGetOptions",
    "SessionPutOptions",
]


class _ReadOptions(TypedDict, total=False):
    r: Quorum | None
    pr: Quorum | None
    sloppy: bool | None
    timeout_s: float | None


class HeadOptions(_ReadOptions, total=False):
    """Of ``head``. ``context``: not older than that, or an error."""

    context: str | None


class SessionGetOptions(_ReadOptions, total=False):
    """Of a session's ``get``.

    ``if_none_match``: an etag; the value comes only if the key has another. ``if_match``: an error
    if it has another. ``resolver``: instead of the client's.
    """

    if_match: str | None
    if_none_match: str | None
    resolver: Resolver | None


class GetOptions(SessionGetOptions, total=False):
    """Of ``get``.

    ``context``: not older than that, or an error. ``latest``: of siblings only the one written
    last, by clocks that may be wrong; the entry's context covers that one alone.
    """

    context: str | None
    latest: bool


class _WriteOptions(TypedDict, total=False):
    w: Quorum | None
    pw: Quorum | None
    dw: Quorum | None
    sloppy: bool | None
    if_match: str | None
    repeat_indeterminate: bool
    timeout_s: float | None


class SessionPutOptions(_WriteOptions, total=False):
    """Of a session's ``put``.

    ``meta`` is stored and returned beside the value. ``ttl_s``: the value expires after so many
    seconds. ``if_match``: only if the key has that etag; ``if_none_match="*"``: only if it has no
    value. ``return_body``: give back what the key holds now.
    """

    content_type: str | None
    meta: Mapping[str, str] | None
    ttl_s: int | None
    if_none_match: str | None
    return_body: bool


class PutOptions(SessionPutOptions, total=False):
    """Of ``put``. ``context``: what it replaces; without one the bucket decides."""

    context: str | None


class SessionDeleteOptions(_WriteOptions, total=False):
    """Of a session's ``delete``. ``r``: how many replicas a delete without a context reads."""

    r: Quorum | None


class DeleteOptions(SessionDeleteOptions, total=False):
    """Of ``delete``. ``context``: what it deletes; without one, what a read finds."""

    context: str | None
