"""Wall clocks that are wrong by half a minute change nothing: order comes from what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from http_checks import check_problem, siblings_of
from real_cluster import RealCluster

# Imported by the interpreter at its start, from the path that the node is given.
SHIFT = """
import os, time
shift_s = float(os.environ["TEST_CLOCK_SHIFT"])
time_ns, seconds = time.time_ns, time.time
time.time_ns = lambda: time_ns() + int(shift_s * 1e9)
time.time = lambda: seconds() + shift_s
"""


@pytest.fixture
def skewed(tmp_path: Path) -> Iterator[RealCluster]:
    """n1 is 30 s ahead, n2 right, and n3 30 s behind."""
    shift = tmp_path / "shift"
    shift.mkdir()
    (shift / "sitecustomize.py").write_text(SHIFT)
    with RealCluster(tmp_path) as cluster:
        for node, seconds in zip(cluster.nodes, ("30", "0", "-30"), strict=True):
            node.environment = {"PYTHONPATH": str(shift), "TEST_CLOCK_SHIFT": seconds}
        cluster.start()
        for node, ahead_s in zip(cluster.nodes, (30, 0, -30), strict=True):
            told = parsedate_to_datetime(node.ask("GET", "/healthz").headers["date"])
            assert abs((told - datetime.now(UTC)).total_seconds() - ahead_s) < 10
        yield cluster


def test_the_last_write_wins_whatever_the_clocks_say(skewed: RealCluster) -> None:
    for key in range(12):
        path = f"/v1/kv/clocks/{key}"
        context: dict[str, str] = {}
        for number in range(9):
            node = skewed.nodes[number % 3]
            if number >= 6:  # blindly at first, then with what was read
                seen = skewed.nodes[(number + 1) % 3].ask("GET", path)
                context = {"Sadik-Context": seen.headers["sadik-context"]}
            assert node.ask("PUT", path, b"%d" % number, context).status == 204
            for reader in skewed.nodes:
                assert siblings_of(reader.ask("GET", path)) == [b"%d" % number]
        # The node that is behind deletes what the one that is ahead wrote.
        assert skewed.nodes[0].ask("PUT", path, b"late").status == 204
        assert skewed.nodes[2].ask("DELETE", path).status == 204
        for reader in skewed.nodes:
            check_problem(reader.ask("GET", path + "?r=all"), 404)


def test_nodes_come_back_with_wrong_clocks(skewed: RealCluster) -> None:
    for number in range(30):
        path = f"/v1/kv/clocks/{number}"
        assert skewed.nodes[number % 3].ask("PUT", path, b"v").status == 204
    skewed.kill()
    for node in skewed.nodes:
        seconds = -float(node.environment["TEST_CLOCK_SHIFT"])
        node.environment["TEST_CLOCK_SHIFT"] = str(seconds)  # all jump, one back by a minute
        node.start()
    skewed.wait_ready()
    for number in range(30):
        path = f"/v1/kv/clocks/{number}"
        assert siblings_of(skewed.nodes[(number + 1) % 3].ask("GET", path)) == [b"v"]
        assert skewed.nodes[(number + 2) % 3].ask("PUT", path, b"w").status == 204
        for reader in skewed.nodes:
            assert siblings_of(reader.ask("GET", path)) == [b"w"]
