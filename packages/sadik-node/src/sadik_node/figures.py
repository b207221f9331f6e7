"""The figures of a running node: what metrics read at a scrape, and the document of its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sadik_machine import SECOND, node_id_hex, to_seconds
from sadik_node.certificate_expiry import day_of, days_left

if TYPE_CHECKING:
    from sadik_node.running_life import RunningLife

__all__ = ["bind_figures", "status_document"]

_HANDSHAKE = "handshake_"


def bind_figures(life: RunningLife) -> None:
    """Have the metrics read what the parts count themselves."""
    read, metrics = life.metrics.read, life.metrics
    host, engine, store = life.host, life.engine, life.store
    fronts, view = life.fronts, life.view
    own = life.identity.node_id

    def commit_took(seconds: float, rows: int) -> None:
        metrics.store_commit_seconds.observe(seconds)
        metrics.store_commit_rows.observe(rows)

    host.committer.observe = commit_took
    host.observe_lag = metrics.loop_lag_seconds.observe
    read("store_failures", lambda: host.committer.failures)
    read("store_waiting_bytes", lambda: host.committer.waiting_bytes)
    read("store_keys", lambda: store.size().keys)
    read("disk_short", lambda: int(life.space.is_short))
    read("store_bytes", lambda: store.size().bytes_used)
    read("loop_steps", lambda: host.steps)
    read("http_received_bytes", lambda: fronts.received_bytes)
    read("http_sent_bytes", lambda: fronts.sent_bytes)
    read("requests_open", lambda: host.requests_open)
    read("http_connections", lambda: fronts.connections)
    read("members", view.members_by_state)
    read("partitions_owned", lambda: len(view.ring.owned_by(own)) if view.ring else 0)
    read("ring_epoch", lambda: view.ring.epoch if view.ring else 0)
    read("hints_pending", lambda: engine.hints_pending)
    read("hints_bytes", lambda: engine.hints_pending_bytes)
    read("hints_delivered", lambda: engine.counters.hints_delivered)
    read("hints_dropped", lambda: engine.counters.hints_dropped)
    read("anti_entropy_rounds", lambda: engine.counters.anti_entropy_rounds)
    read("anti_entropy_differences", lambda: engine.counters.anti_entropy_differences)
    read("anti_entropy_repaired", lambda: engine.counters.anti_entropy_repaired)
    read("anti_entropy_bytes", lambda: engine.counters.anti_entropy_bytes)
    read("anti_entropy_races", lambda: engine.counters.anti_entropy_races)
    read("transfers_active", lambda: engine.transfers_active)
    read("transferred_records", lambda: engine.counters.transferred_records)
    read("tombstones", lambda: engine.tombstones)
    read("reaped", lambda: engine.counters.reaped)
    read("reap_generation", lambda: engine.reap_generation)
    read("reaping_waits_for", lambda: len(engine.reaping_waits_for))
    read("foreign_handed_off", lambda: engine.counters.foreign_handed_off)
    read("hedged_reads", lambda: engine.counters.hedged_reads)
    read("read_repairs", lambda: engine.counters.read_repairs)
    read("damaged_records", lambda: engine.counters.damaged_records)
    read("scrubs", lambda: engine.counters.scrubs)
    read("clock_refused", lambda: engine.clock_refused_count)

    def replica_requests() -> dict[tuple[str, str], int]:
        counters = engine.counters
        return {
            ("read", "ok"): counters.replica_reads,
            ("read", "failed"): counters.replica_reads_failed,
            ("write", "ok"): counters.replica_writes,
            ("write", "failed"): counters.replica_writes_failed,
            ("forward", "ok"): counters.forwards,
            ("hint", "ok"): counters.hints_delivered,
            ("repair", "ok"): counters.read_repairs + counters.anti_entropy_repaired,
        }

    read("replica_requests", replica_requests)
    _bind_spread(life)
    _bind_peers(life)


def _bind_spread(life: RunningLife) -> None:
    """What is measured of the time that a write takes to its copies."""
    metrics, spread = life.metrics, life.engine.spread
    metrics.read_histograms(
        "write_copy_seconds",
        lambda: {"first": spread.first, "majority": spread.majority, "last": spread.last},
    )
    metrics.read_histograms(
        "late_copy_age_seconds",
        lambda: {"hint": spread.hint, "anti_entropy": spread.anti_entropy},
    )


def _bind_peers(life: RunningLife) -> None:
    """What is counted of the streams to other nodes."""
    read, messenger, host = life.metrics.read, life.messenger, life.host
    counts = messenger.counters
    read("peer_received_bytes", lambda: counts.bytes_in)
    read("peer_sent_bytes", lambda: counts.bytes_out)
    read("peer_messages_received", lambda: counts.messages_in)
    read("peer_messages_sent", lambda: counts.messages_out)
    read("peer_messages_unsent", lambda: host.unsent)
    read("peers_connected", lambda: len(messenger.pending_bytes))

    def peer_refused() -> dict[str, int]:
        rejected = counts.rejected
        found = {
            reason.removeprefix(_HANDSHAKE): count
            for reason, count in rejected.items()
            if reason.startswith(_HANDSHAKE)
        }
        found["tls"] = life.security.strangers
        found["not_a_member"] = rejected.get("not_a_member", 0)
        found["forged"] = rejected.get("forged", 0)
        found["bad_message"] = _violations(rejected)
        return found

    read("peer_refused", peer_refused)
    read("certificate_expiry_timestamp_seconds", lambda: life.certificates)
    read("peer_violations", lambda: _violations(counts.rejected))


def _violations(rejected: Mapping[str, int]) -> int:
    """Streams that were closed because of what they carried."""
    return sum(rejected.get(reason, 0) for reason in ("malformed", "frame_size"))


def status_document(life: RunningLife) -> dict[str, object]:
    """What ``/v1/status`` shows."""
    view, engine, host, store = life.view, life.engine, life.host, life.store
    size = store.size()
    snapshot = life.membership.snapshot()
    return {
        "name": view.own_name,
        "id": node_id_hex(view.own_id),
        "version": life.metrics.version,
        "cluster": {
            "name": snapshot.cluster_name,
            "id": view.cluster_id.hex(),
            "founder": None if snapshot.founder is None else view.name_of(snapshot.founder),
            "members": view.members_by_state(),
            "epoch": view.ring.epoch if view.ring else None,
            "partitions": view.ring.partitions if view.ring else None,
            "partitions_owned": len(view.ring.owned_by(view.own_id)) if view.ring else 0,
            "replicas": view.ring.replicas if view.ring else None,
        },
        "ready": not view.not_ready and not life.service.is_draining,
        "waits_for": "the end" if life.service.is_draining else view.not_ready,
        "boot": life.life.boot_number,
        "uptime_seconds": round(to_seconds(life.clock.now() - life.started_ns), 3),
        "store": {
            "backend": life.settings.storage.backend,
            "durable": life.is_durable,
            "rows": size.keys,
            "bytes": size.bytes_used,
            "waiting_bytes": host.committer.waiting_bytes,
            "failed_commits": host.committer.failures,
            "short_of_space": life.space.is_short,
        },
        "requests": {"open": host.requests_open, "connections": life.fronts.connections},
        "hints": {"pending": engine.hints_pending, "bytes": engine.hints_pending_bytes},
        "tombstones": {
            "waiting": engine.tombstones,
            "reaped": engine.counters.reaped,
            "generation": engine.reap_generation,
            "waits_for": [view.name_of(node) for node in engine.reaping_waits_for],
        },
        "foreign": {
            "may_hold": engine.may_hold_foreign,
            "handed_off": engine.counters.foreign_handed_off,
        },
        "catching_up": engine.is_catching_up,
        "clock": {"refused": engine.clock_refused_count},
        "certificates": {
            listener: {
                "expires": day_of(at),
                "days_left": days_left(at, life.clock.wall() / SECOND),
            }
            for listener, at in life.certificates.items()
        },
    }
