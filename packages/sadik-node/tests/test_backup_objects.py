"""Backups in an object store, and one bucket brought back into a living cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from backup_contents import LARGE, done, fill, run
from sadik_client.blocking import Client
from sadik_node.backup.objects import ObjectVault
from sadik_node.testing import start_cluster
from sadik_node.testing.cluster import Cluster

pytestmark = pytest.mark.system  # each starts clusters

server = pytest.importorskip("moto.server", reason="needs moto's object store, of requirements.in")
pytest.importorskip("s3fs", reason="needs the extra sadik-node[s3]")


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """An object store on this machine; the environment by which clients find it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    served = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment
    served.stop()


@pytest.fixture
def place(store: dict[str, str], request: pytest.FixtureRequest) -> str:
    """An address of this test's own. Nobody has made the object store's bucket."""
    return f"s3://backups/{request.node.name}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with start_cluster(nodes=3) as cluster:
        fill(cluster, plain=60)
        yield cluster


def objects_of(place: str) -> dict[str, int]:
    return ObjectVault(place, writing=False).sizes("")


def test_a_backup_in_an_object_store_makes_a_cluster_that_is_the_same(
    cluster: Cluster, place: str
) -> None:
    assert run("restore", place, None).exit_code == 3, "nothing is there yet"
    told = done(run("backup", place, cluster, "--json"))
    assert (told["records"], told["moving"]) == (64, [])
    before = objects_of(place)
    again = done(run("backup", place, cluster, "--json"))
    assert (again["shares_read"], again["new_bytes"]) == (0, 0)
    assert len(objects_of(place)) == len(before) + 1, "only a manifest is new, and no mark is left"
    listed = done(run("backup", place, None, "--list", "--json"))["backups"]
    assert [each["records"] for each in listed] == [64, 64]
    assert "all verified by hash" in run("backup", place, None, "--verify").stdout
    with start_cluster(nodes=1, partitions=64) as other:
        restored = done(run("restore", place, other, "--json"))
        assert (restored["records"], restored["sent"]) == (64, 64)
        with Client(other.urls[0]) as client:
            assert client.get("plain", "key 7").version.meta == {"n": "7"}
            assert sorted(client.get("b", b"\x00\xff/..").values) == [b"one", b"two"]
            assert client.get("b", "large").value == LARGE
    kept = done(run("backup", place, cluster, "--keep", "1", "--json"))
    assert kept["removed"] == 2
    assert run("backup", place, None, "--verify").exit_code == 0


def test_what_an_object_store_lost_or_damaged_is_found_and_read_anew(
    cluster: Cluster, place: str
) -> None:
    done(run("backup", place, cluster, "--json"))
    vault = ObjectVault(place, writing=False)
    one, other = list(vault.sizes("records"))[:2]
    vault.remove(one)
    data = vault.read(other)
    assert data is not None
    vault.write(other, data[:-1] + bytes([data[-1] ^ 1]))
    result = run("backup", place, None, "--verify")
    assert result.exit_code == 1
    assert f"{one} is missing" in result.stderr
    assert f"{other} is damaged" in result.stderr
    vault.remove(other)
    assert done(run("backup", place, cluster, "--json"))["shares_read"] == 2
    assert run("backup", place, None, "--verify").exit_code == 0


def test_old_backups_stay_while_somebody_else_makes_one(cluster: Cluster, place: str) -> None:
    done(run("backup", place, cluster, "--json"))
    other = ObjectVault(place, writing=True)
    result = run("backup", place, cluster, "--keep", "1", "--json")
    assert done(result)["removed"] == 0
    assert f"process {os.getpid()} on" in result.stderr
    other.close()
    assert done(run("backup", place, cluster, "--keep", "1", "--json"))["removed"] == 2


def test_a_store_that_cannot_be_reached_is_named(
    cluster: Cluster, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("backup", "nonesuch://x", cluster)
    assert (result.exit_code, "nonesuch" in result.stderr) == (1, True)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    result = run("backup", place, cluster)
    assert result.exit_code == 1
    assert 'pip install "sadik-node[fsspec]"' in result.stderr


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A verb that runs while the block does."""
    command = [sys.executable, "-m", "sadik_node", *arguments]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_backup_counts_for_nothing_and_the_next_goes_on(
    cluster: Cluster, place: str, how: signal.Signals
) -> None:
    vault = ObjectVault(place, writing=False)
    with process("backup", place, "--node", cluster.urls[0], "--jobs", "1") as backup:
        pause = threading.Event()
        while len(vault.sizes("unfinished")) < 3:
            assert backup.poll() is None, backup.communicate()
            pause.wait(0.01)
        backup.send_signal(how)
        assert backup.wait() != 0
    assert run("restore", place, None).exit_code == 3, "it is no backup"
    told = done(run("backup", place, cluster, "--json"))
    assert told["records"] == 64
    assert 0 < told["shares_read"] <= 64 - 3, "what was there is not read again"
    assert not vault.sizes("unfinished")
    assert run("backup", place, None, "--verify").exit_code == 0


def test_an_interrupted_restore_goes_on(cluster: Cluster, place: str) -> None:
    done(run("backup", place, cluster, "--json"))
    with start_cluster(nodes=1, partitions=64) as other, Client(other.urls[0]) as client:
        with process("restore", place, "--node", other.urls[0], "--jobs", "1") as restore:
            pause = threading.Event()
            while next(iter(client.list_keys("plain")), None) is None:
                assert restore.poll() is None, restore.communicate()
                pause.wait(0.01)
            restore.kill()
        told = done(run("restore", place, other, "--json"))
        assert told["records"] == 64
        assert told["sent"] < 64, "what was there is not sent again"


def test_a_bucket_comes_back_into_a_living_cluster_as_new_versions(place: str) -> None:
    with start_cluster(nodes=2, partitions=16) as living, Client(living.urls[0]) as client:
        client.set_bucket("b", {"blind_writes": "sibling"})
        client.put("b", "same", b"s", content_type="text/x", meta={"n": "1"})
        client.put("b", "changed", b"then")
        client.put("b", "two", b"1")
        client.put("b", "two", b"2")
        client.put("b", "deleted since", LARGE, ttl_s=1_000)
        client.put("b", "was deleted", b"x")
        client.delete("b", "was deleted")
        client.put("elsewhere", "k", b"then")
        living.wait_until_hints_drained()
        done(run("backup", place, living, "--json"))

        client.put("b", "changed", b"now", context=client.get("b", "changed").context)
        client.put("b", "two", b"merged", context=client.get("b", "two").context)
        client.delete("b", "deleted since")
        client.put("b", "was deleted", b"made anew")
        client.put("b", "new", b"n")
        client.put("elsewhere", "k", b"now")
        told = done(run("restore", place, living, "--bucket", "b", "--json"))
        assert (told["copied"], told["unchanged"], told["skipped"]) == (3, 1, 1)
        assert client.get("b", "changed").value == b"then"
        assert sorted(client.get("b", "two").values) == [b"1", b"2"]
        back = client.get("b", "deleted since").version
        assert back.value == LARGE
        assert 900 < (back.ttl_s or 0) <= 1_000
        assert client.get("b", "was deleted").value == b"made anew"
        assert client.get("b", "new").value == b"n"
        assert client.get("elsewhere", "k").value == b"now", "the other buckets are left alone"
        again = done(run("restore", place, living, "--bucket", "b", "--json"))
        assert (again["copied"], again["unchanged"], again["failed"]) == (0, 4, 0)

        copy = done(run("restore", place, living, "--bucket", "b", "--into", "c", "--json"))
        assert (copy["copied"], copy["skipped"]) == (4, 1)
        assert sorted(client.get("c", "two").values) == [b"1", b"2"]
        assert client.get("c", "same").version.meta == {"n": "1"}
        client.set_bucket("small", {"value_bytes": 1_000})
        short = run("restore", place, living, "--bucket", "b", "--into", "small", "--json")
        assert short.exit_code == 1
        assert [each["key"] for each in json.loads(short.stdout)["problems"]] == ["deleted%20since"]
        assert run("restore", place, living, "--into", "c").exit_code == 2
