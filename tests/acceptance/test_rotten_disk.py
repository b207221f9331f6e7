"""Random bytes are flipped in the store of a stopped node: it starts, or says exactly what to do.

Whatever it does, no wrong byte is served, and after repair all owners agree.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from real_cluster import RealCluster, RealNode, eventually

KEYS = 150
WHAT_TO_DO = "its peers have the data"


def value_of(number: int) -> bytes:
    """Small ones, and some that have rows of their own."""
    size = 50_000 if number % 30 == 0 else 300
    return random.Random(number).randbytes(size)


def flip(node: RealNode, source: random.Random, count: int) -> None:
    """Change bytes of the store's largest file, anywhere."""
    files = [file for file in (node.directory / "store").rglob("*") if file.is_file()]
    file = max(files, key=lambda each: each.stat().st_size)
    data = bytearray(file.read_bytes())
    for _ in range(count):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    file.write_bytes(data)


def assert_serves_no_wrong_byte(node: RealNode) -> None:
    for number in range(KEYS):
        answer = node.ask("GET", f"/v1/kv/b/{number}?r=1")
        assert answer.status in (200, 404, 503, 504), answer
        if answer.status == 200:
            assert answer.body == value_of(number)


def finished(node: RealNode, what: str) -> dict[str, int]:
    """Ask until it is done; what it came to."""
    while True:
        answer = node.ask("POST", what, b"", timeout_s=60)
        assert answer.status in (200, 202), answer
        if answer.status == 200:
            document: dict[str, int] = answer.json()
            return document


@pytest.mark.parametrize(
    ("backend", "seed"), [("lmdb", 1), ("lmdb", 2), ("lmdb", 3), ("sqlite", 1), ("rocksdb", 1)]
)
def test_flipped_bytes_are_mended_or_refused(backend: str, seed: int, tmp_path: Path) -> None:
    if backend == "rocksdb":
        pytest.importorskip("rocksdict", reason="needs the extra sadik-storage[rocksdb]")
    environment = {"SADIK_STORAGE__BACKEND": backend, "SADIK_CLUSTER__PARTITIONS": "16"}
    with RealCluster(tmp_path, environment=environment) as cluster:
        cluster.start()
        one, _two, three = cluster.nodes
        for number in range(KEYS):
            assert one.ask("PUT", f"/v1/kv/b/{number}?w=3", value_of(number)).status == 204
        assert three.stop() == 0
        flip(three, random.Random(seed), 12)
        three.start()
        refused = False

        def has_settled() -> bool:
            nonlocal refused
            refused = not three.is_running
            return refused or three.is_ready()

        eventually(30, has_settled, "it serves, or has ended")
        if not refused:
            assert_serves_no_wrong_byte(three)
            refused = not three.is_running
        if refused:
            last = three.log.read_text().splitlines()[-1]
            assert WHAT_TO_DO in last, last
            shutil.rmtree(three.directory / "store")
            three.start()
            eventually(30, three.is_ready, "it starts with an empty store")

        def is_whole() -> bool:
            found = finished(three, "/v1/scrub")
            rotten = [found[name] for name in ("damaged", "misplaced", "sums_wrong", "unlisted")]
            repaired = finished(one, "/v1/repair")
            return not any(rotten) and repaired["differences"] == 0

        eventually(60, is_whole, "all owners agree, and nothing is damaged")
        for node in cluster.nodes:
            for number in range(KEYS):
                answer = node.ask("GET", f"/v1/kv/b/{number}?r=1")
                assert (answer.status, answer.body) == (200, value_of(number))
