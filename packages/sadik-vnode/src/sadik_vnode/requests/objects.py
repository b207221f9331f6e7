"""Reading and writing one object, and what is told of it."""

from __future__ import annotations

from typing import Final

from attrs import define, frozen

from sadik_machine import NodeId
from sadik_vnode.requests.outcomes import Refused, Tally, Unavailable

__all__ = [
    "GETS_MAX",
    "PUTS_MAX",
    "Condition",
    "Delete",
    "Found",
    "Get",
    "GetMany",
    "ManyFound",
    "ManyWritten",
    "Missing",
    "Put",
    "PutMany",
    "Quorum",
    "VersionView",
    "Written",
]

GETS_MAX: Final = 128
"""The gets of one `GetMany`."""

PUTS_MAX: Final = 128
"""The puts of one `PutMany`."""

Quorum = int | str | None
"""A count of owner slots, ``"one"``, ``"quorum"``, ``"all"``, or None for the bucket's own."""


@frozen
class Condition:
    """What must hold of an object for a write of it to be done (RFC 9110, section 13.1).

    Entity tags are unquoted, or ``"*"``: any. None asks for nothing. The tags are of the whole
    object: of all siblings together.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    @property
    def wants_none(self) -> bool:
        """Whether it holds only where there is no object."""
        return self.if_none_match is not None and "*" in self.if_none_match

    def holds(self, etag: str | None) -> bool:
        """Whether it holds of an object with this tag; None: there is no such object."""
        if self.if_match is not None and not _names(self.if_match, etag):
            return False
        return self.if_none_match is None or not _names(self.if_none_match, etag)


def _names(tags: tuple[str, ...], etag: str | None) -> bool:
    return etag is not None and ("*" in tags or etag in tags)


@define(slots=True)
class Get:
    """Read one object. ``timeout_ns`` bounds the whole request.

    With ``at_least``, the token of a context, it is a session's read: the answer covers all that
    the context does, or there is none. ``latest`` wants one version where there are siblings: the
    one with the greatest timestamp.
    """

    bucket: str
    key: bytes
    timeout_ns: int
    r: Quorum = None
    pr: Quorum = None
    sloppy: bool = True
    trace: str = ""
    """The Sadik-Request-Id, for logs on every node that the request touches; empty where no
    other node is to log it."""
    at_least: str | None = None
    latest: bool = False


@define(slots=True)
class GetMany:
    """Read several objects, `GETS_MAX` at most: each as by a get of its own, for less together."""

    gets: list[Get]


@define(slots=True)
class Put:
    """Write one version. ``context`` is the client's token, or None for a blind write.

    ``ttl_s`` is in how many seconds the version expires; None: as the bucket says.
    """

    bucket: str
    key: bytes
    value: bytes
    timeout_ns: int
    content_type: str | None = None
    meta: tuple[tuple[str, str], ...] = ()
    context: str | None = None
    w: Quorum = None
    pw: Quorum = None
    dw: Quorum = None
    sloppy: bool = True
    trace: str = ""
    condition: Condition | None = None
    ttl_s: int | None = None


@define(slots=True)
class PutMany:
    """Write several objects, `PUTS_MAX` at most: each as by a put of its own, for less together.

    Puts of one key are done in their order.
    """

    puts: list[Put]


@define(slots=True)
class Delete:
    """Write a version without a value over what ``context`` covers, or over what R replicas hold.

    The `r` of a delete is for that read alone.
    """

    bucket: str
    key: bytes
    timeout_ns: int
    context: str | None = None
    r: Quorum = None
    w: Quorum = None
    pw: Quorum = None
    dw: Quorum = None
    sloppy: bool = True
    trace: str = ""
    condition: Condition | None = None


@define(slots=True)
class VersionView:
    """One live version as a client sees it. ``timestamp`` is hybrid; ``etag`` unquoted;
    ``expires_ms`` wall time in milliseconds since the epoch.
    """

    value: bytes
    content_type: str
    meta: tuple[tuple[str, str], ...]
    timestamp: int
    etag: str
    expires_ms: int | None = None


@define(slots=True)
class Found:
    """One version, or several siblings, in the order of their dots.

    ``siblings`` counts those that there are, of which a get of the latest is shown one; then the
    context covers none of the others.
    """

    versions: list[VersionView]
    context: str
    etag: str
    """Of the whole sibling set."""
    tally: Tally
    coordinator: NodeId
    siblings: int = 1


@define(slots=True)
class ManyFound:
    """What each get of a `GetMany` would have been answered, in their order."""

    results: list[Found | Missing | Refused | Unavailable]


@define(slots=True)
class Missing:
    """No live version. ``context`` is there when one was read that is gone: the key was deleted, or
    has expired.

    The answer to a `Get`, and to a `Delete` that found nothing to delete.
    """

    context: str | None
    tally: Tally
    coordinator: NodeId


@define(slots=True)
class Written:
    """The write is acknowledged by a quorum. ``etag`` is of all that its coordinator holds then.

    ``timestamp`` (hybrid) and ``expires_ms`` (wall time) are of the new version.
    """

    context: str
    etag: str
    tally: Tally
    coordinator: NodeId
    timestamp: int = 0
    expires_ms: int | None = None


@define(slots=True)
class ManyWritten:
    """What each put of a `PutMany` would have been answered, in their order."""

    results: list[Written | Refused | Unavailable]
