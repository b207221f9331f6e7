"""Members come, go and are replaced under load, and nodes are killed in between."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from chaos_cluster import ChaosCluster, Rig, roll
from chaos_record import Record
from history_load import HistoryLoad
from real_cluster import RealNode, eventually

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 120


def is_moving(cluster: ChaosCluster) -> bool:
    """Whether some partition is on its way."""
    moving = cluster.nodes[0].ask("GET", "/v1/transfers").json()["transfers"]
    return any(each["state"] != "planned" for each in moving)


def kill_while_moving(cluster: ChaosCluster, node: RealNode, record: Record) -> None:
    """Kill a node in the middle of a change, and start it again."""
    eventually(30, lambda: is_moving(cluster), "something moves")
    node.kill()
    record.event(f"{node.name} killed while partitions move")
    node.start()


def settle(cluster: ChaosCluster, record: Record, what: str) -> None:
    """Wait until all is where it should be."""
    took = 0.0
    for node in cluster.nodes:
        took += eventually(_PATIENCE_S, node.is_ready, f"{node.name} is ready")
    took += eventually(_PATIENCE_S, cluster.is_ring_settled, "the ring is where it should be")
    record.event(f"{what}: the ring stands")
    record.at_most(f"{what}: all ready, and the ring stands, after", took, _PATIENCE_S, "s")


@pytest.mark.timeout(900)
def test_members_come_and_go(rig: Rig, record: Record) -> None:
    """A node joins, another leaves, a third dies and is replaced, with kills in between."""
    cluster = rig(3, spare=2, environment={"SADIK_CLUSTER__PARTITIONS": "32"})
    one, two, three = cluster.nodes
    with HistoryLoad([one, two], clients=4) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes are acknowledged")
        four = cluster.make(4)
        cluster.nodes.append(four)
        four.start()
        record.event("n4 joins")
        kill_while_moving(cluster, two, record)
        settle(cluster, record, "join")

        assert one.ask("POST", "/v1/members/n3/leave", b"", {}, 60).status == 202
        record.event("n3 leaves")
        kill_while_moving(cluster, four, record)
        assert three.process is not None
        assert three.process.wait(_PATIENCE_S) == 0
        cluster.nodes.remove(three)
        settle(cluster, record, "leave")

        four.kill()
        record.event("n4 killed for good")
        cluster.nodes.remove(four)
        five = cluster.make(5)
        cluster.nodes.append(five)
        five.start()
        eventually(
            60,
            lambda: one.ask("POST", "/v1/members/n4/remove", b"", {}, 60).status == 202,
            "a majority finds n4 dead",
        )
        record.event("n4 removed, n5 in its place")
        settle(cluster, record, "replace")
    record.operations += load.operations
    names = {n for owners in one.ask("GET", "/v1/ring").json()["owners"] for n in owners}
    assert names == {"n1", "n2", "n5"}
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


def export(tag: str, directory: Path) -> str:
    """The sources of a tag, unpacked; what finds them before those of this checkout."""
    packed = subprocess.run(
        ["git", "-C", str(_ROOT), "archive", tag, "packages"], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
    return os.pathsep.join(map(str, sorted(directory.glob("packages/*/src"))))


@pytest.mark.timeout(300)
def test_rolling_upgrade(rig: Rig, record: Record, tmp_path: Path) -> None:
    """Nodes of the newest release are replaced in turn by nodes of this version, under load."""
    tags = subprocess.run(
        ["git", "-C", str(_ROOT), "tag", "--list", "v*", "--sort=-v:refname"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    if not tags:
        pytest.skip("this clone has no tag of a release to upgrade from")
    old = export(tags[0], tmp_path / "old")
    cluster = rig(environment={"PYTHONPATH": old})
    said = cluster.nodes[0].ask("GET", "/v1/status").json()
    record.event(f"three nodes of {tags[0]} ({said.get('version', '')}) are ready")
    with HistoryLoad(cluster.nodes, clients=4) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes are acknowledged")
        roll(cluster, load, record, lambda node: node.environment.pop("PYTHONPATH"))
    record.operations += load.operations
    failed = [each for each in load.operations if each.status >= 500]
    record.at_most("failed requests", len(failed), 0)
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)
