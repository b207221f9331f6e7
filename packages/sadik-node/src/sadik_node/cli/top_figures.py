"""The numbers behind ``top``: two scrapes of a node, and what happened between them.

Counters become rates and histograms percentiles of what lies between the scrapes, so the view shows
now and not since the start. Nothing here waits or draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sadik_node.cli.scrapes import Scrape, quantile

__all__ = ["Row", "row_between", "total_of"]

_READS = ("get", "list", "explain")
_WRITES = ("put", "delete", "batch")
_BAD = ("failed", "not_applied", "indeterminate", "overloaded")


@frozen
class Row:
    """One node's line. None is what is not known: a node that is away, a first look."""

    name: str
    state: str
    zone: str = ""
    reads: float | None = None
    """A second."""
    writes: float | None = None
    errors: float | None = None
    read_ms: float | None = None
    """The slowest of a hundred reads takes at least so long."""
    write_ms: float | None = None
    keys: int | None = None
    bytes: int | None = None
    hints: int | None = None
    transfers: int | None = None
    connections: int | None = None

    def document(self) -> dict[str, object]:
        """As ``--json`` shows it."""
        return {
            "name": self.name,
            "state": self.state,
            "zone": self.zone,
            "reads_per_second": self.reads,
            "writes_per_second": self.writes,
            "errors_per_second": self.errors,
            "read_p99_ms": self.read_ms,
            "write_p99_ms": self.write_ms,
            "rows": self.keys,
            "bytes": self.bytes,
            "hints": self.hints,
            "transfers": self.transfers,
            "connections": self.connections,
        }


def row_between(member: Mapping[str, Any], before: Scrape | None, now: Scrape | None) -> Row:
    """A member's line from its last two scrapes."""
    name, state, zone = str(member["name"]), str(member["state"]), str(member.get("zone") or "")
    if now is None:
        return Row(name, state, zone)
    gauges = {
        "keys": "sadik_store_keys",
        "bytes": "sadik_store_bytes",
        "hints": "sadik_hints_pending",
        "transfers": "sadik_transfers_active",
        "connections": "sadik_http_connections",
    }
    known: dict[str, Any] = {word: int(now.total(metric)) for word, metric in gauges.items()}
    # A node that was restarted counts from 0 again; its next pair of scrapes is whole.
    if before is not None and now.at_s > before.at_s and not _began_anew(before, now):
        known |= {
            "reads": _rate(before, now, op=_READS),
            "writes": _rate(before, now, op=_WRITES),
            "errors": _rate(before, now, outcome=_BAD),
            "read_ms": _percentile_ms(before, now, _READS),
            "write_ms": _percentile_ms(before, now, _WRITES),
        }
    return Row(name, state, zone, **known)


def total_of(rows: list[Row]) -> Row:
    """All nodes together: sums, and the worst latency."""
    return Row(
        "all",
        f"{sum(row.state == 'up' for row in rows)} up",
        "",
        **{word: _sum(rows, word) for word in ("reads", "writes", "errors", "keys", "bytes",
                                               "hints", "transfers", "connections")},
        **{word: _most(rows, word) for word in ("read_ms", "write_ms")},
    )  # fmt: skip


def _began_anew(before: Scrape, now: Scrape) -> bool:
    name = "sadik_loop_steps_total"
    return now.total(name) < before.total(name)


def _rate(before: Scrape, now: Scrape, **labels: tuple[str, ...]) -> float:
    name = "sadik_requests_total"
    return (now.total(name, **labels) - before.total(name, **labels)) / (now.at_s - before.at_s)


def _percentile_ms(before: Scrape, now: Scrape, ops: tuple[str, ...]) -> float | None:
    """The upper bound of the bucket in which the 99th of a hundred lies."""
    name = "sadik_request_duration_seconds"
    earlier, later = before.buckets(name, op=ops), now.buckets(name, op=ops)
    came = {bound: count - earlier.get(bound, 0.0) for bound, count in sorted(later.items())}
    bound = quantile(came, 0.99)
    return None if bound is None else 1e3 * bound


def _sum(rows: list[Row], word: str) -> Any:
    known = [getattr(row, word) for row in rows if getattr(row, word) is not None]
    return sum(known) if known else None


def _most(rows: list[Row], word: str) -> Any:
    return max((getattr(row, word) for row in rows if getattr(row, word) is not None), default=None)
