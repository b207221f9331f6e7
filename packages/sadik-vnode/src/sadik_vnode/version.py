"""One version of an object: a head that Sadik reads and a body that it never looks into.

The head is a CBOR array ``[flags, timestamp, content type, meta, expiry, …]``, the expiry only
where its flag is set. It passes through nodes verbatim, fields unknown to this version of the
software included, so that a newer one's versions survive on older nodes; the body is the client's
bytes and is never copied into another encoding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from attrs import define, frozen

from sadik_causality import ACTOR_BYTES_MAX, COUNTER_MAX, Dot
from sadik_machine import MILLISECOND, PlainError, decode_plain, encode_plain

__all__ = [
    "DEFAULT_CONTENT_TYPE",
    "DELETED",
    "EXPIRES",
    "HEAD_BYTES_MAX",
    "Head",
    "MalformedVersion",
    "PlainVersion",
    "Version",
    "tombstone",
    "version_from_plain",
    "version_of",
]

DELETED: Final = 1
"""Flag: a version without a value, made by a delete."""

EXPIRES: Final = 2
"""Flag: the head has an expiry, the instant from which on the version is as good as deleted."""

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"

HEAD_BYTES_MAX: Final = 16 * 1024

# The heads of hot keys are read all the time, and most are short.
_RECENT_HEADS: Final = 1024
_RECENT_HEAD_BYTES_MAX: Final = 256

_BODY_TYPES: Final = (bytes, type(None))

PlainVersion = tuple[bytes, int, bytes, bytes | None, int]
"""As messages carry a version: actor, counter, head, body or None where it is not sent, size."""


class MalformedVersion(ValueError):  # noqa: N818 - names what was received, not an error of ours
    """A head or a plain version that no correct node makes."""


@frozen
class Head:
    """The part of a head that this software knows. ``timestamp`` is a hybrid timestamp;
    ``expires_ms`` is wall time in milliseconds since the epoch.
    """

    flags: int
    timestamp: int
    content_type: str
    meta: tuple[tuple[str, str], ...]
    expires_ms: int | None = None

    @property
    def is_deleted(self) -> bool:
        """Whether this version is a delete."""
        return bool(self.flags & DELETED)


@define(slots=True, eq=False)
class Version:
    """A version as replicas hold it. ``body`` is None where it lies in a row of its own.

    ``size`` is the length of the body in bytes, known wherever the body lies.
    """

    head: bytes
    body: bytes | None
    size: int

    def parsed(self) -> Head:
        """The head's known fields; `MalformedVersion` for what is none."""
        if len(self.head) > _RECENT_HEAD_BYTES_MAX:
            return _head_of(self.head)
        return _recent_head(self.head)

    @property
    def is_deleted(self) -> bool:
        """Whether this is a delete; without decoding, for a delete has a fixed first byte."""
        # A CBOR array of up to 23 elements is one byte; flags below 24 are the next byte.
        return self.size == 0 and len(self.head) > 1 and bool(self.head[1] & DELETED)

    def is_gone(self, wall_ns: int) -> bool:
        """Whether this is a delete, or has expired by a wall clock that shows ``wall_ns``.

        Only a version that expires is decoded; one whose head is damaged is not gone.
        """
        flags = self.head[1] if len(self.head) > 1 else 0
        if not flags & EXPIRES:
            return self.size == 0 and bool(flags & DELETED)
        try:
            expires_ms = self.parsed().expires_ms
        except MalformedVersion:
            return False
        return expires_ms is not None and wall_ns >= expires_ms * MILLISECOND

    def to_plain(self, dot: Dot, *, body: bool = True) -> PlainVersion:
        """As a message carries it, with or without the body."""
        return (dot[0], dot[1], self.head, self.body if body else None, self.size)


def _head_of(head: bytes) -> Head:
    try:
        plain = decode_plain(head)
    except PlainError as error:
        raise MalformedVersion(str(error)) from error
    if type(plain) is not tuple or len(plain) < 4:
        raise MalformedVersion("a head has four fields or more")
    flags, timestamp, content_type, meta = plain[:4]
    if not (
        type(flags) is int
        and type(timestamp) is int
        and type(content_type) is str
        and type(meta) is tuple
        and all(
            type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) is str
            for pair in meta
        )
    ):
        raise MalformedVersion("a head's field has the wrong type")
    expires_ms = None
    if flags & EXPIRES:
        expires_ms = plain[4] if len(plain) > 4 else None
        if type(expires_ms) is not int:
            raise MalformedVersion("a head that expires says when")
    return Head(flags, timestamp, content_type, meta, expires_ms)


_recent_head = lru_cache(_RECENT_HEADS)(_head_of)


def version_of(
    value: bytes,
    timestamp: int,
    content_type: str | None,
    meta: tuple[tuple[str, str], ...],
    expires_ms: int | None = None,
) -> Version:
    """A new version with a value, which expires at ``expires_ms`` by the wall clock, or never."""
    content_type = content_type or DEFAULT_CONTENT_TYPE
    if expires_ms is None:
        head = encode_plain((0, timestamp, content_type, meta))
    else:
        head = encode_plain((EXPIRES, timestamp, content_type, meta, expires_ms))
    return Version(head, value, len(value))


def tombstone(timestamp: int) -> Version:
    """A new version without a value: a delete."""
    return Version(encode_plain((DELETED, timestamp, "", ())), b"", 0)


def version_from_plain(plain: PlainVersion) -> tuple[Dot, Version]:
    """The dot and version of a received tuple, its types, sizes and numbers checked."""
    actor, counter, head, body, size = plain
    if type(actor) is not bytes or type(head) is not bytes or type(body) not in _BODY_TYPES:
        raise MalformedVersion("an actor, a head and a body are bytes")
    if type(counter) is not int or type(size) is not int:
        raise MalformedVersion("a counter and a size are integers")
    if not 0 < len(actor) <= ACTOR_BYTES_MAX or not 0 < counter <= COUNTER_MAX:
        raise MalformedVersion("an actor or a counter is out of range")
    if not 1 < len(head) <= HEAD_BYTES_MAX or not 0x84 <= head[0] <= 0x97 or head[1] >= 24:
        raise MalformedVersion("a head is an array of four fields or more, flags first")
    if size < 0 or (body is not None and len(body) != size):
        raise MalformedVersion("a body does not have its size")
    return (actor, counter), Version(head, body, size)
