"""Entity tags: the sorted live dots of an object, hashed.

Equal data has equal tags on every node, whatever the order in which it arrived.
"""

from __future__ import annotations

from collections.abc import Iterable

from sadik_causality import Dot
from sadik_hashing import BLAKE3

__all__ = ["etag_of"]


def etag_of(dots: Iterable[Dot]) -> str:
    """32 hexadecimal digits, without quotes, for a set of dots in any order."""
    parts = [
        len(actor).to_bytes(1, "big") + actor + counter.to_bytes(8, "big")
        for actor, counter in sorted(dots)
    ]
    data = b"".join(parts)
    return BLAKE3.digest(data, 16).hex()
