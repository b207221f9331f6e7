"""The benchmark measures what it says, of both systems; its figures are not judged here."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_RATIO = re.compile(
    r"^ +(put|get|get-one) +(kept|new) +100 .* [0-9.]+ \([0-9.]+ to [0-9.]+\) ", re.MULTILINE
)
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from compare import chance, main  # noqa: E402 - after the path to it


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_benchmark_measures_both_and_tells_the_ratio(
    tmp_path: Path, require_program: Callable[..., str]
) -> None:
    require_program("wrk", package="wrk")
    require_program("etcd", package="etcd-server")
    figures = tmp_path / "figures.json"
    rows_wanted = ["put", "get", "get-one", "ycsb-a", "batch-put", "put-interval"]
    small = ["--rows", ",".join([*rows_wanted, "failover"]), "--pairs", "2", "--seconds", "1"]
    small += ["--connections", "3", "--keys", "300"]
    places = ["--dir", str(tmp_path / "disk"), "--json", str(figures)]
    told = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "bench.py"), *small, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    document = json.loads(figures.read_text("utf-8"))
    rows = document["rows"]
    assert [row["case"] for row in rows] == rows_wanted
    for system in ("sadik", "etcd"):
        assert len(document["failover"][system]) == 2
        assert all(kill["wait_ms"] > 0 for kill in document["failover"][system])
    assert set(itertools.chain(*(kill["errors"] for kill in document["failover"]["sadik"]))) <= {
        "cut",
        "504",
    }
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


def document_of(ratios: list[float]) -> dict[str, object]:
    row = {"case": "put", "connections": 64, "ratios": ratios, "runs": {"sadik": []}}
    return {"about": {}, "rows": [row]}


def test_chance_counts_every_order() -> None:
    assert chance([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)
    assert chance([1.0, 1.0], [1.0, 1.0]) == 1.0
    naive = [1.0, 3.0, 2.0, 5.0], [4.0, 6.0, 7.0]
    # By hand: ranks 1, 3, 2 and 5 of seven; five of the 35 orders are as far from the middle.
    assert chance(*naive) == pytest.approx(
        sum(abs(sum(o) - 16) >= 5 for o in itertools.combinations(range(1, 8), 4)) / 35
    )
    with pytest.raises(ValueError, match="needs 1 to"):
        chance([], [1.0])


@pytest.mark.parametrize(
    ("after", "verdict", "status"),
    [
        ([1.0, 1.1, 0.9, 1.05, 0.95], "no change", 0),
        ([0.5, 0.55, 0.45, 0.52, 0.48], "slower", 1),
        ([2.0, 2.1, 1.9, 2.05, 1.95], "faster", 0),
    ],
)
def test_compare_tells_noise_from_change(
    after: list[float],
    verdict: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    before = [1.02, 1.08, 0.92, 1.01, 0.97]
    for file, ratios in zip(files, (before, after), strict=True):
        file.write_text(json.dumps(document_of(ratios)), "utf-8")
    assert main([str(file) for file in files]) == status
    assert verdict in capsys.readouterr().out


@pytest.mark.slow
def test_the_cost_of_tls_for_clients_is_told_of_kept_and_of_new_connections(
    require_program: Callable[..., str],
) -> None:
    require_program("wrk", package="wrk")
    small = ["--pairs", "1", "--seconds", "1", "--connections", "3", "--keys", "100"]
    told = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "tls.py"), "clients", *small, "--bytes", "100"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    operations = ["put", "get", "get-one"]
    assert _RATIO.findall(told.stdout) == [
        (operation, kind) for kind in ("kept", "new") for operation in operations
    ]
