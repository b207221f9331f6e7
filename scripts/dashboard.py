"""Writes the Grafana dashboard, ``deploy/grafana/dashboards/sadik.json``, from the table below.

A dashboard is mostly geometry and repetition; what somebody has to think about is a title, a unit
and a query. `queries` gives these to the test that asks a real Prometheus every one of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

__all__ = ["TARGET", "dashboard", "queries"]

TARGET = Path(__file__).resolve().parents[1] / "deploy/grafana/dashboards/sadik.json"

_COLUMNS = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WHERE = 'job="$job"'
_NODES = 'job="$job", instance=~"$instance"'


@frozen
class Panel:
    """One picture. ``queries`` are pairs of PromQL and legend."""

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8


def _quantile(share: str, metric: str, by: str, where: str = _NODES) -> str:
    return (
        f"histogram_quantile({share}, "
        f"sum by ({by}, le) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"
    )


def _rate(metric: str, by: str, where: str = _NODES) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


_ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("At a glance", (
        Panel("Nodes ready", "Nodes that answer 200 on /readyz.", "short",
              ((f"sum(sadik_ready{{{_WHERE}}})", "ready"),), "stat", 4, 4),
        Panel("Members down", "The most that any node sees down.", "short",
              ((f'max(sadik_members{{{_WHERE}, state="down"}})', "down"),), "stat", 4, 4),
        Panel("Requests", "Of all clients, on all nodes.", "reqps",
              ((f"sum(rate(sadik_requests_total{{{_WHERE}}}[$__rate_interval]))", "all"),),
              "stat", 4, 4),
        Panel("Failed", "The share of reads and writes that a client could not have done.",
              "percentunit",
              (("job:sadik_requests_failed:ratio_rate5m{" + _WHERE + "}", "failed"),),
              "stat", 4, 4),
        Panel("Hints waiting", "What waits for nodes that are or were away.", "short",
              ((f"sum(sadik_hints_pending{{{_WHERE}}})", "hints"),), "stat", 4, 4),
        Panel("Partitions moving", "0 when the ring is where it should be.", "short",
              ((f"sum(sadik_transfers_active{{{_WHERE}}})", "moving"),), "stat", 4, 4),
    )),
    ("Requests", (
        Panel("Requests by operation", "A second, over the nodes chosen.", "reqps",
              ((_rate("sadik_requests_total", "op"), "{{op}}"),)),
        Panel("Requests by outcome", "ok, siblings and not_found are answers; refused is a "
              "client's mistake.", "reqps",
              ((_rate("sadik_requests_total", "outcome"), "{{outcome}}"),)),
        Panel("Latency, p99", "From the whole request read to its answer ready.", "s",
              ((_quantile("0.99", "sadik_request_duration_seconds", "op"), "{{op}}"),)),
        Panel("Latency, p50", "The same of the middle one.", "s",
              ((_quantile("0.5", "sadik_request_duration_seconds", "op"), "{{op}}"),)),
        Panel("Turned away", "Requests and connections refused before a replica was asked.",
              "reqps",
              ((_rate("sadik_rejected_total", "reason"), "{{reason}}"),)),
        Panel("Clients", "Open connections, and requests under way.", "short",
              ((f"sadik_http_connections{{{_NODES}}}", "connections {{instance}}"),
               (f"sadik_requests_open{{{_NODES}}}", "requests {{instance}}"))),
    )),
    ("Staleness and repair", (
        Panel("Copies of a write, p99", "From a write's making to its first copy on disk, to a "
              "majority, to the last owner: for so long a read of one replica may miss it.", "s",
              ((_quantile("0.99", "sadik_write_copy_seconds", "copy"), "{{copy}}"),)),
        Panel("Writes that an owner missed", "The share that has to be brought later.",
              "percentunit",
              (("job:sadik_writes_incomplete:ratio_rate5m{" + _WHERE + "}", "missed"),)),
        Panel("Hints", "Notes that wait, by the node that has them.", "short",
              ((f"sadik_hints_pending{{{_NODES}}}", "{{instance}}"),)),
        Panel("Repairs", "Records brought to owners that had less, by what found it.", "ops",
              ((_rate("sadik_hints_delivered_total", "job"), "hints"),
               (_rate("sadik_read_repairs_total", "job"), "reads"),
               (_rate("sadik_anti_entropy_repaired_total", "job"), "anti-entropy"))),
        Panel("Age of late copies, p99", "How old what an owner had missed was when it came.", "s",
              ((_quantile("0.99", "sadik_late_copy_age_seconds", "by"), "{{by}}"),)),
        Panel("Siblings in an answer, p99", "1 where nobody writes at once.", "short",
              ((_quantile("0.99", "sadik_siblings", "instance"), "{{instance}}"),)),
    )),
    ("Members and ring", (
        Panel("Members by state", "As each node sees them; lines apart are a cut network.", "short",
              ((f"sadik_members{{{_NODES}}} > 0", "{{state}} by {{instance}}"),)),
        Panel("Partitions owned", "Replicas of partitions, by node.", "short",
              ((f"sadik_partitions_owned{{{_NODES}}}", "{{instance}}"),)),
        Panel("Deleted keys", "Tombstones that wait to be reaped; held up by members away.",
              "short", ((f"sadik_tombstones{{{_NODES}}}", "{{instance}}"),
                        (f"sadik_reaping_waits_for{{{_NODES}}}", "members away, {{instance}}"))),
        Panel("Between nodes", "Bytes sent to other nodes, and messages that never left.", "Bps",
              ((_rate("sadik_peer_sent_bytes_total", "instance"), "{{instance}}"),
               (_rate("sadik_peer_messages_unsent_total", "instance"), "unsent {{instance}}"))),
    )),
    ("Store and process", (
        Panel("Commits, p99", "One durable commit; every write waits for its quorum's.", "s",
              ((_quantile("0.99", "sadik_store_commit_seconds", "instance"), "{{instance}}"),)),
        Panel("Rows of a commit, p50", "How many writes share one sync.", "short",
              ((_quantile("0.5", "sadik_store_commit_rows", "instance"), "{{instance}}"),)),
        Panel("Store", "Bytes used; disk_short is 1 while writes are refused.", "bytes",
              ((f"sadik_store_bytes{{{_NODES}}}", "{{instance}}"),)),
        Panel("Faults of disks", "Failed commits, damaged rows, no space.", "short",
              ((f"increase(sadik_store_failures_total{{{_NODES}}}[$__rate_interval])",
                "failed commits {{instance}}"),
               (f"increase(sadik_damaged_records_total{{{_NODES}}}[$__rate_interval])",
                "damaged {{instance}}"),
               (f"sadik_disk_short{{{_NODES}}}", "no space {{instance}}"))),
        Panel("Processor", "Seconds of processor a second; a node's loop has one core.",
              "percentunit", ((_rate("process_cpu_seconds_total", "instance"), "{{instance}}"),)),
        Panel("Lateness of the loop, p99", "How late a node's loop woke for a deadline.", "s",
              ((_quantile("0.99", "sadik_loop_lag_seconds", "instance"), "{{instance}}"),)),
    )),
)  # fmt: skip

_VARIABLES: tuple[dict[str, Any], ...] = (
    {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
    {"name": "job", "type": "query", "label": "Cluster", "datasource": _DATASOURCE,
     "query": "label_values(sadik_build_info, job)", "refresh": 2},
    {"name": "instance", "type": "query", "label": "Nodes", "datasource": _DATASOURCE,
     "query": 'label_values(sadik_build_info{job="$job"}, instance)', "refresh": 2,
     "multi": True, "includeAll": True, "current": {"text": "All", "value": "$__all"}},
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "sadik-cluster",
        "title": "Sadik",
        "tags": ["sadik"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_VARIABLES)},
        "panels": list(_panels()),
    }


def queries(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The title of a panel and a query of it, for every query of a dashboard."""
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in _ROWS:
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1}}  # fmt: skip
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y = 0, y + panel.height
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield _panel(number, panel, place)
            x += panel.width
        y += panels[-1].height


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": query,
             "legendFormat": legend, "instant": panel.kind == "stat",
             "range": panel.kind != "stat"}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        sys.exit(
            0 if TARGET.read_text("utf-8") == text else f"{TARGET} is out of date: make pictures"
        )
    TARGET.write_text(text, "utf-8")
