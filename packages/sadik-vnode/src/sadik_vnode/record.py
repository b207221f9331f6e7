"""The one record of a key on a node: its causal container, and who counts here.

A record holds every live version, tombstones included, the causal context, and the actor under
which this node makes dots on this record. That actor is local: it is never hashed, nobody else
takes it from a row that is sent, and a node that lost the record starts a new one, so no dot is
ever made twice.

On disk: 8 bytes of blake3 over the rest, then a CBOR array ``[format, own actor, context,
versions]`` with versions as ``[actor, counter, head, body or null, size]``. A body longer
than `INLINE_BYTES_MAX` lies in a row of its own, so that a new sibling does not rewrite it.

In memory a record of one version is mostly its row, of which no more is understood than what dots
it knows (`sadik_vnode.one_version`), until somebody wants to see the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sadik_causality import ACTOR_BYTES_MAX, EMPTY, Container, Context, ContextError, Dot
from sadik_hashing import BLAKE3
from sadik_machine import PlainError, decode_plain, encode_plain
from sadik_vnode.due import due_ms
from sadik_vnode.keyspace import Key
from sadik_vnode.one_version import INLINE_BYTES_MAX, is_within_one_version, one_version_in
from sadik_vnode.sums import sum_of
from sadik_vnode.version import (
    DELETED,
    EXPIRES,
    HEAD_BYTES_MAX,
    MalformedVersion,
    Version,
    version_from_plain,
)

__all__ = [
    "INLINE_BYTES_MAX",
    "DamagedRecord",
    "Record",
    "Rows",
    "bytes_outside",
    "is_sound",
    "open_value",
    "seal_value",
    "without_actor",
]

_FORMAT: Final = 1
_NO_ACTOR: Final = encode_plain(b"")
_SUM_BYTES: Final = 8

# Parts of an encoded record: those of sizes below `_SHORT` are looked up, which is nearly all.
_SHORT: Final = 256
_INTEGERS: Final = [encode_plain(number) for number in range(_SHORT)]
_BYTES_HEADS: Final = [encode_plain(bytes(size))[: -size or None] for size in range(_SHORT)]
_TWO_BYTES: Final = encode_plain(bytes(_SHORT))[:1]
"""How the head of a byte string begins whose length takes two bytes."""
_ARRAY_HEADS: Final = [encode_plain((0,) * size)[: -size or None] for size in range(_SHORT)]
_BEGINNING: Final = _ARRAY_HEADS[4] + _INTEGERS[_FORMAT]
_FIVE: Final = _ARRAY_HEADS[5]
_NULL: Final = encode_plain(None)
_OUTSIDE_16, _OUTSIDE_32, _OUTSIDE_64 = (
    _NULL + encode_plain(size)[:1] for size in (INLINE_BYTES_MAX, 1 << 16, 1 << 32)
)
"""How a version goes on whose body lies in a row of its own: null, and a size of so many bits."""
_SEARCHED_BYTES_MAX: Final = 512

Rows = list[tuple[bytes, bytes | None]]


class DamagedRecord(ValueError):  # noqa: N818 - names what was found, not an error of ours
    """What was read from the store is not what was written: report it, never serve it.

    ``row`` is the key of the row, where it is one of those that an engine wants at its start.
    """

    row: bytes = b""


class Record:
    """An immutable value. ``own_actor`` is empty until this node makes a dot on the record.

    ``context`` is every dot that is known of. ``only`` is the dot of the one live version, where
    there is one, whole and in the row, that neither was deleted nor expires, under a context
    without gaps; None for any other record.
    """

    __slots__ = ("_container", "_row", "_sum", "context", "is_absent", "only", "own_actor")

    def __init__(
        self,
        container: Container[Version] | None,
        own_actor: bytes = b"",
        row: bytes | None = None,
        only: Dot | None = None,
        context: Context = EMPTY,
    ) -> None:
        """Without a container the record is known by its row, in which `one_version_in` finds
        ``only`` and ``context``.
        """
        self._container = container
        self.context: Final = context if container is None else container.context
        self.own_actor: Final = own_actor
        self.only: Final = only
        self._row: Final = row
        self._sum = b""
        self.is_absent: Final = not self.context
        """Whether nothing is known of the key: no record is stored."""

    @classmethod
    def of_write(cls, container: Container[Version], dot: Dot) -> Record:
        """The record after this node has made ``dot`` on it."""
        record = cls(container, dot[0])
        version = container.versions[dot]
        if (
            len(container.versions) == 1
            and version.size <= INLINE_BYTES_MAX
            and len(version.head) <= HEAD_BYTES_MAX
            and not version.head[1] & (DELETED | EXPIRES)
            and is_within_one_version(container.context)
        ):
            return cls(None, dot[0], record.encode(), dot, container.context)
        return record

    @property
    def container(self) -> Container[Version]:
        """The live versions and the context."""
        container = self._container
        if container is None:
            container = self._container = _one_version_of(self._row, self.context)
        return container

    def live_dots(self) -> list[Dot]:
        """The dots of the live versions, sorted."""
        return self.container.live_dots() if self.only is None else [self.only]

    def same_live(self, other: Record) -> bool:
        """Whether both hold the same live dots; contexts may differ."""
        if self.only is not None and other.only is not None:
            return self.only == other.only
        return self.container.same_live(other.container)

    def due_ms(self) -> int | None:
        """See `sadik_vnode.due.due_ms`."""
        return due_ms(self.container) if self.only is None else None

    def replaces(self, other: Record) -> bool:
        """Whether merging this into ``other`` is certain to give this: it has one live version,
        which ``other`` has never met, and its context covers all that ``other`` has.
        """
        only = self.only
        return (
            only is not None
            and not other.context.covers(only)
            and self.context.dominates(other.context)
        )

    def sum(self) -> bytes:
        """`sum_of` what it holds, made once."""
        if not self._sum:
            self._sum = sum_of(self.context, self.live_dots())
        return self._sum

    def lost_tail(self, seen: Context) -> bool:
        """Whether ``seen`` covers a dot of our own actor that this record knows nothing of.

        Then a tail of this record was lost, and counting on under the same actor would make a
        dot twice.
        """
        own = self.own_actor
        return bool(own) and seen.counter(own) > self.context.counter(own)

    def encode(self) -> bytes:
        """The bytes of the record's row."""
        if self._row is not None:
            return self._row
        data = _encoded(self.own_actor, self.container)
        return _sum(data) + data

    def row_for_others(self) -> bytes:
        """The bytes of the record's row as other nodes may store it: without an actor of this one.
        It must be `is_one_row`.
        """
        if self._row is not None and self.only is not None:
            return without_actor(self._row)
        data = _encoded(b"", self.container)
        return _sum(data) + data

    @classmethod
    def decode(cls, row: bytes | None) -> Record:
        """The record of a row, or the absent one for None; `DamagedRecord` where it is none."""
        if row is None:
            return ABSENT
        data = row[_SUM_BYTES:]
        if _sum(data) != row[:_SUM_BYTES]:
            raise DamagedRecord("a record's checksum does not match")
        one = one_version_in(row)
        if one is None:
            return cls._decoded(data)
        own, only, counts = one[:3]
        return cls(None, _own_actor_in(row, own), row, only, Context.from_prefixes(counts))

    @classmethod
    def _decoded(cls, data: bytes) -> Record:
        """The record of any sound row, less its checksum."""
        try:
            plain = decode_plain(data)
            if type(plain) is not tuple or len(plain) < 4:
                raise DamagedRecord("a record has four fields or more")
            if plain[0] != _FORMAT:
                raise DamagedRecord(f"a record of format {plain[0]}; this version reads {_FORMAT}")
            _, own_actor, context, versions = plain[:4]
            if type(own_actor) is not bytes or len(own_actor) > ACTOR_BYTES_MAX:
                raise DamagedRecord("a record's own actor is none")
            container = Container.checked(
                dict(map(version_from_plain, versions)), Context.from_plain(context)
            )
        except (PlainError, ContextError, MalformedVersion, ValueError, TypeError) as error:
            raise DamagedRecord(f"a record does not decode: {error}") from error
        return cls(container, own_actor)

    @classmethod
    def received(cls, row: bytes) -> Record:
        """The record of another node's row, without that node's actor; `DamagedRecord` as
        `decode`. Where it is stored, it is so as it came, fields unknown here included.
        """
        record = cls.decode(row)
        own = record.own_actor
        if record.only is not None:
            if not own:
                return record
            return cls(None, b"", without_actor(row), record.only, record.context)
        container = record.container
        if any(version.size > INLINE_BYTES_MAX for version in container.versions.values()):
            return cls(container)  # their bodies get rows of their own
        array, form, actor = row[_SUM_BYTES : _SUM_BYTES + 3]
        if own and (array >= 0x98 or form != _FORMAT or actor != _NO_ACTOR[0] + len(own)):
            return cls(container)  # those are not three heads of a byte each
        return cls(container, row=without_actor(row) if own else row)

    @property
    def is_whole(self) -> bool:
        """Whether there is something in it, and all of that is here."""
        if self.only is not None:
            return True
        return bool(self.context) and all(
            version.body is not None for version in self.container.versions.values()
        )

    @property
    def body_bytes(self) -> int:
        """Of all its bodies together."""
        return sum(version.size for version in self.container.versions.values())

    @property
    def is_one_row(self) -> bool:
        """Whether no body of it lies in a row of its own."""
        return self.only is not None or all(
            version.size <= INLINE_BYTES_MAX for version in self.container.versions.values()
        )

    def rows(self, key: Key, before: Record) -> Rows:
        """The rows that turn the stored ``before`` into this record; the absent one has none.

        Large bodies are in hand for versions that ``before`` lacks; those that it has stay put.
        """
        rows: Rows = [(key.record_row, None if self.is_absent else self.encode())]
        if self.only is not None and (before.only is not None or before.is_absent):
            return rows
        old = before.container.versions
        new = self.container.versions
        for dot, version in new.items():
            if dot not in old and version.size > INLINE_BYTES_MAX:
                assert version.body is not None, "a new version comes with its body"
                rows.append((key.value_row(dot), seal_value(version.body)))
        rows.extend(
            (key.value_row(dot), None)
            for dot, version in old.items()
            if dot not in new and version.size > INLINE_BYTES_MAX
        )
        return rows

    def without_large_bodies(self) -> Record:
        """The same record as it would come back from disk: large bodies left in their rows."""
        if self.only is not None:
            return self
        versions = self.container.versions
        for version in versions.values():
            if version.size > INLINE_BYTES_MAX and version.body is not None:
                break
        else:
            return self
        lean = {dot: Version(v.head, _inline(v), v.size) for dot, v in versions.items()}
        return Record(Container(lean, self.context), self.own_actor)

    def with_bodies(self, bodies: Mapping[Dot, bytes]) -> Record:
        """The same record with these bodies in hand."""
        versions = {
            dot: Version(v.head, bodies.get(dot, v.body), v.size)
            for dot, v in self.container.versions.items()
        }
        return Record(Container(versions, self.context), self.own_actor)

    def bodies_outside(self) -> Iterator[tuple[Dot, Version]]:
        """The versions whose bodies lie in rows of their own, by dot."""
        if self.only is not None:
            return
        for dot, version in sorted(self.container.versions.items()):
            if version.body is None:
                yield dot, version


ABSENT: Final = Record(Container({}, EMPTY))


def _own_actor_in(row: bytes, size: int) -> bytes:
    """The actor of a row in which `one_version_in` has found one of so many bytes."""
    start = _SUM_BYTES + 3
    return row[start : start + size]


def _one_version_of(row: bytes | None, context: Context) -> Container[Version]:
    """What a row holds of which `one_version_in` has found what it says."""
    assert row is not None, "what is known only by its row has one"
    one = one_version_in(row)
    assert one is not None, "it was found before"
    _, dot, _, head_at, head_size, body_at, body_size = one
    head, body = row[head_at : head_at + head_size], row[body_at : body_at + body_size]
    return Container({dot: Version(head, body, body_size)}, context)


def bytes_outside(row: bytes) -> int:
    """The bytes of a stored record's bodies that lie in rows of their own; 0 for a damaged one.

    Short rows need not be decoded for that; long ones are decoded sooner than searched.
    """
    if len(row) <= _SEARCHED_BYTES_MAX and not (
        _OUTSIDE_16 in row or _OUTSIDE_32 in row or _OUTSIDE_64 in row
    ):
        return 0
    try:
        record = Record.decode(row)
    except DamagedRecord:
        return 0
    return sum(version.size for _, version in record.bodies_outside())


def is_sound(row: bytes) -> bool:
    """Whether a record's row is what was written."""
    return _sum(row[_SUM_BYTES:]) == row[:_SUM_BYTES]


def without_actor(row: bytes) -> bytes:
    """A sound row without its own actor; the heads before that are of a byte each."""
    start = _SUM_BYTES + 2
    own = row[start] - _NO_ACTOR[0]
    if not own:
        return row
    data = row[_SUM_BYTES:start] + _NO_ACTOR + row[start + 1 + own :]
    return _sum(data) + data


def seal_value(body: bytes) -> bytes:
    """The bytes of a large value's row."""
    return _sum(body) + body


def open_value(row: bytes | None) -> bytes:
    """The body of a large value's row; `DamagedRecord` where it is missing or damaged."""
    if row is None:
        raise DamagedRecord("a large value's row is missing")
    body = row[_SUM_BYTES:]
    if _sum(body) != row[:_SUM_BYTES]:
        raise DamagedRecord("a large value's checksum does not match")
    return body


def _encoded(own_actor: bytes, container: Container[Version]) -> bytes:
    """What `encode_plain` makes of ``(_FORMAT, own_actor, context, versions)``.

    Every write makes a record anew. To know what stands where saves more than half of the time that
    an encoder takes which has to look at the type of every part.
    """
    context, versions = container.context.to_plain(), container.versions
    parts = [_BEGINNING, _BYTES_HEADS[len(own_actor)], own_actor, _array_head(len(context))]
    for entry in context:
        actor: bytes = entry[0]  # type: ignore[assignment]  # and counts follow
        parts += (_array_head(len(entry)), _BYTES_HEADS[len(actor)], actor)
        for count in entry[1:]:
            parts.append(_INTEGERS[count] if count < _SHORT else encode_plain(count))  # type: ignore[operator,index]
    parts.append(_array_head(len(versions)))
    for (actor, counter), version in sorted(versions.items()):
        head, size = version.head, version.size
        parts += (
            _FIVE, _BYTES_HEADS[len(actor)], actor,
            _INTEGERS[counter] if counter < _SHORT else encode_plain(counter),
            _bytes_head(head), head,
        )  # fmt: skip
        body = _inline(version)
        if body is None:
            parts.append(_NULL)
        else:
            parts += (_bytes_head(body), body)
        parts.append(_INTEGERS[size] if size < _SHORT else encode_plain(size))
    return b"".join(parts)


def _array_head(size: int) -> bytes:
    return _ARRAY_HEADS[size] if size < _SHORT else encode_plain((0,) * size)[:-size]


def _bytes_head(data: bytes) -> bytes:
    size = len(data)
    if size < _SHORT:
        return _BYTES_HEADS[size]
    return _TWO_BYTES + size.to_bytes(2, "big") if size < 1 << 16 else encode_plain(data)[:-size]


def _inline(version: Version) -> bytes | None:
    return version.body if version.size <= INLINE_BYTES_MAX else None


def _sum(data: bytes) -> bytes:
    return BLAKE3.digest(data, _SUM_BYTES)
