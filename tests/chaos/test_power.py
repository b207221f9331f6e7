"""The power of all nodes is cut at once: everything acknowledged is there, soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from chaos_cluster import ChaosCluster
from chaos_network import Network
from chaos_record import Record
from history_load import Operation
from power import CutDisk, cut_power, why_not
from real_cluster import eventually
from write_load import WriteLoad, check_kept


@pytest.mark.chaos_slice
@pytest.mark.usefixtures("has_network")
@pytest.mark.timeout(900)
def test_power_cut(
    tmp_path: Path, record: Record, skip_or_fail: Callable[[str], None], is_long: bool
) -> None:
    """The power of all three is cut under load: everything acknowledged is there."""
    reason = why_not(tmp_path)
    if reason:
        skip_or_fail(reason)
    with ExitStack() as stack:
        disks = [stack.enter_context(CutDisk(tmp_path / f"disk{n}")) for n in (1, 2, 3)]
        network = stack.enter_context(Network(3))
        cluster = stack.enter_context(ChaosCluster(network, tmp_path))
        for node, disk in zip(cluster.nodes, disks, strict=True):
            node.directory = disk.path / "data"
        cluster.start()
        for number in range(20 if is_long else 2):
            with WriteLoad(cluster.nodes, bucket=f"round{number}") as load:
                eventually(60, lambda: load.count("acked") >= 200, "writes are acknowledged")
                cut_power(disks)
                record.event("the power of all is cut")
                cluster.kill()
                load.ending.set()
            for disk in disks:
                disk.come_back()
            back = time.monotonic()
            for node in cluster.nodes:
                node.start()
            record.event("all are started")
            cluster.wait_ready()
            record.at_most("serving after", time.monotonic() - back, 30, "s")
            check_kept(load, cluster.nodes)
            record.at_least("acknowledged writes, none lost", load.count("acked"), 200)
            record.operations += [
                Operation("put", each.node, each.began, each.seconds, each.status)
                for each in load.attempts
            ]
