"""Nodes that are far apart: a request takes a few round trips, and no longer."""

from __future__ import annotations

import time

from chaos_cluster import Rig
from chaos_record import Record, longest_gap_s, percentile_ms
from history_load import HistoryLoad

_DELAY_MS, _JITTER_MS = 100.0, 20.0


def test_far_apart(rig: Rig, record: Record, is_long: bool) -> None:
    """From any node to another it takes 100 ms, give or take 20, each way."""
    cluster = rig(delay_ms=(_DELAY_MS, _JITTER_MS))
    with HistoryLoad(cluster.nodes, clients=4) as load:
        load.ending.wait(2)
        began = time.monotonic()
        load.ending.wait(60 if is_long else 15)
        ended = time.monotonic()
    record.operations += load.operations
    steady = [each for each in load.operations if began <= each.began < ended]
    failed = [each for each in steady if each.status >= 500 or not each.status]
    record.at_most("failed requests", len(failed), 0)
    round_trip_ms = 2 * (_DELAY_MS + _JITTER_MS)
    record.at_most("p99", percentile_ms(steady, 0.99), 4 * round_trip_ms + 50, "ms")
    record.at_most("p50", percentile_ms(steady, 0.5), 2 * round_trip_ms + 50, "ms")
    gap = longest_gap_s(steady, began, ended, [204])
    record.at_most("longest time without an acknowledged write", gap, 2, "s")
    record.at_least("acknowledged writes, none lost", load.check(cluster, within_s=60), 50)
