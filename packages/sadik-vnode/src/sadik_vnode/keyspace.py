"""Where everything lies in the one ordered store of a node.

The first byte of a row key says what the row is:

====  =========================================  =============================================
byte  rest of the key                            value
====  =========================================  =============================================
A     name, epoch (`sadik_register`)             promises for the register of a partition's epoch
B     (nothing)                                  births reserved so far
B     g, and h the same                          the reap generation that this node has entered
B     t                                          how far the hash tree was built, where it was not
B     v                                          partitions whose promises may have been lost
D     due (8), bucket, 0, key                    empty: a record that is gone, or will be then
H     owner slot (8), bucket, 0, key             a hint note: that owner lacks this key's state
K     bucket, 0, key                             empty: the keys of a bucket in byte order
O     token (first 4 bytes), bucket, 0, key      the one record of a key
T     leaf (3)                                   the sum of a leaf of the hash tree; absent is 0
V     token (4), bucket, 0, key, 0, actor, n     the value of one large version
====  =========================================  =============================================

Records lie in token order, so a partition, and within it a leaf of its hash tree, is one
contiguous range; the K rows, written only when a record is made or removed, give a bucket's keys
in byte order for listings. D rows come and go with their records: they name, in the order of when
it is due, what may be reaped. Buckets contain no zero byte, so the first one ends the bucket. The
longest key has 1 + 4 + 64 + 1 + 400 + 1 + 12 + 8 = 491 bytes, within LMDB's 511.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from sadik_causality import Dot
from sadik_hashing import token_of
from sadik_machine import NODE_ID_BYTES, NodeId

__all__ = [
    "BIRTHS_ROW",
    "BUCKET_CHARS_MAX",
    "DATA_RANGE",
    "DUE_RANGE",
    "HINTS_RANGE",
    "KEY_BYTES_MAX",
    "LEAF_BITS",
    "LEAVES",
    "LEAVES_RANGE",
    "REAP_ROWS",
    "REGISTERS_PREFIX",
    "REGISTERS_RANGE",
    "SAVED_RANGE",
    "TREE_ROW",
    "VOICE_ROW",
    "Key",
    "due_row",
    "hint_row",
    "hint_slot_range",
    "index_key",
    "index_range",
    "index_row",
    "is_name",
    "leaf_row",
    "lost_leaves",
    "parse_due_row",
    "parse_hint_row",
    "parse_leaf_row",
    "record_key",
    "records_range",
    "row_leaf",
    "row_place",
]

REGISTERS_PREFIX: Final = b"A"
REGISTERS_RANGE = (b"A", b"B")

BIRTHS_ROW: Final = b"B"
TREE_ROW: Final = b"Bt"
VOICE_ROW: Final = b"Bv"
"""Empty for all partitions: a host writes it so when it knows that the store was put back."""
REAP_ROWS = (b"Bg", b"Bh")
"""The same twice: without it a store is taken for an older state of itself."""

SAVED_RANGE = (b"B", b"C")
"""The rows that the engine wants at construction: few and small."""

DUE_RANGE = (b"D", b"E")

HINTS_RANGE = (b"H", b"I")

DATA_RANGE = (b"O", b"P")

BUCKET_CHARS_MAX: Final = 64
KEY_BYTES_MAX: Final = 400

LEAVES_RANGE = (b"T", b"U")

LEAF_BITS: Final = 17
LEAVES: Final = 1 << LEAF_BITS
"""Leaves of the whole ring, whatever its partitions: a leaf is told by a token's top bits.

So a partition, whose number the top 3 to 12 bits are, has 16,384 to 32 leaves of its own, and
leaf rows stay true under any ring. At a million records on a node a leaf has eight: what two
replicas must tell each other to find 1% of them is then least (fewer leaves, and each that differs
names more records that do not; more, and the sums of the leaves outweigh the records).
"""

_TOKEN_PREFIX_BYTES: Final = 4
_DUE_BYTES: Final = 8
_DUE_MAX: Final = (1 << 63) - 1
_LEAF_BYTES: Final = 3
_LEAF_SHIFT: Final = 64 - LEAF_BITS

# A request meets its key several times on a node, and hot keys are met all the time. A key and what
# is derived from it take about 500 bytes.
_RECENT_KEYS: Final = 16_384


def is_name(bucket: str, key: bytes) -> bool:
    """Whether an object can be called so: what front ends check, a peer may not have."""
    return (
        0 < len(bucket) <= BUCKET_CHARS_MAX
        and bucket.isascii()
        and "\0" not in bucket
        and 0 < len(key) <= KEY_BYTES_MAX
    )


class Key:
    """One object's name with what is derived from it, made once a request.

    Two are equal if bucket and key are; ``token`` is the unsigned 64-bit place on the ring, and
    ``leaf`` the leaf of the hash tree that the key's record belongs to.
    """

    __slots__ = ("bucket", "key", "leaf", "name", "record_row", "token")

    def __init__(self, bucket: str, key: bytes) -> None:
        self.bucket = bucket
        self.key = key
        self.token = token_of(bucket, key)
        self.leaf = self.token >> _LEAF_SHIFT
        self.name = bucket.encode() + b"\0" + key
        self.record_row = b"O" + (self.token >> 32).to_bytes(_TOKEN_PREFIX_BYTES, "big") + self.name

    @staticmethod
    def of(bucket: str, key: bytes) -> Key:
        """The key of an object, the same one as long as it is often asked for."""
        return _key(bucket, key)

    @staticmethod
    def of_name(name: bytes) -> Key:
        """The key of ``bucket 0 key``; ValueError where there is no zero byte."""
        bucket, zero, key = name.partition(b"\0")
        if not zero:
            raise ValueError("a name is a bucket, a zero byte and a key")
        return _key(bucket.decode(), key)

    @staticmethod
    def of_row(row: bytes) -> Key | None:
        """The key of a record's row; None where the row does not lie where its name says. It is
        made anew: many that are met once are not to drive out the keys that clients ask for.
        """
        bucket, zero, key = row[1 + _TOKEN_PREFIX_BYTES :].partition(b"\0")
        try:
            found = Key(bucket.decode(), key)
        except ValueError:
            return None
        return found if zero and found.record_row == row else None

    def value_row(self, dot: Dot) -> bytes:
        """The row of one large version's value."""
        actor, counter = dot
        return b"V" + self.record_row[1:] + b"\0" + actor + counter.to_bytes(8, "big")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Key({self.bucket!r}, {self.key!r})"


_key = lru_cache(_RECENT_KEYS)(Key)


def due_row(due_ms: int, key: Key) -> bytes:
    """The row of a record that is gone from wall time ``due_ms`` on; 0 for one that is deleted."""
    return b"D" + min(max(due_ms, 0), _DUE_MAX).to_bytes(_DUE_BYTES, "big") + key.name


def parse_due_row(row: bytes) -> tuple[int, Key]:
    """When a record is due, and its key."""
    end = 1 + _DUE_BYTES
    return int.from_bytes(row[1:end], "big"), Key.of_name(row[end:])


def hint_row(slot: NodeId, key: Key) -> bytes:
    """The note that owner ``slot`` lacks the present state of ``key``."""
    return b"H" + slot + key.name


def hint_slot_range(slot: NodeId) -> tuple[bytes, bytes]:
    """The range of all notes for one owner."""
    return b"H" + slot, _after_prefix(b"H" + slot)


def parse_hint_row(row: bytes) -> tuple[NodeId, Key]:
    """The owner slot and the key of a note's row key."""
    end = 1 + NODE_ID_BYTES
    return NodeId(row[1:end]), Key.of_name(row[end:])


def index_row(key: Key) -> bytes:
    """The row by which a listing finds ``key``."""
    return b"K" + key.name


def index_range(bucket: str, prefix: bytes, after: bytes | None) -> tuple[bytes, bytes]:
    """The index rows of a bucket's keys that start with ``prefix`` and lie after ``after``."""
    head = b"K" + bucket.encode() + b"\0"
    start = head + prefix
    if after is not None:
        start = max(start, head + after + b"\0")
    return start, _after_prefix(head + prefix)


def index_key(row: bytes) -> Key:
    """The key of an index row."""
    return Key.of_name(row[1:])


def leaf_row(leaf: int) -> bytes:
    """The row of a leaf's sum."""
    return b"T" + leaf.to_bytes(_LEAF_BYTES, "big")


def parse_leaf_row(row: bytes) -> int:
    """The leaf of such a row."""
    return int.from_bytes(row[1:], "big")


def records_range(first: int, stop: int) -> tuple[bytes, bytes]:
    """The records of the leaves from ``first`` up to, not including, ``stop``."""
    return _records_from(first), _records_from(stop)


def _records_from(leaf: int) -> bytes:
    if leaf >= LEAVES:
        return DATA_RANGE[1]
    return b"O" + (leaf << (32 - LEAF_BITS)).to_bytes(_TOKEN_PREFIX_BYTES, "big")


def record_key(row: bytes) -> Key:
    """The key of a record's row."""
    return Key.of_name(row[1 + _TOKEN_PREFIX_BYTES :])


def row_leaf(row: bytes) -> int:
    """The leaf in whose range a record's row lies: its own, unless the row's key is damaged."""
    return row_place(row) >> (8 * _TOKEN_PREFIX_BYTES - LEAF_BITS)


def row_place(row: bytes) -> int:
    """Where on the ring a record's row lies, or a bound of `records_range`: 0 to 2**32."""
    if row >= DATA_RANGE[1]:
        return 1 << 8 * _TOKEN_PREFIX_BYTES
    prefix = row[1 : 1 + _TOKEN_PREFIX_BYTES].ljust(_TOKEN_PREFIX_BYTES, b"\0")
    return int.from_bytes(prefix, "big")


def lost_leaves(row: bytes) -> list[int]:
    """Nothing, if a record's row lies where the name in it says; else its key was damaged, and
    these are the leaves of which one lost a record."""
    leaves = [row_leaf(row)]
    try:
        key = record_key(row)
    except ValueError:
        return leaves
    if key.record_row == row:
        return []
    return [*leaves, key.leaf]


def _after_prefix(prefix: bytes) -> bytes:
    """The least byte string above all that start with ``prefix``."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])
