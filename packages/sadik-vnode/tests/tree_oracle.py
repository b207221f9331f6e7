"""What a hash tree must be, computed from the records on a disk and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from sadik_hashing import SUM_BYTES
from sadik_vnode.keyspace import LEAVES, parse_leaf_row, record_key
from sadik_vnode.record import Record, open_value
from sadik_vnode.tree import LEAVES_PER_MIDDLE, MIDDLES, SUM_MASK, HashTree, hash_of

__all__ = ["check_tree", "leaves_of_records", "leaves_of_rows"]


def leaves_of_records(disk: Mapping[bytes, bytes]) -> dict[int, int]:
    """The sums that are not 0, by leaf, of the records on a disk."""
    sums: dict[int, int] = {}
    for row, value in disk.items():
        if row.startswith(b"O"):
            key = record_key(row)
            sums[key.leaf] = (sums.get(key.leaf, 0) + hash_of(key, Record.decode(value))) & SUM_MASK
    return {leaf: value for leaf, value in sums.items() if value}


def leaves_of_rows(disk: Mapping[bytes, bytes]) -> dict[int, int]:
    """The sums that are on a disk, by leaf."""
    return {
        parse_leaf_row(row): int.from_bytes(open_value(value), "big")
        for row, value in disk.items()
        if row.startswith(b"T")
    }


def check_tree(disk: Mapping[bytes, bytes], tree: HashTree) -> None:
    """The leaves on disk are those of the records, and the tree in memory is that of the leaves."""
    sums = leaves_of_records(disk)
    assert leaves_of_rows(disk) == sums
    assert tree.is_known
    middles: dict[int, int] = {}
    for leaf, value in sums.items():
        middle = leaf // LEAVES_PER_MIDDLE
        middles[middle] = (middles.get(middle, 0) + value) & SUM_MASK
    assert {m: tree.middle(m) for m in range(MIDDLES) if tree.middle(m)} == {
        m: value for m, value in middles.items() if value
    }
    assert LEAVES == MIDDLES * LEAVES_PER_MIDDLE
    for partitions in (8, 256, 4096):
        share = MIDDLES // partitions
        for partition in {m // share for m in middles}:
            root = sum(v for m, v in middles.items() if m // share == partition) & SUM_MASK
            assert tree.root(partition, partitions) == root
    assert all(len(row) == 8 + SUM_BYTES for key, row in disk.items() if key.startswith(b"T"))
