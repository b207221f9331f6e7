"""How fast a cluster is, beside etcd on the same machine in the same run.

``make bench`` (or ``python benchmarks/bench.py``) starts three nodes of Sadik and three of etcd on
loopback, fills both with all keys, and then measures them in turn with the same wrk script: one
pair of runs after another, so that whatever else the machine does meets both. What is printed is
the median of the pairs and the **ratio** with its spread; absolute figures belong to the machine.
The load is closed: a connection sends its next request when it has the answer to the last.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs
from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from baseline import file_of  # noqa: E402 - after the path to it
from cases import CASES, Case  # noqa: E402
from failover import measure_failover  # noqa: E402
from footprint import measure_footprint  # noqa: E402
from machine import machine  # noqa: E402
from systems import System, start_etcd, start_sadik  # noqa: E402
from wrk import Load, Measured  # noqa: E402

_AIMED_CONNECTIONS = 64
BASELINE = Path()
"""Stands for the file that the commit gives its name."""
BESIDES = ("footprint", "failover")
"""What is measured besides the rows."""


@frozen
class Row:
    """One case at one number of connections: all runs, in pairs."""

    case: Case
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

    @property
    def aim(self) -> float | None:
        """The ratio that we want, or None where nothing was aimed at."""
        is_aimed_at = self.connections == _AIMED_CONNECTIONS and "etcd" in self.runs
        return self.case.aim if is_aimed_at else None

    def to_json(self) -> dict[str, object]:
        """For a file that `compare` reads."""
        return {
            "case": self.case.name,
            "connections": self.connections,
            "runs": attrs.asdict(self)["runs"],
            "ratios": self.ratios,
            "aim": self.aim,
        }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    every = [*CASES, *BESIDES]
    parser.add_argument("--rows", default=",".join(every), help=f"of {', '.join(every)}")
    parser.add_argument("--connections", help="comma-separated, instead of each row's own")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each system (default 5)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a run (default 4)")
    parser.add_argument("--keys", type=int, help="instead of each row's own")
    parser.add_argument("--alone", action="store_true", help="Sadik only, without etcd beside it")
    parser.add_argument("--million", action="store_true", help="memory with a million keys, too")
    parser.add_argument("--dir", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=BASELINE,
        help="write all figures here; without a name, as the commit's baseline",
    )  # fmt: skip
    parsed = parser.parse_args(arguments)
    parsed.rows = parsed.rows.split(",")
    unknown = [name for name in parsed.rows if name not in every]
    if unknown:
        parser.error(f"unknown rows {', '.join(unknown)}; there are {', '.join(every)}")
    programs = {"wrk": "wrk"} | ({} if parsed.alone else {"etcd": "etcd-server"})
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        parser.error(f"needs Debian's packages {' '.join(missing)} (or their like), or --alone")
    return parsed


def measure(place: Path, arguments: argparse.Namespace) -> list[Row]:
    """All rows, each told as soon as it is there."""
    cases = [CASES[name] for name in arguments.rows if name in CASES]
    if arguments.keys:
        cases = [attrs.evolve(case, keys=min(case.keys, arguments.keys)) for case in cases]
    rows: list[Row] = []
    for sync in dict.fromkeys(case.sync for case in cases):
        with ExitStack() as stack:
            directory = place / f"rows-{sync}"
            directory.mkdir()
            systems = [start_sadik(stack, directory, sync)]
            if not arguments.alone:
                systems.append(start_etcd(stack, directory))
            for case in cases:
                if case.sync == sync:
                    rows += measure_case(case, systems, arguments)
    return rows


def measure_case(case: Case, systems: Sequence[System], arguments: argparse.Namespace) -> list[Row]:
    """A case with every number of connections."""
    for system in systems:
        system.fill(case)
    print(f"\n{case.title}")
    print_heading(systems)
    counts = case.connections
    if arguments.connections:
        counts = tuple(map(int, arguments.connections.split(",")))
    rows = []
    for connections in counts:
        load = Load(case, connections, arguments.seconds)
        row = Row(case, connections, {system.name: [] for system in systems})
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
        f"{system.name + '/s':>9} {'p50':>6} {'p99':>6} {'p99.9':>6} {'µs each':>7}"
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
            f"{row.median(name, lambda m: m.servers_us):>7.0f}"
        )
    ratios = row.ratios
    if ratios:
        parts.append(
            f"{statistics.median(ratios):>5.2f} ({min(ratios):.2f} to {max(ratios):.2f})".ljust(24)
        )
    parts.append(f"{row.median('sadik', lambda m: m.generator_us):>6.0f}")
    if row.aim is not None:
        parts.append(
            f"aim {row.aim:g}: {'met' if statistics.median(ratios) >= row.aim else 'missed'}"
        )
    print("  ".join(parts), flush=True)
    for system in systems:
        bad = sum(m.refused + m.broken for m in row.runs[system.name])
        if bad:
            print(f"      {system.name}: {bad} requests were refused or broken", flush=True)


def main() -> int:
    """Measure and tell; 0 if every answer was good, 2 if there is no place for the figures."""
    arguments = parse(sys.argv[1:])
    about = machine()
    if arguments.json == BASELINE:
        try:
            arguments.json = file_of(about)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    arguments.dir.mkdir(exist_ok=True)
    document: dict[str, object] = {"about": about}
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        place = Path(directory)
        rows = measure(place, arguments)
        if "footprint" in arguments.rows:
            document["footprint"] = measure_footprint(
                place, beside=not arguments.alone, million=arguments.million
            )
        if "failover" in arguments.rows:
            document["failover"] = measure_failover(
                place, beside=not arguments.alone, rounds=arguments.pairs
            )
    document["rows"] = [row.to_json() for row in rows]
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    bad = sum(m.refused + m.broken for row in rows for m in row.runs["sadik"])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
