"""Quorums that cannot be reached: said as it is, and "not applied" is never seen applied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from http_checks import check_problem, siblings_of
from real_cluster import Answer, RealCluster, RealNode, eventually
from secured_cluster import any_cluster
from write_load import WriteLoad, check_kept

QUORUM_FIELDS = {"needed", "got", "durable", "primaries", "hinted", "outcome", "retry"}


def check_quorum_problem(answer: Answer, status: int = 503) -> dict[str, Any]:
    said = check_problem(answer, status)
    assert said.keys() >= QUORUM_FIELDS, said
    assert said["outcome"] == ("not_applied" if status == 503 else "indeterminate")
    return said


def states_seen_by(node: RealNode) -> dict[str, str]:
    members = node.ask("GET", "/v1/members").json()["members"]
    return {member["name"]: member["state"] for member in members}


def test_with_two_of_three_dead_the_one_left_says_what_it_can_do(cluster: RealCluster) -> None:
    left, *others = cluster.nodes
    keys = [f"{number}" for number in range(12)]
    for key in keys:
        assert left.ask("PUT", f"/v1/kv/kept/{key}?w=all", b"old").status == 204
    for node in others:
        node.kill()
    eventually(
        10,
        lambda: states_seen_by(left) == {"n1": "up", "n2": "down", "n3": "down"},
        "the others are known to be down",
    )
    for key in keys:
        path = f"/v1/kv/kept/{key}"
        for query in ("", "?w=2", "?w=all", "?w=1&pw=2", "?w=1&dw=2", "?sloppy=false", "?w=3"):
            said = check_quorum_problem(left.ask("PUT", path + query, b"refused"))
            assert said["got"] == 0, said
        check_quorum_problem(left.ask("DELETE", path))
        for query in ("", "?r=2", "?r=all", "?r=1&pr=2", "?sloppy=false", "?r=3"):
            check_quorum_problem(left.ask("GET", path + query))
        assert siblings_of(left.ask("GET", path + "?r=1")) == [b"old"]
    check_quorum_problem(left.ask("GET", "/v1/kv/kept"))  # never a shorter list

    for key in keys:
        answer = left.ask("PUT", f"/v1/kv/alone/{key}?w=1", b"new")
        assert answer.status == 204, answer
        assert answer.headers["sadik-acks"].startswith("needed=1, got=1, durable=1, primaries=1")
        assert siblings_of(left.ask("GET", f"/v1/kv/alone/{key}?r=1")) == [b"new"]
    assert cluster.hints_total() >= 2 * len(keys)

    for node in others:
        node.start()
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "hints drain")
    for node in cluster.nodes:
        for key in keys:
            for query in ("?r=1", "?r=all"):
                assert siblings_of(node.ask("GET", f"/v1/kv/kept/{key}{query}")) == [b"old"]
                assert siblings_of(node.ask("GET", f"/v1/kv/alone/{key}{query}")) == [b"new"]


def test_writes_are_answered_honestly_while_two_of_three_die(cluster: RealCluster) -> None:
    left, *others = cluster.nodes
    with WriteLoad([left], writers=4) as load:
        eventually(10, lambda: load.count("acked") > 100, "writes go through")
        for node in others:
            node.kill()
        eventually(10, lambda: load.count("refused") > 50, "writes are refused as not applied")
        for node in others:
            node.start()
        acked = load.count("acked")
        eventually(30, lambda: load.count("acked") > acked + 100, "writes go through again")
    unclear = [attempt for attempt in load.attempts if attempt.outcome == "indeterminate"]
    assert len(unclear) <= 20, "only what was in flight at the kill is unclear"
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "hints drain")
    check_kept(load, cluster.nodes, "?r=all")


def test_with_one_of_three_dead_a_quorum_goes_on_and_strict_all_does_not(
    cluster: RealCluster,
) -> None:
    one, other, dead = cluster.nodes
    dead.kill()
    eventually(10, lambda: states_seen_by(one)["n3"] == "down", "n1 knows")
    eventually(10, lambda: states_seen_by(other)["n3"] == "down", "n2 knows")
    for number in range(12):
        path = f"/v1/kv/two/{number}"
        assert one.ask("PUT", path, b"v").status == 204
        assert one.ask("PUT", path + "?sloppy=false", b"w").status == 204
        assert siblings_of(other.ask("GET", path + "?sloppy=false")) == [b"w"]
        for query in ("?w=all", "?w=3", "?pw=3", "?dw=all"):
            check_quorum_problem(other.ask("PUT", path + query, b"refused"))
        for query in ("?r=all", "?pr=3"):
            check_quorum_problem(one.ask("GET", path + query))
        assert siblings_of(one.ask("GET", path)) == [b"w"]


@pytest.fixture
def single(tmp_path: Path) -> Callable[..., RealCluster]:
    return lambda: any_cluster(tmp_path, nodes=1)


def test_more_than_the_owners_there_are_is_not_applied(single: Callable[..., RealCluster]) -> None:
    with single() as cluster:
        cluster.start()
        [node] = cluster.nodes
        for query in ("", "?w=1", "?w=quorum", "?w=all"):
            assert node.ask("PUT", f"/v1/kv/single/key{query}", b"v").status == 204
        for query in ("?w=2", "?w=3", "?pw=2", "?dw=3"):
            check_quorum_problem(node.ask("PUT", f"/v1/kv/single/key{query}", b"refused"))
        for query in ("?r=2", "?r=3", "?pr=2"):
            check_quorum_problem(node.ask("GET", f"/v1/kv/single/key{query}"))
        check_problem(node.ask("PUT", "/v1/kv/single/key?w=4", b"refused"), 400)
        assert siblings_of(node.ask("GET", "/v1/kv/single/key?r=all")) == [b"v"]
