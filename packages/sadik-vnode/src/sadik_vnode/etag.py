"""Entity tags: the sorted live dots of an object, hashed.

Equal data has equal tags on every node, whatever the order in which it arrived.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sadik_causality import ACTOR_BYTES_MAX, Dot
from sadik_hashing import BLAKE3

__all__ = ["etag_of"]

_LENGTHS: Final = [bytes([length]) for length in range(ACTOR_BYTES_MAX + 1)]


def etag_of(dots: Iterable[Dot]) -> str:
    """32 hexadecimal digits, without quotes, for a set of dots in any order."""
    data = b""
    for actor, counter in sorted(dots):
        data += _LENGTHS[len(actor)] + actor + counter.to_bytes(8, "big")
    return BLAKE3.digest(data, 16).hex()
