"""How fast a lost node's data come back, and what its clients and an idle cluster notice of it.

``python benchmarks/rebuild.py`` fills three nodes of Sadik on loopback, loses the third with its
disk, and has another take its place. It prints how many keys a second the new node was brought; the
latency of gets at a fixed rate, before and meanwhile, as their ratio; what a second comparison of
all replicas moves; and the processor time of a node that has nothing to do but to compare.

The rate of the gets is a share (a quarter) of what the same gets reach with as many connections in
a closed loop just before. Latency counts from when a get was due, not from when it was sent.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from real_cluster import RealCluster, RealNode, eventually, free_ports  # noqa: E402
from wrk import cpu_seconds  # noqa: E402

_BATCH = 500
_BATCH_BYTES = 1 << 20
_READERS = 4


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=100, help="length of a value (default 100)")
    parser.add_argument("--partitions", type=int, default=256)
    parser.add_argument("--share", type=float, default=0.25, help="of the capacity (default 0.25)")
    parser.add_argument("--idle", type=float, default=60, help="seconds of doing nothing")
    parser.add_argument("--patience", type=float, default=3600, help="seconds for the whole of it")
    parser.add_argument("--dir", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args(arguments)


def key_of(number: int) -> str:
    """The key of one object."""
    return f"key-{number:08d}"


def fill(nodes: Sequence[RealNode], keys: int, value_bytes: int) -> float:
    """Write all keys once, in batches; the seconds it took."""
    size = max(1, min(_BATCH, _BATCH_BYTES // max(1, 2 * value_bytes)))
    starts = range(0, keys, size)
    value = base64.b64encode(b"v" * value_bytes).decode("ascii")

    def write(worker: int) -> None:
        node = nodes[worker % len(nodes)]
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=60)
        for start in starts[worker::_READERS]:
            left = [
                json.dumps(
                    {"op": "put", "bucket": "bench", "key": key_of(number), "value_b64": value}
                )
                for number in range(start, min(start + size, keys))
            ]
            while left:
                connection.request("POST", "/v1/batch", "\n".join(left) + "\n")
                answer = connection.getresponse()
                told = [json.loads(line) for line in answer.read().splitlines()]
                if answer.status != 200:
                    raise SystemExit(f"not filled: {answer.status} {told[:1]}")
                left = [
                    line for line, each in zip(left, told, strict=True) if each["status"] != 204
                ]
        connection.close()

    began = time.monotonic()
    with ThreadPoolExecutor(_READERS) as executor:
        list(executor.map(write, range(_READERS)))
    return time.monotonic() - began


class Reader(threading.Thread):
    """Gets keys at random: ``interval_s`` apart, or each as soon as the last is answered."""

    def __init__(self, node: RealNode, keys: int, interval_s: float, stop: threading.Event) -> None:
        super().__init__()
        self.node = node
        self.keys = keys
        self.interval_s = interval_s
        self.stop = stop
        self.latencies_s: list[float] = []
        self.failed = 0

    def run(self) -> None:
        """Until it is told to stop."""
        source = random.Random(self.name)
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http_port, timeout=30)
        due = time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            connection.request("GET", f"/v1/kv/bench/{key_of(source.randrange(self.keys))}")
            answer = connection.getresponse()
            answer.read()
            self.failed += answer.status != 200
            now = time.monotonic()
            self.latencies_s.append(now - due)
            due = due + self.interval_s if self.interval_s else now
        connection.close()


class Gets:
    """Readers that run while the block does."""

    def __init__(self, nodes: Sequence[RealNode], keys: int, per_second: float = 0) -> None:
        self.stop = threading.Event()
        interval_s = _READERS / per_second if per_second else 0.0
        self.readers = [
            Reader(nodes[number % len(nodes)], keys, interval_s, self.stop)
            for number in range(_READERS)
        ]

    def __enter__(self) -> Self:
        for reader in self.readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for reader in self.readers:
            reader.join()

    @property
    def count(self) -> int:
        """Gets that were answered."""
        return sum(len(reader.latencies_s) for reader in self.readers)

    @property
    def failed(self) -> int:
        """Of these, with something else than the value."""
        return sum(reader.failed for reader in self.readers)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of their latency."""
        taken = [taken for reader in self.readers for taken in reader.latencies_s]
        return 1e3 * statistics.quantiles(taken, n=100)[98]


def metric(node: RealNode, name: str) -> float:
    """The sum of a metric over its labels."""
    text = node.ask("GET", "/metrics").body.decode()
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)]
    return sum(map(float, values))


def repaired(node: RealNode) -> dict[str, int]:
    """Have all replicas compared; what came of it."""
    while True:
        answer = node.ask("POST", "/v1/repair", b"", timeout_s=600)
        if answer.status == 200:
            told: dict[str, int] = answer.json()
            return told
        if answer.status != 202:
            raise SystemExit(f"not compared: {answer.status} {answer.body!r}")


def run(arguments: argparse.Namespace, root: Path) -> dict[str, object]:
    """The whole of it; the figures."""
    keys = arguments.keys
    pause = threading.Event()
    environment = {"SADIK_CLUSTER__PARTITIONS": str(arguments.partitions)}
    with RealCluster(root, environment=environment) as cluster:
        cluster.start()
        one, two, three = cluster.nodes
        took = fill(cluster.nodes, keys, arguments.bytes)
        print(f"filled    {keys:,} keys in {took:.0f} s, {keys / took:,.0f} keys/s", flush=True)
        with Gets([one, two], keys) as fast:
            pause.wait(10)
        rate = arguments.share * fast.count / 10
        with Gets([one, two], keys, rate) as before:
            pause.wait(20)
        print(f"before    {rate:,.0f} gets/s, p99 {before.p99_ms:.1f} ms", flush=True)

        three.kill()
        shutil.rmtree(three.directory)
        http_port, peer_port = free_ports(2)
        new = RealNode("n4", root / "n4", http_port, peer_port, [one.peer], root / "n4.log")
        eventually(
            60,
            lambda: one.ask("POST", "/v1/members/n3/remove", b"", {}, 60).status == 202,
            "a majority finds the node dead",
        )
        cluster.nodes[2] = new
        with Gets([one, two], keys, rate) as meanwhile:
            new.start()
            eventually(60, lambda: is_up(new), "it is up")
            used_before = cpu_seconds(pids(cluster))
            moved_s = moved_after(arguments.patience, one, new)
            used_us = 1e6 * (cpu_seconds(pids(cluster)) - used_before) / keys
        figures: dict[str, object] = {
            "keys": keys,
            "value_bytes": arguments.bytes,
            "rebuilt_keys_per_s": keys / moved_s,
            "rebuilt_mb_per_s": keys * arguments.bytes / moved_s / 1e6,
            "cpu_us_per_key": used_us,
            "rate": rate,
            "p99_before_ms": before.p99_ms,
            "p99_meanwhile_ms": meanwhile.p99_ms,
            "failed": meanwhile.failed,
        }
        print(
            f"rebuilt   in {moved_s:.0f} s, {keys / moved_s:,.0f} keys/s, "
            f"{keys * arguments.bytes / moved_s / 1e6:.1f} MB/s of values, "
            f"{used_us:.0f} µs of processor time a key on all nodes, gets included",
            flush=True,
        )
        print(
            f"meanwhile p99 {meanwhile.p99_ms:.1f} ms, {meanwhile.failed} of {meanwhile.count} "
            f"failed; ratio {meanwhile.p99_ms / before.p99_ms:.2f}",
            flush=True,
        )
        moved_before = sum(metric(node, "sadik_anti_entropy_bytes_total") for node in cluster.nodes)
        told = repaired(new)
        moved = sum(metric(node, "sadik_anti_entropy_bytes_total") for node in cluster.nodes)
        print(f"compared  {told}, {moved - moved_before:,.0f} bytes", flush=True)
        used = [cpu_seconds([pid]) for pid in pids(cluster)]
        pause.wait(arguments.idle)
        shares = [
            100 * (cpu_seconds([pid]) - before_s) / arguments.idle
            for pid, before_s in zip(pids(cluster), used, strict=True)
        ]
        print("idle      " + ", ".join(f"{share:.2f} %" for share in shares) + " of a core a node")
        return figures | {"compared": told, "idle_percent": shares}


def pids(cluster: RealCluster) -> list[int]:
    """The processes of the nodes that run."""
    return [node.process.pid for node in cluster.nodes if node.process is not None]


def moved_after(patience_s: float, asked: RealNode, new: RealNode) -> float:
    """Wait until all has moved; the seconds it took. Asked once a second, as a person's
    ``transfers --wait`` does: each answer names every partition, and takes a turn of the node.
    """
    began = time.monotonic()
    pause = threading.Event()
    while not is_rebuilt(asked, new):
        if time.monotonic() - began > patience_s:
            raise SystemExit("the lost node's data are not back in time")
        pause.wait(1)
    return time.monotonic() - began


def is_rebuilt(asked: RealNode, new: RealNode) -> bool:
    """Whether the new node owns all partitions, as one of three must, and nothing moves."""
    if asked.ask("GET", "/v1/transfers").json()["transfers"]:
        return False
    owners = asked.ask("GET", "/v1/ring").json()["owners"]
    return all(new.name in names for names in owners)


def is_up(node: RealNode) -> bool:
    """Whether it answers at all."""
    try:
        return node.ask("GET", "/healthz", timeout_s=2).status == 200
    except OSError:
        return False


def main() -> None:
    """Run it and print the figures."""
    arguments = parse(sys.argv[1:])
    arguments.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        figures = run(arguments, Path(root))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
