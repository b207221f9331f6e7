"""A cluster on each durable backend, chosen by one setting: killed, started again, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_cluster import eventually
from secured_cluster import any_cluster


@pytest.mark.parametrize("backend", ["lmdb", "sqlite", "rocksdb"])
def test_what_was_acknowledged_is_there_after_all_were_killed(backend: str, tmp_path: Path) -> None:
    if backend == "rocksdb":
        pytest.importorskip("rocksdict", reason="needs the extra sadik-storage[rocksdb]")
    with any_cluster(tmp_path, environment={"SADIK_STORAGE__BACKEND": backend}) as cluster:
        cluster.start()
        one, two, three = cluster.nodes
        for number in range(120):
            node = cluster.nodes[number % 3]
            assert node.ask("PUT", f"/v1/kv/b/k{number}", b"v%d" % number).status == 204
        two.kill()
        for number in range(120, 160):
            node = (one, three)[number % 2]
            assert node.ask("PUT", f"/v1/kv/b/k{number}", b"v%d" % number).status == 204
        assert one.ask("DELETE", "/v1/kv/b/k7").status == 204
        cluster.kill()
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        eventually(20, lambda: cluster.hints_total() == 0, "no hint waits")
        for number in range(160):
            answer = cluster.nodes[(number + 1) % 3].ask("GET", f"/v1/kv/b/k{number}")
            if number == 7:
                assert answer.status == 404
            else:
                assert (answer.status, answer.body) == (200, b"v%d" % number)
