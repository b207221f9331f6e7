"""Nodes come and go under clients with strict quorums: nothing fails, is lost or is stale.

Every writer has keys of its own, which it reads before it writes them: what it reads must never be
older than what it was last told is written.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from pathlib import Path

import lmdb
import pytest
from real_cluster import RealCluster, RealNode, eventually
from secured_cluster import any_cluster

from sadik_hashing import Claimant, minimum_moves, token_of

pytestmark = [pytest.mark.system, pytest.mark.slow]

_STRICT = "r=quorum&sloppy=false"
_PATIENCE_S = 90


class Client(threading.Thread):
    """Reads and writes its own keys through the nodes that it is told of, until it is stopped."""

    def __init__(self, number: int, nodes: list[RealNode], stop: threading.Event) -> None:
        super().__init__(name=f"client {number}")
        self.number = number
        self.nodes = nodes
        self.stop = stop
        self.acked: dict[str, int] = {}
        self.failed: list[str] = []
        self.stale: list[str] = []

    def run(self) -> None:
        """One read and one write after the other."""
        count = 0
        while not self.stop.is_set():
            count += 1
            key = f"{self.number}-{count % 10}"
            self._once(self.nodes[count % len(self.nodes)], key, count)

    def _once(self, node: RealNode, key: str, count: int) -> None:
        try:
            read = node.ask("GET", f"/v1/kv/ring/{key}?{_STRICT}")
        except OSError:
            return  # it was killed, or has left: nobody promised anything
        if read.status not in (200, 404):
            self.failed.append(f"GET {read.status} {read.body!r}")
            return
        if (int(read.body) if read.status == 200 else 0) < self.acked.get(key, 0):
            self.stale.append(f"{key} is {read.body!r} at {node.name}, not {self.acked[key]}")
        headers = {"Sadik-Context": read.headers["sadik-context"]} if read.status == 200 else {}
        body = str(count).encode()
        try:
            written = node.ask("PUT", f"/v1/kv/ring/{key}?w=quorum&sloppy=false", body, headers)
        except OSError:
            return
        if written.status == 204:
            self.acked[key] = count
        else:
            self.failed.append(f"PUT {written.status} {written.body!r}")


def add(cluster: RealCluster, name: str) -> RealNode:
    """A further node, started; it joins through the second."""
    node = cluster.add(name, [cluster.nodes[1].peer])
    node.start()
    return node


def settle(cluster: RealCluster) -> None:
    """Wait until nothing moves any more."""
    eventually(_PATIENCE_S, cluster.is_ring_settled, "nothing moves any more")


def owned(node: RealNode) -> Counter[str]:
    """How many replicas each node has."""
    owners = node.ask("GET", "/v1/ring").json()["owners"]
    return Counter(name for names in owners for name in names)


class Moves:
    """The replicas that nodes came to own, those that they soon passed on among them."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.before = self._owners()
        self.gained: dict[tuple[int, str], None] = {}

    def is_over(self) -> bool:
        """Look at the ring, which is to be done often; whether nothing moves any more."""
        for partition, names in enumerate(self._owners()):
            new = [name for name in names if name not in self.before[partition]]
            self.gained |= {(partition, name): None for name in new}
        return self.cluster.is_ring_settled()

    @property
    def least(self) -> int:
        """How many any plan must move to the nodes that there are now."""
        claimants = [Claimant(node.name.encode()) for node in self.cluster.nodes]
        present = tuple(tuple(map(str.encode, names)) for names in self.before)
        return minimum_moves(claimants, len(present), 3, present)

    def _owners(self) -> list[list[str]]:
        owners: list[list[str]] = self.cluster.nodes[0].ask("GET", "/v1/ring").json()["owners"]
        return owners


def records_in(node: RealNode) -> int:
    """How many records a stopped node has in its store."""
    with lmdb.open(str(node.directory / "store"), readonly=True) as store, store.begin() as reading:
        return sum(key.startswith(b"O") for key in reading.cursor().iternext(values=False))


def is_told(node: RealNode) -> bool:
    """Whether a removed node knows it."""
    try:
        return b"removed" in node.ask("GET", "/readyz").body
    except OSError:
        return False


@pytest.mark.timeout(400)
def test_three_to_five_to_three_nodes_under_load(tmp_path: Path) -> None:
    with any_cluster(tmp_path) as cluster:
        cluster.start()
        stop = threading.Event()
        entries = list(cluster.nodes)
        clients = [Client(number, entries, stop) for number in range(8)]
        for client in clients:
            client.start()
        moves = Moves(cluster)
        four, five = add(cluster, "n4"), add(cluster, "n5")
        eventually(_PATIENCE_S, moves.is_over, "nothing moves any more")
        assert four.is_ready()
        assert five.is_ready()
        assert len(moves.gained) <= 1.1 * moves.least
        balanced = owned(five)
        entries[:] = [cluster.nodes[0], four, five]
        for name in ("n2", "n3"):
            assert four.ask("POST", f"/v1/members/{name}/leave", b"", {}, 60).status == 202
        leaving = cluster.nodes[1:3]
        for node in leaving:
            assert node.process is not None
            assert node.process.wait(2 * _PATIENCE_S) == 0
            assert "farewell_unheard" not in node.log.read_text("utf-8")
            assert records_in(node) == 0
        stop.set()
        for client in clients:
            client.join()
        cluster.nodes = [cluster.nodes[0], four, five]
        settle(cluster)
        assert [failure for client in clients for failure in client.failed] == []
        assert [stale for client in clients for stale in client.stale] == []
        for key, count in [item for client in clients for item in client.acked.items()]:
            read = five.ask("GET", f"/v1/kv/ring/{key}?r=all&sloppy=false")
            assert read.status == 200
            assert int(read.body) >= count
        assert max(balanced.values()) - min(balanced.values()) <= 1
        assert set(owned(four)) == {"n1", "n4", "n5"}


@pytest.mark.timeout(300)
def test_a_transfer_goes_on_after_giver_and_receiver_were_killed(tmp_path: Path) -> None:
    with any_cluster(tmp_path) as cluster:
        cluster.start()
        one = cluster.nodes[0]
        for number in range(300):
            assert one.ask("PUT", f"/v1/kv/ring/{number}", b"v%d" % number).status == 204
        four = add(cluster, "n4")
        eventually(
            _PATIENCE_S,
            lambda: any(
                each["state"] in ("moving", "switching", "waiting")
                for each in one.ask("GET", "/v1/transfers").json()["transfers"]
            ),
            "something moves",
        )
        for node in (four, cluster.nodes[1]):
            node.kill()
        for node in (four, cluster.nodes[1]):
            node.start()
        eventually(_PATIENCE_S, four.is_ready, "the receiver is ready")
        eventually(_PATIENCE_S, cluster.nodes[1].is_ready, "the giver is ready")
        settle(cluster)
        for number in range(300):
            read = four.ask("GET", f"/v1/kv/ring/{number}?r=all&sloppy=false")
            assert (read.status, read.body) == (200, b"v%d" % number)


@pytest.mark.timeout(300)
def test_a_dead_node_is_removed_and_the_survivors_data_come_to_another(tmp_path: Path) -> None:
    with any_cluster(tmp_path, nodes=4) as cluster:
        cluster.start()
        one, dead = cluster.nodes[0], cluster.nodes[3]
        for number in range(100):
            assert one.ask("PUT", f"/v1/kv/ring/{number}", b"v%d" % number).status == 204
        dead.kill()
        eventually(
            _PATIENCE_S,
            lambda: one.ask("POST", "/v1/members/n4/remove", b"", {}, 60).status == 202,
            "a majority finds it dead",
        )
        cluster.nodes.remove(dead)
        eventually(_PATIENCE_S, lambda: set(owned(one)) == {"n1", "n2", "n3"}, "it owns nothing")
        settle(cluster)
        for number in range(100):
            read = one.ask("GET", f"/v1/kv/ring/{number}?r=all&sloppy=false")
            assert (read.status, read.body) == (200, b"v%d" % number)
        dead.start()
        eventually(_PATIENCE_S, lambda: is_told(dead), "it is told that it was removed")
        assert dead.stop() == 0
        data = dead.directory
        assert list((data / "removed-store").iterdir())
        assert not (data / "store").exists()
        dead.start()
        assert dead.process is not None
        assert dead.process.wait(_PATIENCE_S) == 2
        assert "was removed from the cluster" in dead.log.read_text("utf-8")


def partitions_of(values: dict[str, bytes], partitions: int) -> Counter[int]:
    """The bytes of the values of each partition."""
    sizes: Counter[int] = Counter()
    for key, value in values.items():
        sizes[token_of("ring", key.encode()) * partitions >> 64] += len(value)
    return sizes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_join_tells_how_many_bytes_it_has_moved_and_is_to_move(tmp_path: Path) -> None:
    # Some 700 keys a partition: more than the sample by which owners estimate.
    values = {f"key-{n:05}": bytes(n % 256 for _ in range(1100)) for n in range(11_000)}
    with RealCluster(tmp_path, environment={"SADIK_CLUSTER__PARTITIONS": "16"}) as cluster:
        cluster.start()
        one = cluster.nodes[0]
        items = list(values.items())
        for at in range(0, len(items), 1000):
            lines = [
                json.dumps({"op": "put", "bucket": "ring", "key": key,
                            "value_b64": base64.b64encode(value).decode()})
                for key, value in items[at : at + 1000]
            ]  # fmt: skip
            written = one.ask("POST", "/v1/batch", "\n".join(lines).encode(), {}, 60)
            assert written.status == 200
            assert b'"status":204' in written.body.replace(b" ", b"")
        add(cluster, "n4")
        seen: dict[int, list[tuple[int, int, str]]] = {}
        asked = cluster.nodes[:3]

        def look() -> bool:
            for node in asked:
                for each in node.ask("GET", "/v1/transfers").json()["transfers"]:
                    figures = each["bytes_done"], each["bytes_total"], each["state"]
                    seen.setdefault(each["partition"], []).append(figures)
            return bool(seen) and cluster.is_ring_settled()

        eventually(_PATIENCE_S, look, "nothing moves any more")
        told = [figures for found in seen.values() for figures in found]
        real = partitions_of(values, 16)
        assert len(seen) >= 12
        assert all(0 <= done <= total for done, total, _ in told)
        for partition, found in seen.items():
            totals = [total for _, total, _ in found if total]
            assert totals, f"nobody told how large partition {partition} is"
            assert totals == pytest.approx([real[partition]] * len(totals), rel=0.2)
        assert sum(max(total for _, total, _ in found) for found in seen.values()) == pytest.approx(
            sum(real[partition] for partition in seen), rel=0.2
        )
