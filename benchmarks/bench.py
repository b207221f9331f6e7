"""How fast a cluster is, beside etcd on the same machine in the same run.

``make bench`` (or ``python benchmarks/bench.py``) starts three nodes of Sadik and three of etcd on
loopback, fills both with all keys, and then measures them in turn with the same wrk script: one
pair of runs after another, so that whatever else the machine does meets both. What is printed is
the median of the pairs and the **ratio** with its spread; absolute figures belong to the machine.
The load is closed: a connection sends its next request when it has the answer to the last.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import attrs
from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from etcd_cluster import EtcdCluster  # noqa: E402 - after the path to it
from real_cluster import RealCluster  # noqa: E402
from wrk import Load, Measured, run_wrk  # noqa: E402

OPERATIONS = {
    "put": "put, W=2, fsync | put",
    "get": "get, R=2 | linearizable range",
    "get-one": "get, R=1 | serializable range",
}
"""What is compared: ours, and etcd's nearest."""


_FILLERS = 16


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@frozen
class System:
    """One running cluster."""

    name: str
    addresses: Sequence[str]
    pids: Sequence[int]

    def measure(self, load: Load) -> Measured:
        """One run."""
        return run_wrk(self.name, self.addresses, self.pids, load)

    def fill(self, load: Load) -> None:
        """Write every key once."""
        with ThreadPoolExecutor(_FILLERS) as executor:
            parts = [range(start, load.keys, _FILLERS) for start in range(_FILLERS)]
            for _ in executor.map(lambda numbers: self._fill_some(numbers, load), parts):
                pass

    def _fill_some(self, numbers: Sequence[int], load: Load) -> None:
        address = self.addresses[numbers[0] % len(self.addresses)]
        connection = http.client.HTTPConnection(address, timeout=30)
        value = b"v" * load.value_bytes
        for number in numbers:
            key = f"key-{number:08d}"
            if self.name == "sadik":
                connection.request("PUT", f"/v1/kv/bench/{key}", value)
            else:
                body = {"key": _base64(key.encode()), "value": _base64(value)}
                connection.request("POST", "/v3/kv/put", json.dumps(body))
            answer = connection.getresponse()
            told = answer.read()
            if answer.status not in (200, 204):
                raise RuntimeError(f"{self.name} was not filled: {answer.status} {told[:200]!r}")
        connection.close()


@frozen
class Row:
    """One operation at one number of connections: all runs, in pairs."""

    operation: str
    connections: int
    runs: dict[str, list[Measured]]

    def median(self, system: str, figure: Callable[[Measured], float]) -> float:
        """The median of a figure over the runs of a system."""
        return statistics.median(map(figure, self.runs[system]))

    @property
    def ratios(self) -> list[float]:
        """Sadik's rate over etcd's, pair by pair; empty without etcd."""
        pairs = zip(self.runs["sadik"], self.runs.get("etcd", []), strict=False)
        return [ours.per_second / theirs.per_second for ours, theirs in pairs]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--connections", default="1,16,64,256", help="comma-separated")
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="comma-separated")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each system (default 5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a run (default 4)")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=100, help="length of a value (default 100)")
    parser.add_argument("--alone", action="store_true", help="Sadik only, without etcd beside it")
    parser.add_argument("--dir", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.operations.split(",")) - OPERATIONS.keys()
    if unknown:
        parser.error(f"unknown operations {sorted(unknown)}; there are {', '.join(OPERATIONS)}")
    programs = {"wrk": "wrk"} | ({} if parsed.alone else {"etcd": "etcd-server"})
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        parser.error(f"needs Debian's packages {' '.join(missing)} (or their like), or --alone")
    return parsed


def measure(systems: Sequence[System], arguments: argparse.Namespace) -> list[Row]:
    """All rows, each told as soon as it is there."""
    template = Load("put", 64, arguments.seconds, arguments.keys, arguments.bytes)
    for system in systems:
        system.fill(template)
    rows = []
    for operation in arguments.operations.split(","):
        print(f"\n{OPERATIONS[operation]}")
        print_heading(systems)
        for connections in map(int, arguments.connections.split(",")):
            load = attrs.evolve(template, operation=operation, connections=connections)
            row = Row(operation, connections, {system.name: [] for system in systems})
            for pair in range(arguments.pairs):
                # Who is first changes from pair to pair: the second finds the disk busier.
                order = systems if pair % 2 == 0 else list(reversed(systems))
                for system in order:
                    row.runs[system.name].append(system.measure(load))
            rows.append(row)
            print_row(row, systems)
    return rows


def print_heading(systems: Sequence[System]) -> None:
    """The names of the columns."""
    parts = [f"{'conns':>5}"]
    parts += [
        f"{system.name + '/s':>9} {'p50':>6} {'p99':>6} {'p99.9':>6} {'µs/req':>6}"
        for system in systems
    ]
    if len(systems) > 1:
        parts.append("ratio (least to most)   ")
    print("  ".join([*parts, "wrk µs"]))


def print_row(row: Row, systems: Sequence[System]) -> None:
    """One line of the table: medians of the runs."""
    parts = [f"{row.connections:>5}"]
    for system in systems:
        name = system.name
        parts.append(
            f"{row.median(name, lambda m: m.per_second):>9,.0f} "
            f"{row.median(name, lambda m: m.p50_ms):>6.1f} "
            f"{row.median(name, lambda m: m.p99_ms):>6.1f} "
            f"{row.median(name, lambda m: m.p999_ms):>6.1f} "
            f"{row.median(name, lambda m: m.servers_us):>6.0f}"
        )
    ratios = row.ratios
    if ratios:
        parts.append(
            f"{statistics.median(ratios):>5.2f} ({min(ratios):.2f} to {max(ratios):.2f})".ljust(24)
        )
    parts.append(f"{row.median('sadik', lambda m: m.generator_us):>6.0f}")
    print("  ".join(parts), flush=True)
    for system in systems:
        bad = sum(m.refused + m.broken for m in row.runs[system.name])
        if bad:
            print(f"      {system.name}: {bad} requests were refused or broken", flush=True)


def machine() -> dict[str, object]:
    """What the figures belong to."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--tags"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "commit": commit,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def main() -> int:
    """Measure and tell; 0 if every answer was good."""
    arguments = parse(sys.argv[1:])
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    arguments.dir.mkdir(exist_ok=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.dir)))
        ours = stack.enter_context(RealCluster(place))
        ours.start()
        pids = [node.process.pid for node in ours.nodes if node.process is not None]
        addresses = [node.url.removeprefix("http://") for node in ours.nodes]
        systems = [System("sadik", addresses, pids)]
        if not arguments.alone:
            theirs = stack.enter_context(EtcdCluster(place))
            theirs.start()
            systems.append(System("etcd", theirs.addresses, theirs.pids))
        rows = measure(systems, arguments)
    if arguments.json is not None:
        document = {
            "about": about,
            "rows": [{**attrs.asdict(row), "ratios": row.ratios} for row in rows],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    bad = sum(m.refused + m.broken for row in rows for m in row.runs["sadik"])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
