"""Whole nodes on loopback: a cluster of three in one process, and one in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from sadik_members import RefusalReason
from sadik_metrics.families import PEER_REFUSALS
from sadik_node.address import Address
from sadik_node.errors import NodeError, find_cause
from sadik_node.log import Log
from sadik_node.node import Node
from sadik_node.settings import Cluster, Limits, Listen, Settings, Storage
from sadik_node.settings import Node as NodeSettings
from sadik_node.testing import open_cluster
from sadik_node.testing.disk import MemoryDisk
from sadik_storage import Batch, Store
from sadik_storage.lmdb import LmdbStore
from sadik_vnode.keyspace import BIRTHS_ROW, DATA_RANGE, TREE_ROW

pytestmark = pytest.mark.system

REPAIRED = "sadik_anti_entropy_repaired_total "
LOOPBACK = Address("127.0.0.1", 0)


def settings(path: Path, name: str, *join: int, **storage: Any) -> Settings:
    """A node's settings with ports of the system's choice."""
    return Settings(
        node=NodeSettings(name=name, data_dir=path / name),
        listen=Listen(http=LOOPBACK, peer=LOOPBACK),
        cluster=Cluster(join=tuple(Address("127.0.0.1", port) for port in join), partitions=16),
        storage=Storage(**storage),
        limits=Limits(free_bytes=0),
    )


@attrs.define
class Answer:
    """What a node said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def _ask(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        got = connection.getresponse()
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
    finally:
        connection.close()


async def ask(
    node: Node, method: str, path: str, body: bytes | None = None, **headers: str
) -> Answer:
    """One request to a node, with the standard library's client."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await trio.to_thread.run_sync(_ask, node.http_port, method, path, body, named)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until an awaited condition holds."""
    with trio.fail_after(20):
        while not await condition():
            await trio.lowlevel.checkpoint()


async def ready(node: Node) -> None:
    """Wait until a node serves."""

    async def is_ready() -> bool:
        # Between two lives of one process the ports are free for a moment.
        with contextlib.suppress(OSError):
            return (await ask(node, "GET", "/readyz")).status == 200
        return False

    await until(is_ready)


@attrs.define
class Cluster3:
    """A nursery of nodes."""

    path: Path
    nursery: trio.Nursery
    scopes: dict[str, trio.CancelScope] = attrs.Factory(dict)
    ended: dict[str, trio.Event] = attrs.Factory(dict)

    async def start(self, name: str, *join: int, **storage: Any) -> Node:
        """Start a node and wait until it listens."""
        node = Node(
            settings(self.path, name, *join, **storage), log=Log(name, stream=io.StringIO())
        )
        self.scopes[name], self.ended[name] = trio.CancelScope(), trio.Event()
        await self.nursery.start(partial(self._run, name, node))
        return node

    async def _run(
        self,
        name: str,
        node: Node,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with self.scopes[name]:
            await node.run(task_status=task_status)
        self.ended[name].set()

    async def stop(self, node: Node) -> None:
        """A clean stop."""
        node.stop()
        await self.ended[node.settings.node.name].wait()

    async def crash(self, node: Node) -> None:
        """Everything of the node is gone at once; nothing is flushed or said."""
        self.scopes[node.settings.node.name].cancel()
        await self.ended[node.settings.node.name].wait()


@asynccontextmanager
async def cluster(path: Path) -> AsyncIterator[Cluster3]:
    """A place for nodes; those that still run at the end are crashed."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            here = Cluster3(path, nursery)
            yield here
            for scope in here.scopes.values():
                scope.cancel()


async def three(here: Cluster3) -> list[Node]:
    """Three ready nodes that know a ring of three."""
    first = await here.start("n1")
    nodes = [first]
    nodes += [await here.start(name, first.peer_port) for name in ("n2", "n3")]
    for node in nodes:

        async def knows_all(node: Node = node) -> bool:
            ring = await ask(node, "GET", "/v1/ring")
            return ring.status == 200 and len(set(ring.json["owners"][0])) == 3

        await until(knows_all)
        await ready(node)
    return nodes


async def test_three_nodes_keep_what_they_are_given_while_one_is_gone(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        one, two, three_ = await three(here)
        wrote = await ask(one, "PUT", "/v1/kv/b/k", b"first")
        assert wrote.status == 204, wrote.body
        got = await ask(two, "GET", "/v1/kv/b/k")
        assert (got.status, got.body) == (200, b"first")

        await here.crash(three_)
        for number in range(20):
            wrote = await ask(one, "PUT", f"/v1/kv/b/{number}", b"%d" % number)
            assert wrote.status == 204, wrote.body
            got = await ask(two, "GET", f"/v1/kv/b/{number}")
            assert (got.status, got.body) == (200, b"%d" % number)
        assert (await ask(one, "GET", "/v1/hints")).json["by_node"].get("n3", 0) > 0

        back = await here.start("n3")
        await ready(back)

        async def is_delivered() -> bool:
            return not (await ask(one, "GET", "/v1/hints")).json["total"]

        await until(is_delivered)
        explained = (await ask(back, "GET", "/v1/explain/b/7")).json
        assert {replica["node"]: len(replica["versions"]) for replica in explained["replicas"]} == {
            "n1": 1, "n2": 1, "n3": 1,
        }  # fmt: skip
        status = (await ask(back, "GET", "/v1/status")).json
        assert status["boot"] == 2
        listed = (await ask(back, "GET", "/v1/kv/b")).body
        assert len(listed.splitlines()) == 22


async def test_all_are_stopped_and_started_and_everything_is_there(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        nodes = await three(here)
        assert (await ask(nodes[0], "PUT", "/v1/kv/b/k", b"kept")).status == 204
        for node in nodes:
            await here.stop(node)
        # All addresses have changed: they meet again through one seed.
        first = await here.start("n1")
        others = [await here.start(name, first.peer_port) for name in ("n2", "n3")]
        for node in (first, *others):
            await ready(node)
            got = await ask(node, "GET", "/v1/kv/b/k?r=all")
            assert (got.status, got.body) == (200, b"kept")


async def test_a_store_that_was_rolled_back_gets_a_new_instance_in_the_same_run(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as here:
        nodes = await three(here)
        await here.stop(nodes[2])
        copy = {each.name: each.read_bytes() for each in (tmp_path / "n3" / "store").iterdir()}
        again = await here.start("n3")
        await ready(again)
        assert (await ask(again, "GET", "/v1/status")).json["boot"] == 2
        await here.stop(again)
        for name, data in copy.items():
            (tmp_path / "n3" / "store" / name).write_bytes(data)
        back = await here.start("n3")
        await ready(back)

        async def lives_anew() -> bool:
            with contextlib.suppress(OSError):
                return bool((await ask(back, "GET", "/v1/status")).json["boot"] > 2)
            return False

        await until(lives_anew)
        await ready(back)
        assert (await ask(back, "PUT", "/v1/kv/b/k", b"v")).status == 204


def instance_on(path: Path) -> bytes | None:
    with LmdbStore.open(path / "store", {}, durable=True) as store:
        return store.get(b"Ninstance")


async def test_an_instance_is_kept_only_by_who_has_met_everybody(tmp_path: Path) -> None:
    """Else somebody who is away may know of a life that followed the copy which was put back."""
    async with cluster(tmp_path) as here:
        one, two, three_ = await three(here)
        await here.stop(three_)
        first = instance_on(tmp_path / "n3")
        again = await here.start("n3", one.peer_port)
        await ready(again)
        await here.stop(again)
        assert instance_on(tmp_path / "n3") == first

        await here.stop(two)
        for _ in range(2):
            again = await here.start("n3", one.peer_port)
            await ready(again)
            assert (await ask(again, "PUT", "/v1/kv/b/k", b"v")).status == 204
            await here.stop(again)
        assert instance_on(tmp_path / "n3") not in (None, first)


async def test_a_damaged_row_of_used_actors_means_a_new_instance(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        node = await here.start("n1")
        await ready(node)
        assert (await ask(node, "PUT", "/v1/kv/b/k", b"v")).status == 204
        await here.stop(node)
        with LmdbStore.open(tmp_path / "n1" / "store", {}, durable=True) as store:
            instance = store.get(b"Ninstance")
            assert store.get(BIRTHS_ROW) is not None
            store.commit([(BIRTHS_ROW, b"damaged beyond recognition")])
        again = await here.start("n1")
        await ready(again)
        assert (await ask(again, "GET", "/v1/kv/b/k")).body == b"v"
        assert (await ask(again, "PUT", "/v1/kv/b/k", b"w")).status == 204
        await here.stop(again)
        with LmdbStore.open(tmp_path / "n1" / "store", {}, durable=True) as store:
            assert store.get(b"Ninstance") not in (None, instance)


async def test_damaged_membership_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        node = await here.start("n1")
        await ready(node)
        await here.stop(node)
    with LmdbStore.open(tmp_path / "n1" / "store", {}, durable=True) as store:
        (row, value), *_ = store.scan(b"Mm", b"Mn", limit=1, limit_bytes=1)
        store.commit([(row, value[:-1] + bytes([value[-1] ^ 1]))])
    refused = await _refusal(Node(settings(tmp_path, "n1")))
    assert refused.exit_code == 1
    assert f"{tmp_path / 'n1' / 'store'} and let the node start with that" in str(refused)
    assert "its peers have the data" in str(refused)


async def test_one_node_is_a_cluster(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        node = await here.start("n1", backend="memory")
        await ready(node)
        wrote = await ask(node, "PUT", "/v1/kv/b/k", b"v")
        assert wrote.status == 204
        assert "durable=0" in wrote.headers["sadik-acks"]
        assert (await ask(node, "GET", "/metrics")).status == 200
        members = (await ask(node, "GET", "/v1/members")).json["members"]
        assert [(each["name"], each["state"]) for each in members] == [("n1", "up")]
        await here.stop(node)


async def test_a_restarted_node_knows_its_cluster_before_it_is_linked() -> None:
    """Else what peers send it at once, such as hints, is dropped as a stranger's."""
    disk_works = threading.Event()

    class SlowDisk(MemoryDisk):
        """Its store stands still where the host commits."""

        def open(self) -> Store:
            store = super().open()
            commit = store.commit

            def commit_slowly(batch: Batch) -> None:
                if threading.current_thread().name == "sadik-commits":
                    disk_works.wait(20)
                commit(batch)

            store.commit = commit_slowly  # type: ignore[method-assign]
            return store

    async with open_cluster(nodes=2) as cluster:
        member, network = cluster._nodes["n1"], cluster._network
        await cluster.kill("n1")
        slow = SlowDisk()
        slow.put(member._disk.take())
        member._disk = slow
        before = len(member.log_text)

        async def is_dialled() -> bool:
            await trio.sleep(0.001)
            waiting = any(each._waiting for each in network._listeners.values())
            return waiting or " link_up " in member.log_text[before:]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.restart, "n1")
            await until(is_dialled)
            disk_works.set()
        await cluster.wait_until_ready()
        again = member.log_text[before:]
        assert 0 < again.index(" cluster_joined ") < again.index(" link_up ")


async def _refusal(node: Node) -> NodeError:
    try:
        await node.run()
    except (NodeError, BaseExceptionGroup) as error:
        found = find_cause(error, NodeError)
        assert found is not None
        return found
    raise AssertionError("it started")


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for field in ("http", "peer"):
            base = settings(tmp_path, field)
            changes: Any = {field: Address("127.0.0.1", port)}
            listen = attrs.evolve(base.listen, **changes)
            refusal = await _refusal(Node(attrs.evolve(base, listen=listen)))
            assert refusal.exit_code == 1
            assert f"127.0.0.1:{port}" in str(refusal)
            assert f"listen.{field}" in str(refusal)


async def test_a_node_is_not_exposed_unless_it_is_told_so(tmp_path: Path) -> None:
    base = settings(tmp_path, "n")
    listen = attrs.evolve(base.listen, http=Address("0.0.0.0", 0))
    refusal = await _refusal(Node(attrs.evolve(base, listen=listen)))
    assert refusal.exit_code == 2
    assert "insecure" in str(refusal)


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ({"backend": "nonesuch"}, "nonesuch"),
        ({"options": {"map_bites": 1}}, "map_bites"),
    ],
)
async def test_a_store_that_cannot_be_is_refused(
    tmp_path: Path, storage: dict[str, Any], words: str
) -> None:
    refusal = await _refusal(Node(settings(tmp_path, "n", **storage)))
    assert refusal.exit_code == 2
    assert words in str(refusal)


async def test_other_partitions_than_the_clusters_are_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        node = await here.start("n1")
        await ready(node)
        await here.stop(node)
    base = settings(tmp_path, "n1")
    other = attrs.evolve(base, cluster=attrs.evolve(base.cluster, partitions=64))
    refusal = await _refusal(Node(other))
    assert refusal.exit_code == 2
    assert "16" in str(refusal)
    assert "64" in str(refusal)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _serve(path: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sadik_node", "serve", "--name", "n1", "--data-dir", str(path)],
        env={**os.environ, "SADIK_LISTEN__HTTP": f"127.0.0.1:{_free_port()}",
             "SADIK_LISTEN__PEER": f"127.0.0.1:{_free_port()}", **environment},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_process_drains_at_sigterm_and_comes_back_after_a_kill(tmp_path: Path) -> None:
    for end, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGINT, 0)):
        process = _serve(tmp_path / "d", SADIK_LOG__FORMAT="json")
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line))
            if lines[-1]["event"] == "ready":
                break
        process.send_signal(end)
        rest = process.stderr.read()
        assert process.wait(10) == code, rest
        process.stderr.close()
        if code == 0:
            assert json.loads(rest.splitlines()[-1])["event"] == "stopped"


def test_a_refusal_is_the_last_line_and_the_exit_code(tmp_path: Path) -> None:
    first = _serve(tmp_path / "d")
    assert first.stderr is not None
    for line in first.stderr:
        if " ready" in line:
            break
    second = _serve(tmp_path / "d")
    _, said = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "another node" in said.splitlines()[-1]
    first.terminate()
    first.stderr.read()
    assert first.wait(10) == 0
    first.stderr.close()
    other = _serve(tmp_path / "d", SADIK_CLUSTER__NAME="other")
    _, said = other.communicate(timeout=20)
    assert other.returncode == 2
    assert "'other'" in said.splitlines()[-1]


async def test_a_repair_brings_back_what_a_disk_has_lost(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        one, two, three_ = await three(here)
        for number in range(60):
            wrote = await ask(one, "PUT", f"/v1/kv/b/{number}?w=3", b"%d" % number)
            assert wrote.status == 204, wrote.body
        first = await ask(two, "POST", "/v1/repair", b"")
        assert (first.status, first.json["partitions"], first.json["compared"]) == (200, 16, 32)
        assert (first.json["differences"], first.json["repaired"]) == (0, 0)

        await here.stop(three_)
        with LmdbStore.open(tmp_path / "n3" / "store", {}, durable=True) as store:
            lost = store.scan_keys(*DATA_RANGE, limit=1000)[::4]
            store.commit([*((row, None) for row in lost), (TREE_ROW, None)])
        back = await here.start("n3", one.peer_port)
        await ready(back)
        for partition in range(16):
            answer = await ask(back, "POST", f"/v1/repair?partition={partition}", b"")
            assert answer.status == 200
            assert answer.json["finished"]
            assert answer.json["unreachable"] == []
        again = await ask(one, "POST", "/v1/repair", b"")
        assert (again.json["differing"], again.json["differences"]) == (0, 0)
        repaired = 0
        for node in (one, two, back):
            metrics = (await ask(node, "GET", "/metrics")).body.decode()
            [line] = [t for t in metrics.splitlines() if t.startswith(REPAIRED)]
            repaired += int(float(line.split()[1]))
        assert repaired == len(lost) == 15
        for query in ("partition=16", "partition=x", "partition=", "all=1"):
            assert (await ask(one, "POST", f"/v1/repair?{query}", b"")).status == 400
        assert (await ask(one, "GET", "/v1/repair")).status == 405


async def test_a_scrub_finds_what_rotted_while_a_node_was_stopped(tmp_path: Path) -> None:
    async with cluster(tmp_path) as here:
        one, two, three_ = await three(here)
        for number in range(40):
            wrote = await ask(one, "PUT", f"/v1/kv/b/{number}?w=3", b"%d" % number)
            assert wrote.status == 204, wrote.body
        clean = await ask(two, "POST", "/v1/scrub", b"")
        assert (clean.status, clean.json["records"], clean.json["damaged"]) == (200, 40, 0)

        await here.stop(three_)
        with LmdbStore.open(tmp_path / "n3" / "store", {}, durable=True) as store:
            rotten = store.scan(*DATA_RANGE, limit=5, limit_bytes=2**20)
            store.commit([(row, value[:-1] + b"?") for row, value in rotten])
        back = await here.start("n3", one.peer_port)
        await ready(back)
        found = (await ask(back, "POST", "/v1/scrub", b"")).json
        assert (found["damaged"], found["finished"]) == (5, True)

        async def is_clean() -> bool:
            again = (await ask(back, "POST", "/v1/scrub", b"")).json
            return bool(again["damaged"] == 0 and again["sums_wrong"] == 0)

        await until(is_clean)
        for number in range(40):
            got = await ask(back, "GET", f"/v1/kv/b/{number}?r=1")
            assert (got.status, got.body) == (200, b"%d" % number)
        metrics = (await ask(back, "GET", "/metrics")).body.decode()
        figures = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
        assert float(figures["sadik_damaged_records_total"]) >= 5
        assert float(figures["sadik_scrubs_total"]) >= 2
        assert (await ask(one, "POST", "/v1/scrub?all=1", b"")).status == 400
        assert (await ask(one, "GET", "/v1/scrub")).status == 405


def test_every_reason_for_which_a_peer_is_refused_has_its_series() -> None:
    assert {str(reason) for reason in RefusalReason} <= set(PEER_REFUSALS)
