"""Small studies, run whole: what is promised of quorums shows in what is measured."""

import os
import subprocess
import sys
from functools import cache

import pytest

from sadik_sim.study import SettingReport, Study, report_of, run_study, study_from_text
from sadik_sim.study.results import as_json

pytestmark = pytest.mark.system

SITES = """
seconds = {seconds}
samples = 4000
hedge_ms = {hedge_ms}
[sites.a]
nodes = 2
[sites.b]
nodes = 2
[sites.c]
nodes = 2
[[links]]
between = ["a", "b"]
delay = {{ shape = "loglogistic", median_ms = 20, p99_ms = 30 }}
[[links]]
between = ["a", "c"]
delay = {{ shape = "loglogistic", median_ms = 40, p99_ms = 60 }}
[[links]]
between = ["b", "c"]
delay = {{ shape = "loglogistic", median_ms = 40, p99_ms = 60 }}
[workload]
per_second = {per_second}
keys = 100
zipf = 0
writes = "{writes}"
clients = "owner"
probes = 6
probe_ms = 100
"""

CUT = """
[[incidents]]
kind = "cut"
site = "c"
at_s = 3
for_s = 8
"""


def setting(r: int, w: int, *, strict: bool = True) -> str:
    return f"[[settings]]\nr = {r}\nw = {w}\nstrict = {str(strict).lower()}\n"


def text_of(*parts: str, writes: str = "update", seconds: int = 8, per_second: int = 30) -> str:
    head = SITES.format(seconds=seconds, hedge_ms=300, writes=writes, per_second=per_second)
    return head + "".join(parts)


@cache
def reported(text: str) -> tuple[Study, list[SettingReport]]:
    study = study_from_text(text, "small")
    return study, report_of(study, run_study(study))


def fresh_share(report: SettingReport, phase: str = "calm") -> float:
    share = next(row for row in report.versions if row["phase"] == phase)["share"]
    assert isinstance(share, float)
    return share


def slowest_median_ms(report: SettingReport, kind: str) -> float:
    medians = [row["p50_ms"] for row in report.latency if row["kind"] == kind]
    return max(median for median in medians if isinstance(median, float))


def availability(report: SettingReport, site: str, kind: str, phase: str) -> float:
    for row in report.availability:
        if (row["site"], row["kind"], row["phase"]) == (site, kind, phase):
            assert isinstance(row["share"], float)
            return row["share"]
    raise AssertionError("no such row")


def test_one_replica_is_fast_and_stale_and_overlapping_quorums_are_slow_and_fresh() -> None:
    _, (one, two) = reported(text_of(setting(1, 1), setting(2, 2)))
    assert slowest_median_ms(one, "read") < 1
    assert slowest_median_ms(one, "write") < 5
    assert fresh_share(one) < 0.9
    assert slowest_median_ms(two, "read") > 60
    assert slowest_median_ms(two, "write") > 60
    assert fresh_share(two) == 1


@pytest.mark.parametrize("writes", ["update", "blind"])
def test_predicted_and_measured_staleness_agree(writes: str) -> None:
    _, (report,) = reported(text_of(setting(1, 1), writes=writes, seconds=25))
    measured, expected, reads = 0.0, 0.0, 0
    for row in report.visibility:
        assert isinstance(row["reads"], int)
        assert isinstance(row["fresh"], int)
        if row["reads"] and row["to_ms"] is not None:
            assert isinstance(row["predicted"], float)
            reads += row["reads"]
            measured += row["fresh"]
            expected += row["predicted"] * row["reads"]
    assert reads > 1000
    assert measured / reads == pytest.approx(expected / reads, abs=0.05)
    assert measured / reads < 0.95, "where nothing is stale, nothing is compared"


def test_predicted_and_measured_latencies_agree() -> None:
    # All replicas: with two of three the median lies between two sites and means little.
    _, reports = reported(text_of(setting(1, 1), setting(3, 3)))
    for report in reports:
        for row in report.latency:
            measured, expected = row["p50_ms"], row["predicted_p50_ms"]
            assert measured == pytest.approx(expected, rel=0.1, abs=1)


def test_a_cut_off_site_goes_on_with_sloppy_quorums_and_not_with_strict_ones() -> None:
    text = text_of(CUT, setting(2, 2), setting(2, 2, strict=False), seconds=14, per_second=20)
    _, (strict, sloppy) = reported(text)
    during = "c cut off"
    assert availability(strict, "c", "write", during) < 0.1
    assert availability(strict, "a", "write", during) > 0.95
    assert availability(sloppy, "c", "write", during) > 0.9
    assert availability(sloppy, "a", "write", during) > 0.95
    assert fresh_share(strict, during) == 1
    assert fresh_share(sloppy, during) < 0.9
    for report in (strict, sloppy):
        # A single one of eight was under way when the site was cut off.
        assert availability(report, "c", "write", "calm") > 0.8
        assert availability(report, "c", "write", "after 11 s") > 0.9
        assert report.cost["repair_bytes"], "hints were delivered"


def test_nothing_is_predicted_of_a_cluster_in_which_something_is_wrong() -> None:
    text = text_of(CUT, setting(2, 2), setting(2, 2, strict=False), seconds=14, per_second=20)
    _, (report, _) = reported(text)
    for row in report.visibility:
        assert row["predicted"] is None or row["phase"] == "calm"


def test_a_slow_disk_is_hidden_by_a_quorum_only_where_it_does_not_coordinate() -> None:
    slow = """
[[incidents]]
kind = "slow_disk"
site = "b"
at_s = 2
for_s = 6
sync = { shape = "fixed", ms = 50 }
"""
    _, (one, every) = reported(text_of(slow, setting(1, 1), setting(1, 3)))
    medians = {
        (report.setting.w, row["site"]): row["p50_ms"]
        for report in (one, every)
        for row in report.latency
        if row["phase"] == "slow disk at b" and row["kind"] == "write"
    }
    assert medians[1, "a"] < 5  # type: ignore[operator]
    assert medians[1, "b"] >= 50  # type: ignore[operator]
    assert medians[3, "a"] > 90  # type: ignore[operator]


def test_clients_of_a_crashed_site_are_turned_away_until_it_is_back() -> None:
    crash = '[[incidents]]\nkind = "crash"\nsite = "b"\nat_s = 2\nfor_s = 3\n'
    pause = '[[incidents]]\nkind = "pause"\nsite = "c"\nnodes = 1\nat_s = 9\nfor_s = 1\n'
    _, (report,) = reported(
        text_of(crash, pause, setting(1, 2, strict=False), seconds=12, per_second=10)
    )
    assert availability(report, "b", "write", "b down") < 0.1
    assert availability(report, "a", "write", "b down") > 0.8
    assert availability(report, "b", "write", "after 5 s") > 0.7
    assert availability(report, "a", "write", "after 10 s") == 1


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_one_seed_gives_one_report_in_any_process(hash_seed: str) -> None:
    text = text_of(CUT, setting(1, 2, strict=False), seconds=5, per_second=10)
    study, reports = reported(text)
    code = (
        "import sys\n"
        "from sadik_sim.study import report_of, run_study, study_from_text\n"
        "from sadik_sim.study.results import as_json\n"
        "study = study_from_text(sys.stdin.read(), 'small')\n"
        "print(as_json(study, report_of(study, run_study(study))))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    assert answer.stdout.rstrip("\n") == as_json(study, reports)
