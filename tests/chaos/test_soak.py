"""Mixed load with random faults for as long as is asked: nothing lost, no growth."""

from __future__ import annotations

import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from chaos_cluster import ChaosCluster, Rig, resident_mib
from chaos_record import Record, Series
from history_load import HistoryLoad
from real_cluster import RealNode

_GROWTH_MIB_PER_HOUR = 64
_SAMPLE_S = 5
_NOISE_S = 20 * 60
"""Before this the memory of a node that has just started is no slope."""


class Faults:
    """One fault at a time, drawn at random, each mended before the next."""

    def __init__(self, cluster: ChaosCluster, record: Record, pause: threading.Event) -> None:
        self.cluster = cluster
        self.record = record
        self.pause = pause
        self.dice = random.Random(1)
        self.counts: Counter[str] = Counter()
        self.kinds: list[Callable[[RealNode], None]] = [
            self.kill,
            self.restart,
            self.stop,
            self.isolate,
            self.cut_one_way,
        ]

    def one(self) -> None:
        """Draw one."""
        node = self.dice.choice(self.cluster.nodes)
        kind = self.dice.choice(self.kinds)
        self.counts[kind.__name__] += 1
        self.record.event(f"{kind.__name__} {node.name}")
        kind(node)

    def _wait(self) -> None:
        self.pause.wait(self.dice.uniform(1, 6))

    def kill(self, node: RealNode) -> None:
        """kill -9, and start again."""
        node.kill()
        self._wait()
        node.start()

    def restart(self, node: RealNode) -> None:
        """Stop in good order, and start again."""
        assert node.stop(30) == 0
        node.start()

    def stop(self, node: RealNode) -> None:
        """Stand still for a while."""
        node.signal(signal.SIGSTOP)
        self._wait()
        node.signal(signal.SIGCONT)

    def isolate(self, node: RealNode) -> None:
        """Be cut off for a while."""
        self.cluster.isolate([node])
        self._wait()
        self.cluster.network.heal()

    def cut_one_way(self, node: RealNode) -> None:
        """Lose what one node sends another."""
        other = self.dice.choice([each for each in self.cluster.nodes if each is not node])
        self.cluster.network.cut(self.cluster.host(node), self.cluster.host(other))
        self._wait()
        self.cluster.network.heal()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_soak(rig: Rig, record: Record, request: pytest.FixtureRequest) -> None:
    """Clients read, write and delete while one fault after another is drawn and mended."""
    lasts_s = 60 * float(request.config.getoption("--minutes"))
    cluster = rig()
    memory = {node.name: Series(f"memory of {node.name}", "MiB") for node in cluster.nodes}
    record.series += memory.values()
    with HistoryLoad(cluster.nodes, clients=4, keys=200) as load:
        faults = Faults(cluster, record, load.ending)
        began = time.monotonic()
        next_fault = began + 5
        while (now := time.monotonic()) - began < lasts_s:
            if now >= next_fault:
                faults.one()
                next_fault = time.monotonic() + faults.dice.uniform(3, 10)
            for node in cluster.nodes:
                if node.is_running:
                    memory[node.name].add(time.monotonic() - record.began, resident_mib(node))
            load.ending.wait(_SAMPLE_S)
    record.operations += load.operations
    record.at_least("operations", len(load.operations), 100)
    record.at_least("faults", faults.counts.total(), 1)
    record.at_least("acknowledged writes, none lost", load.check(cluster, within_s=120), 50)
    for series in memory.values():
        slope = series.slope_per_s(since_s=_NOISE_S) * 3600
        if lasts_s > 2 * _NOISE_S:
            record.at_most(f"slope of the {series.what}", slope, _GROWTH_MIB_PER_HOUR, "MiB/h")
    middle = statistics.median(value for series in memory.values() for _, value in series.points)
    record.at_most("memory of a node, in the middle", middle, 512, "MiB")
