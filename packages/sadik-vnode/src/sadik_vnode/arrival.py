"""A record's row that came from another node, understood as far as it takes to store it.

A node that is being filled stores nearly every row as it comes. All that it has to know of one is
which dots are live, for the hash tree, and when the record is due; and that the row is sound and
says what a record may say, as of all that comes from elsewhere. Nearly every row has one version,
with a value in it, under a context without gaps. Such a one is read here byte by byte, which takes
a fifth of the time that it takes to make a record of it. Any other is decoded, and nothing but the
time it takes depends on which of the two was done.
"""

from __future__ import annotations

from typing import Final

from sadik_causality import ACTOR_BYTES_MAX, Dot
from sadik_vnode.due import due_ms
from sadik_vnode.keyspace import Key
from sadik_vnode.record import INLINE_BYTES_MAX, DamagedRecord, Record, is_sound, without_actor
from sadik_vnode.version import DELETED, EXPIRES, HEAD_BYTES_MAX

__all__ = ["Arrival"]

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
"""In place of a length or a number: how many bytes it takes that follow."""
_FLAGS_LOOKED_INTO: Final = DELETED | EXPIRES


class Arrival:
    """One row of another node's records, without that node's actor.

    ``row`` is what is stored where nothing is known of the key, and None where it takes further
    rows; ``dots`` are the live ones, sorted; ``due`` is as `due_ms` says.
    """

    __slots__ = ("_record", "dots", "due", "key", "row")

    def __init__(
        self, key: Key, row: bytes | None, dots: list[Dot], due: int | None, record: Record | None
    ) -> None:
        self.key = key
        self.row = row
        self.dots = dots
        self.due = due
        self._record = record

    @classmethod
    def of(cls, key: Key, row: bytes) -> Arrival:
        """The arrival of another node's row of ``key``.

        Raises:
            DamagedRecord: it is none of a record.
        """
        dot = _only_dot(row)
        if dot is not None:
            if not is_sound(row):
                raise DamagedRecord("a record's checksum does not match")
            return cls(key, without_actor(row), [dot], None, None)
        return cls.of_record(key, Record.received(row))

    @classmethod
    def of_record(cls, key: Key, record: Record) -> Arrival:
        """The same of one that is decoded."""
        container = record.container
        row = record.encode() if record.is_one_row else None
        return cls(key, row, container.live_dots(), due_ms(container), record)

    @property
    def record(self) -> Record:
        """What the row says."""
        if self._record is None:
            assert self.row is not None, "what has no row was decoded"
            self._record = Record.received(self.row)
        return self._record

    @property
    def is_whole(self) -> bool:
        """Whether there is something in it, and all of that is here."""
        if self._record is None:
            return True
        container = self._record.container
        return bool(container.context) and all(
            version.body is not None for version in container.versions.values()
        )


def _only_dot(row: bytes) -> Dot | None:
    """The dot of a record of one version with a value, which neither was deleted nor expires, under
    a context without gaps. None for any other, for what is written in another way, and for what is
    no record.
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
    at, head_size = _bytes_at(row, at)
    if not 1 < head_size <= HEAD_BYTES_MAX or at + head_size >= len(row):
        return None
    flags = row[at + 1]
    if not 0x84 <= row[at] <= 0x97 or flags >= _SMALL or flags & _FLAGS_LOOKED_INTO:
        return None
    at, body_size = _bytes_at(row, at + head_size)
    if not 0 <= body_size <= INLINE_BYTES_MAX:
        return None
    at, size = _number_at(row, at + body_size)
    return (actor, counter) if size == body_size and at == len(row) else None


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
    two bytes, or that could have been written in fewer."""
    head = row[at] if at < len(row) else -1
    if 0 <= head < _SMALL:
        return at + 1, head
    if head == _ONE_BYTE and at + 1 < len(row):
        number = row[at + 1]
        return at + 2, number if number >= _SMALL else -1
    if head == _TWO_BYTES:
        number = int.from_bytes(row[at + 1 : at + 3], "big")
        return at + 3, number if number > 0xFF else -1
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
