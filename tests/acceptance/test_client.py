"""The client against real nodes: they understand it, and a dead one is nothing to it."""

import signal

import pytest
import trio
from real_cluster import RealCluster, eventually

import sadik_client.trio
from sadik_client import (
    BatchDelete,
    BatchGet,
    BatchPut,
    ContextRequiredError,
    Entry,
    PreconditionFailedError,
    SadikError,
    Settings,
    UnavailableError,
)
from sadik_client.blocking import Client
from sadik_client.options import PutOptions


def union(entry: Entry) -> bytes:
    return b"+".join(sorted({part for value in entry.values for part in value.split(b"+")}))


def test_everyday_things(shared: RealCluster) -> None:
    with Client([node.url for node in shared.nodes], **shared.client_options) as client:
        written = client.put("client-daily", "a/ä", "eins", meta={"by": "ada"}, w="all")
        assert (written.acks.got, written.acks.durable) == (3, 3)
        entry = client.get("client-daily", "a/ä", r="all")
        assert (entry.text, entry.version.meta, entry.etag) == ("eins", {"by": "ada"}, written.etag)
        assert client.get("client-daily", "a/ä", if_none_match=entry.etag).is_unmodified
        assert client.head("client-daily", "a/ä").context is not None
        client.put("client-daily", b"\x00\xff..//%", b"", context=None)
        assert sorted(client.list_keys("client-daily")) == [b"\x00\xff..//%", "a/ä".encode()]
        assert client.list_page("client-daily", limit=1).next is not None
        assert client.delete("client-daily", "a/ä", context=entry.context).existed
        assert client.get("client-daily", "a/ä").is_deleted
        assert not client.delete("client-daily", "a/ä").existed
        assert client.set_bucket("client-daily", {"blind_writes": "refuse"})["n"] == 3

        def refuses() -> bool:  # properties reach the other nodes by gossip
            try:
                client.put("client-daily", "k", b"v")
            except ContextRequiredError:
                return True
            return False

        eventually(5, refuses, "a blind write is refused")
        client.reset_bucket("client-daily")
        assert client.get_bucket("client-daily")["blind_writes"] == "replace"
        assert len(client.members()["members"]) == 3
        assert client.status()["name"] in ("n1", "n2", "n3")
        assert client.hints()["total"] >= 0
        assert client.transfers()["transfers"] == []
        assert client.explain("client-daily", "a/ä")["key"] == "a/%C3%A4"


def test_many_operations_at_once(shared: RealCluster) -> None:
    puts = [BatchPut("client-batch", f"k/{number}", b"%d" % number) for number in range(500)]
    gets = [BatchGet("client-batch", f"k/{number}") for number in range(500)]
    with Client([node.url for node in shared.nodes], **shared.client_options) as client:
        results = client.batch([*puts, *gets])
        assert [result.status for result in results] == [204] * 500 + [200] * 500
        assert [result.value for result in results[500:]] == [
            b"%d" % number for number in range(500)
        ]
        missing, deleted = client.batch(
            [
                BatchGet("client-batch", b"\xff/none"),
                BatchDelete("client-batch", "k/7", context=results[507].context),
            ]
        )
        assert (missing.status, deleted.status) == (404, 204)


def test_siblings_of_three_writers_become_one(shared: RealCluster) -> None:
    with Client(shared.nodes[0].url, resolver=union, **shared.client_options) as client:
        seen = client.put("client-carts", "ada", b"eggs").context
        for item in (b"milk", b"bread", b"jam"):
            client.put("client-carts", "ada", item, context=seen)
        assert client.get("client-carts", "ada").value == b"bread+jam+milk"
    for node in shared.nodes:
        with Client(node.url, **node.client_options) as client:
            assert client.get("client-carts", "ada").value == b"bread+jam+milk"


def test_conditions_times_to_live_and_values_in_answers(shared: RealCluster) -> None:
    with Client([node.url for node in shared.nodes], **shared.client_options) as client:
        first = client.put("client-cond", "k", "1", if_none_match="*", return_body=True, ttl_s=900)
        assert first.entry is not None
        assert (first.entry.text, first.entry.etag) == ("1", first.etag)
        entry = client.get("client-cond", "k")
        assert entry.version.ttl_s is not None
        assert 800 < entry.version.ttl_s <= 900
        conditions: list[PutOptions] = [{"if_none_match": "*"}, {"if_match": '"other"'}]
        for condition in conditions:
            with pytest.raises(PreconditionFailedError) as caught:
                client.put("client-cond", "k", "2", **condition)
            assert caught.value.outcome == "not_applied"
        client.put("client-cond", "k", "2", if_match=entry.etag, context=entry.context)
        client.put("client-cond", "k", "3", context=entry.context)
        latest = client.get("client-cond", "k", latest=True)
        assert (latest.text, latest.hidden_siblings) == ("3", 1)
        assert len(client.get("client-cond", "k").versions) == 2


def test_a_session_never_reads_its_own_past(cluster: RealCluster) -> None:
    """One node alone has what the session wrote; the others, asked without it, know older."""
    first, *others = cluster.nodes
    urls = [node.url for node in cluster.nodes]
    with Client(urls, settings=Settings(ring=False), **cluster.client_options) as client:
        session = client.session()
        session.put("b", "k", "old", w="all")
        for node in others:
            node.kill()
        session.put("b", "k", "new", w=1)
        first.kill()
        for node in others:
            node.start()
        for node in others:
            eventually(30, node.is_ready, f"{node.name} is ready; {cluster.tail(node)}")
        assert client.get("b", "k").text == "old"
        with pytest.raises(UnavailableError) as caught:
            session.get("b", "k", timeout_s=1)
        assert caught.value.outcome is None
        first.start()

        def is_new() -> bool:
            try:
                assert session.get("b", "k").text == "new"
            except SadikError:
                return False
            return True

        eventually(30, is_new, "the session reads what it wrote")


def test_keys_go_straight_to_their_owners(shared: RealCluster) -> None:
    """The client hashes as the cluster does: whom it asks first is whom the cluster names."""
    with Client(shared.nodes[0].url, **shared.client_options) as client:
        for number in range(20):
            key = f"key-{number}"
            owners = client.explain("client-ring", key)["owners"]
            assert client.put("client-ring", key, b"v").node == owners[0]
            # Reads are coordinated by the node asked.
            assert client.get("client-ring", key).node == owners[0]


def test_a_killed_node_fails_nothing(cluster: RealCluster) -> None:
    victim = cluster.nodes[1]

    def work(client: Client, turn: int) -> int:
        for number in range(30):
            context = client.get("b", f"{number}").context
            client.put("b", f"{number}", f"{turn}", context=context)
        return 30

    with Client(cluster.nodes[0].url, **cluster.client_options) as client:
        work(client, 1)
        victim.kill()
        assert work(client, 2) == 30, "no read and no write met an error"
        values = {client.get("b", f"{number}").text for number in range(30)}
        assert values == {"2"}
        victim.start()
        cluster.wait_ready()

        def is_asked_again() -> bool:
            return victim.name in {client.get("b", f"{number}").node for number in range(30)}

        eventually(40, is_asked_again, "the node that is back is asked again")


def test_a_stopped_node_is_left_in_time(cluster: RealCluster) -> None:
    victim = cluster.first_owner("b", "k")
    settings = Settings(slow_s=0.2)

    async def main() -> None:
        async with sadik_client.trio.Client(
            [node.url for node in cluster.nodes], settings=settings, **cluster.client_options
        ) as client:
            await client.put("b", "k", b"v")
            victim.signal(signal.SIGSTOP)
            with trio.fail_after(5):
                assert (await client.get("b", "k")).value == b"v"

    trio.run(main)


def test_too_few_replicas_is_told_honestly(cluster: RealCluster) -> None:
    for node in cluster.nodes[1:]:
        node.kill()
    with Client(cluster.nodes[0].url, **cluster.client_options) as client:
        with pytest.raises(SadikError) as caught:
            client.put("b", "k", b"v", w="all", sloppy=False, timeout_s=1.5)
        assert caught.value.outcome in ("not_applied", "indeterminate")
        if caught.value.outcome == "not_applied":
            assert not client.get("b", "k", r=1, sloppy=False).exists
