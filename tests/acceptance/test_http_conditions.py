"""Conditional writes, session reads, last writers, and what expires, through three real nodes."""

from __future__ import annotations

import json
import threading

import pytest
from http_checks import check_problem, list_keys, siblings_of
from real_cluster import Answer, RealCluster, RealNode, eventually

CONTEXT = "Sadik-Context"


def set_bucket(cluster: RealCluster, bucket: str, **properties: object) -> None:
    """Give a bucket properties, and wait until every node has them."""
    path = f"/v1/buckets/{bucket}"
    answer = cluster.nodes[0].ask("PUT", path, json.dumps(properties).encode())
    assert answer.status == 200, answer

    def is_everywhere() -> bool:
        shown = [node.ask("GET", path).json() for node in cluster.nodes]
        return all(properties.items() <= each.items() for each in shown)

    eventually(10, is_everywhere, f"{bucket} has {properties} on every node")


def put(node: RealNode, path: str, value: bytes = b"v", **fields: str) -> Answer:
    headers = {name.replace("_", "-"): text for name, text in fields.items()}
    return node.ask("PUT", path, value, headers)


def test_of_many_creations_at_once_exactly_one_is_done(shared: RealCluster) -> None:
    """While nobody fails, all go through the first owner, which judges again as it stores."""
    for number in range(10):
        path = f"/v1/kv/conditions/created-{number}"
        statuses: list[int] = []

        def create(node: RealNode, path: str = path, told: list[int] = statuses) -> None:
            told.append(put(node, path, node.name.encode(), If_None_Match="*").status)

        threads = [threading.Thread(target=create, args=(node,)) for node in shared.nodes * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [204] + [412] * 5
        assert shared.nodes[number % 3].ask("GET", path).status == 200


def test_a_write_of_what_was_read_is_done_once(shared: RealCluster) -> None:
    one, two, three = shared.nodes
    path = "/v1/kv/conditions/counter"
    first = put(one, path, b"1")
    etag = two.ask("GET", path).headers["etag"]
    assert etag == first.headers["etag"]
    changed = put(three, path, b"2", If_Match=etag)
    assert changed.status == 204
    for node in shared.nodes:
        check_problem(put(node, path, b"3", If_Match=etag), 412)
    assert put(one, path, b"3", If_Match=f'"other", {changed.headers["etag"]}').status == 204
    assert two.ask("GET", path).body == b"3"


def test_a_delete_may_be_conditional(shared: RealCluster) -> None:
    one, two, three = shared.nodes
    path = "/v1/kv/conditions/deleted"
    check_problem(one.ask("DELETE", path, None, {"If-Match": "*"}), 412)
    etag = put(one, path).headers["etag"]
    check_problem(two.ask("DELETE", path, None, {"If-Match": '"0"'}), 412)
    assert two.ask("DELETE", path, None, {"If-Match": etag}).status == 204
    check_problem(three.ask("GET", path), 404)


@pytest.mark.parametrize("field", ["If-Match", "If-None-Match"])
def test_a_malformed_condition_changes_nothing(shared: RealCluster, field: str) -> None:
    path = "/v1/kv/conditions/malformed"
    put(shared.nodes[0], path, b"kept")
    check_problem(shared.nodes[0].ask("PUT", path, b"new", {field: "no-quotes"}), 400)
    check_problem(shared.nodes[0].ask("GET", path, None, {field: "no-quotes"}), 400)
    assert shared.nodes[0].ask("GET", path).body == b"kept"


def test_a_session_reads_what_it_wrote_through_any_node(shared: RealCluster) -> None:
    context: str | None = None
    path = "/v1/kv/sessions/key"
    for number in range(30):
        writer, reader = shared.nodes[number % 3], shared.nodes[(number + 1) % 3]
        fields = {} if context is None else {"Sadik_Context": context}
        written = put(writer, path + "?w=1", b"%d" % number, **fields)
        assert written.status == 204, written
        context = written.headers["sadik-context"]
        answer = reader.ask("GET", path + "?r=1", None, {CONTEXT: context})
        assert (answer.status, answer.body) == (200, b"%d" % number)
        context = answer.headers["sadik-context"]


def test_a_session_read_with_a_forged_context_is_refused(shared: RealCluster) -> None:
    node = shared.nodes[0]
    context = put(node, "/v1/kv/sessions/one").headers["sadik-context"]
    check_problem(node.ask("GET", "/v1/kv/sessions/other", None, {CONTEXT: context}), 400)
    check_problem(node.ask("GET", "/v1/kv/sessions/one", None, {CONTEXT: "forged"}), 400)


def test_the_latest_of_siblings_and_a_write_that_shows_itself(shared: RealCluster) -> None:
    set_bucket(shared, "latest", blind_writes="sibling")
    path = "/v1/kv/latest/key"
    for number, node in enumerate(shared.nodes):
        shown = put(node, path + "?return=body&w=all", b"%d" % number, Content_Type="text/plain")
        assert (shown.status, shown.body) == (200, b"%d" % number)
        assert shown.headers["content-type"] == "text/plain"
        assert {"sadik-context", "sadik-acks", "etag", "last-modified"} <= shown.headers.keys()
    whole = shared.nodes[0].ask("GET", path)
    assert sorted(siblings_of(whole)) == [b"0", b"1", b"2"]
    latest = shared.nodes[1].ask("GET", path + "?resolve=latest")
    assert (latest.status, latest.body) == (200, b"2")
    assert latest.headers["sadik-siblings"] == "3"
    assert latest.headers["etag"] == whole.headers["etag"]
    put(shared.nodes[2], path + "?w=all", b"new", Sadik_Context=latest.headers["sadik-context"])
    assert sorted(siblings_of(shared.nodes[0].ask("GET", path))) == [b"0", b"1", b"new"]


def test_in_an_lww_bucket_there_is_one_version(shared: RealCluster) -> None:
    set_bucket(shared, "last", conflict="lww")
    path = "/v1/kv/last/key"
    context = put(shared.nodes[0], path, b"first").headers["sadik-context"]
    for number, node in enumerate(shared.nodes):
        assert put(node, path, b"%d" % number, Sadik_Context=context).status == 204
    for node in shared.nodes:
        assert node.ask("GET", path).body == b"2"
    assert shared.nodes[1].ask("DELETE", path, None, {CONTEXT: context}).status == 204
    assert list_keys(shared.nodes[2], "last") == ([], None)
    answer = put(shared.nodes[0], path, b"x")
    assert answer.status == 204
    refused = shared.nodes[0].ask("PUT", "/v1/buckets/last", b'{"blind_writes": "sibling"}')
    check_problem(refused, 400)


def test_what_expires_is_there_and_then_gone(shared: RealCluster) -> None:
    one, two, three = shared.nodes
    path = "/v1/kv/expiring/key"
    assert put(one, path, b"v", Sadik_TTL="1").status == 204
    answer = two.ask("GET", path)
    if answer.status == 200:  # else the machine was slow
        assert answer.headers["sadik-ttl"] in ("0", "1")
    eventually(10, lambda: three.ask("GET", path).status == 404, "the value has expired")
    gone = three.ask("GET", path)
    assert "sadik-context" in gone.headers
    assert list_keys(one, "expiring") == ([], None)
    assert put(two, path, b"w", If_None_Match="*").status == 204
    stays = three.ask("GET", path)
    assert (stays.status, stays.body) == (200, b"w")
    assert "sadik-ttl" not in stays.headers


def test_a_bucket_may_say_when_its_values_expire(shared: RealCluster) -> None:
    set_bucket(shared, "short", ttl_seconds=3600)
    put(shared.nodes[0], "/v1/kv/short/key")
    answer = shared.nodes[1].ask("GET", "/v1/kv/short/key")
    assert 3590 < int(answer.headers["sadik-ttl"]) <= 3600
    put(shared.nodes[0], "/v1/kv/short/key", Sadik_TTL="60")
    answer = shared.nodes[1].ask("GET", "/v1/kv/short/key")
    assert 50 < int(answer.headers["sadik-ttl"]) <= 60
    explained = shared.nodes[2].ask("GET", "/v1/explain/short/key").json()
    assert all("expires" in v for replica in explained["replicas"] for v in replica["versions"])
