"""The power of three nodes is cut under load: what was acknowledged is there when it is back.

With ``sync = "interval"`` the last writes before the cut may be lost, and no others. A node whose
fsyncs do nothing shows that the harness can lose data.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from power import CutDisk, cut_power, why_not
from real_cluster import RealCluster, eventually
from write_load import Attempt, WriteLoad

INTERVAL_MS = 200
SLACK_S = 0.5
"""How much older than the interval a write must be to be safe: the clock of a busy machine."""

NO_SYNC = """
int fsync(int fd) { (void)fd; return 0; }
int fdatasync(int fd) { (void)fd; return 0; }
"""


def acked(attempts: list[Attempt], by: float) -> list[Attempt]:
    """Those of ``attempts`` that were acknowledged before the monotonic time ``by``."""
    return [
        attempt
        for attempt in attempts
        if attempt.outcome == "acked" and attempt.began + attempt.seconds < by
    ]


class Rig:
    """Three nodes, each on a disk of its own."""

    def __init__(self, root: Path, stack: ExitStack, environment: dict[str, str]) -> None:
        self.disks = [stack.enter_context(CutDisk(root / f"disk{n}")) for n in (1, 2, 3)]
        cluster = RealCluster(root, environment={"SADIK_CLUSTER__PARTITIONS": "16", **environment})
        self.cluster = stack.enter_context(cluster)
        for node, disk in zip(self.cluster.nodes, self.disks, strict=True):
            node.directory = disk.path / "data"

    def cut_under_load(
        self, number: int, writes: int, before_s: float = 0.0
    ) -> tuple[list[Attempt], float]:
        """Write, cut the power when ``writes`` were acknowledged at least ``before_s`` ago, and
        bring the disks back; what was tried, and when the power went."""
        with WriteLoad(self.cluster.nodes, bucket=f"round{number}", value_bytes=200) as load:

            def acknowledged() -> bool:
                ended = acked(load.attempts, time.monotonic() - before_s)
                return len(ended) >= writes

            eventually(60, acknowledged, "writes are acknowledged")
            at = time.monotonic()
            cut_power(self.disks)
            self.cluster.kill()
            load.ending.set()
        for disk in self.disks:
            disk.come_back()
        return load.attempts, at

    def start(self) -> None:
        for node in self.cluster.nodes:
            node.start()
        self.cluster.wait_ready()

    def lost(self, number: int, attempts: list[Attempt]) -> list[Attempt]:
        """Acknowledged writes that no read finds."""
        gone: list[Attempt] = []
        for attempt in attempts:
            if attempt.outcome != "acked":
                continue
            answer = self.cluster.nodes[len(gone) % 3].ask(
                "GET", f"/v1/kv/round{number}/{attempt.key}"
            )
            assert answer.status in (200, 404), answer
            if answer.status == 404:
                gone.append(attempt)
            else:
                assert answer.body == attempt.value
        return gone


@pytest.fixture
def rig(
    tmp_path: Path, skip_or_fail: Callable[[str], None]
) -> Iterator[Callable[[dict[str, str]], Rig]]:
    """Makes the nodes and their disks, and takes them away."""
    reason = why_not(tmp_path)
    if reason:
        skip_or_fail(reason)
    with ExitStack() as stack:
        yield lambda environment: Rig(tmp_path, stack, environment)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("backend", "rounds"), [("lmdb", 20), ("sqlite", 3), ("rocksdb", 3)])
def test_no_acknowledged_write_is_lost_when_all_lose_power(
    backend: str, rounds: int, rig: Callable[[dict[str, str]], Rig]
) -> None:
    here = rig({"SADIK_STORAGE__BACKEND": backend})
    here.start()
    for number in range(rounds):
        attempts, _ = here.cut_under_load(number, 150)
        here.start()
        assert here.lost(number, attempts) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["lmdb", "sqlite", "rocksdb"])
def test_with_an_interval_only_the_last_writes_may_be_lost(
    backend: str, rig: Callable[[dict[str, str]], Rig]
) -> None:
    here = rig(
        {
            "SADIK_STORAGE__BACKEND": backend,
            "SADIK_STORAGE__SYNC": "interval",
            "SADIK_STORAGE__INTERVAL_MS": str(INTERVAL_MS),
        }
    )
    here.start()
    for number in range(3):
        safe_s = INTERVAL_MS / 1000 + SLACK_S
        attempts, at = here.cut_under_load(number, 150, before_s=safe_s)
        here.start()
        old = acked(attempts, at - safe_s)
        assert len(old) >= 150
        assert here.lost(number, old) == []
        for node in here.cluster.nodes:
            # Its old instance may have made dots that are lost: it must not make them again.
            assert node.log.read_text().count(" new_instance ") > number


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_fsync_the_same_cut_loses_writes(
    tmp_path: Path,
    rig: Callable[[dict[str, str]], Rig],
    require_program: Callable[..., str],
) -> None:
    compiler = require_program("cc", package="build-essential")
    source, library = tmp_path / "no_sync.c", tmp_path / "no_sync.so"
    source.write_text(NO_SYNC)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    here = rig({"LD_PRELOAD": str(library)})
    here.start()
    attempts, _ = here.cut_under_load(0, 150)
    for node in here.cluster.nodes:
        node.start()
    nodes = here.cluster.nodes

    def has_settled() -> bool:
        return all(not node.is_running or node.is_ready() for node in nodes)

    eventually(60, has_settled, "each node serves, or has refused its disk")
    refused = [node.name for node in nodes if not node.is_running]
    assert refused or here.lost(0, attempts)
