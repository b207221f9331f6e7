"""Hash trees: whether two replicas of a partition hold the same data, and where they do not.

A leaf is a sum of the hashes of its records; a middle is the sum of its leaves and the root the
sum of the middles. A write changes three numbers by the difference of two hashes, whatever the
partition holds, so a tree is never rebuilt. A sum knows neither order nor history: equal data
gives equal roots, and different data gives different ones but for a chance of 2**-128. (Dynamo
compares Merkle trees, DeCandia et al. 2007, section 4.7; sums of hashes instead are Bellare and
Micciancio's AdHash, 1997.)

Sums are modulo 2**128 and not exclusive or, which is a sum too, but one in which adding twice is
the same as not adding at all: a record counted twice by mistake would look like none. And there
Gaussian elimination finds, among any 129 records, some whose hashes cancel; clients choose the
keys. Sums modulo 2**128 have no such shortcut, though they are no shield against someone who
spends 2**64 hashes on two records that look alike: this finds accidents, not forgers.

An exchange compares roots, then the middles, then the leaves below those that differ:
``root``, ``packed_middles``, ``differing_middles``, ``packed_leaves``, ``differing_leaves``.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from blake3 import blake3

SUM_BYTES: Final = 16
LEAVES_MAX: Final = 1 << 16
COUNTER_BYTES: Final = 8
_MASK: Final = (1 << 8 * SUM_BYTES) - 1
_DUMP_MAGIC: Final = b"sadik tree 1\n"
_SIZE_BYTES: Final = 4


def record_hash(key: bytes, live_dots: Sequence[tuple[bytes, int]]) -> int:
    """Return the hash of a record: a number of 128 bits made from its key and its live dots.

    ``live_dots`` are (actor, counter), sorted and distinct: an actor of at most 255 bytes, a
    counter from 0 to 2**64 - 1. ``key`` is whatever tells the record from others in its
    partition, so it includes the bucket. A record without live dots holds nothing that a node
    without the record lacks, so its hash is 0, the same as no record.

    Raises ``ValueError`` or ``OverflowError`` for an actor or a counter out of range.
    """
    if not live_dots:
        return 0
    if len(live_dots) > 1:
        assert all(a < b for a, b in pairwise(live_dots)), "unsorted dots"
    # Every part bears its length, so no two records have the same bytes.
    parts = [len(key).to_bytes(4, "big"), key]
    for actor, counter in live_dots:
        parts += (bytes((len(actor),)), actor, counter.to_bytes(COUNTER_BYTES, "big"))
    return int.from_bytes(blake3(b"".join(parts)).digest(SUM_BYTES), "big")


def differences(mine: bytes, theirs: bytes) -> list[int]:
    """Return the positions at which two packed rows of sums differ.

    Raises ``ValueError`` if they are not rows of one length: the other side's tree has another
    shape.
    """
    if len(mine) != len(theirs) or len(mine) % SUM_BYTES:
        raise ValueError(f"rows of sums of {len(mine)} and {len(theirs)} bytes do not compare")
    if mine == theirs:
        return []
    return [
        start // SUM_BYTES
        for start in range(0, len(mine), SUM_BYTES)
        if mine[start : start + SUM_BYTES] != theirs[start : start + SUM_BYTES]
    ]


class HashTree:
    """The hash tree of one partition: ``leaves`` leaves, ``fanout`` of them below each middle.

    Both are powers of two, ``leaves`` at most 65,536 and ``fanout`` at most ``leaves``; the
    replicas of a partition compare only trees of one shape. Raises ``ValueError`` for others.

    To restore a tree from leaf sums kept elsewhere, make an empty one and ``assign`` each leaf.
    """

    __slots__ = ("_leaves", "_middles", "_root", "fanout", "leaves")

    def __init__(self, leaves: int = 1024, fanout: int = 32) -> None:
        if not 1 <= leaves <= LEAVES_MAX or leaves & (leaves - 1):
            raise ValueError(f"leaves must be a power of two up to {LEAVES_MAX}, not {leaves}")
        if not 1 <= fanout <= leaves or fanout & (fanout - 1):
            raise ValueError(f"fanout must be a power of two up to {leaves}, not {fanout}")
        self.leaves = leaves
        self.fanout = fanout
        self._leaves = [0] * leaves
        self._middles = [0] * (leaves // fanout)
        self._root = 0

    def leaf_of(self, token: int) -> int:
        """Return the leaf of a key by its token.

        It is the token's low bits: the high ones are the partition's, the same for all its keys.
        """
        return token & (self.leaves - 1)

    def replace(self, leaf: int, old: int | None, new: int | None) -> int:
        """Change a record's hash from ``old`` to ``new`` (None: no record); return the leaf's sum.

        The sum returned is what to store along with the record.
        """
        return self.assign(leaf, self._leaves[leaf] + (new or 0) - (old or 0))

    def assign(self, leaf: int, value: int) -> int:
        """Set the sum of a leaf (modulo 2**128), and the sums above it; return it."""
        value &= _MASK
        change = value - self._leaves[leaf]
        middle = leaf // self.fanout
        self._leaves[leaf] = value
        self._middles[middle] = (self._middles[middle] + change) & _MASK
        self._root = (self._root + change) & _MASK
        return value

    @property
    def root(self) -> int:
        """The sum of all records: equal exactly if two replicas hold equal live dots."""
        return self._root

    def middle(self, index: int) -> int:
        """Return the sum of one middle: the leaves from ``index * fanout`` on."""
        return self._middles[index]

    def leaf(self, index: int) -> int:
        """Return the sum of one leaf."""
        return self._leaves[index]

    def packed_middles(self) -> bytes:
        """Return all middles as one row of 16 byte numbers, big endian."""
        return _packed(self._middles)

    def packed_leaves(self, middle: int) -> bytes:
        """Return the leaves below one middle as such a row; ``IndexError`` if there is none."""
        if not 0 <= middle < len(self._middles):
            raise IndexError(f"middle {middle} is not among {len(self._middles)}")
        return _packed(self._leaves[middle * self.fanout : (middle + 1) * self.fanout])

    def differing_middles(self, theirs: bytes) -> list[int]:
        """Return the middles that differ from another replica's ``packed_middles``.

        Raises ``ValueError`` if that is not a row of this tree's shape.
        """
        return differences(self.packed_middles(), theirs)

    def differing_leaves(self, middle: int, theirs: bytes) -> list[int]:
        """Return the leaves below one middle that differ from another's ``packed_leaves``.

        They are numbered in the whole tree. Raises ``ValueError`` if that is not a row of this
        tree's shape, and ``IndexError`` if there is no such middle.
        """
        first = middle * self.fanout
        return [first + place for place in differences(self.packed_leaves(middle), theirs)]

    def dump(self) -> bytes:
        """Return the tree's shape and leaves as bytes, for ``load``."""
        shape = self.leaves.to_bytes(_SIZE_BYTES, "big") + self.fanout.to_bytes(_SIZE_BYTES, "big")
        return _DUMP_MAGIC + shape + _packed(self._leaves)

    @classmethod
    def load(cls, dumped: bytes) -> "HashTree":
        """Return the tree of a ``dump``; ``ValueError`` if the bytes are none."""
        body = len(_DUMP_MAGIC) + 2 * _SIZE_BYTES
        if not dumped.startswith(_DUMP_MAGIC) or len(dumped) < body:
            raise ValueError("not a dump of a hash tree")
        middle = body - _SIZE_BYTES
        tree = cls(
            leaves=int.from_bytes(dumped[len(_DUMP_MAGIC) : middle], "big"),
            fanout=int.from_bytes(dumped[middle:body], "big"),
        )
        if len(dumped) != body + tree.leaves * SUM_BYTES:
            raise ValueError(f"a dump of {tree.leaves} leaves does not have {len(dumped)} bytes")
        for leaf in range(tree.leaves):
            start = body + leaf * SUM_BYTES
            tree.assign(leaf, int.from_bytes(dumped[start : start + SUM_BYTES], "big"))
        return tree


def _packed(sums: Sequence[int]) -> bytes:
    return b"".join([value.to_bytes(SUM_BYTES, "big") for value in sums])
