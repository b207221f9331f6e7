"""What certificates between nodes cost: ``python benchmarks/tls.py``.

Two clusters of three real nodes on loopback, one with mutual TLS and a cluster secret, one with
neither, are filled and measured in turn with the same load, pair by pair; what counts is the ratio
of a pair (see `bench`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import attrs
from bench import ROOT, machine
from cases import CASES
from real_cluster import RealCluster
from secured_cluster import Secured
from systems import System
from wrk import Load, Measured


def main() -> int:
    """Measure and tell; 0 if every answer was good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--bytes", default="100,16384", help="lengths of a value")
    given = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    (ROOT / "build").mkdir(exist_ok=True)
    bad = 0
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ROOT / "build")))
        (place / "plain").mkdir()
        (place / "tls").mkdir()
        clusters = {
            "plain": stack.enter_context(RealCluster(place / "plain")),
            "tls": stack.enter_context(Secured(place / "tls").cluster),
        }
        systems = {}
        for name, cluster in clusters.items():
            cluster.start()
            pids = [node.process.pid for node in cluster.nodes if node.process is not None]
            addresses = [node.url.removeprefix("http://") for node in cluster.nodes]
            systems[name] = System("sadik", "sadik", addresses, pids)
        print("operation  bytes  plain/s  tls/s  ratio (least to most)  µs/req plain, tls  p99 ms")
        for value_bytes in map(int, given.bytes.split(",")):
            for name in ("put", "get", "get-one"):
                case = attrs.evolve(CASES[name], value_bytes=value_bytes, keys=given.keys)
                for system in systems.values():
                    system.fill(case)
                load = Load(case, given.connections, given.seconds)
                bad += compare(systems, load, given.pairs)
    return 1 if bad else 0


def compare(systems: dict[str, System], load: Load, pairs: int) -> int:
    """One line; how many requests were refused or broken."""
    runs: dict[str, list[Measured]] = {"plain": [], "tls": []}
    for pair in range(pairs):
        for name in ("plain", "tls") if pair % 2 == 0 else ("tls", "plain"):
            runs[name].append(systems[name].measure(load))
    ratios = [
        tls.per_second / plain.per_second
        for plain, tls in zip(runs["plain"], runs["tls"], strict=True)
    ]

    def median(name: str, figure: str) -> float:
        figures: list[float] = [getattr(run, figure) for run in runs[name]]
        return statistics.median(figures)

    print(
        f"{load.case.name:>9} {load.case.value_bytes:>6} {median('plain', 'per_second'):>8,.0f} "
        f"{median('tls', 'per_second'):>6,.0f}  {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})     {median('plain', 'servers_us'):>6.0f} "
        f"{median('tls', 'servers_us'):>6.0f}        {median('plain', 'p99_ms'):.0f} "
        f"{median('tls', 'p99_ms'):.0f}",
        flush=True,
    )
    return sum(run.refused + run.broken for each in runs.values() for run in each)


if __name__ == "__main__":
    sys.exit(main())
