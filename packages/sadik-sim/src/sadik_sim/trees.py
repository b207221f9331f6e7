"""Hash trees at the end of a run: true to the disks, equal among owners, nothing left to send."""

from __future__ import annotations

from typing import Final

from sadik_hashing import SUM_BYTES
from sadik_machine import MILLISECOND, SECOND
from sadik_sim.node import SimNode
from sadik_sim.violation import Violation
from sadik_sim.world import World
from sadik_vnode.keyspace import DATA_RANGE, LEAVES_RANGE, parse_leaf_row, record_key
from sadik_vnode.record import DamagedRecord, Record, open_value
from sadik_vnode.requests import Repair, RepairResult
from sadik_vnode.tree import LEAVES_PER_MIDDLE, MIDDLES, SUM_MASK, hash_of

__all__ = ["check_trees", "repair_again", "repair_all", "wait_for_equal_roots"]

_LOOK_NS: Final = 500 * MILLISECOND
_EQUAL_NS: Final = 120 * SECOND
_REPAIR_NS: Final = 60 * SECOND
_ROWS: Final = 1 << 30


def check_trees(world: World) -> None:
    """The sums on each disk are those of its records, and a node knows the sums on its disk."""
    for node in world.nodes.values():
        disk = node.disk.durable
        sums: dict[int, int] = {}
        unknown: dict[int, None] = {}
        for row, value in disk.scan(*DATA_RANGE, _ROWS):
            key = record_key(row)
            try:
                record_sum = hash_of(key, Record.decode(value))
            except DamagedRecord:
                # A bit flipped where nobody has to read: what its sum was cannot be told.
                assert (node.id, row) in world.damaged, "records decode"
                unknown[key.leaf] = None
                continue
            sums[key.leaf] = (sums.get(key.leaf, 0) + record_sum) & SUM_MASK
        kept = {
            parse_leaf_row(row): int.from_bytes(open_value(value)[:SUM_BYTES], "big")
            for row, value in disk.scan(*LEAVES_RANGE, _ROWS)
        }
        wrong = [
            leaf
            for leaf in {**sums, **kept}
            if leaf not in unknown and sums.get(leaf, 0) != kept.get(leaf, 0)
        ]
        if wrong:
            raise Violation(
                "hash trees tell the records",
                f"{node.name}: leaf {wrong[0]} on disk is not the sum of its records",
            )
        _check_memory(node, kept)
        assert node.engine is not None
        mended = node.engine.counters.tree_leaves_mended
        # Where a bit flipped, a leaf is built anew; elsewhere every sum was right all the time.
        if not world.damaged and (mended or world.happened.get("engine: tree leaves mended")):
            raise Violation(
                "hash trees tell the records", f"{node.name} mended {mended} leaves, or did before"
            )


def _check_memory(node: SimNode, kept: dict[int, int]) -> None:
    assert node.engine is not None
    middles = [0] * MIDDLES
    for leaf, value in kept.items():
        middle = leaf // LEAVES_PER_MIDDLE
        middles[middle] = (middles[middle] + value) & SUM_MASK
    in_memory = node.engine.tree.middles(0, MIDDLES)
    if in_memory != middles:
        number = next(n for n, value in enumerate(middles) if in_memory[n] != value)
        raise Violation(
            "hash trees tell the records",
            f"{node.name}: middle {number} in memory is not the sum of its leaves on disk",
        )


def wait_for_equal_roots(world: World) -> None:
    """All owners of each partition come to equal roots by themselves, in bounded time."""
    end = world.events.now + _EQUAL_NS
    while (partition := _unequal(world)) is not None:
        if world.events.now >= end:
            raise Violation(
                "replicas converge", f"partition {partition} has different roots after anti-entropy"
            )
        world.run(_LOOK_NS)


def _unequal(world: World) -> int | None:
    ring = world.ring
    for partition, register in enumerate(ring.registers):
        engines = [world.nodes[owner].engine for owner in register.owners]
        roots = {e.tree.root(partition, ring.partitions) if e is not None else -1 for e in engines}
        if len(roots) > 1:
            return partition
    return None


def repair_all(world: World) -> list[RepairResult]:
    """Ask every node for a repair, one after the other."""
    results = []
    for node in world.nodes.values():
        result = world.answer(node, Repair(None, _REPAIR_NS), 2 * _REPAIR_NS)
        if not isinstance(result, RepairResult) or not result.is_finished or result.unreachable:
            raise Violation("everybody answers when faults stop", f"{node.name}: {result}")
        results.append(result)
    return results


def repair_again(world: World) -> None:
    """When all are equal a repair finds nothing and sends nothing; unless something has expired
    just now and goes from one owner after another.
    """
    reaped = _reaped(world)
    for result in repair_all(world):
        if _reaped(world) != reaped:
            continue
        if result.differences or result.repaired or result.differing:
            raise Violation("a second pass sends nothing", f"{result}")


def _reaped(world: World) -> int:
    return sum(node.engine.counters.reaped for node in world.nodes.values() if node.engine)
