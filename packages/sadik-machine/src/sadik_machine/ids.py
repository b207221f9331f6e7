"""Identities: who speaks, which request, which write.

A node id is random and permanent, and says nothing of names or addresses: those may change,
the identity may not. Request ids start from a random number drawn at every boot, so that a reply
to a request of an earlier life of the same node can never be taken for the answer to a new one.
"""

from __future__ import annotations

import random
from typing import Final, NewType

__all__ = [
    "NODE_ID_BYTES",
    "NodeId",
    "RequestId",
    "RequestIds",
    "Ticket",
    "node_id_from_hex",
    "node_id_hex",
    "random_node_id",
]

NODE_ID_BYTES: Final = 8

NodeId = NewType("NodeId", bytes)
"""A node's permanent random identity: exactly `NODE_ID_BYTES` bytes."""

RequestId = NewType("RequestId", int)
"""One request as its maker counts them: 0 to 2**63 - 1, unique within and across boots."""

Ticket = NewType("Ticket", int)
"""One load or store of one machine: the host hands it back with the outcome."""

_REQUEST_ID_MASK: Final = (1 << 63) - 1


def random_node_id(source: random.Random) -> NodeId:
    """Draw a new node id; ``source`` must be seeded from the system's entropy outside of tests."""
    return NodeId(source.getrandbits(8 * NODE_ID_BYTES).to_bytes(NODE_ID_BYTES, "big"))


def node_id_hex(node_id: NodeId) -> str:
    """The 16 hexadecimal digits that people see for a node id."""
    return node_id.hex()


def node_id_from_hex(text: str) -> NodeId:
    """The node id of 16 hexadecimal digits; ValueError for anything else."""
    digits = 2 * NODE_ID_BYTES
    # Both lengths, for fromhex() skips blanks.
    if len(text) != digits or len(raw := bytes.fromhex(text)) != NODE_ID_BYTES:
        raise ValueError(f"a node id is {digits} hexadecimal digits, not {text!r}")
    return NodeId(raw)


class RequestIds:
    """Counts request ids up from a random start drawn once per boot.

    The start is a nonce of the boot: two boots of one node share an id
    only if both random 63-bit starts fall within the number of requests of one boot of each other.
    """

    __slots__ = ("_next",)

    def __init__(self, source: random.Random) -> None:
        self._next = source.getrandbits(63)

    def next(self) -> RequestId:
        """A request id that this boot has not used."""
        value = self._next
        self._next = (value + 1) & _REQUEST_ID_MASK
        return RequestId(value)
