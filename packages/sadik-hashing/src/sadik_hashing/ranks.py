"""Ranks: a fixed shuffle of the nodes for every partition.

Node and partition together give a pseudo-random number (rendezvous hashing: Thaler and
Ravishankar 1998). Sorting nodes by it gives every partition an order of its own, on which all
nodes agree, and in which a node that comes or goes changes no other's place.

The numbers of one node are one long BLAKE3 output, so all of a table's cost one call a node.
They are BLAKE3 whatever algorithm makes the tokens: only the agreement matters here.
"""

import struct
from typing import Final

from blake3 import blake3

RANK_BYTES: Final = 8
_DOMAIN: Final = b"sadik rank\0"


def rank_of(node: bytes, partition: int) -> int:
    """Return the rank of a node at one partition: an unsigned 64 bit integer."""
    digest = blake3(_DOMAIN + node).digest(RANK_BYTES, seek=RANK_BYTES * partition)
    return int.from_bytes(digest, "big")


def ranks_of(node: bytes, partitions: int) -> tuple[int, ...]:
    """Return ``rank_of`` the node at every partition from 0 on."""
    digest = blake3(_DOMAIN + node).digest(RANK_BYTES * partitions)
    return struct.unpack(f">{partitions}Q", digest)
