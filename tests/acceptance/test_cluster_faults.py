"""The faults of a test's cluster: what its clients and its nodes see of each, over real HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
import trio

from plain_http import ask
from sadik_node.testing import Cluster, ClusterError, ClusterTimeoutError, start_cluster
from sadik_node.testing.cluster_node import ClusterNode


@pytest.fixture(params=["memory", "lmdb"])
def kept(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with start_cluster(backend=request.param) as cluster:
        yield cluster


@pytest.fixture
def quick() -> Iterator[Cluster]:
    with start_cluster() as cluster:
        yield cluster


def put(url: str, key: str, value: bytes) -> None:
    said = ask(url, "PUT", f"/v1/kv/b/{key}", value)
    assert said.status == 204, said


def own_copy(cluster: Cluster, name: str, key: str) -> list[bytes]:
    """The dots of the versions that one node holds itself."""
    said = ask(cluster.url(name), "GET", f"/v1/explain/b/{key}").json()
    [mine] = [each for each in said["replicas"] if each["node"] == name]
    return [version["dot"] for version in mine["versions"]]


def states(cluster: Cluster, seen_by: str) -> dict[str, str]:
    said = ask(cluster.url(seen_by), "GET", "/v1/members").json()
    return {member["name"]: member["state"] for member in said["members"]}


def test_a_value_is_at_all_nodes_and_durable(kept: Cluster) -> None:
    assert kept.names == ["n1", "n2", "n3"]
    assert kept.urls == [kept.url(name) for name in kept.names]
    assert [ask(url, "GET", "/readyz").status for url in kept.urls] == [200] * 3
    said = ask(kept.urls[0], "PUT", "/v1/kv/b/k?w=3&dw=3", b"v")
    assert said.status == 204
    assert "durable=3" in said.headers["sadik-acks"]
    for url in kept.urls:
        said = ask(url, "GET", "/v1/kv/b/k?r=3")
        assert (said.status, said.body) == (200, b"v")


def test_an_isolated_node_is_alone_until_it_is_healed(quick: Cluster) -> None:
    one, _, three = quick.urls
    quick.isolate("n3")
    quick.wait_until_noticed()
    assert states(quick, "n1")["n3"] != "up"
    put(one, "k", b"v")
    said = ask(three, "PUT", "/v1/kv/b/k?sloppy=false", b"w")
    assert said.status == 503, said
    assert own_copy(quick, "n3", "other") == []
    quick.heal()
    quick.wait_until_ready()
    quick.wait_until_hints_drained()
    assert own_copy(quick, "n3", "k") == own_copy(quick, "n1", "k") != []


def test_a_cut_between_two_leaves_the_third_in_touch_with_both(quick: Cluster) -> None:
    quick.cut("n1", "n2")
    put(quick.url("n3"), "k", b"v")
    said = ask(quick.url("n3"), "GET", "/v1/kv/b/k?r=3")
    assert (said.status, said.body) == (200, b"v")
    # Neither waits for the other: n3 answers for a quorum.
    assert ask(quick.url("n1"), "GET", "/v1/kv/b/k").body == b"v"
    assert ask(quick.url("n2"), "GET", "/v1/kv/b/k").body == b"v"
    quick.wait_until_ready()  # a pair that is cut is not waited for
    quick.wait_until_noticed()
    assert states(quick, "n1") == {"n1": "up", "n2": "suspect", "n3": "up"}
    assert states(quick, "n3") == {"n1": "up", "n2": "up", "n3": "up"}
    said = ask(quick.url("n1"), "GET", "/v1/kv/b/k?r=3&sloppy=false&timeout=200")
    assert said.status in (503, 504), said
    quick.heal("n1", "n2")
    quick.wait_until_ready()
    assert ask(quick.url("n1"), "GET", "/v1/kv/b/k?r=3&sloppy=false").status == 200


def test_a_one_way_cut_lets_the_other_way_through(quick: Cluster) -> None:
    """What n1 writes reaches n2, and n2's acknowledgement does not come back."""
    key = next(f"{n}" for n in range(100) if first_owner(quick, f"{n}") == "n1")
    quick.isolate("n3")
    quick.wait_until_noticed()
    quick.cut("n2", "n1", one_way=True)
    said = ask(quick.url("n1"), "PUT", f"/v1/kv/b/{key}?timeout=200&sloppy=false", b"v")
    assert said.status == 504, said
    said = ask(quick.url("n2"), "GET", f"/v1/kv/b/{key}?r=1")
    assert (said.status, said.body) == (200, b"v")


def test_a_one_way_cut_is_noticed_by_who_hears_nothing(quick: Cluster) -> None:
    quick.cut("n1", "n2", one_way=True)
    quick.wait_until_noticed()
    assert states(quick, "n2")["n1"] == "suspect"
    assert states(quick, "n1")["n2"] == "up"
    quick.heal()
    quick.wait_until_ready()


def first_owner(cluster: Cluster, key: str) -> str:
    owners: list[str] = ask(cluster.url("n2"), "GET", f"/v1/explain/b/{key}").json()["owners"]
    return owners[0]


def test_a_paused_node_takes_connections_and_answers_when_it_is_resumed(quick: Cluster) -> None:
    put(quick.urls[0], "k", b"v")
    quick.pause("n2")
    for path in ("/v1/kv/b/k", "/healthz"):
        with pytest.raises(TimeoutError):
            ask(quick.url("n2"), "GET", path, timeout=0.2)
    quick.wait_until_noticed()
    put(quick.urls[0], "k", b"w")

    answers: list[bytes] = []
    reader = threading.Thread(
        target=lambda: answers.append(ask(quick.url("n2"), "GET", "/v1/kv/b/k").body)
    )
    reader.start()
    quick.resume("n2")
    reader.join(10)
    assert answers == [b"w"]
    quick.wait_until_ready()
    quick.wait_until_hints_drained()
    assert own_copy(quick, "n2", "k") == own_copy(quick, "n1", "k")


def test_a_killed_node_comes_back_with_what_it_had(kept: Cluster) -> None:
    put(kept.urls[0], "before", b"1")
    kept.wait_until_hints_drained()
    url = kept.url("n3")
    kept.kill("n3")
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/healthz")
    kept.wait_until_noticed()
    put(kept.urls[0], "during", b"2")
    kept.isolate("n3")
    kept.restart("n3")
    assert kept.url("n3") == url
    assert ask(url, "GET", "/v1/status").json()["boot"] == 2
    kept.wait_until_ready()
    assert own_copy(kept, "n3", "before") != [], "it has it by itself: it is isolated"
    assert own_copy(kept, "n3", "during") == []
    kept.heal()
    kept.wait_until_ready()
    kept.wait_until_hints_drained()
    assert own_copy(kept, "n3", "during") != []


def test_the_first_node_and_all_nodes_can_be_killed(kept: Cluster) -> None:
    put(kept.urls[0], "k", b"v")
    for name in kept.names:
        kept.kill(name)
    for name in reversed(kept.names):
        kept.restart(name)
    kept.wait_until_ready()
    for url in kept.urls:
        assert ask(url, "GET", "/v1/kv/b/k").body == b"v"


def test_a_stopped_node_says_goodbye_and_comes_back(kept: Cluster) -> None:
    put(kept.urls[0], "k", b"v")
    kept.stop("n1")
    assert " stopped" in kept.log("n1").splitlines()[-1]
    kept.restart("n1")
    kept.wait_until_ready()
    assert ask(kept.urls[0], "GET", "/v1/kv/b/k").body == b"v"
    assert "new_instance" not in kept.log("n1").split(" stopped")[1], "its end was clean"


@pytest.mark.parametrize("nodes", [3, 5])
def test_a_key_has_the_same_owners_in_every_run(
    nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = list(map(str, range(20)))
    with start_cluster(nodes) as cluster:
        owners = [first_owner(cluster, key) for key in keys]

    at_once = ClusterNode.start

    async def late(node: ClusterNode, nursery: trio.Nursery) -> None:
        await trio.sleep(0.3 if node.name == "n3" else 0)
        await at_once(node, nursery)

    monkeypatch.setattr(ClusterNode, "start", late)
    with start_cluster(nodes) as slow:
        assert [first_owner(slow, key) for key in keys] == owners


def test_a_delay_is_felt_by_who_waits_for_others(quick: Cluster) -> None:
    quick.delay(100)
    with pytest.raises(TimeoutError):
        ask(quick.urls[0], "GET", "/v1/kv/b/k?r=3", timeout=0.15)
    assert ask(quick.urls[0], "GET", "/v1/kv/b/k?r=3").status == 404
    quick.delay(0)
    quick.delay(5_000, "n3")
    said = ask(quick.url("n1"), "GET", "/v1/kv/b/k?r=3&sloppy=false&timeout=300")
    assert said.status in (503, 504), said
    quick.delay(0, "n1", "n3")
    quick.delay(0, "n2", "n3")


def test_a_switch_that_makes_no_sense_is_refused(quick: Cluster) -> None:
    for misuse, words in (
        (lambda: quick.kill("n9"), "no node 'n9': the nodes are n1, n2, n3"),
        (lambda: quick.cut("n1", "n1"), "between n1 and itself"),
        (lambda: quick.isolate("n0"), "no node 'n0'"),
        (lambda: quick.resume("n1"), "n1 is running: this works on one that is paused"),
        (lambda: quick.restart("n1"), "stopped or killed"),
        (lambda: quick.url(""), "no node ''"),
    ):
        with pytest.raises(ClusterError, match=re.escape(words)):
            misuse()
    quick.pause("n1")
    with pytest.raises(ClusterError, match="n1 is paused: this works on one that is running"):
        quick.stop("n1")
    quick.kill("n1")
    with pytest.raises(ClusterError, match="n1 is killed"):
        quick.pause("n1")


def test_a_wait_that_does_not_end_says_what_is_missing(quick: Cluster) -> None:
    quick.kill("n3")
    quick.wait_until_noticed()
    put(quick.urls[0], "k", b"v")
    with pytest.raises(ClusterTimeoutError, match=r"hints? waits?\b.*\n.*n3 is killed") as caught:
        quick.wait_until_hints_drained(timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    quick.cut("n1", "n2", one_way=True)
    with pytest.raises(ClusterTimeoutError, match=r":\n  n2 believes that n1 is up$"):
        quick.wait_until_noticed(timeout=0.01)
    quick.heal()
    quick.isolate("n3")
    quick.restart("n3")
    with pytest.raises(
        ClusterTimeoutError, match="n3 is not ready: waiting for an answer of n1, n2"
    ):
        quick.wait_until_ready(timeout=0.01)
