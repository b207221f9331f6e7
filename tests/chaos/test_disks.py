"""One node's disk is full, slow, frozen or fails: the others are unaffected, and it is honest."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chaos_cluster import ChaosCluster, Rig
from chaos_record import Record, longest_gap_s, percentile_ms
from history_load import HistoryLoad
from power import CutDisk, why_not
from real_cluster import eventually

_FAULTY_S = 6


class SyncFaults:
    """What becomes of the syncs of a node that was given ``environment``."""

    def __init__(self, library: Path, control: Path) -> None:
        self._control = control
        self.environment = {"LD_PRELOAD": str(library), "SYNC_FAULT": str(control)}

    def set(self, what: str) -> None:
        """``eio``, milliseconds, or nothing."""
        replaced = self._control.with_suffix(".new")
        replaced.write_text(what)
        replaced.rename(self._control)


@pytest.fixture
def faults(tmp_path: Path, require_program: Callable[..., str]) -> SyncFaults:
    """The library that makes syncs slow or fail, built."""
    compiler = require_program("cc", package="build-essential")
    library = tmp_path / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    flags = ["-shared", "-fPIC", "-Wall", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(source), "-ldl"], check=True)
    return SyncFaults(library, tmp_path / "sync-fault")


@contextmanager
def under_load(cluster: ChaosCluster, record: Record) -> Iterator[HistoryLoad]:
    """Clients of the first two nodes, for some time before the block and until its end."""
    with HistoryLoad(cluster.nodes[:2], clients=4) as load:
        load.ending.wait(3)
        yield load
    record.operations += load.operations


def judge_others(record: Record, began: float, ended: float, more_ms: float = 100) -> None:
    """Compare what clients of the other nodes met during the fault with what they met before.

    A write that the faulty node coordinates may take ``more_ms`` longer.
    """
    quiet = [each for each in record.operations if each.began < began]
    during = [each for each in record.operations if began <= each.began < ended]
    bound_ms = 3 * percentile_ms(quiet, 0.99) + more_ms
    record.at_most("p99 through the others meanwhile", percentile_ms(during, 0.99), bound_ms, "ms")
    gap = longest_gap_s(during, began, ended, [204])
    record.at_most("longest time without an acknowledged write", gap, 2, "s")


def with_faults(rig: Rig, faults: SyncFaults) -> ChaosCluster:
    """Three nodes, the syncs of the third of which can be made to fail."""
    cluster = rig()
    three = cluster.nodes[2]
    assert three.stop() == 0
    three.environment |= faults.environment
    three.start()
    cluster.wait_ready()
    return cluster


def test_slow_syncs(rig: Rig, record: Record, faults: SyncFaults) -> None:
    """Every sync of one node takes 200 ms longer."""
    cluster = with_faults(rig, faults)
    with under_load(cluster, record) as load:
        faults.set("200")
        record.event("every sync of n3 takes 200 ms longer")
        began = time.monotonic()
        load.ending.wait(_FAULTY_S)
        ended = time.monotonic()
        faults.set("")
        record.event("n3 syncs as before")
    # What it coordinates has to be on its own disk first, behind the batch before.
    judge_others(record, began, ended, more_ms=2 * 200 + 100)
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


def test_failed_sync(rig: Rig, record: Record, faults: SyncFaults) -> None:
    """A sync of one node fails: it ends, says why, and loses nothing that it acknowledged."""
    cluster = with_faults(rig, faults)
    three = cluster.nodes[2]
    with under_load(cluster, record) as load:
        faults.set("eio")
        record.event("syncs of n3 fail with EIO")
        began = time.monotonic()
        assert three.process is not None
        code = three.process.wait(20)
        record.at_most("n3 ended after", time.monotonic() - began, 10, "s")
        load.ending.wait(3)
        ended = time.monotonic()
    assert code != 0
    last = three.log.read_text().splitlines()[-1]
    assert "sync" in last, last
    judge_others(record, began, ended)
    faults.set("")
    three.start()
    record.event("n3 started on a disk that is well")
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


@pytest.fixture
def on_a_disk(
    has_network: None, tmp_path: Path, rig: Rig, skip_or_fail: Callable[[str], None]
) -> Iterator[tuple[ChaosCluster, CutDisk]]:
    """Three nodes, the third of which has a small disk of its own."""
    reason = why_not(tmp_path)
    if reason:
        skip_or_fail(reason)
    with ExitStack() as stack:
        disk = stack.enter_context(CutDisk(tmp_path / "disk"))
        cluster = rig(start=False)
        cluster.nodes[2].directory = disk.path / "data"
        cluster.start()
        yield cluster, disk
        cluster.kill()


def test_full_disk(on_a_disk: tuple[ChaosCluster, CutDisk], record: Record) -> None:
    """The disk of one node is full: it refuses what it cannot keep, and takes it again later."""
    cluster, disk = on_a_disk
    three = cluster.nodes[2]
    with under_load(cluster, record) as load:
        filler = disk.path / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(2**20))
                    file.flush()
            except OSError:
                record.event("the disk of n3 is full")
        began = time.monotonic()
        refused = [three.ask("PUT", f"/v1/kv/full/{n}?w=3", bytes(9000)).status for n in range(20)]
        load.ending.wait(_FAULTY_S)
        ended = time.monotonic()
        filler.unlink(missing_ok=True)
        record.event("there is room again")
    assert set(refused) <= {204, 503, 504, 507}, refused
    judge_others(record, began, ended)

    def takes_writes() -> bool:
        return three.ask("PUT", "/v1/kv/full/again?w=3", bytes(9000)).status == 204

    kept = [n for n, status in enumerate(refused) if status == 204]
    lost = [n for n in kept if three.ask("GET", f"/v1/kv/full/{n}?r=2").status != 200]
    record.at_most("writes of values acknowledged by it and lost", len(lost), 0)
    took = eventually(30, takes_writes, "n3 takes writes again")
    record.at_most("n3 takes writes again after", took, 30, "s")
    record.at_least("acknowledged writes, none lost", load.check(cluster, within_s=60), 100)


def test_frozen_disk(on_a_disk: tuple[ChaosCluster, CutDisk], record: Record) -> None:
    """The file system of one node is frozen: nothing that it writes comes to an end."""
    cluster, disk = on_a_disk
    with under_load(cluster, record) as load:
        subprocess.run(["fsfreeze", "--freeze", str(disk.path)], check=True)
        try:
            record.event("the file system of n3 is frozen")
            began = time.monotonic()
            load.ending.wait(_FAULTY_S)
            ended = time.monotonic()
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(disk.path)], check=True)
        record.event("it is thawed")
    judge_others(record, began, ended)
    record.at_least("acknowledged writes, none lost", load.check(cluster, within_s=60), 100)
