"""Bounded decoding of CBOR from outside: the one place where untrusted bytes become objects.

Only null, booleans, integers within 64 bits, finite floats, byte and text strings, arrays
and maps with string keys come out; arrays become tuples. Tags are refused before their decoders
run (a regular expression or a big decimal is a bomb), nesting is bounded, duplicate keys and
indefinite lengths are refused, and so is anything after the value. Callers check the size first.
"""

from __future__ import annotations

from typing import Any

import cbor2

__all__ = ["DEPTH_MAX", "PlainError", "decode_plain", "encode_plain"]

DEPTH_MAX = 8

# The tags for which cbor2 has decoders of its own; any other comes out as a CBORTag, which no
# caller's type check accepts.
_TAGS = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100),
    *(256, 258, 260, 261, 1004, 43000, 55799),
)

# Stands after the value inside an array of two: where a byte is left over, or one is missing,
# it does not come out as the second element.
_END = cbor2.dumps(b"\x00end of value\x00")
_END_VALUE = b"\x00end of value\x00"


class PlainError(ValueError):
    """The bytes are not one plain CBOR value; the message says what was wrong."""


def _refuse(_decoder: Any) -> Any:
    raise ValueError("tags are not accepted")


_REFUSED = dict.fromkeys(_TAGS, _refuse)


def _refuse_tag(_decoder: Any, tag: Any) -> Any:
    raise ValueError(f"tag {tag.tag} is not accepted")


def encode_plain(value: object) -> bytes:
    """CBOR of ``value``, which must be plain itself."""
    return cbor2.dumps(value)


def decode_plain(data: bytes) -> Any:
    """The one value that ``data`` encodes, immutable throughout.

    Raises:
        PlainError: malformed, nested deeper than `DEPTH_MAX`, tagged, or followed by more bytes.
    """
    try:
        pair = cbor2.loads(
            b"\x82" + data + _END,
            max_depth=DEPTH_MAX + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            immutable=True,
            semantic_decoders=_REFUSED,
            tag_hook=_refuse_tag,
        )
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise PlainError(str(error)) from error
    value, end = pair
    if end != _END_VALUE:
        raise PlainError("bytes are missing or left over after the value")
    return value
