"""Wall clocks are wrong and jump: order comes from what was seen, and nothing expires too early."""

from __future__ import annotations

import random
import time
from pathlib import Path

from chaos_cluster import Rig
from chaos_record import Record
from history_load import HistoryLoad
from real_cluster import RealNode

# Imported by the interpreter at its start, from the path that the node is given.
_SHIFT = """
import os, time

time_ns, seconds = time.time_ns, time.time

def shift_s():
    try:
        with open(os.environ["TEST_CLOCK_SHIFT"]) as file:
            return float(file.read())
    except (OSError, ValueError):
        return 0.0

time.time_ns = lambda: time_ns() + int(shift_s() * 1e9)
time.time = lambda: seconds() + shift_s()
"""
_TTL_S = 120


class Clocks:
    """Wall clocks of nodes, each as far off as it was told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sitecustomize.py").write_text(_SHIFT)

    def environment(self, node: RealNode) -> dict[str, str]:
        """What a node has to be started with."""
        return {"PYTHONPATH": str(self.root), "TEST_CLOCK_SHIFT": str(self._file(node))}

    def set(self, node: RealNode, shift_s: float) -> None:
        """Let a node's clock be off by so much from now on."""
        replaced = self._file(node).with_suffix(".new")
        replaced.write_text(str(shift_s))
        replaced.rename(self._file(node))

    def _file(self, node: RealNode) -> Path:
        return self.root / f"{node.name}.shift"


def test_wrong_clocks(rig: Rig, record: Record, tmp_path: Path) -> None:
    """Wall clocks are 30 s apart, and jump by up to as much, under load."""
    cluster = rig(start=False)
    root = tmp_path / "clocks"
    root.mkdir()
    clocks = Clocks(root)
    for node, shift_s in zip(cluster.nodes, (30.0, 0.0, -30.0), strict=True):
        node.environment |= clocks.environment(node)
        clocks.set(node, shift_s)
    cluster.start()
    record.event("n1 is 30 s ahead, n3 30 s behind")
    one, two, three = cluster.nodes
    began = time.monotonic()
    headers = {"Sadik-TTL": str(_TTL_S)}
    for number in range(10):
        # Dated by the clock of whoever coordinates it, by which it may be there 60 s too short.
        assert two.ask("PUT", f"/v1/kv/ttl/{number}?w=3", b"v", headers).status == 204
    dice = random.Random(1)
    with HistoryLoad(cluster.nodes, clients=4) as load:
        for _ in range(8):
            load.ending.wait(1)
            node, shift_s = dice.choice([one, three]), dice.uniform(-30, 30)
            clocks.set(node, shift_s)
            record.event(f"the clock of {node.name} is now off by {shift_s:.1f} s")
        clocks.set(one, 0)
        clocks.set(three, 0)
        early = [n for n in range(10) if two.ask("GET", f"/v1/kv/ttl/{n}").status != 200]
        asked_s = time.monotonic() - began
        assert asked_s < _TTL_S - 60, "the machine is too slow to tell"
    record.operations += load.operations
    record.at_most("values that expired too early", len(early), 0)
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)
