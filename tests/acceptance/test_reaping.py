"""Deleted and expired keys are reaped by proof; a node that is away holds it up, and is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_checks import check_problem
from real_cluster import RealCluster, RealNode, eventually
from secured_cluster import any_cluster

KEYS = 60


@pytest.fixture
def four(tmp_path: Path) -> Iterator[RealCluster]:
    """Four nodes, so that each key has a node that does not own it, and short waits."""
    hasty = {"SADIK_REPAIR__TOMBSTONE_SECONDS": "1"}
    with any_cluster(tmp_path, nodes=4, environment=hasty) as cluster:
        cluster.start()
        yield cluster


def tombstones(node: RealNode) -> dict[str, object]:
    found: dict[str, object] = node.ask("GET", "/v1/status").json()["tombstones"]
    return found


def metric(node: RealNode, name: str) -> float:
    text = node.ask("GET", "/metrics").body.decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def are_none_left(nodes: list[RealNode]) -> bool:
    return all(
        tombstones(node)["waiting"] == 0
        and not node.ask("GET", "/v1/status").json()["hints"]["pending"]
        for node in nodes
    )


def rows(node: RealNode) -> int:
    return int(metric(node, "sadik_store_keys"))


def test_a_node_that_is_away_holds_reaping_up_and_nothing_comes_back_with_it(
    four: RealCluster,
) -> None:
    one, *_, away = four.nodes
    there = [node for node in four.nodes if node is not away]
    before = {node.name: rows(node) for node in four.nodes}
    for number in range(KEYS):
        assert one.ask("PUT", f"/v1/kv/gone/{number}?w=all", b"dead %d" % number).status == 204
    away.kill()
    for number in range(KEYS):
        node = there[number % 3]
        assert node.ask("DELETE", f"/v1/kv/gone/{number}").status == 204

    def is_named() -> bool:
        return any(tombstones(node)["waits_for"] == [away.name] for node in there)

    eventually(30, is_named, "the node that is away is named")
    assert sum(int(str(tombstones(node)["waiting"])) for node in there) >= KEYS
    assert sum(metric(node, "sadik_tombstones") for node in there) >= KEYS
    assert all(tombstones(node)["reaped"] == 0 for node in there)
    away.start()
    four.wait_ready()
    eventually(60, lambda: are_none_left(four.nodes), "all tombstones are reaped")
    assert sum(metric(node, "sadik_reaped_total") for node in four.nodes) == 3 * KEYS
    assert all(metric(node, "sadik_tombstones") == 0 for node in four.nodes)
    generations = {int(metric(node, "sadik_reap_generation")) for node in four.nodes}
    assert min(generations) >= 5
    assert max(generations) - min(generations) <= 1
    for number in range(KEYS):
        node = four.nodes[number % 4]
        answer = node.ask("GET", f"/v1/kv/gone/{number}?r=all")
        check_problem(answer, 404)
        assert "sadik-context" not in answer.headers
    for node in four.nodes:
        assert node.ask("GET", "/v1/kv/gone").body == b'{"next": null}\n'

        def is_small(node: RealNode = node) -> bool:
            # What is left of 60 keys is nothing; membership and generations have a few rows.
            return rows(node) <= before[node.name] + 10

        eventually(30, is_small, f"{node.name} has no row of them")


def test_a_fallback_hands_off_what_it_kept_for_an_owner(four: RealCluster) -> None:
    one, *_, away = four.nodes
    there = [node for node in four.nodes if node is not away]
    away.kill()
    for number in range(KEYS):
        assert one.ask("PUT", f"/v1/kv/kept/{number}", b"kept %d" % number).status == 204
    away.start()
    four.wait_ready()

    def is_handed_off() -> bool:
        return not any(
            node.ask("GET", "/v1/status").json()["foreign"]["may_hold"] for node in four.nodes
        )

    eventually(60, is_handed_off, "all foreign records are handed off")
    assert sum(metric(node, "sadik_foreign_handed_off_total") for node in there) > 0
    for number in range(KEYS):
        answer = four.nodes[number % 4].ask("GET", f"/v1/explain/kept/{number}")
        holders = [r["node"] for r in answer.json()["replicas"] if r["versions"]]
        assert sorted(holders) == sorted(answer.json()["owners"])


def test_what_has_expired_is_reaped(four: RealCluster) -> None:
    one = four.nodes[0]
    for number in range(KEYS):
        path = f"/v1/kv/short/{number}?w=all"
        assert one.ask("PUT", path, b"v", {"Sadik-TTL": "1"}).status == 204

    def is_reaped() -> bool:
        return sum(metric(node, "sadik_reaped_total") for node in four.nodes) == 3 * KEYS

    eventually(60, is_reaped, "all that expired is reaped")
    check_problem(one.ask("GET", "/v1/kv/short/1?r=all"), 404)
