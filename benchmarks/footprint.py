"""What three nodes cost when nobody asks them anything: start, memory, idle processor time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from real_cluster import RealCluster, eventually, free_base_port
from rebuild import fill
from systems import start_etcd, start_sadik
from wrk import cpu_seconds

__all__ = ["measure_footprint"]

_SETTLE_S = 5
_IDLE_S = 20
_MILLION = 1_000_000
_VALUE_BYTES = 100
_AIMS = {"serving_s": 2.0, "idle_percent": 1.0, "fresh_mib": 60.0}


def measure_footprint(place: Path, *, beside: bool, million: bool) -> dict[str, dict[str, float]]:
    """Measure and tell; figures by system. ``million`` fills a node with so many keys, too."""
    print("\nfootprint: seconds until three nodes serve; memory and idle time of the largest node")
    place = place / "footprint"
    place.mkdir()
    found = {"sadik": {"serving_s": _serving_s(place), **_at_rest(place, "sadik")}}
    if million:
        found["sadik"]["million_mib"] = _with_a_million(place)
    if beside:
        found["etcd"] = _at_rest(place, "etcd")
    for system, figures in found.items():
        told = []
        for name, figure in figures.items():
            aim = _AIMS.get(name) if system == "sadik" else None
            verdict = (
                "" if aim is None else f" (aim {aim:g}: {'met' if figure <= aim else 'missed'})"
            )
            told.append(f"{name} {figure:.2f}{verdict}")
        print(f"{system:>5}  {', '.join(told)}", flush=True)
    return found


def _serving_s(place: Path) -> float:
    """From the start of ``sadik-node dev`` until each of three nodes has answered a get and is
    ready, in seconds: what ``make run`` does once the environment is there.
    """
    base = free_base_port([0, 1, 10, 11, 20, 21])
    command = [
        *(sys.executable, "-m", "sadik_node", "dev", "--dir", str(place / "dev")),
        *("--base-port", str(base)),
    ]
    began = time.monotonic()
    with (place / "dev.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for port in (base, base + 10, base + 20):
            eventually(60, lambda at=port: _serves(at), f"the node on port {port} serves")  # type: ignore[misc]
        return time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            pass
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/kv/bench/none", timeout=5):
            return False  # there is no such key
    except urllib.error.HTTPError as error:
        return error.code == 404
    except OSError:
        return False


def _at_rest(place: Path, system: str) -> dict[str, float]:
    with ExitStack() as stack:
        running = (start_sadik if system == "sadik" else start_etcd)(stack, place)
        time.sleep(_SETTLE_S)
        before = [cpu_seconds([pid]) for pid in running.pids]
        time.sleep(_IDLE_S)
        used = [cpu_seconds([pid]) - was for pid, was in zip(running.pids, before, strict=True)]
        return {"fresh_mib": _most_mib(running.pids), "idle_percent": 100 * max(used) / _IDLE_S}


def _with_a_million(place: Path) -> float:
    """MiB of memory of its own of a node with a million keys of 100 bytes: the pages of the store's
    file that the system caches do not count.
    """
    with RealCluster(place, 1) as cluster:
        cluster.start()
        fill(cluster.nodes, _MILLION, _VALUE_BYTES)
        process = cluster.nodes[0].process
        assert process is not None
        return _mib(process.pid, "RssAnon")


def _most_mib(pids: Sequence[int]) -> float:
    return max(_mib(pid, "VmRSS") for pid in pids)


def _mib(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None, f"no {name} in {text}"
    return int(found[1]) / 1024
