"""The benchmark measures what it says, of both systems; its figures are not judged here."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_benchmark_measures_both_and_tells_the_ratio(
    tmp_path: Path, require_program: Callable[..., str]
) -> None:
    require_program("wrk", package="wrk")
    require_program("etcd", package="etcd-server")
    figures = tmp_path / "figures.json"
    small = ["--pairs", "2", "--seconds", "1", "--connections", "3", "--keys", "300"]
    places = ["--dir", str(tmp_path / "disk"), "--json", str(figures)]
    told = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "bench.py"), *small, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    rows = json.loads(figures.read_text("utf-8"))["rows"]
    assert [row["operation"] for row in rows] == ["put", "get", "get-one"]
    for row in rows:
        for system in ("sadik", "etcd"):
            assert len(row["runs"][system]) == 2
            for run in row["runs"][system]:
                assert run["requests"] > 0
                assert (run["refused"], run["broken"]) == (0, 0)
                assert 0 < run["p50_ms"] <= run["p99_ms"] <= run["p999_ms"] <= run["max_ms"]
                assert run["servers_us"] > 0
                assert run["generator_us"] > 0
        assert len(row["ratios"]) == 2
        assert all(ratio > 0 for ratio in row["ratios"])
    assert list((tmp_path / "disk").iterdir()) == [], "nothing is left behind"
