"""Siblings: what was written side by side survives until somebody who saw it resolves it."""

from __future__ import annotations

import base64
import random
import threading
from pathlib import Path

import pytest
from http_checks import check_problem, siblings_of
from real_cluster import Answer, RealCluster, RealNode
from secured_cluster import any_cluster

CONTEXT = "Sadik-Context"


def put(node: RealNode, key: str, value: bytes, context: str | None = None) -> str:
    """Write, and return the context of the answer."""
    headers = {} if context is None else {CONTEXT: context}
    answer = node.ask("PUT", f"/v1/kv/siblings/{key}", value, headers)
    assert answer.status == 204, answer
    return answer.headers["sadik-context"]


def read(node: RealNode, key: str, query: str = "") -> Answer:
    return node.ask("GET", f"/v1/kv/siblings/{key}{query}")


def read_everywhere(cluster: RealCluster, key: str) -> list[list[bytes]]:
    """The values that each node answers, for every R."""
    queries = ("", "?r=1", "?r=all", "?r=quorum&sloppy=false")
    return [siblings_of(read(node, key, query)) for node in cluster.nodes for query in queries]


class Chain:
    """A client that knows of a key only what its own PUTs were answered."""

    def __init__(self, name: str, node: RealNode, key: str) -> None:
        self.name, self.node, self.key = name, node, key
        self.context: str | None = None
        self.count = 0

    def write(self) -> None:
        self.count += 1
        self.context = put(self.node, self.key, self.last, self.context)

    @property
    def last(self) -> bytes:
        return f"{self.name}{self.count}".encode()


@pytest.mark.parametrize("through", [(0, 0), (1, 1), (0, 1), (2, 0)])
@pytest.mark.parametrize("order", ["abab", "aabb", "random"])
def test_two_clients_chaining_their_own_contexts_leave_their_two_last_values(
    shared: RealCluster, through: tuple[int, int], order: str
) -> None:
    first, second = (shared.nodes[number] for number in through)
    dice = random.Random(7)
    for number in range(5):  # several keys, so that every node is once their first owner
        key = f"chains/{through}/{order}/{number}".replace(" ", "")
        a, b = Chain("a", first, key), Chain("b", second, key)
        turns = {"abab": [a, b] * 10, "aabb": [a] * 10 + [b] * 10}.get(order)
        if turns is None:
            turns = [dice.choice((a, b)) for _ in range(20)]
        a.write()
        b.write()  # blind as the first was: it replaces what its coordinator holds
        for client in [a, b, *turns, a, b]:
            client.write()
        wanted = sorted([a.last, b.last])
        assert all(seen == wanted for seen in read_everywhere(shared, key))


@pytest.mark.parametrize("through", [(0, 0), (0, 1)])
def test_two_clients_chaining_at_the_same_time_leave_their_two_last_values(
    shared: RealCluster, through: tuple[int, int]
) -> None:
    key = f"racing/{through[0]}{through[1]}"
    clients = [Chain("ab"[turn], shared.nodes[number], key) for turn, number in enumerate(through)]
    for client in clients:
        client.write()
    for client in clients:
        client.write()

    def go_on(client: Chain) -> None:
        for _ in range(100):
            client.write()

    threads = [threading.Thread(target=go_on, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [client.count for client in clients] == [102, 102]
    wanted = sorted(client.last for client in clients)
    assert all(seen == wanted for seen in read_everywhere(shared, key))


def test_100_rounds_of_two_interleaving_writers_leave_at_most_two_siblings(
    shared: RealCluster,
) -> None:
    one, other = shared.nodes[0], shared.nodes[1]
    contexts: list[str | None] = [None, None]
    for number in range(100):
        # Both read, then both write: neither ever sees the other's value of this round.
        for turn, node in enumerate((one, other)):
            contexts[turn] = read(node, "interleaved").headers.get("sadik-context")
        for turn, node in enumerate((one, other)):
            put(node, "interleaved", b"%d.%d" % (number, turn), contexts[turn])
        assert len(siblings_of(read(shared.nodes[2], "interleaved"))) <= 2
    assert siblings_of(read(one, "interleaved")) == [b"99.0", b"99.1"]


def make_siblings(cluster: RealCluster, key: str, count: int) -> list[bytes]:
    """Values written side by side: all with the context of the same first write."""
    context = put(cluster.nodes[0], key, b"first")
    values = [b"side %d" % number for number in range(count)]
    for number, value in enumerate(values):
        put(cluster.nodes[number % 3], key, value, context)
    return sorted(values)


def test_a_300_shows_all_and_resolved_with_its_context_is_a_200_everywhere(
    shared: RealCluster,
) -> None:
    values = make_siblings(shared, "resolved", 5)
    for number, node in enumerate(shared.nodes):
        key = "resolved" if number == 0 else f"resolved{number}"
        if number:
            make_siblings(shared, key, 5)
        answer = read(node, key)
        assert answer.status == 300
        assert answer.headers["content-type"] == "application/json"
        shown = answer.json()
        assert sorted(base64.b64decode(each["value_b64"]) for each in shown["siblings"]) == values
        for each in shown["siblings"]:
            assert each["text"].encode() == base64.b64decode(each["value_b64"])
            assert each["content_type"] == "application/octet-stream"
            assert each["meta"] == {}
            assert {"etag", "last_modified"} <= each.keys()
        assert shown["context"] == answer.headers["sadik-context"]
        put(shared.nodes[(number + 1) % 3], key, b"resolved", shown["context"])
        assert read_everywhere(shared, key) == [[b"resolved"]] * 12


def test_siblings_keep_type_and_meta_and_bytes_that_are_no_text(shared: RealCluster) -> None:
    node = shared.nodes[0]
    context = put(node, "typed", b"first")
    for value, kind in ((b"\xff\xfe", "image/png"), (b"words", "text/plain")):
        headers = {CONTEXT: context, "Content-Type": kind, "Sadik-Meta-Kind": kind}
        assert node.ask("PUT", "/v1/kv/siblings/typed", value, headers).status == 204
    shown = {each["content_type"]: each for each in read(node, "typed").json()["siblings"]}
    assert base64.b64decode(shown["image/png"]["value_b64"]) == b"\xff\xfe"
    assert "text" not in shown["image/png"]
    assert shown["text/plain"]["text"] == "words"
    for kind, each in shown.items():
        assert {name.lower(): text for name, text in each["meta"].items()} == {"kind": kind}


def test_a_context_replaces_exactly_what_it_covers(shared: RealCluster) -> None:
    one, other, third = shared.nodes
    context = put(one, "exact", b"first")
    mine = put(one, "exact", b"mine", context)
    put(other, "exact", b"theirs", context)
    put(third, "exact", b"mine, again", mine)
    assert siblings_of(read(other, "exact")) == [b"mine, again", b"theirs"]


def test_a_delete_with_a_context_leaves_what_it_did_not_cover(shared: RealCluster) -> None:
    one, other, third = shared.nodes
    context = put(one, "deleted", b"first")
    mine = put(one, "deleted", b"mine", context)
    put(other, "deleted", b"theirs", context)
    answer = third.ask("DELETE", "/v1/kv/siblings/deleted", None, {CONTEXT: mine})
    assert answer.status == 204
    assert read_everywhere(shared, "deleted") == [[b"theirs"]] * 12
    everything = read(one, "deleted").headers["sadik-context"]
    answer = other.ask("DELETE", "/v1/kv/siblings/deleted", None, {CONTEXT: everything})
    assert answer.status == 204
    assert read_everywhere(shared, "deleted") == [[]] * 12


def test_a_delete_without_a_context_covers_all_siblings(shared: RealCluster) -> None:
    make_siblings(shared, "swept", 4)
    assert shared.nodes[1].ask("DELETE", "/v1/kv/siblings/swept").status == 204
    assert read_everywhere(shared, "swept") == [[]] * 12


def test_blind_writes_round_the_nodes_never_make_siblings(shared: RealCluster) -> None:
    for key in (f"blind{number}" for number in range(10)):
        for number in range(30):
            node = shared.nodes[number % 3]
            if number % 7 == 6:
                assert node.ask("DELETE", f"/v1/kv/siblings/{key}").status == 204
                assert siblings_of(read(shared.nodes[(number + 1) % 3], key)) == []
            else:
                put(node, key, b"%d" % number)
                seen = siblings_of(read(shared.nodes[(number + 1) % 3], key))
                assert seen == [b"%d" % number]


# Contexts are opaque, and only what the cluster itself made for this key is taken


def refused(node: RealNode, key: str, context: str) -> None:
    before = read(node, key)
    for method, body in (("PUT", b"forged"), ("DELETE", None)):
        answer = node.ask(method, f"/v1/kv/siblings/{key}", body, {CONTEXT: context})
        check_problem(answer, 400)
    assert siblings_of(read(node, key)) == siblings_of(before)


def test_a_context_of_another_key_or_bucket_is_refused(shared: RealCluster) -> None:
    own = put(shared.nodes[0], "context", b"v")
    other = put(shared.nodes[0], "context2", b"v")
    answer = shared.nodes[0].ask("PUT", "/v1/kv/siblings2/context", b"v")
    for context in (other, answer.headers["sadik-context"]):
        for node in shared.nodes:
            refused(node, "context", context)
    put(shared.nodes[1], "context", b"w", own)


def test_a_damaged_context_is_refused(shared: RealCluster) -> None:
    own = put(shared.nodes[0], "damaged", b"v")
    for place in range(len(own)):
        letter = "A" if own[place] != "A" else "B"
        damaged = own[:place] + letter + own[place + 1 :]
        answer = shared.nodes[0].ask("PUT", "/v1/kv/siblings/damaged", b"x", {CONTEXT: damaged})
        check_problem(answer, 400)
    zeros = base64.b64encode(bytes(200)).decode()
    half = own[: len(own) // 2]
    for damaged in ("", "x", "null", own[:-1], own + "A", own + own, own.lower(), "=" + own,
                    "\u00e4", half, zeros):  # fmt: skip
        refused(shared.nodes[0], "damaged", damaged)


def test_a_context_of_another_cluster_is_refused(shared: RealCluster, tmp_path: Path) -> None:
    with any_cluster(tmp_path, nodes=1) as other:
        other.start()
        foreign = put(other.nodes[0], "foreign", b"v")
    put(shared.nodes[0], "foreign", b"v")
    for node in shared.nodes:
        refused(node, "foreign", foreign)
