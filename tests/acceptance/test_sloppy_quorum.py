"""Fallbacks: with more nodes than replicas, writes go on though most of a key's owners are dead."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_checks import check_problem, siblings_of
from real_cluster import RealCluster, RealNode, eventually
from secured_cluster import any_cluster


@pytest.fixture
def five(tmp_path: Path) -> Iterator[RealCluster]:
    with any_cluster(tmp_path, nodes=5) as cluster:
        cluster.start()
        yield cluster


def states_seen_by(node: RealNode) -> dict[str, str]:
    members = node.ask("GET", "/v1/members").json()["members"]
    return {member["name"]: member["state"] for member in members}


def explain(node: RealNode, path: str) -> dict[str, Any]:
    told: dict[str, Any] = node.ask("GET", path.replace("/v1/kv/", "/v1/explain/")).json()
    return told


def holders(told: dict[str, Any]) -> set[str]:
    """The nodes that hold any version of an explained key."""
    return {replica["node"] for replica in told["replicas"] if replica["versions"]}


def acks_of(header: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", header)}


def with_two_owners_to_kill(
    cluster: RealCluster,
) -> tuple[list[RealNode], list[RealNode], list[str]]:
    """Two nodes, the others, and paths of keys that have these two among their three owners."""
    dead, alive = cluster.nodes[:2], cluster.nodes[2:]
    names = {node.name for node in dead}
    paths = (f"/v1/kv/sloppy/{number}" for number in itertools.count())
    owned = (path for path in paths if names < set(explain(alive[0], path)["owners"]))
    return dead, alive, list(itertools.islice(owned, 10))


def kill(dead: list[RealNode], alive: list[RealNode]) -> None:
    """Kill some, and wait until the others know."""
    for node in dead:
        node.kill()

    def is_known() -> bool:
        return all(states_seen_by(node)[each.name] == "down" for node in alive for each in dead)

    eventually(10, is_known, "the dead are known")


def bring_back(cluster: RealCluster, dead: list[RealNode]) -> None:
    """Start them again, and wait until no hint waits."""
    for node in dead:
        node.start()
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "hints drain")


def test_fallbacks_stand_in_and_hand_over(five: RealCluster) -> None:
    dead, alive, paths = with_two_owners_to_kill(five)
    for path in paths:
        assert five.nodes[0].ask("PUT", path + "?w=all", b"old").status == 204
    kill(dead, alive)
    for number, path in enumerate(paths):
        entry = alive[number % 3]
        answer = entry.ask("PUT", path, b"new")
        assert answer.status == 204, answer
        acks = acks_of(answer.headers["sadik-acks"])
        assert acks["got"] >= 2
        assert acks["durable"] >= 2
        assert acks["primaries"] == 1
        assert acks["hinted"] == acks["got"] - 1
        for reader in alive:
            assert siblings_of(reader.ask("GET", path)) == [b"new"]
        for query in ("?sloppy=false", "?pw=2"):
            said = check_problem(entry.ask("PUT", path + query, b"refused"), 503)
            assert said["outcome"] == "not_applied"
        check_problem(entry.ask("GET", path + "?sloppy=false"), 503)
        told = explain(entry, path)
        assert holders(told) - set(told["owners"]), "a fallback holds it"
        assert told["hints"], told
    assert five.hints_total() >= len(paths)
    bring_back(five, dead)
    for path in paths:
        assert set(explain(alive[0], path)["owners"]) <= holders(explain(alive[0], path))
        for node in five.nodes:
            assert siblings_of(node.ask("GET", path + "?sloppy=false&r=all")) == [b"new"]


def test_hints_outlive_the_death_of_who_holds_them(five: RealCluster) -> None:
    path = "/v1/kv/sloppy/hinted"
    owners = explain(five.nodes[0], path)["owners"]
    dead = [node for node in five.nodes if node.name in owners]
    alive = [node for node in five.nodes if node not in dead]
    assert five.nodes[0].ask("PUT", path, b"old").status == 204
    context = five.nodes[0].ask("GET", path).headers["sadik-context"]
    for node in dead:
        node.kill()

    def writes() -> bool:
        headers = {"Sadik-Context": context}
        return alive[0].ask("PUT", path + "?w=2", b"new", headers).status == 204

    eventually(10, writes, "two fallbacks take what has no owner left")
    for node in alive:
        node.kill()
    for node in five.nodes:
        node.start()
    five.wait_ready()
    eventually(30, lambda: five.hints_total() == 0, "hints drain")
    for node in dead:
        assert siblings_of(node.ask("GET", path + "?sloppy=false&r=all")) == [b"new"]
