"""``/metrics`` after some traffic: what the contract lists is there, and Prometheus likes it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from real_cluster import RealCluster, RealNode, eventually

COUNTERS = {
    "sadik_requests_total": {"op", "outcome"},
    "sadik_replica_requests_total": {"op", "outcome"},
    "sadik_read_repairs_total": set(),
    "sadik_anti_entropy_rounds_total": set(),
    "sadik_anti_entropy_repaired_total": set(),
    "sadik_rejected_total": {"reason"},
}
GAUGES = {
    "sadik_members": {"state"},
    "sadik_partitions_owned": set(),
    "sadik_hints_pending": set(),
    "sadik_hints_bytes": set(),
    "sadik_transfers_active": set(),
    "sadik_tombstones": set(),
    "sadik_store_keys": set(),
    "sadik_store_bytes": set(),
    "sadik_build_info": {"version"},
}
HISTOGRAMS = {
    "sadik_request_duration_seconds": {"op"},
    "sadik_siblings": set(),
    "sadik_store_commit_seconds": set(),
}
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def scrape(node: RealNode) -> tuple[dict[str, str], dict[str, list[tuple[dict[str, str], float]]]]:
    """The families' types, and all samples by name."""
    text = node.ask("GET", "/metrics").body.decode()
    kinds: dict[str, str] = {}
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("#"):
            found = SAMPLE.fullmatch(line)
            assert found, line
            labels = dict(LABEL.findall(found[2] or ""))
            samples.setdefault(found[1], []).append((labels, float(found[3])))
    return kinds, samples


def total(node: RealNode, name: str, **labels: str) -> float:
    """The sum over the samples that bear these labels."""
    found = scrape(node)[1][name]
    return sum(value for each, value in found if labels.items() <= each.items())


@pytest.fixture(scope="module")
def busy(shared: RealCluster) -> RealCluster:
    """Every node has served reads, writes, deletes, listings, siblings and refusals."""
    for number in range(60):
        node = shared.nodes[number % 3]
        path = f"/v1/kv/metrics/{number % 7}"
        assert node.ask("PUT", path, b"value").status == 204
        assert node.ask("GET", path).status == 200
        assert node.ask("GET", path + "?r=0").status == 400
        assert node.ask("GET", "/v1/kv/metrics").status == 200
        assert node.ask("DELETE", path).status == 204
        assert node.ask("GET", path).status == 404
    return shared


def test_promtool_finds_no_fault(busy: RealCluster, require_program: Callable[..., str]) -> None:
    promtool = require_program("promtool", package="prometheus")
    for node in busy.nodes:
        answer = node.ask("GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        result = subprocess.run(
            [promtool, "check", "metrics"], input=answer.body, capture_output=True, check=False
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("kind", "families"),
    [("counter", COUNTERS), ("gauge", GAUGES), ("histogram", HISTOGRAMS)],
    ids=["counters", "gauges", "histograms"],
)
def test_everything_that_the_contract_lists_is_there(
    busy: RealCluster, kind: str, families: dict[str, set[str]]
) -> None:
    for node in busy.nodes:
        kinds, samples = scrape(node)
        for name, labels in families.items():
            assert kinds[name] == kind, name
            sampled = samples[f"{name}_count" if kind == "histogram" else name]
            assert sampled, name
            assert all(each.keys() == labels for each, _ in sampled), (name, sampled)


def test_no_label_holds_a_key_or_a_bucket(busy: RealCluster) -> None:
    node = busy.nodes[0]

    def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        _, samples = scrape(node)
        return {
            (name, tuple(sorted(labels.items())))
            for name, each in samples.items()
            for labels, _ in each
        }

    before = series()
    for number in range(50):
        path = f"/v1/kv/bucket-{number}/key-{number}"
        assert node.ask("PUT", path, b"v").status == 204
        assert node.ask("GET", path).status == 200
        assert node.ask("GET", f"/v1/kv/bucket-{number}").status == 200
    assert series() == before


def test_figures_move_with_what_happens(busy: RealCluster) -> None:
    node = busy.nodes[0]
    names = ("sadik_store_commit_seconds_count", "sadik_store_keys")
    puts = total(node, "sadik_requests_total", op="put", outcome="ok")
    refused = total(node, "sadik_rejected_total")
    before = [total(node, name) for name in names]
    for number in range(20):
        assert node.ask("PUT", f"/v1/kv/moves/{number}?w=all", b"v").status == 204
        assert node.ask("PUT", f"/v1/kv/moves/{number}?w=0", b"v").status == 400
    assert total(node, "sadik_requests_total", op="put", outcome="ok") == puts + 20
    assert total(node, "sadik_rejected_total") == refused + 20
    # Counting the store's keys may lag behind.
    eventually(
        10,
        lambda: all(total(node, name) > was for name, was in zip(names, before, strict=True)),
        "commits and keys are counted",
    )
    assert total(node, "sadik_members", state="up") == 3
    assert total(node, "sadik_partitions_owned") == 256
