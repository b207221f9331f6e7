"""``staleness``: what the measured times mean for R and W."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from sadik_node.cli.root import cli
from sadik_node.cli.scrapes import quantile
from sadik_node.cli.staleness import advice
from sadik_node.testing import Cluster, start_cluster

INFINITY = float("inf")


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    buckets = {0.1: 50.0, 1.0: 99.0, INFINITY: 100.0}
    assert quantile(buckets, 0.5) == 0.1
    assert quantile(buckets, 0.99) == 1.0
    assert quantile(buckets, 0.999) == INFINITY
    assert quantile({INFINITY: 0.0}, 0.5) is None


def test_settings_that_overlap_miss_nothing_and_wait_for_more() -> None:
    copies = {
        "first": {0.001: 100.0, 0.01: 100.0, 0.1: 100.0, INFINITY: 100.0},
        "majority": {0.001: 0.0, 0.01: 100.0, 0.1: 100.0, INFINITY: 100.0},
        "last": {0.001: 0.0, 0.01: 0.0, 0.1: 100.0, INFINITY: 100.0},
    }
    found = {(each["r"], each["w"]): each for each in advice(copies, 3)}
    assert found["one", "one"] == {"r": "one", "w": "one", "write_p99_s": 0.001,
                                   "misses_for_s": 0.1}  # fmt: skip
    assert found["quorum", "one"]["misses_for_s"] == 0.1
    assert found["quorum", "quorum"]["misses_for_s"] == 0
    assert found["quorum", "quorum"]["write_p99_s"] == 0.01
    assert found["one", "all"]["misses_for_s"] == 0
    assert found["one", "all"]["write_p99_s"] == 0.1
    alone = {(each["r"], each["w"]): each for each in advice(copies, 1)}
    assert all(each["misses_for_s"] == 0 for each in alone.values())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with start_cluster(nodes=3) as cluster:
        yield cluster


def ask(cluster: Cluster, *arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--node", cluster.urls[0]])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.system
def test_writes_are_measured_until_the_last_owner_has_them_late_ones_too(cluster: Cluster) -> None:
    for number in range(20):
        ask(cluster, "put", "b", str(number), "v", "--w", "all")
    found = json.loads(ask(cluster, "staleness", "--json"))
    assert [found["copies"][copy]["count"] for copy in ("first", "majority", "last")] == [20] * 3
    assert 0 < found["copies"]["first"]["p50_s"] <= found["copies"]["last"]["p99_s"]
    cluster.isolate("n3")
    cluster.wait_until_noticed()
    for number in range(20):
        ask(cluster, "put", "b", str(number), "w")
    cluster.heal()
    cluster.wait_until_ready()
    cluster.wait_until_hints_drained()
    found = json.loads(ask(cluster, "staleness", "--json"))
    assert found["copies"]["last"]["count"] == 20, "n3 was away"
    assert found["copies"]["majority"]["count"] == 40
    assert found["late"]["hint"]["count"] >= 20
    shown = ask(cluster, "staleness")
    assert "may miss it for" in shown
    assert "sees it" in shown
