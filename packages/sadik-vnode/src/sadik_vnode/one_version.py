"""A record's row of one version, understood without making anything of it but its dots.

Nearly every row has one version, with a value in it, under a context without gaps; and of nearly
every record that a node meets it wants to know which dot is live and what the context covers, to
tell that a newer record replaces it. Such a row is read here byte by byte, which takes a fifth of
the time that it takes to decode it. Any other is decoded, and nothing but the time it takes depends
on which of the two was done.
"""

from __future__ import annotations

from typing import Final

from sadik_causality import ACTOR_BYTES_MAX, Context, Dot
from sadik_vnode.version import DELETED, EXPIRES, HEAD_BYTES_MAX

__all__ = ["INLINE_BYTES_MAX", "OneVersion", "is_within_one_version", "one_version_in"]

INLINE_BYTES_MAX: Final = 32 * 1024
"""A longer body gets a row of its own."""

_SUM_BYTES: Final = 8

# CBOR (RFC 8949, section 3): three bits of kind, and a length or a number below 24.
_RECORD: Final = b"\x84\x01"
"""An array of four, of format 1."""
_ENTRY: Final = b"\x82"
"""Of a context: an actor, and a count without gaps."""
_VERSION: Final = b"\x81\x85"
"""One of them, of five fields."""
_BYTES: Final = 0x40
_ARRAY: Final = 0x80
_SMALL: Final = 24
_ONE_BYTE: Final = 24
_TWO_BYTES: Final = 25
_FOUR_BYTES: Final = 26
"""In place of a length or a number: how many bytes it takes that follow."""
_NUMBER_MAX: Final = 0xFFFF_FFFF
_FLAGS_LOOKED_INTO: Final = DELETED | EXPIRES

OneVersion = tuple[int, Dot, dict[bytes, int], int, int, int, int]
"""How many bytes the own actor has; the live dot; how many dots of each actor are covered; where
the head is and its length; where the body is and its length."""


def is_within_one_version(context: Context) -> bool:
    """Whether `one_version_in` finds what a row says under this context."""
    if not context.is_gapless:
        return False
    entries = context.to_plain()
    for _, count in entries:
        if count > _NUMBER_MAX:  # type: ignore[operator]  # an actor's entry ends with a count
            return False
    return 0 < len(entries) < _SMALL


def one_version_in(row: bytes) -> OneVersion | None:
    """What a row says of one version with a value, which neither was deleted nor expires, under a
    context without gaps. None for any other, for what is written in another way, and for what is
    no record. The row's checksum is not looked at.
    """
    at = _SUM_BYTES + len(_RECORD)
    if row[_SUM_BYTES:at] != _RECORD or len(row) <= at:
        return None
    own = row[at] - _BYTES
    if not 0 <= own <= ACTOR_BYTES_MAX:
        return None
    at, counts = _counts_at(row, at + 1 + own)
    if row[at : at + 2] != _VERSION:
        return None
    at, actor = _actor_at(row, at + 2)
    at, counter = _number_at(row, at)
    if not 0 < counter <= counts.get(actor, 0):
        return None
    head_at, head_size = _bytes_at(row, at)
    if not 1 < head_size <= HEAD_BYTES_MAX or head_at + head_size >= len(row):
        return None
    flags = row[head_at + 1]
    if not 0x84 <= row[head_at] <= 0x97 or flags >= _SMALL or flags & _FLAGS_LOOKED_INTO:
        return None
    body_at, body_size = _bytes_at(row, head_at + head_size)
    if not 0 <= body_size <= INLINE_BYTES_MAX:
        return None
    at, size = _number_at(row, body_at + body_size)
    if size != body_size or at != len(row):
        return None
    return own, (actor, counter), counts, head_at, head_size, body_at, body_size


def _counts_at(row: bytes, at: int) -> tuple[int, dict[bytes, int]]:
    """Where the context ends that begins here, and how many dots it has of each actor. It has none
    of any where it is another one than is looked for.
    """
    entries = row[at] - _ARRAY if at < len(row) else 0
    at += 1
    if not 0 < entries < _SMALL:
        return at, {}
    counts: dict[bytes, int] = {}
    last = b""
    for _ in range(entries):
        if row[at : at + 1] != _ENTRY:
            return at, {}
        at, actor = _actor_at(row, at + 1)
        at, count = _number_at(row, at)
        if actor <= last or count < 1:
            return at, {}
        counts[actor] = count
        last = actor
    return at, counts


def _actor_at(row: bytes, at: int) -> tuple[int, bytes]:
    """Where the actor ends whose head is here, and the actor; an empty one where there is none."""
    size = row[at] - _BYTES if at < len(row) else 0
    if not 0 < size <= ACTOR_BYTES_MAX:
        return at, b""
    end = at + 1 + size
    return end, row[at + 1 : end]


def _number_at(row: bytes, at: int) -> tuple[int, int]:
    """Where the number ends whose head is here, and the number; -1 where there is none of at most
    four bytes, or that could have been written in fewer."""
    head = row[at] if at < len(row) else -1
    if 0 <= head < _SMALL:
        return at + 1, head
    if head == _ONE_BYTE and at + 1 < len(row):
        number = row[at + 1]
        return at + 2, number if number >= _SMALL else -1
    if head == _TWO_BYTES:
        number = int.from_bytes(row[at + 1 : at + 3], "big")
        return at + 3, number if number > 0xFF else -1
    if head == _FOUR_BYTES and at + 4 < len(row):
        number = int.from_bytes(row[at + 1 : at + 5], "big")
        return at + 5, number if number > 0xFFFF else -1
    return at, -1


def _bytes_at(row: bytes, at: int) -> tuple[int, int]:
    """Where the byte string begins whose head is here, and its length; -1 where there is none."""
    kind = row[at] - _BYTES if at < len(row) else -1
    if 0 <= kind < _SMALL:
        return at + 1, kind
    if kind == _ONE_BYTE:
        return at + 2, int.from_bytes(row[at + 1 : at + 2], "big")
    if kind == _TWO_BYTES:
        return at + 3, int.from_bytes(row[at + 1 : at + 3], "big")
    return at, -1
