"""The figures of one node: plain numbers that hot code bumps and a scrape reads.

``metrics.requests["get", "ok"] += 1`` is a dictionary access and an addition, about 0.1 µs; the
library's labelled counters cost 1.3 to 3 µs. Everything that Prometheus needs besides the numbers
is made at scrape time from the table in `sadik_metrics.families`. Every series is there from the
start, at 0, and a label value that the table does not know is a KeyError: label sets stay bounded.

What is cheaper to ask for than to count (keys in the store, members by state, an engine's own
counters) is bound with `NodeMetrics.read` as a function that a scrape calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from attrs import define, field
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sadik_metrics.families import FAMILIES, Family, Kind
from sadik_metrics.histogram import Histogram

__all__ = ["CONTENT_TYPE", "Buckets", "Figures", "HistogramSource", "NodeMetrics", "Source"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `NodeMetrics.exposition`."""

Figures = (
    Mapping[tuple[str, str], float] | Mapping[tuple[str, ...], float] | Mapping[str, float] | float
)
"""A number, or numbers by label value (a tuple of them where the family has several labels)."""

Source = Callable[[], Figures]
"""Called at every scrape, on the thread that scrapes; it must be cheap and not fail."""


class Buckets(Protocol):
    """What a histogram has, whoever counts it; as `sadik_metrics.Histogram`."""

    @property
    def bounds(self) -> tuple[float, ...]: ...
    @property
    def counts(self) -> list[int]: ...
    @property
    def sum(self) -> float: ...


HistogramSource = Callable[[], Mapping[str, Buckets]]
"""Called at every scrape: a histogram for each value of its family's one label."""

_BY_ATTRIBUTE = {family.attribute: family for family in FAMILIES}


def _pairs(attribute: str) -> dict[tuple[str, str], int]:
    op_values, outcome_values = _BY_ATTRIBUTE[attribute].labels.values()
    return dict.fromkeys(itertools.product(op_values, outcome_values), 0)


def _by_label(attribute: str) -> dict[str, int]:
    (values,) = _BY_ATTRIBUTE[attribute].labels.values()
    return dict.fromkeys(values, 0)


def _zeros(attribute: str) -> dict[str, float]:
    return dict.fromkeys(_by_label(attribute), 0.0)


def _histogram(attribute: str) -> Histogram:
    return Histogram(_BY_ATTRIBUTE[attribute].bounds)


def _histograms(attribute: str) -> dict[str, Histogram]:
    family = _BY_ATTRIBUTE[attribute]
    return {value: Histogram(family.bounds) for (value,) in family.label_values()}


@define(slots=True)
class NodeMetrics:
    """All figures of one node. ``version`` is shown as ``sadik_build_info``.

    There is no global registry: nodes that share a process have one of these each. It is not
    locked: bump and scrape on one thread.
    """

    version: str
    requests: dict[tuple[str, str], int] = field(factory=lambda: _pairs("requests"))
    """By operation and outcome."""
    batch_operations: dict[tuple[str, str], int] = field(factory=lambda: _pairs("batch_operations"))
    """By operation and outcome."""
    request_duration_seconds: dict[str, Histogram] = field(
        factory=lambda: _histograms("request_duration_seconds")
    )
    """By operation."""
    write_copy_seconds: dict[str, Histogram] = field(
        factory=lambda: _histograms("write_copy_seconds")
    )
    """By copy."""
    late_copy_age_seconds: dict[str, Histogram] = field(
        factory=lambda: _histograms("late_copy_age_seconds")
    )
    """By what brought it."""
    replica_requests: dict[tuple[str, str], int] = field(factory=lambda: _pairs("replica_requests"))
    """By operation and outcome."""
    rejected: dict[str, int] = field(factory=lambda: _by_label("rejected"))
    """By reason."""
    siblings: Histogram = field(factory=lambda: _histogram("siblings"))
    value_bytes: Histogram = field(factory=lambda: _histogram("value_bytes"))
    http_received_bytes: int = 0
    http_sent_bytes: int = 0
    requests_open: int = 0
    http_connections: int = 0
    ready: int = 0
    members: dict[str, int] = field(factory=lambda: _by_label("members"))
    """By state."""
    partitions_owned: int = 0
    ring_epoch: int = 0
    hints_pending: int = 0
    hints_bytes: int = 0
    hints_delivered: int = 0
    hints_dropped: int = 0
    hedged_reads: int = 0
    read_repairs: int = 0
    damaged_records: int = 0
    scrubs: int = 0
    anti_entropy_rounds: int = 0
    anti_entropy_differences: int = 0
    anti_entropy_repaired: int = 0
    anti_entropy_bytes: int = 0
    anti_entropy_races: int = 0
    transfers_active: int = 0
    transferred_records: int = 0
    tombstones: int = 0
    reaped: int = 0
    reap_generation: int = 0
    reaping_waits_for: int = 0
    foreign_handed_off: int = 0
    store_commit_seconds: Histogram = field(factory=lambda: _histogram("store_commit_seconds"))
    store_commit_rows: Histogram = field(factory=lambda: _histogram("store_commit_rows"))
    store_failures: int = 0
    store_waiting_bytes: int = 0
    store_keys: int = 0
    store_bytes: int = 0
    disk_short: int = 0
    peer_received_bytes: int = 0
    peer_sent_bytes: int = 0
    peer_messages_received: int = 0
    peer_messages_sent: int = 0
    peer_messages_unsent: int = 0
    peer_violations: int = 0
    peer_refused: dict[str, int] = field(factory=lambda: _by_label("peer_refused"))
    """By reason."""
    certificate_expiry_timestamp_seconds: dict[str, float] = field(
        factory=lambda: _zeros("certificate_expiry_timestamp_seconds")
    )
    """By listener."""
    peers_connected: int = 0
    clock_refused: int = 0
    loop_steps: int = 0
    loop_lag_seconds: Histogram = field(factory=lambda: _histogram("loop_lag_seconds"))
    _sources: dict[str, Source] = field(factory=dict, init=False, repr=False)
    _histogram_sources: dict[str, HistogramSource] = field(factory=dict, init=False, repr=False)
    _registry: CollectorRegistry = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # auto_describe would scrape at registration, before the host has bound its sources.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_NodeCollector(self))
        ProcessCollector(registry=self._registry)

    def read(self, attribute: str, source: Source) -> None:
        """Take a family's figures from a function at every scrape, not from its attribute.

        ``attribute`` names a counter or a gauge, for example ``"store_keys"``. The function returns
        a number, or for a family with labels a mapping from label values, as in `Figures`; series
        that the mapping leaves out are 0.

        Raises:
            KeyError: there is no such family.
            ValueError: it is a histogram, which can only be observed.
        """
        if _BY_ATTRIBUTE[attribute].kind is Kind.HISTOGRAM:
            raise ValueError(f"{attribute} is a histogram; observe it instead")
        self._sources[attribute] = source

    def read_histograms(self, attribute: str, source: HistogramSource) -> None:
        """Take a labelled histogram from a function at every scrape, not from its attribute.

        The function returns a histogram for every value of the family's label, with its bounds.

        Raises:
            KeyError: there is no such family.
            ValueError: it is no histogram with one label.
        """
        family = _BY_ATTRIBUTE[attribute]
        if family.kind is not Kind.HISTOGRAM or len(family.labels) != 1:
            raise ValueError(f"{attribute} is no histogram with one label")
        self._histogram_sources[attribute] = source

    def exposition(self) -> bytes:
        """Everything, in the Prometheus text format 0.0.4 (`CONTENT_TYPE`).

        Raises:
            KeyError: a source gave a label value that its family does not have.
        """
        return generate_latest(self._registry)

    def histograms(self, family: Family) -> Mapping[str, Buckets]:
        """The present figures of a histogram, by the value of its label; "" if it has none."""
        source = self._histogram_sources.get(family.attribute)
        if source is not None:
            return source()
        found: Histogram | Mapping[str, Histogram] = getattr(self, family.attribute)
        return {"": found} if isinstance(found, Histogram) else found

    def figures(self, family: Family) -> Figures:
        """The present numbers of a counter or gauge."""
        source = self._sources.get(family.attribute)
        found: Figures = getattr(self, family.attribute) if source is None else source()
        return found


class _NodeCollector(Collector):
    """Turns one node's numbers into what the library's exposition takes."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            "sadik_build_info", "1, with the version that this node runs.", labels=["version"]
        )
        build.add_metric([self._metrics.version], 1)
        yield build
        for family in FAMILIES:
            if family.kind is Kind.HISTOGRAM:
                yield self._histograms(family)
            else:
                yield self._numbers(family)

    def _numbers(self, family: Family) -> Metric:
        kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
        shown = kind(family.name, family.help, labels=list(family.labels))
        for values, figure in _series(family, self._metrics.figures(family)):
            shown.add_metric(values, figure)
        return shown

    def _histograms(self, family: Family) -> Metric:
        shown = HistogramMetricFamily(family.name, family.help, labels=list(family.labels))
        for value, histogram in self._metrics.histograms(family).items():
            assert histogram.bounds == family.bounds, family.name
            labels = [value] if family.labels else []
            shown.add_metric(labels, _cumulative(histogram), histogram.sum)
        return shown


def _series(family: Family, figures: Figures) -> Iterator[tuple[tuple[str, ...], float]]:
    every = dict.fromkeys(family.label_values(), 0.0)
    by_values = figures if isinstance(figures, Mapping) else {(): figures}
    for key, figure in by_values.items():
        values = (key,) if isinstance(key, str) else key
        if values not in every:
            raise KeyError(f"{family.name} has no series {values!r}")
        every[values] = figure
    return iter(every.items())


def _cumulative(histogram: Buckets) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
    return buckets
