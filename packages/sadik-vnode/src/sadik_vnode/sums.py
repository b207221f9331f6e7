"""Whether two replicas hold the same of a key, told in 16 bytes.

A sum is over the live dots and the causal context, and a dot names one value for ever: who holds
what has the same sum has the same versions, and merging the two changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sadik_causality import ACTOR_BYTES_MAX, Context, Dot
from sadik_hashing import BLAKE3
from sadik_machine import encode_plain

__all__ = ["sum_of"]

_SUM_BYTES: Final = 16
_LENGTHS: Final = [bytes([length]) for length in range(ACTOR_BYTES_MAX + 1)]
_WITH_GAPS: Final = b"\xff"
"""Before an actor whose dots have gaps; no length of an actor is so great."""


def sum_of(context: Context, live: Sequence[Dot]) -> bytes:
    """16 bytes of BLAKE3 over the dots that are covered and those that are live, sorted."""
    data = b""
    for entry in context.to_plain():
        if len(entry) == 2:
            actor, count = entry
            assert type(actor) is bytes, "an entry begins with its actor"
            assert type(count) is int, "then comes a count"
            data += _LENGTHS[len(actor)] + actor + count.to_bytes(8, "big")
        else:
            data += _WITH_GAPS + encode_plain(entry)
    data += _LENGTHS[0]
    for actor, counter in live:
        data += _LENGTHS[len(actor)] + actor + counter.to_bytes(8, "big")
    return BLAKE3.digest(data, _SUM_BYTES)
