"""What an operator's Prometheus and the code that counts are promised."""

import subprocess
import timeit
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sadik_metrics import CONTENT_TYPE, FAMILIES, Family, Histogram, Kind, NodeMetrics

# CONTRACT "Metrics": at least these, with these labels.
CONTRACT = {
    "sadik_requests_total": {"op", "outcome"},
    "sadik_request_duration_seconds": {"op"},
    "sadik_replica_requests_total": {"op", "outcome"},
    "sadik_siblings": set(),
    "sadik_members": {"state"},
    "sadik_partitions_owned": set(),
    "sadik_hints_pending": set(),
    "sadik_hints_bytes": set(),
    "sadik_read_repairs_total": set(),
    "sadik_anti_entropy_rounds_total": set(),
    "sadik_anti_entropy_repaired_total": set(),
    "sadik_transfers_active": set(),
    "sadik_tombstones": set(),
    "sadik_store_commit_seconds": set(),
    "sadik_store_keys": set(),
    "sadik_store_bytes": set(),
    "sadik_rejected_total": {"reason"},
    "sadik_build_info": {"version"},
}


def samples(metrics: NodeMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample as a Prometheus server reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def value(metrics: NodeMetrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_every_family_of_the_contract_is_there_before_anything_happened() -> None:
    found: dict[str, set[str]] = {}
    for name, labels in samples(NodeMetrics("1.2.3")):
        base = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        found.setdefault(base, set()).update(key for key, _ in labels if key != "le")
    for name, label_names in CONTRACT.items():
        assert found[name] == label_names, name


def test_the_version_is_told() -> None:
    assert value(NodeMetrics("1.2.3"), "sadik_build_info", version="1.2.3") == 1


def test_what_was_bumped_is_scraped() -> None:
    metrics = NodeMetrics("1")
    metrics.requests["get", "ok"] += 3
    metrics.rejected["not_ready"] += 1
    metrics.read_repairs += 2
    metrics.hints_pending = 5
    metrics.members["up"] = 4
    metrics.request_duration_seconds["put"].observe(0.002)
    assert value(metrics, "sadik_requests_total", op="get", outcome="ok") == 3
    assert value(metrics, "sadik_requests_total", op="put", outcome="ok") == 0
    assert value(metrics, "sadik_rejected_total", reason="not_ready") == 1
    assert value(metrics, "sadik_read_repairs_total") == 2
    assert value(metrics, "sadik_hints_pending") == 5
    assert value(metrics, "sadik_members", state="up") == 4
    assert value(metrics, "sadik_request_duration_seconds_count", op="put") == 1
    assert value(metrics, "sadik_request_duration_seconds_bucket", op="put", le="0.001") == 0
    assert value(metrics, "sadik_request_duration_seconds_bucket", op="put", le="0.0025") == 1


def test_a_label_value_outside_the_closed_set_is_an_error_not_a_series() -> None:
    metrics = NodeMetrics("1")
    with pytest.raises(KeyError):
        metrics.requests["get", "some-key-of-a-client"] += 1
    metrics.read("members", lambda: {"zombie": 1})
    with pytest.raises(KeyError, match="sadik_members has no series"):
        metrics.exposition()


def test_a_source_is_asked_at_each_scrape_and_what_it_leaves_out_is_zero() -> None:
    metrics = NodeMetrics("1")
    keys = iter((10, 11))
    metrics.read("store_keys", lambda: next(keys))
    metrics.read("members", lambda: {"up": 2})
    metrics.read("replica_requests", lambda: {("read", "ok"): 7})
    first = samples(metrics)
    assert first["sadik_store_keys", frozenset()] == 10
    assert first["sadik_members", frozenset({("state", "up")})] == 2
    assert first["sadik_members", frozenset({("state", "down")})] == 0
    read_ok = frozenset({("op", "read"), ("outcome", "ok")})
    assert first["sadik_replica_requests_total", read_ok] == 7
    assert value(metrics, "sadik_store_keys") == 11


def test_binding_a_source_to_what_is_not_there_fails_at_once() -> None:
    metrics = NodeMetrics("1")
    with pytest.raises(KeyError):
        metrics.read("stor_keys", lambda: 1)
    with pytest.raises(ValueError, match="histogram"):
        metrics.read("siblings", lambda: 1)


def test_nodes_in_one_process_count_apart() -> None:
    one, other = NodeMetrics("1"), NodeMetrics("1")
    one.requests["put", "ok"] += 1
    one.siblings.observe(1)
    assert value(other, "sadik_requests_total", op="put", outcome="ok") == 0
    assert value(other, "sadik_siblings_count") == 0


def test_the_process_itself_is_measured() -> None:
    found = samples(NodeMetrics("1"))
    assert found["process_resident_memory_bytes", frozenset()] > 0
    assert ("process_open_fds", frozenset()) in found


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_its_figures(family: Family) -> None:
    figures = getattr(NodeMetrics("1"), family.attribute)
    keys = figures if isinstance(figures, dict) else [()]
    assert {(key,) if isinstance(key, str) else key for key in keys} == set(family.label_values())
    assert (family.kind is Kind.COUNTER) == family.name.endswith("_total")
    assert bool(family.bounds) == (family.kind is Kind.HISTOGRAM)


def test_no_figure_is_without_a_family() -> None:
    public = {field.name for field in attrs.fields(NodeMetrics) if not field.name.startswith("_")}
    assert public - {"version"} == {family.attribute for family in FAMILIES}


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_a_histogram_counts_like_its_definition(observed: list[float]) -> None:
    bounds = (0.5, 1.0, 100.0)
    histogram = Histogram(bounds)
    for each in observed:
        histogram.observe(each)
    for index, bound in enumerate(bounds):
        at_most = sum(1 for each in observed if each <= bound)
        assert sum(histogram.counts[: index + 1]) == at_most
    assert histogram.count == len(observed)
    assert histogram.sum == pytest.approx(sum(observed))


def test_observing_is_cheap_enough_for_every_request() -> None:
    # A ratio to an empty call, so that the machine's speed does not matter: a library histogram
    # with labels is some 30 such calls.
    def nothing(value: float) -> None:
        pass

    observe = Histogram(FAMILIES[1].bounds).observe
    base = min(timeit.repeat(lambda: nothing(0.003), number=20_000, repeat=5))
    cost = min(timeit.repeat(lambda: observe(0.003), number=20_000, repeat=5))
    assert cost < 15 * base


def test_prometheus_finds_no_fault(require_program: Callable[..., str]) -> None:
    promtool = require_program("promtool", package="prometheus")
    metrics = NodeMetrics("0.1.0")
    metrics.requests["get", "ok"] += 1
    metrics.siblings.observe(2)
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=metrics.exposition(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_content_type_names_the_text_format() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
