"""Bucket properties: what they are, how they change and spread, and what they do to writes."""

from __future__ import annotations

from typing import Any

import pytest
from http_checks import check_problem
from real_cluster import Answer, RealCluster, RealNode, eventually

DEFAULTS = {
    "r": "quorum",
    "w": "quorum",
    "pr": 0,
    "pw": 0,
    "dw": 0,
    "conflict": "siblings",
    "blind_writes": "replace",
    "ttl_seconds": None,
    "n": 3,
}


@pytest.fixture
def node(shared: RealCluster) -> RealNode:
    return shared.nodes[0]


def properties_on(node: RealNode, bucket: str) -> dict[str, Any]:
    properties: dict[str, Any] = node.ask("GET", f"/v1/buckets/{bucket}").json()
    return properties


def wait_for(cluster: RealCluster, bucket: str, wanted: dict[str, Any]) -> None:
    """Until every node has these properties."""
    for node in cluster.nodes:

        def has_them(node: RealNode = node) -> bool:
            return properties_on(node, bucket).items() >= wanted.items()

        eventually(10, has_them, f"{node.name} has {wanted}")


def set_bucket(cluster: RealCluster, bucket: str, body: bytes) -> dict[str, Any]:
    """Set properties, and wait until every node has them."""
    answer = cluster.nodes[0].ask("PUT", f"/v1/buckets/{bucket}", body)
    assert answer.status == 200, answer
    properties: dict[str, Any] = answer.json()
    wait_for(cluster, bucket, properties)
    return properties


def test_a_bucket_has_the_defaults_until_told_otherwise(node: RealNode) -> None:
    properties = properties_on(node, "untouched")
    assert {name: properties[name] for name in DEFAULTS} == DEFAULTS
    assert "value_bytes" in properties


def test_put_merges_answers_with_all_and_spreads(shared: RealCluster) -> None:
    first = set_bucket(shared, "merged", b'{"r": 1, "w": "all"}')
    assert {name: first[name] for name in DEFAULTS} == {**DEFAULTS, "r": 1, "w": "all"}
    second = set_bucket(shared, "merged", b'{"w": 2, "dw": 2}')
    assert {name: second[name] for name in DEFAULTS} == {**DEFAULTS, "r": 1, "w": 2, "dw": 2}
    assert set_bucket(shared, "merged", b"{}") == second


def test_buckets_with_properties_are_listed(shared: RealCluster) -> None:
    set_bucket(shared, "told", b'{"r": 2}')
    for node in shared.nodes:
        listed = node.ask("GET", "/v1/buckets").json()["buckets"]
        assert [each["r"] for each in listed if each["bucket"] == "told"] == [2]


def test_delete_resets_the_properties_and_not_the_data(shared: RealCluster) -> None:
    node = shared.nodes[0]
    set_bucket(shared, "reset", b'{"blind_writes": "sibling", "w": 3}')
    assert node.ask("PUT", "/v1/kv/reset/key", b"kept").status == 204
    assert node.ask("DELETE", "/v1/buckets/reset").status in (200, 204)
    wait_for(shared, "reset", DEFAULTS)
    for each in shared.nodes:
        assert each.ask("GET", "/v1/kv/reset/key").body == b"kept"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"unknown": 1}', "unknown"),
        (b'{"r": 0}', "r"),
        (b'{"r": 4}', "r"),
        (b'{"w": "most"}', "w"),
        (b'{"w": 1.5}', "w"),
        (b'{"w": true}', "w"),
        (b'{"pr": -1}', "pr"),
        (b'{"dw": null}', "dw"),
        (b'{"conflict": "merge"}', "conflict"),
        (b'{"blind_writes": "maybe"}', "blind_writes"),
        (b'{"value_bytes": 0}', "value_bytes"),
        (b'{"value_bytes": 67108865}', "value_bytes"),
        (b'{"value_bytes": "big"}', "value_bytes"),
        (b'{"n": 2}', "n"),
        (b"", "JSON"),
        (b"[]", "JSON"),
        (b"1", "JSON"),
        (b"{", "JSON"),
        (b'{"r": 1} x', "JSON"),
        (b'{"r": 1, "r": 2}', "twice"),
        (b'{"r": NaN}', "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 30_000, "JSON"),
    ],
)
def test_what_is_no_property_is_refused_by_name(node: RealNode, body: bytes, named: str) -> None:
    before = properties_on(node, "refused")
    said = check_problem(node.ask("PUT", "/v1/buckets/refused", body), 400)
    assert named in said["detail"]
    assert properties_on(node, "refused") == before


def test_a_good_property_beside_a_bad_one_is_not_taken(node: RealNode) -> None:
    check_problem(node.ask("PUT", "/v1/buckets/half", b'{"r": 1, "w": 9}'), 400)
    assert properties_on(node, "half")["r"] == "quorum"


def test_properties_come_as_json(node: RealNode) -> None:
    headers = {"Content-Type": "text/xml"}
    check_problem(node.ask("PUT", "/v1/buckets/xml", b"<r>1</r>", headers), 415)
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert node.ask("PUT", "/v1/buckets/json", b'{"r": 1}', headers).status == 200


def test_a_document_that_is_too_large_is_refused(node: RealNode) -> None:
    check_problem(node.ask("PUT", "/v1/buckets/large", b" " * 200_000), 413)


# What the properties do


def test_quorums_of_a_bucket_are_used_where_a_request_names_none(shared: RealCluster) -> None:
    set_bucket(shared, "quorums", b'{"r": 3, "w": 3}')
    for node in shared.nodes:
        written = node.ask("PUT", "/v1/kv/quorums/key", b"v")
        assert written.headers["sadik-acks"].startswith("needed=3, got=3"), written
        read = node.ask("GET", "/v1/kv/quorums/key")
        assert read.headers["sadik-replies"].startswith("needed=3, got=3"), read
        own = node.ask("GET", "/v1/kv/quorums/key?r=1")
        assert own.headers["sadik-replies"].startswith("needed=1"), own


def test_value_bytes_of_a_bucket_bounds_its_values(shared: RealCluster) -> None:
    set_bucket(shared, "small", b'{"value_bytes": 10}')
    for node in shared.nodes:
        assert node.ask("PUT", "/v1/kv/small/key", b"x" * 10).status == 204
        check_problem(node.ask("PUT", "/v1/kv/small/key", b"x" * 11), 413)
        assert node.ask("GET", "/v1/kv/small/key").body == b"x" * 10


def test_blind_writes_may_be_refused(shared: RealCluster) -> None:
    set_bucket(shared, "careful", b'{"blind_writes": "refuse"}')
    for node in shared.nodes:
        check_problem(node.ask("PUT", "/v1/kv/careful/key", b"v"), 428)
        check_problem(node.ask("DELETE", "/v1/kv/careful/key"), 428)
        assert node.ask("GET", "/v1/kv/careful/key").status == 404


def test_a_careful_bucket_takes_new_keys(shared: RealCluster) -> None:
    set_bucket(shared, "new-keys", b'{"blind_writes": "refuse"}')
    path = "/v1/kv/new-keys/key"
    for number, node in enumerate(shared.nodes):
        made = node.ask("PUT", path, b"%d" % number, {"If-None-Match": "*"})
        assert made.status == 204
        check_problem(node.ask("PUT", path, b"2", {"If-None-Match": "*"}), 412)
        check_problem(node.ask("PUT", path, b"2"), 428)
        check_problem(node.ask("PUT", path, b"2", {"If-Match": made.headers["etag"]}), 428)
        assert node.ask("GET", path).body == b"%d" % number
        context = {"Sadik-Context": made.headers["sadik-context"]}
        assert node.ask("DELETE", path, None, context).status == 204


def test_a_careful_bucket_takes_writes_with_a_context(shared: RealCluster) -> None:
    set_bucket(shared, "later-careful", b'{"blind_writes": "replace"}')
    first = shared.nodes[0].ask("PUT", "/v1/kv/later-careful/key", b"1")
    set_bucket(shared, "later-careful", b'{"blind_writes": "refuse"}')
    context = {"Sadik-Context": first.headers["sadik-context"]}
    second = shared.nodes[1].ask("PUT", "/v1/kv/later-careful/key", b"2", context)
    assert second.status == 204
    context = {"Sadik-Context": second.headers["sadik-context"]}
    assert shared.nodes[2].ask("DELETE", "/v1/kv/later-careful/key", None, context).status == 204


def test_at_100_siblings_the_next_is_refused_and_resolving_goes_on(shared: RealCluster) -> None:
    set_bucket(shared, "crowd", b'{"blind_writes": "sibling"}')

    def write(number: int) -> Answer:
        return shared.nodes[number % 3].ask("PUT", "/v1/kv/crowd/key", b"%d" % number)

    for number in range(100):
        assert write(number).status == 204, number
    for number in range(100, 103):
        check_problem(write(number), 409)
    full = shared.nodes[1].ask("GET", "/v1/kv/crowd/key")
    assert full.status == 300
    assert len(full.json()["siblings"]) == 100
    context = {"Sadik-Context": full.headers["sadik-context"]}
    assert shared.nodes[2].ask("PUT", "/v1/kv/crowd/key", b"one", context).status == 204
    assert shared.nodes[0].ask("GET", "/v1/kv/crowd/key").body == b"one"
    assert write(7).status == 204
