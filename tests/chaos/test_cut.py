"""Links are cut, both ways or one: nobody lies, nothing is lost, and all comes together again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

import pytest
from chaos_cluster import ChaosCluster, Rig
from chaos_record import Record, longest_gap_s
from history_load import HistoryLoad
from http_checks import check_problem, siblings_of
from real_cluster import RealNode, eventually

_UP = "up"


def states(observer: RealNode) -> dict[str, str]:
    """How a node finds every member."""
    members = observer.ask("GET", "/v1/members").json()["members"]
    return {member["name"]: member["state"] for member in members}


def is_down(observer: RealNode, others: Sequence[RealNode]) -> bool:
    """Whether a node finds others down."""
    found = states(observer)
    return all(found[other.name] != _UP for other in others)


def wait_down(observers: Sequence[RealNode], lost: RealNode) -> None:
    """Wait until each sees that a node is down."""
    for node in observers:
        seen = partial(is_down, node, [lost])
        eventually(20, seen, f"{node.name} sees {lost.name} down")


def heal(cluster: ChaosCluster, record: Record) -> None:
    """Mend every cut, and wait until all is as it should be."""
    cluster.network.heal()
    record.event("healed")
    healed = time.monotonic()
    cluster.wait_ready()
    eventually(60, lambda: cluster.hints_total() == 0, "no hint waits")
    record.at_most("all together, and no hint left, after", time.monotonic() - healed, 60, "s")


@pytest.mark.chaos_slice
def test_split(rig: Rig, record: Record) -> None:
    """One node of three is cut off: strict quorums are refused there, and sloppy ones accepted."""
    cluster = rig()
    one, two, three = cluster.nodes
    cluster.isolate([three])
    record.event("n3 cut off from n1 and n2")
    eventually(20, lambda: is_down(three, [one, two]), "the minority sees the others down")
    wait_down([one, two], three)
    refused = 0
    for number in range(10):
        query = "w=2&sloppy=false&timeout=1000"
        document = check_problem(
            three.ask("PUT", f"/v1/kv/b/strict{number}?{query}", b"v"), 503, 504
        )
        assert document["outcome"] in ("not_applied", "indeterminate")
        refused += document["outcome"] == "not_applied"
    record.at_least("strict writes refused in the minority", refused, 10)
    for number in range(20):
        key = f"both{number}"
        for node, query, value in ((three, "w=1", b"minority"), (one, "w=2", b"majority")):
            answer = node.ask("PUT", f"/v1/kv/b/{key}?{query}", value)
            assert answer.status == 204, answer
    record.event("20 keys written on both sides")
    heal(cluster, record)
    lost = not_refused = 0
    for number in range(20):
        values = siblings_of(two.ask("GET", f"/v1/kv/b/both{number}?r=all"))
        lost += {b"minority", b"majority"} != set(values)
    for number in range(10):
        not_refused += two.ask("GET", f"/v1/kv/b/strict{number}?r=all").status != 404
    record.at_most("keys of which a side's write is lost", lost, 0)
    record.at_most("refused writes that are seen", not_refused, 0)


def test_one_way_cut(rig: Rig, record: Record, is_long: bool) -> None:
    """What n1 sends n2 is lost, and nothing else: no flapping, no removal, and requests go on."""
    cluster = rig()
    changes: list[tuple[str, str, str]] = []
    ending = threading.Event()

    def watch() -> None:
        known = {node.name: states(node) for node in cluster.nodes}
        while not ending.wait(0.2):
            for node in cluster.nodes:
                found = states(node)
                for name, state in found.items():
                    if known[node.name].get(name) != state:
                        changes.append((node.name, name, state))
                known[node.name] = found

    watcher = threading.Thread(target=watch)
    with HistoryLoad(cluster.nodes, clients=4) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes are acknowledged")
        watcher.start()
        try:
            cluster.network.cut(1, 2)
            record.event("what n1 sends n2 is lost")
            began = time.monotonic()
            load.ending.wait(60 if is_long else 12)
            ended = time.monotonic()
            healing = len(changes)
        finally:
            ending.set()
            watcher.join()
        heal(cluster, record)
    record.operations += load.operations
    by_pair = [(observer, name) for observer, name, _ in changes[:healing]]
    most = max(map(by_pair.count, by_pair), default=0)
    record.at_most("changes of one member's state, as one node sees it", most, 2)
    wrong = [change for change in changes if change[2] not in (_UP, "suspect", "down")]
    record.at_most("members seen leaving or gone", len(wrong), 0)
    gap = longest_gap_s(load.operations, began, ended, [204])
    record.at_most("longest time without an acknowledged write", gap, 3, "s")
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


@pytest.mark.timeout(900)
def test_isolated(rig: Rig, record: Record, is_long: bool) -> None:
    """A node is cut off for a while, and keys are deleted meanwhile: none of them returns."""
    cluster = rig()
    one, two, three = cluster.nodes
    for number in range(40):
        assert one.ask("PUT", f"/v1/kv/gone/{number}?w=3", b"old").status == 204
    with HistoryLoad([one, two]) as load:
        cluster.isolate([three])
        record.event("n3 cut off")
        began = time.monotonic()
        wait_down([one, two], three)
        for number in range(40):
            assert two.ask("DELETE", f"/v1/kv/gone/{number}").status == 204
        record.event("40 keys deleted")
        load.ending.wait((300 if is_long else 30) - (time.monotonic() - began))
        ended = time.monotonic()
    record.operations += load.operations
    gap = longest_gap_s(load.operations, began, ended, [204])
    record.at_most("longest time without an acknowledged write", gap, 3, "s")
    heal(cluster, record)
    returned = 0
    for number in range(40):
        for node in cluster.nodes:
            returned += node.ask("GET", f"/v1/kv/gone/{number}?r=all").status != 404
    record.at_most("deleted keys that returned", returned, 0)
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


def test_zone_cut_off(rig: Rig, record: Record) -> None:
    """A whole zone of three is cut off: every quorum goes on without it, and it comes back."""
    cluster = rig(5, zones=["a", "b", "b", "c", "c"])
    lost = cluster.nodes[1:3]
    others = [node for node in cluster.nodes if node not in lost]
    with HistoryLoad(others) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes are acknowledged")
        cluster.isolate(lost)
        record.event("zone b, n2 and n3, cut off")
        began = time.monotonic()
        load.ending.wait(8)
        ended = time.monotonic()
        strict = [
            others[number % 3].ask("PUT", f"/v1/kv/b/{number}?sloppy=false", b"v").status
            for number in range(50)
        ]
    record.operations += load.operations
    gap = longest_gap_s(load.operations, began, ended, [204])
    record.at_most("longest time without an acknowledged write", gap, 3, "s")
    failed = sum(status != 204 for status in strict)
    record.at_most("strict quorums that failed", failed, 0)
    heal(cluster, record)
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)
