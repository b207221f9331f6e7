"""Batches on real nodes: in order, and honest when a node dies in the middle."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

from http_checks import check_problem, object_path, siblings_of
from raw_http import ask_raw
from real_cluster import RealCluster, RealNode


def encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def put(bucket: str, key: str, value: bytes, **more: object) -> dict[str, object]:
    return {"op": "put", "bucket": bucket, "key": key, "value_b64": encode(value), **more}


def get(bucket: str, key: str) -> dict[str, object]:
    return {"op": "get", "bucket": bucket, "key": key}


def ask(node: RealNode, operations: list[dict[str, object]], query: str = "") -> list[Any]:
    body = b"".join(json.dumps(each).encode() + b"\n" for each in operations)
    answer = node.ask("POST", f"/v1/batch{query}", body, {"Content-Type": "application/x-ndjson"})
    assert answer.status == 200, answer
    results = [json.loads(line) for line in answer.body.splitlines()]
    assert len(results) == len(operations)
    return results


def test_a_batch_does_what_single_requests_do(shared: RealCluster) -> None:
    first, second, _ = shared.nodes
    results = ask(first, [
        put("batch", "a%2Fb%00", b"1", content_type="text/plain", meta={"who": "me"}),
        get("batch", "a/b%00"), put("batch", "a/b%00", b"2"), get("batch", "a/b%00"),
        {"op": "delete", "bucket": "batch", "key": "a/b%00"}, get("batch", "a/b%00"),
        get("batch", "never"), put("batch", "kept", b""),
    ])  # fmt: skip
    assert [each["status"] for each in results] == [204, 200, 204, 200, 204, 404, 404, 204]
    assert results[1]["value_b64"] == encode(b"1")
    assert results[1]["content_type"] == "text/plain"
    assert results[1]["meta"] == {"who": "me"}
    assert results[3]["value_b64"] == encode(b"2")
    assert "context" in results[5], "a deleted key has a context"
    assert "context" not in results[6]
    assert second.ask("GET", "/v1/kv/batch/kept").body == b""

    # Its contexts are those of single requests: they chain, and belong to one key alone.
    kept = results[7]["context"]
    chained, foreign = ask(second, [
        put("batch", "kept", b"next", context=kept), put("batch", "other", b"", context=kept),
    ])  # fmt: skip
    assert (chained["status"], foreign["status"]) == (204, 400)
    assert siblings_of(first.ask("GET", "/v1/kv/batch/kept")) == [b"next"]
    assert first.ask("GET", "/v1/kv/batch/other").status == 404


def test_quorums_and_limits_are_those_of_single_requests(shared: RealCluster) -> None:
    node = shared.nodes[0]
    for result in ask(node, [get("batch", "q"), put("batch", "q", b"")], "?r=4&w=4"):
        assert result["status"] == 400, result
    large = put("batch", "large", b"v" * (4 * 2**20 + 1))
    most = put("batch", "most", b"v" * 4 * 2**20)
    assert [each["status"] for each in ask(node, [large, most, get("batch", "most")])] == [
        413, 204, 200,
    ]  # fmt: skip
    too_many = b'{"op": "get", "bucket": "b", "key": "k"}\n' * 1001
    check_problem(node.ask("POST", "/v1/batch", too_many), 413)
    head = b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777217\r\n\r\n"
    check_problem(ask_raw(node, head), 413)
    check_problem(node.ask("POST", "/v1/batch", b"neither"), 400)


def test_a_thousand_mixed_operations_are_each_honest_when_a_node_dies(
    cluster: RealCluster,
) -> None:
    asked, victim, other = cluster.nodes
    old = [f"k{number}" for number in range(250)]
    assert all(each["status"] == 204 for each in ask(asked, [put("m", key, b"old") for key in old]))
    operations: list[dict[str, object]] = []
    for number, key in enumerate(old):
        operations += [get("m", key), put("m", key, b"new"), put("m", f"n{number}", b"n")]
        operations.append({"op": "delete", "bucket": "m", "key": key})
    assert len(operations) == 1000
    outcomes: list[list[Any]] = []
    loader = threading.Thread(
        target=lambda: outcomes.append(ask(asked, operations, "?timeout=20000"))
    )
    loader.start()
    # Killed when the first of the new values is there, so in the middle.
    while other.ask("GET", "/v1/kv/m/n0").status != 200:
        assert loader.is_alive()
    victim.kill()
    assert loader.is_alive(), "the batch was over before the node died"
    loader.join(30)
    (results,) = outcomes
    kinds = ["get", "put", "put", "delete"]
    for number, result in enumerate(results):
        status = result["status"]
        assert status in {"get": (200, 503, 504), "put": (204, 503, 504),
                          "delete": (204, 404, 503, 504)}[kinds[number % 4]], result  # fmt: skip
        if status in (503, 504):
            assert result["outcome"] == ("not_applied" if status == 503 else "indeterminate")
    failed = sum(result["status"] >= 500 for result in results)
    assert failed < 200, "two nodes of three can do nearly all of it"
    for number, key in enumerate(old):
        read, new, another, deleted = results[4 * number : 4 * number + 4]
        if read["status"] == 200:
            assert base64.b64decode(read["value_b64"]) == b"old", "lines on a key apply in order"
        path = object_path("m", f"n{number}".encode())
        found = siblings_of(other.ask("GET", path))
        if another["status"] == 204:
            assert found == [b"n"], (another, found)
        elif another["status"] == 503:
            assert found == [], (another, found)
        left = siblings_of(other.ask("GET", object_path("m", key.encode())))
        if new["status"] == 204 and deleted["status"] == 204:
            assert left == [], (key, new, deleted, left)
