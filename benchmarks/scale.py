"""How costs grow: with nodes, with keys, and with values and siblings. Measures; draws nothing.

``make bench-scale`` (or ``python benchmarks/scale.py``) writes figures as JSON. Processor time is
what is told, for it is what other programs on the machine disturb least; a plain loop is measured
beside each part, so that figures of different days compare.

- ``nodes``: clusters of 3 to 100 nodes in the simulator's world: what a put and a get cost, and
  what a node does when nobody asks anything (`scale_nodes`). 100 nodes take some minutes and 2 GB.
- ``keys``: the store with ten thousand to ten million keys (`scale_keys`). Ten million take some
  minutes and 5 GB of disk, which are given back.
- ``siblings``: values of 100 bytes to 16 MiB, and 1 to 100 siblings (`scale_values`).

Figures of parts that are not measured stay as the file has them. `make pictures` draws the manual's
pictures from ``benchmarks/figures/scale.json``; docs/scale.md says what they show.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(ROOT / path) for path in ("tests", "benchmarks", "packages/sadik-sim/benchmarks")
]

from machine import machine  # noqa: E402 - after the path to it
from scale_keys import bytes_wanted, measure_keys  # noqa: E402
from scale_nodes import measure_nodes  # noqa: E402
from scale_values import SIBLINGS, VALUE_BYTES, measure_siblings, measure_values  # noqa: E402
from seeds_per_second import loop_seconds  # noqa: E402

PARTS = ("nodes", "keys", "siblings")
NODES = (3, 5, 10, 30, 100)
KEYS = (10_000, 100_000, 1_000_000, 10_000_000)
_LOOPS = 5


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--most-nodes", type=int, default=NODES[-1])
    parser.add_argument("--most-keys", type=int, default=KEYS[-1])
    parser.add_argument("--most-bytes", type=int, default=VALUE_BYTES[-1], help="of a value")
    parser.add_argument("--most-siblings", type=int, default=SIBLINGS[-1])
    parser.add_argument("--requests", type=int, default=600, help="of each kind, with each size")
    parser.add_argument("--dir", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "scale.json", help="write figures here"
    )
    parsed = parser.parse_args(arguments)
    parsed.parts = parsed.parts.split(",")
    unknown = [name for name in parsed.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown parts {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parsed.dir.mkdir(parents=True, exist_ok=True)
    wanted = bytes_wanted(parsed.most_keys) if "keys" in parsed.parts else 0
    free = shutil.disk_usage(parsed.dir).free
    if free < 2 * wanted:
        parser.error(
            f"{parsed.most_keys:,} keys want {wanted / 1e9:.1f} GB and as much to spare; "
            f"{parsed.dir} has {free / 1e9:.1f}: give --most-keys or --dir"
        )
    return parsed


def measure(part: str, given: argparse.Namespace, place: Path) -> dict[str, Any]:
    """The figures of a part, by name."""
    if part == "nodes":
        counts = [count for count in NODES if count <= given.most_nodes]
        return {"nodes": measure_nodes(counts, given.requests, _tell)}
    if part == "keys":
        sizes = [size for size in KEYS if size <= given.most_keys]
        return {"keys": measure_keys(place / "keys", sizes, _tell)}
    sizes = [size for size in VALUE_BYTES if size <= given.most_bytes]
    counts = [count for count in SIBLINGS if count <= given.most_siblings]
    return {
        "values": measure_values(place, sizes, _tell),
        "siblings": measure_siblings(place, counts, _tell),
    }


def _tell(figures: str) -> None:
    print(figures, flush=True)


def loop_ns() -> float:
    """What a turn of the plain loop takes now."""
    return statistics.median(loop_seconds() for _ in range(_LOOPS)) * 1e3


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Tapes are millions of objects that live to the end of a part."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def main(arguments: Sequence[str]) -> int:
    """Measure and write."""
    given = parse(arguments)
    os.nice(10)  # whoever else works on the machine goes first
    document: dict[str, Any] = {}
    if given.json.exists():
        document = json.loads(given.json.read_text("utf-8"))
    for part in given.parts:
        about = machine()
        before = loop_ns()
        with tempfile.TemporaryDirectory(dir=given.dir) as directory, _collecting_nothing():
            found = measure(part, given, Path(directory))
        about["loop_ns"] = [before, loop_ns()]
        for name, figures in found.items():
            document[name] = {"about": about, "figures": figures}
        given.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
