"""``sadik-sim study``: files that people and programs can read, from the command line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sadik_sim.study.command import study
from sadik_sim.study.results import TABLES

pytestmark = pytest.mark.system

TINY = """
title = "Tiny"
seconds = 4
samples = 1000
[sites.here]
nodes = 3
[workload]
per_second = 40
keys = 10
probes = 20
probe_ms = 10
[[settings]]
r = [1, 2]
w = 1
"""

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("trio", "socket", "_socket", "lmdb"):
            raise ImportError(f"{name} is blocked")
        return None

for name in ("trio", "socket", "_socket", "lmdb"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
from sadik_sim.cli import main
main()
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_without_an_argument_the_shipped_studies_are_listed() -> None:
    result = CliRunner().invoke(study, [])
    assert result.exit_code == 0
    assert "three-continents   Three continents" in result.output


def test_a_study_writes_json_and_csv_and_says_what_matters(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(study, [str(tiny), "--out", str(out), "--jobs", "1", "--no-plots"])
    assert result.exit_code == 0, result.output
    assert "N=3 R=1 W=1 sloppy" in result.output
    assert "predicted t-visibility is off by" in result.output
    report = json.loads((out / "results.json").read_text())
    assert [one["label"] for one in report["settings"]] == [
        "N=3 R=1 W=1 sloppy",
        "N=3 R=2 W=1 sloppy",
    ]
    for table in TABLES:
        with (out / f"{table}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows, table
        assert {row["setting"] for row in rows} == {one["label"] for one in report["settings"]}


def test_several_processes_find_the_same(tiny: Path, tmp_path: Path) -> None:
    found = []
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        command = [str(tiny), "--out", str(out), "--jobs", jobs, "--no-plots"]
        assert CliRunner().invoke(study, command).exit_code == 0
        found.append((out / "results.json").read_bytes())
    assert found[0] == found[1]


def test_a_mistake_in_a_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.replace("nodes = 3", "nodes = 3\ncolour = 1"))
    result = CliRunner().invoke(study, [str(path)])
    assert result.exit_code == 1
    assert result.output == "Error: wrong.sites.here: nobody knows colour\n"


def test_links_that_let_no_cluster_form_are_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mars.toml"
    far = TINY.replace("nodes = 3", 'nodes = 3\nwithin = { shape = "fixed", ms = 60000 }')
    path.write_text(far)
    result = CliRunner().invoke(study, [str(path), "--out", str(tmp_path / "out"), "--jobs", "1"])
    assert result.exit_code == 1
    assert "the cluster did not form: are the links of the study too slow?" in result.output


def test_it_runs_with_trio_sockets_and_lmdb_out_of_reach(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = subprocess.run(
        [sys.executable, "-c", BLOCKED, "study", str(tiny), "--out", str(out), "--jobs", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert (out / "results.json").exists()
