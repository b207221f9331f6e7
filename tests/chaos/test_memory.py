"""Little memory: what a node uses is bounded by its limits, not by what it was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chaos_cluster import ChaosCluster, Rig, private_mib
from chaos_memory import MemoryLimits, why_no_limits
from chaos_record import Record
from history_load import HistoryLoad
from real_cluster import eventually

_LIMIT_MIB = 256
_VALUE_BYTES = 8 << 10
_KEYS = 50


def files_mib(directory: Path) -> float:
    """What the files of a node take of its disk, in MiB."""
    return sum(path.stat().st_blocks for path in directory.rglob("*")) * 512 / (1 << 20)


@pytest.mark.timeout(0)
def test_memory_limit(
    rig: Rig, record: Record, is_long: bool, skip_or_fail: Callable[[str], None]
) -> None:
    """Nodes of 256 MiB take overwrites, deletes and hints, an hour's in the long pass."""
    reason = why_no_limits()
    if reason:
        skip_or_fail(reason)
    # The long pass writes as much as twenty a second do in an hour, more than twice the limit.
    writes, patience_s = (72_000, 3600) if is_long else (3_000, 120)
    with MemoryLimits(_LIMIT_MIB) as limits:
        cluster = rig(start=False)
        try:
            for node in cluster.nodes:
                limits.confine(node)
            cluster.start()
            _overwrite(cluster, record, writes, patience_s)
        finally:
            cluster.kill()


def _overwrite(cluster: ChaosCluster, record: Record, writes: int, patience_s: float) -> None:
    steady, victim = cluster.nodes[:2], cluster.nodes[2]
    nodes = cluster.nodes
    with HistoryLoad(nodes, keys=_KEYS, value_bytes=_VALUE_BYTES) as load:

        def go_on_until(part: float) -> None:
            wanted = int(part * writes)
            eventually(
                patience_s, lambda: load.count("acked") >= wanted, f"{wanted} writes are done"
            )

        go_on_until(0.2)
        memory = {node.name: private_mib(node) for node in steady}
        files = {node.name: files_mib(node.directory) for node in nodes}
        record.event("measured")
        victim.kill()
        load.nodes = steady
        record.event(f"{victim.name} killed")
        go_on_until(0.6)
        # Of the cluster, as one node tells it. A slow answer of the other may leave a note, too.
        most_hints = int(steady[0].ask("GET", "/v1/hints").json()["by_node"][victim.name])
        victim.start()
        record.event(f"{victim.name} started")
        cluster.wait_ready()
        load.nodes = nodes
        go_on_until(1.0)
    record.operations += load.operations
    record.at_least("hints that waited for the one that was killed", most_hints, 1)
    record.at_most("of them for each key", most_hints / _KEYS, len(steady))
    record.at_least("acknowledged writes, none lost", load.check(cluster), writes)
    still = sum(node.is_running for node in nodes)
    record.at_least("nodes that live under the limit", still, len(nodes))
    for node in steady:
        grown = private_mib(node) - memory[node.name]
        record.at_most(f"growth of the memory of {node.name}", grown, 32, "MiB")
    for node in nodes:
        grown = files_mib(node.directory) / files[node.name]
        record.at_most(f"growth of the files of {node.name}", grown, 2, "times")
