"""Eight clients while nodes are killed and started again: no acknowledged write is lost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from every_backend import every_durable_backend
from history_load import HistoryLoad
from real_cluster import RealCluster
from secured_cluster import any_cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with any_cluster(tmp_path) as cluster:
        cluster.start()
        yield cluster


def run_kill_loop(cluster: RealCluster, seconds: float) -> None:
    dice = random.Random(1)
    with HistoryLoad(cluster.nodes) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            node = dice.choice(cluster.nodes)
            load.ending.wait(1)
            node.kill()
            load.ending.wait(1)
            node.start()
    acked = load.check(cluster)
    print(f"{len(load.writes)} writes, {acked} acknowledged, none lost")
    assert acked > 100


@every_durable_backend
def test_nothing_acknowledged_is_lost_when_nodes_are_killed(
    backend: str, cluster: RealCluster
) -> None:
    assert all(f"store={backend}" in node.log.read_text() for node in cluster.nodes)
    run_kill_loop(cluster, seconds=8)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_in_a_minute_of_kills(cluster: RealCluster) -> None:
    seconds = float(os.environ.get("SADIK_KILL_LOOP_SECONDS", "60"))
    run_kill_loop(cluster, seconds)
