"""Bounded decoding of CBOR from outside: the one place where untrusted bytes become objects.

Only null, booleans, integers, floats, byte and text strings, arrays, and maps with text or byte
strings as keys come out; arrays become tuples and maps immutable mappings. Tags are refused before
their decoders run (a regular expression or a big decimal is a bomb), so integers stay within
-2**64 to 2**64 - 1. Nesting is bounded, and so is the number of values, whatever their size in
memory; duplicate keys and indefinite lengths are refused, and anything after the value.

Two things no option of the decoder refuses: a float may be infinite or no number, and CBOR's
``undefined`` and simple values come out as objects of types that nothing else has. Who uses a
value checks the exact type of every part of it, as `Codec` does for the fields of messages.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

import cbor2

__all__ = ["DEPTH_MAX", "PLAIN_TYPES", "PlainError", "decode_plain", "encode_plain"]

DEPTH_MAX: Final = 8

PLAIN_TYPES: Final = (type(None), bool, int, float, bytes, str, tuple, cbor2.frozendict)
"""The exact types of plain values as they come out."""

# A value of so many bytes can become some 20 MB of objects at worst, and counting costs three
# times as much as decoding: only longer ones, which are few, are counted.
_COUNTED_BYTES: Final = 64 * 1024

# Above all that a correct peer sends: a chunk of 1,000 listed keys with 100 siblings each. Then
# a value is at most some 60 MB of objects, apart from the bytes of its strings.
_COUNT_MAX: Final = 1 << 20

# An empty map is one byte on the wire and takes as much memory as six small arrays.
_MAP_WEIGHT: Final = 6

_INTEGER, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5

# The tags for which cbor2 has decoders of its own; any other comes to `_refuse`, too, but only
# with its decoded content.
_TAGS: Final = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100),
    *(256, 258, 260, 261, 1004, 43000, 55799),
)


class PlainError(ValueError):
    """The bytes are not one plain CBOR value; the message says what was wrong."""


def _refuse(_decoder_or_tag: Any, _immutable: bool) -> Any:
    raise PlainError("tags are not accepted")


_REFUSED: Final = dict.fromkeys(_TAGS, _refuse)


def encode_plain(value: object) -> bytes:
    """CBOR of ``value``, which must be plain itself; the bytes that `cbor2.dumps` makes.

    Arrays, strings and integers are put together here, in half the time: the library asks of every
    list whether it is a mapping, by way of an abstract class.
    """
    parts: list[bytes] = []
    _encode((value,), parts.append)
    return b"".join(parts)


def _encode(values: Iterable[Any], put: Callable[[bytes], None]) -> None:
    for value in values:
        kind = type(value)
        if kind is int:
            if 0 <= value < _SHORT:
                put(_INTEGERS[value])
            elif _LONG <= value < _TOO_LONG:
                put(_pack_long(_LONG_HEAD, value))
            elif 0 < value < _LONG:
                put(_long_head(_INTEGER, value))
            else:
                put(cbor2.dumps(value))
        elif kind is bytes:
            size = len(value)
            put(_BYTES_HEADS[size] if size < _SHORT else _long_head(_BYTES, size))
            put(value)
        elif kind is tuple or kind is list:
            size = len(value)
            put(_ARRAY_HEADS[size] if size < _SHORT else _long_head(_ARRAY, size))
            _encode(value, put)
        elif kind is str:
            text = value.encode()
            size = len(text)
            put(_TEXT_HEADS[size] if size < _SHORT else _long_head(_TEXT, size))
            put(text)
        elif value is None:
            put(b"\xf6")
        elif kind is bool:
            put(b"\xf5" if value else b"\xf4")
        else:
            put(cbor2.dumps(value))


def _long_head(kind: int, size: int) -> bytes:
    """The head of a string or an array of `_SHORT` or more, or such an integer (RFC 8949, section
    3)."""
    if size < 1 << 16:
        return _pack_two(kind << 5 | 25, size)
    if size < _LONG:
        return _pack_four(kind << 5 | 26, size)
    return _pack_long(kind << 5 | 27, size)


def _heads(kind: int) -> list[bytes]:
    short = [bytes([kind << 5 | size]) for size in range(24)]
    return short + [bytes([kind << 5 | 24, size]) for size in range(24, _SHORT)]


_SHORT: Final = 256
_LONG: Final = 1 << 32
_TOO_LONG: Final = 1 << 64
_LONG_HEAD: Final = _INTEGER << 5 | 27
_pack_two: Final = struct.Struct(">BH").pack
_pack_four: Final = struct.Struct(">BI").pack
_pack_long: Final = struct.Struct(">BQ").pack
"""Request ids and timestamps: integers of five to eight bytes."""
_INTEGERS: Final = _heads(_INTEGER)
_BYTES_HEADS: Final = _heads(_BYTES)
_TEXT_HEADS: Final = _heads(_TEXT)
_ARRAY_HEADS: Final = _heads(_ARRAY)


def decode_plain(data: bytes) -> Any:
    """The one value that ``data`` encodes, immutable throughout.

    Raises:
        PlainError: malformed, nested deeper than `DEPTH_MAX`, tagged, of too many values, or
            followed by more bytes.
    """
    is_long = len(data) > _COUNTED_BYTES
    if is_long:
        _count(data)
    source = io.BytesIO(data)
    try:
        decoder = _idle.pop()
        decoder.fp = source
    except IndexError:
        decoder = _decoder(source)
    try:
        value = decoder.decode(immutable=True)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise PlainError(str(error)) from error
    left = len(data) - source.tell()
    if left:
        raise PlainError(f"{left} bytes are left over after the value")
    if not is_long:
        _idle.append(decoder)
    return value


# To make a decoder takes as long as to decode a message. Here is one that nobody uses: none, while
# a thread does. Only one that has come to the end of its bytes, and of few, is kept.
_idle: Final[list[cbor2.CBORDecoder]] = []


def _decoder(source: io.BytesIO) -> cbor2.CBORDecoder:
    return cbor2.CBORDecoder(
        source,
        max_depth=DEPTH_MAX,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
        semantic_decoders=_REFUSED,
        tag_hook=_refuse,
    )


def _count(data: bytes) -> None:
    """Refuse more values than `_COUNT_MAX`, by a look at nothing but the head of each."""
    size = len(data)
    at = 0
    left = _COUNT_MAX
    while at < size and left >= 0:
        head = data[at]
        at += 1
        kind, length = head >> 5, head & 31
        if 24 <= length < 28:
            width = 1 << (length - 24)
            length = int.from_bytes(data[at : at + width], "big")
            at += width
        if kind in (_BYTES, _TEXT):
            at += length
        left -= _MAP_WEIGHT if kind == _MAP else 1
    if left < 0:
        raise PlainError(f"more than {_COUNT_MAX} values")
