"""What TLS costs: ``make bench-tls``, or ``python benchmarks/tls.py nodes`` and ``… clients``.

Two clusters of three real nodes on loopback are filled and measured in turn with the same load,
pair by pair; what counts is the ratio of a pair (see `bench`). Of **nodes**: one cluster has mutual
TLS between nodes and a cluster secret, the other neither. Of **clients**: one is asked over HTTPS,
the other over HTTP, on connections that are kept and on a new one for each request (with a whole
TLS handshake: wrk resumes no session).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import attrs
from bench import ROOT
from cases import CASES
from machine import machine
from real_cluster import RealCluster
from secured_cluster import Secured
from systems import System
from wrk import Load, Measured


def main() -> int:
    """Measure and tell; 0 if every answer was good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("whose", nargs="?", choices=("nodes", "clients"), default="nodes")
    parser.add_argument("--connections", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--bytes", default="100,16384", help="lengths of a value")
    given = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"TLS of {given.whose}")
    (ROOT / "build").mkdir(exist_ok=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=ROOT / "build")))
        (place / "plain").mkdir()
        (place / "tls").mkdir()
        clusters = {
            "plain": stack.enter_context(RealCluster(place / "plain")),
            "tls": stack.enter_context(secured(place / "tls", given.whose)),
        }
        systems = {}
        for name, cluster in clusters.items():
            cluster.start()
            pids = [node.process.pid for node in cluster.nodes if node.process is not None]
            addresses = [node.url.partition("://")[2] for node in cluster.nodes]
            scheme = cluster.nodes[0].url.partition("://")[0]
            systems[name] = System("sadik", "sadik", addresses, pids, scheme)
        return 1 if measure_all(systems, given) else 0


def secured(place: Path, whose: str) -> RealCluster:
    """The cluster in which it costs something."""
    if whose == "nodes":
        return Secured(place).cluster
    cluster = Secured(place, tls=False, secret=False, clients=True).cluster
    for node in cluster.nodes:
        del node.environment["SADIK_AUTH__TOKENS"]  # TLS alone is what the other has not
    return cluster


def measure_all(systems: dict[str, System], given: argparse.Namespace) -> int:
    """The whole table; how many requests were refused or broken."""
    print(
        "operation  connection  bytes  plain/s  tls/s  ratio (least to most)  "
        "µs/req plain, tls, more  p99 ms"
    )
    bad = 0
    for value_bytes in map(int, given.bytes.split(",")):
        cases = [
            attrs.evolve(CASES[name], value_bytes=value_bytes, keys=given.keys)
            for name in ("put", "get", "get-one")
        ]
        for system in systems.values():
            system.fill(cases[0])
        for closes in (False, True) if given.whose == "clients" else (False,):
            for case in cases:
                load = Load(case, given.connections, given.seconds, closes)
                bad += compare(systems, load, given.pairs)
    return bad


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

    more = median("tls", "servers_us") / median("plain", "servers_us") - 1
    parts = [
        f"{load.case.name:>9}  {'new' if load.closes else 'kept':>10} {load.case.value_bytes:>6}",
        f"{median('plain', 'per_second'):>8,.0f} {median('tls', 'per_second'):>6,.0f} ",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})    ",
        f"{median('plain', 'servers_us'):>6.0f} {median('tls', 'servers_us'):>6.0f} {more:>+5.0%}",
        f"         {median('plain', 'p99_ms'):.0f} {median('tls', 'p99_ms'):.0f}",
    ]
    print(" ".join(parts), flush=True)
    return sum(run.refused + run.broken for each in runs.values() for run in each)


if __name__ == "__main__":
    sys.exit(main())
