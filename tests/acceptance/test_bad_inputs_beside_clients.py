"""Whoever sends nothing but bad requests gets what is due, and nobody else waits longer for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from normal_load import NormalLoad, quiet_p99
from real_cluster import RealCluster, RealNode, anonymous_bytes, eventually

from bad_input_cases import CASES, check

SECONDS = 4
P99_RATIO = 2
P99_FLOOR_S = 0.1
"""On a machine that does much else, which a ratio of small times would be about."""
GROWTH_BYTES = 8 * 2**20


class _Attacker(threading.Thread):
    """Sends every bad input, again and again, and says what was not answered as stated."""

    def __init__(self, node: RealNode) -> None:
        super().__init__()
        self.url = node.url
        self.rounds = 0
        self.ending = threading.Event()
        self.failed: list[str] = []

    def run(self) -> None:
        while not self.ending.is_set():
            for cases in CASES.values():
                for case in cases:
                    try:
                        check(self.url, case)
                    except (AssertionError, OSError, KeyError) as error:
                        self.failed.append(f"{case['name']}: {error!r}")
            self.rounds += 1


def test_bad_inputs_do_not_make_others_wait(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        quiet = quiet_p99(node, SECONDS)
        attacker = _Attacker(node)
        with NormalLoad(node) as normal:
            attacker.start()
            eventually(30, lambda: attacker.rounds >= 1, "all bad inputs were sent once")
            before = anonymous_bytes(node)
            until = time.monotonic() + SECONDS
            eventually(60, lambda: attacker.rounds >= 3 and time.monotonic() > until, "and again")
            after = anonymous_bytes(node)
            attacker.ending.set()
            attacker.join()
        assert not attacker.failed
        quiet = max(quiet, quiet_p99(node, SECONDS))  # what else the machine does may have changed
        print(
            f"{attacker.rounds} rounds of {sum(map(len, CASES.values()))} bad inputs; p99 "
            f"{quiet * 1000:.1f} ms quiet, {normal.p99() * 1000:.1f} ms beside them; "
            f"{(after - before) / 2**20:+.1f} MiB"
        )
        assert normal.p99() <= max(P99_RATIO * quiet, P99_FLOOR_S)
        assert after - before <= GROWTH_BYTES
