"""One run of wrk with the script beside this file, and what it cost everybody."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from cases import Case

__all__ = ["Load", "Measured", "cpu_seconds", "prefix_of", "run_wrk"]

_SCRIPT = Path(__file__).with_name("load.lua")
_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Load:
    """A case, with so many connections for so long. With ``closes`` each request has its own."""

    case: Case
    connections: int
    seconds: float
    closes: bool = False


@frozen
class Measured:
    """What came of one run. Latencies are of requests; processor time and rate are per
    object, of which a request may be about many.
    """

    requests: int
    per_second: float
    refused: int
    """Answers other than 200 and 204."""
    broken: int
    """Connections that failed, and requests that were never answered."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    servers_us: float
    """Microseconds of processor time of all nodes together."""
    generator_us: float
    """Microseconds of processor time of wrk."""


def cpu_seconds(pids: Sequence[int]) -> float:
    """The processor time that these processes have used so far."""
    ticks = 0
    for pid in pids:
        # The name of the command, which may hold spaces, stands in parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def prefix_of(case: Case) -> str:
    """What the keys of a case begin with: values of one length have keys of their own."""
    return f"key{case.value_bytes}"


def run_wrk(
    system: str,
    nodes: Sequence[str],
    pids: Sequence[int],
    load: Load,
    scheme: str = "http",
) -> Measured:
    """Load ``nodes`` (host:port), whose processes are ``pids``. Certificates are not looked at.

    Raises:
        RuntimeError: wrk failed, with what it said.
    """
    threads = min(load.connections, len(nodes))
    environment = {
        **os.environ,
        "BENCH_NODES": ",".join(nodes),
        "BENCH_SYSTEM": system,
        "BENCH_PREFIX": prefix_of(load.case),
        "BENCH_KEYS": str(load.case.keys),
        "BENCH_SPREAD": load.case.spread,
        "BENCH_BYTES": str(load.case.value_bytes),
        "BENCH_READS": str(load.case.reads),
        "BENCH_ONE": str(int(load.case.is_of_one)),
        "BENCH_BATCH": str(load.case.batch),
        "BENCH_CLOSE": str(int(load.closes)),
    }
    command = [
        *("wrk", "--threads", str(threads), "--connections", str(load.connections)),
        *("--duration", f"{max(1, round(load.seconds))}s", "--timeout", "10s"),
        *("--script", str(_SCRIPT), f"{scheme}://{nodes[0]}"),
    ]
    servers_before, children_before = cpu_seconds(pids), _children_seconds()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    servers_s = cpu_seconds(pids) - servers_before
    generator_s = _children_seconds() - children_before
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if ended.returncode or not lines:
        raise RuntimeError(f"wrk failed: {ended.stdout}{ended.stderr}")
    told = json.loads(lines[0].removeprefix("RESULT "))
    objects = max(told["requests"], 1) * load.case.batch
    return Measured(
        requests=told["requests"],
        per_second=objects / told["seconds"],
        refused=told["refused"],
        broken=told["broken"],
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        p999_ms=told["p999_ms"],
        max_ms=told["max_ms"],
        servers_us=servers_s / objects * 1e6,
        generator_us=generator_s / objects * 1e6,
    )


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
