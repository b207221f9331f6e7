"""Clients who only take connections, or ask and send as slowly as they can, harm nobody else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from normal_load import NormalLoad, quiet_p99
from real_cluster import RealCluster, RealNode, anonymous_bytes, eventually
from slow_clients import FILES_SPARE, IdleClients, SlowClients, raise_file_limit

IDLE = 10_000
SLOW = 1_000
QUIET_S = 6
P99_RATIO = 5
P99_FLOOR_S = 0.25
"""On a machine that does much else, which a ratio of small times would be about."""
CONNECTION_BYTES = 10 * 2**10
"""Of the node's memory, at most."""
MIB = 2**20


def rejected(node: RealNode, reason: str) -> int:
    metrics = node.ask("GET", "/metrics").body.decode()
    found = re.search(rf'sadik_rejected_total\{{reason="{reason}"\}} ([0-9.e+]+)', metrics)
    assert found is not None
    return int(float(found[1]))


def has_refused(node: RealNode) -> bool:
    """Whether as many slow headers and slow bodies as there were at once have been given up."""
    return all(rejected(node, reason) >= SLOW for reason in ("header_timeout", "body_too_slow"))


def connections(node: RealNode) -> int:
    """How many clients are connected beside the one that asks."""
    metrics = node.ask("GET", "/metrics").body.decode()
    found = re.search(r"sadik_http_connections ([0-9.e+]+)", metrics)
    assert found is not None, metrics
    return int(float(found[1])) - 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(12, marks=pytest.mark.slow, id="short"),
        pytest.param(60, marks=[pytest.mark.slow, pytest.mark.campaign], id="minute"),
    ],
)
def test_idle_and_slow_clients_harm_nobody(
    tmp_path: Path,
    require_program: Callable[..., str],
    skip_or_fail: Callable[[str], None],
    seconds: float,
) -> None:
    program = require_program("slowhttptest", package="slowhttptest")
    if not raise_file_limit(IDLE + 2 * SLOW + FILES_SPARE):
        skip_or_fail(f"needs to have {IDLE + 2 * SLOW + FILES_SPARE} files open")
    # So long that the idle ones stay for all of it, and go only for others.
    limits = {"SADIK_LIMITS__IDLE_SECONDS": "600"}
    with RealCluster(tmp_path, environment=limits) as cluster:
        cluster.start()
        _attack(cluster.nodes[0], program, tmp_path, seconds)


def _attack(node: RealNode, program: str, place: Path, seconds: float) -> None:
    quiet = quiet_p99(node, QUIET_S)
    before = most = anonymous_bytes(node)
    with (
        IdleClients(node, IDLE) as idle,
        SlowClients(program, node, SLOW, place) as slow,
        NormalLoad(node) as normal,
    ):
        until = time.monotonic() + seconds

        def is_over() -> bool:
            nonlocal most
            slow.keep_on()
            most = max(most, anonymous_bytes(node))
            return time.monotonic() > until and has_refused(node)

        eventually(seconds + 60, is_over, "the slow ones are refused")
        connected = idle.connected
    eventually(10, lambda: not connections(node), "the node has seen them go")
    after = anonymous_bytes(node)
    with IdleClients(node, IDLE):
        again = anonymous_bytes(node)
    quiet = max(quiet, quiet_p99(node, QUIET_S))  # what else the machine does may have changed
    print(
        f"{connected} of {IDLE} idle clients still connected, {slow.rounds} rounds of {SLOW} slow "
        f"ones; p99 {quiet * 1000:.1f} ms quiet, {normal.p99() * 1000:.1f} ms among them; memory "
        f"{before / MIB:.0f} MiB before, {most / MIB:.0f} at most, {after / MIB:.0f} after, "
        f"{again / MIB:.0f} with {IDLE} idle ones once more"
    )
    # The node has room for 10,000: whoever was idle for longest goes for whoever speaks.
    assert connected >= IDLE - 2 * SLOW - 100
    assert normal.p99() <= max(P99_RATIO * quiet, P99_FLOOR_S)
    assert most - before <= (IDLE + 2 * SLOW) * CONNECTION_BYTES
    # The allocator keeps some of what it got; what counts is that the next ones find it there.
    assert again - most <= 8 * MIB
