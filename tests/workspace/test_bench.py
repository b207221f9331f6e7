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

from baseline import BASELINES, file_of  # noqa: E402 - after the path to it
from compare import chance, compare, main  # noqa: E402
from machine import kind  # noqa: E402


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


def baseline_of(directory: Path, commit: str, day: int, kind: str, ratios: list[float]) -> None:
    about = {"commit": commit, "at": f"2026-01-{day:02}T00:00:00Z", "kind": kind}
    document = {**document_of(ratios), "about": about}
    file_of(about, directory).write_text(json.dumps(document), "utf-8")


def test_a_run_is_compared_with_the_newest_baseline_of_such_a_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = [1.02, 1.08, 0.92, 1.01, 0.97]
    ours = "2 cores of 2.5 GHz, x86_64"
    stored = tmp_path / "baselines"
    stored.mkdir()
    after = tmp_path / "after.json"
    about = {"commit": "ccc", "at": "2026-01-09T00:00:00Z", "kind": ours}
    after.write_text(json.dumps({**document_of([x / 2 for x in usual]), "about": about}), "utf-8")
    baseline_of(stored, "zzz", 7, "64 cores of 3.0 GHz, x86_64", usual)
    baseline_of(stored, "ccc", 8, ours, usual)

    assert main([str(after)], stored) == 2
    assert f"no baseline of {ours}" in capsys.readouterr().err

    baseline_of(stored, "bbb", 2, ours, usual)
    baseline_of(stored, "aaa", 1, ours, [x / 2 for x in usual])
    assert main([str(after)], stored) == 1
    told = capsys.readouterr().out
    assert "2026-01-02-bbb.json" in told
    assert "slower" in told


def test_a_baseline_belongs_to_a_commit() -> None:
    about = {"commit": "v1-3-gabc-dirty", "at": "2026-01-02T03:04:05Z"}
    with pytest.raises(ValueError, match="commit them, or name a file"):
        file_of(about)
    assert file_of({**about, "commit": "v1-3-gabc"}) == BASELINES / "2026-01-02-v1-3-gabc.json"


def test_every_baseline_can_be_compared() -> None:
    for file in BASELINES.glob("*.json"):
        document = json.loads(file.read_text("utf-8"))
        assert file_of(document["about"]) == file
        assert document["about"]["kind"]
        assert compare(document, document)


def test_a_kind_of_machine_is_told_by_its_cores() -> None:
    assert re.fullmatch(r"\d+ cores( of \d+\.\d GHz)?, \w+", kind())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_costs_are_told_by_size(tmp_path: Path) -> None:
    figures = tmp_path / "scale.json"
    small = ["--most-nodes", "3", "--most-keys", "10000", "--most-bytes", "10240"]
    small += ["--most-siblings", "2", "--requests", "60", "--dir", str(tmp_path / "disk")]
    program = str(ROOT / "benchmarks" / "scale.py")
    subprocess.run([sys.executable, program, *small, "--json", str(figures)], check=True)
    found = json.loads(figures.read_text("utf-8"))
    sizes = {name: [row[key] for row in found[name]["figures"]] for name, key in (
        ("nodes", "nodes"), ("keys", "keys"), ("values", "value_bytes"), ("siblings", "siblings"),
    )}  # fmt: skip
    assert sizes == {
        "nodes": [3], "keys": [10_000], "values": [100, 1024, 10_240], "siblings": [1, 2],
    }  # fmt: skip
    for row in found["nodes"]["figures"]:
        assert all(cost["us"] > 0 for cost in [*row["requests"].values(), *row["idle"].values()])
    puts = [row["put"]["bytes"] for row in found["values"]["figures"]]
    assert puts == sorted(puts)
    assert list((tmp_path / "disk").iterdir()) == [], "nothing is left behind"
