"""The benchmark of what a request costs counts what crosses between nodes; times are not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "request_cost.py"


@pytest.mark.system
def test_every_kind_of_request_is_counted_alone(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(PROGRAM), "--requests", "120", "--rounds", "1"]
    told = subprocess.run(
        [*command, "--json", str(figures)], capture_output=True, text=True, check=True
    )
    costs = json.loads(figures.read_text("utf-8"))["costs"]
    assert all(name in told.stdout for name in costs)
    assert all(cost["engine"] > 0 and cost["turns"] > 0 for cost in costs.values())
    sent = {name: cost["messages"] for name, cost in costs.items()}
    # A node that holds a replica itself asks one other; a write goes to two others, and two thirds
    # enter where they are not coordinated; about every other of those is answered by who was asked,
    # which is a message less. A delete reads before.
    assert sent["get, R=1"] == 0
    assert sent["get, R=2"] == 2
    assert 4 < sent["put, W=2"] < 6
    assert abs(sent["delete"] - sent["put, W=2"] - 2) < 0.3
    # A batch is no hundred requests: each of the other four nodes is asked once, and answers once.
    assert sent["100 gets in a batch"] == 8
    assert sent["100 puts in a batch"] < 40
    assert costs["put, W=2"]["bytes"] > 2 * 100
