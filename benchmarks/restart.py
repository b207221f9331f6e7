"""How soon a node with a million keys serves again: after a clean stop, and after ``kill -9``.

``python benchmarks/restart.py`` fills a node, then stops and starts it, and kills and starts it, in
turn. It prints the seconds from the start of the process to the first get and to the first put that
were answered with success, and to readiness; and the processor time of the process until it was
ready, which says what a busy machine hides. ``--nodes 3`` restarts the last of three that hold all
keys each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from real_cluster import RealCluster, RealNode, eventually  # noqa: E402
from rebuild import fill, key_of  # noqa: E402
from wrk import cpu_seconds  # noqa: E402

AIMS = {"a clean stop": 2.0, "kill -9": 10.0}
"""Seconds until it serves, at most."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=100, help="length of a value (default 100)")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--backend", default="lmdb")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=120, help="seconds for one start")
    parser.add_argument("--dir", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args(arguments)


def start(node: RealNode, keys: int, patience_s: float) -> dict[str, float]:
    """Start a node; what took how long."""

    def answers(status: int, method: str, path: str, body: bytes | None = None) -> bool:
        try:
            return node.ask(method, path, body, timeout_s=patience_s).status == status
        except OSError:
            return False

    begun = time.monotonic()
    node.start()
    took: dict[str, float] = {}
    path = f"/v1/kv/bench/{key_of(keys // 2)}"
    for what, check in (
        ("get", lambda: answers(200, "GET", path)),
        ("put", lambda: answers(204, "PUT", "/v1/kv/bench/started", b"v")),
        ("ready", node.is_ready),
    ):
        eventually(
            patience_s, check, f"{node.name} answers a {what}; {node.log.read_text()[-500:]}"
        )
        took[what] = time.monotonic() - begun
    assert node.process is not None
    took["processor"] = cpu_seconds([node.process.pid])
    return took


def main() -> None:
    """Fill, restart, and print."""
    given = parse(sys.argv[1:])
    given.dir.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in AIMS}
    with tempfile.TemporaryDirectory(dir=given.dir) as directory:
        environment = {"SADIK_STORAGE__BACKEND": given.backend}
        with RealCluster(Path(directory), given.nodes, environment=environment) as cluster:
            cluster.start()
            seconds = fill(cluster.nodes, given.keys, given.bytes)
            node = cluster.nodes[-1]
            status = node.ask("GET", "/v1/status").json()["store"]
            print(f"{given.backend}: {given.keys:,} keys in {seconds:.0f} s; {status}", flush=True)
            for _ in range(given.rounds):
                for how, rows in found.items():
                    if how == "kill -9":
                        node.kill()
                    else:
                        assert node.stop() == 0
                    rows.append(start(node, given.keys, given.patience))
    for how, rows in found.items():
        parts = []
        for what in rows[0]:
            values = [row[what] for row in rows]
            parts.append(f"{what} {statistics.median(values):.2f} (most {max(values):.2f})")
        served = max(max(row["get"], row["put"]) for row in rows)
        verdict = "met" if served <= AIMS[how] else "missed"
        print(f"after {how}, seconds: {', '.join(parts)}; aim {AIMS[how]:.0f} s: {verdict}")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
