"""A test's cluster as a thing that begins, fails and ends: quickly, readably, leaving nothing."""

from __future__ import annotations

import asyncio
import gc
import http.client
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from plain_http import ask
from sadik_node.testing import (
    Cluster,
    ClusterError,
    TrioCluster,
    open_cluster,
    start_cluster,
)  # fmt: skip
from sadik_node.testing import (
    cluster as cluster_module,
)
from sadik_storage.lmdb import LmdbStore

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes of the same test run make temporary directories too, elsewhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def open_files() -> list[str]:
    """What this process has open, without the directory that is read to find out."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(number.readlink()))
    return sorted(name.partition(":[")[0] for name in found)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Nothing is there that was not before: threads, files, sockets, temporary directories."""
    gc.collect()  # what an earlier test let go of may be closed meanwhile
    threads, files = set(threading.enumerate()), open_files()
    places = set(Path(tempfile.gettempdir()).glob("sadik-testing-*"))
    yield
    assert set(threading.enumerate()) <= threads
    gc.collect()
    assert not Counter(open_files()) - Counter(files)
    assert set(Path(tempfile.gettempdir()).glob("sadik-testing-*")) == places


def life_of(cluster: Cluster, name: str) -> Any:
    """The inside of a running node, to break it."""
    node = cluster._made._nodes[name].node
    assert node is not None
    return node.life


@pytest.mark.parametrize("backend", ["memory", "lmdb"])
def test_nothing_is_left_however_often_and_however_it_ends(backend: str) -> None:
    with nothing_left():
        for _ in range(3):
            with start_cluster(backend=backend) as cluster:
                assert ask(cluster.urls[1], "PUT", "/v1/kv/b/k", b"v").status == 204
                cluster.pause("n1")
                cluster.kill("n2")
        with pytest.raises(ZeroDivisionError), start_cluster(nodes=1, backend=backend):
            raise ZeroDivisionError


@pytest.mark.slow  # by itself: it is about the time it takes
def test_three_nodes_are_ready_within_a_second() -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        with start_cluster():
            took.append(time.monotonic() - began)
    assert statistics.median(took) < 1, took


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_other_sizes(nodes: int) -> None:
    with start_cluster(nodes, replicas=2, partitions=16) as cluster:
        ring = ask(cluster.urls[-1], "GET", "/v1/ring").json()
        assert (ring["partitions"], ring["replicas"]) == (16, 2)
        assert {name for owners in ring["owners"] for name in owners} == set(cluster.names)
        assert ask(cluster.urls[-1], "PUT", "/v1/kv/b/k", b"v").status == 204
    with pytest.raises(ValueError, match="nodes is 0"), start_cluster(0):
        pass


def test_two_clusters_at_once_know_nothing_of_each_other() -> None:
    with start_cluster() as one, start_cluster() as other:
        assert not set(one.urls) & set(other.urls)
        assert ask(one.urls[0], "PUT", "/v1/kv/b/k", b"v").status == 204
        assert ask(other.urls[0], "GET", "/v1/kv/b/k").status == 404
        other.kill("n1")
        one.wait_until_ready()


def test_a_directory_is_kept(tmp_path: Path) -> None:
    for expected in (404, 200):
        with start_cluster(backend="lmdb", directory=tmp_path) as cluster:
            said = ask(cluster.urls[0], "GET", "/v1/kv/b/k")
            assert said.status == expected
            assert ask(cluster.urls[0], "PUT", "/v1/kv/b/k?w=3", b"v").status == 204
    assert sorted(each.name for each in tmp_path.iterdir()) == ["n1", "n2", "n3"]
    LmdbStore.open(tmp_path / "n1" / "store", {}, durable=True).close()


def test_a_cluster_that_cannot_form_says_why() -> None:
    with (
        nothing_left(),
        pytest.raises(ClusterError, match=r"n1 ended by itself: NodeError: .*'nonesuch'"),
        start_cluster(backend="nonesuch"),
    ):
        pass


class _BrokenEngine:
    """An engine that fails at whatever it is told."""

    deadline = 0

    def step(self, now: int, event: object) -> list[object]:
        raise LookupError("planted")


def crash(cluster: Cluster, name: str) -> None:
    """Let the node fail at the next thing that happens to it; returns when the cluster says so."""
    life_of(cluster, name).host._machines[1] = _BrokenEngine()
    while True:
        cluster.wait_until_ready()


def test_a_node_that_crashes_fails_the_next_call_and_the_end() -> None:
    at_once = None

    def play() -> None:
        nonlocal at_once
        with start_cluster() as cluster, pytest.raises(ClusterError) as at_once:
            crash(cluster, "n2")

    with nothing_left(), pytest.raises(ClusterError) as at_the_end:
        play()
    for caught in (at_once, at_the_end):
        assert caught is not None
        text = str(caught.value)
        assert text.startswith("n2 ended by itself: LookupError: planted\n")
        assert "the end of n2's log:" in text
        assert " n2 ready" in text


def test_a_crash_is_a_note_where_the_test_fails_too() -> None:
    def play() -> None:
        with start_cluster() as cluster:
            with pytest.raises(ClusterError):
                crash(cluster, "n2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        play()
    assert "n2 ended by itself" in "".join(caught.value.__notes__)


def test_a_defect_that_costs_one_request_fails_the_test() -> None:
    def broken_status() -> dict[str, object]:
        raise LookupError("planted")

    def play() -> None:
        with start_cluster() as cluster:
            life_of(cluster, "n1").service.status = broken_status
            with suppress(OSError, http.client.HTTPException):
                ask(cluster.urls[0], "GET", "/v1/status")

    with pytest.raises(ClusterError, match=r"n1 met a defect.*: LookupError: planted"):
        play()


def test_a_node_that_is_stuck_is_shown_with_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def stuck_in_a_loop(due: int | None) -> None:
        release.wait(30)

    with start_cluster() as cluster:
        monkeypatch.setattr(cluster_module, "_GRACE_S", 0.5)
        monkeypatch.setattr(cluster_module, "PATIENCE_S", 0.0)
        host = life_of(cluster, "n2").host
        turn, host._turn = host._turn, stuck_in_a_loop
        with pytest.raises(TimeoutError):
            ask(cluster.url("n2"), "GET", "/v1/kv/b/k", timeout=0.2)
        with pytest.raises(ClusterError, match="stuck_in_a_loop"):
            cluster.wait_until_noticed(timeout=0)
        host._turn = turn
        release.set()
        monkeypatch.undo()
        cluster.wait_until_ready()


def test_a_cluster_that_has_ended_says_so() -> None:
    with start_cluster(nodes=1) as cluster:
        pass
    with pytest.raises(ClusterError, match="has ended"):
        cluster.wait_until_ready()


def test_switches_work_from_many_threads() -> None:
    with start_cluster() as cluster:
        failures: list[BaseException] = []

        def play(name: str) -> None:
            try:
                for _ in range(5):
                    cluster.isolate(name)
                    cluster.heal()
                    cluster.kill(name)
                    cluster.restart(name)
            except BaseException as error:  # noqa: BLE001 - shown below
                failures.append(error)

        threads = [threading.Thread(target=play, args=(name,)) for name in cluster.names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        cluster.wait_until_ready()


def test_a_cluster_beside_asyncio() -> None:
    async def main() -> None:
        with start_cluster() as cluster:
            await asyncio.to_thread(cluster.kill, "n3")
            said = await asyncio.to_thread(ask, cluster.urls[0], "PUT", "/v1/kv/b/k", b"v")
            assert said.status == 204
            cluster.isolate("n2")

    asyncio.run(main())


async def test_a_cluster_in_the_callers_trio_run() -> None:
    async def read(cluster: TrioCluster, name: str) -> bytes:
        said = await trio.to_thread.run_sync(ask, cluster.url(name), "GET", "/v1/kv/b/k")
        return said.body

    with trio.fail_after(60):
        async with open_cluster() as cluster:
            url = cluster.urls[0]
            assert (
                await trio.to_thread.run_sync(ask, url, "PUT", "/v1/kv/b/k", b"v")
            ).status == 204
            assert await read(cluster, "n2") == b"v"
            await cluster.kill("n3")
            await cluster.wait_until_noticed()
            await cluster.restart("n3")
            await cluster.wait_until_ready()
            await cluster.wait_until_hints_drained()
            await cluster.stop("n1")
            cluster.pause("n2")
            cluster.resume("n2")
            assert {name: state.value for name, state in cluster.states().items()} == {
                "n1": "stopped", "n2": "running", "n3": "running",
            }  # fmt: skip


async def test_what_the_block_raises_leaves_it_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_cluster(nodes=1):
            raise ZeroDivisionError
    with trio.move_on_after(60) as scope:
        async with open_cluster(nodes=1):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
