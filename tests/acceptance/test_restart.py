"""Nodes that stop and come back: killed or in good order, alone or together, elsewhere or here."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
from http_checks import check_problem, siblings_of
from raw_http import RawConnection
from real_cluster import RealCluster, RealNode, eventually
from write_load import WriteLoad, check_kept


def wait_healed(cluster: RealCluster) -> None:
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "hints drain")


def fill(cluster: RealCluster, bucket: str, count: int = 60) -> None:
    for number in range(count):
        node = cluster.nodes[number % len(cluster.nodes)]
        answer = node.ask("PUT", f"/v1/kv/{bucket}/{number}", b"value %d" % number)
        assert answer.status == 204, answer


def check_filled(cluster: RealCluster, bucket: str, count: int = 60) -> None:
    for number in range(count):
        for node in cluster.nodes:
            answer = node.ask("GET", f"/v1/kv/{bucket}/{number}")
            assert siblings_of(answer) == [b"value %d" % number]


def addresses_seen_by(node: RealNode) -> dict[str, tuple[str, str]]:
    members = node.ask("GET", "/v1/members").json()["members"]
    return {member["name"]: (member["http"], member["peer"]) for member in members}


def sees(node: RealNode, addresses: dict[str, tuple[str, str]]) -> bool:
    return addresses_seen_by(node) == addresses


def check_addresses(cluster: RealCluster) -> None:
    wanted = {node.name: (f"127.0.0.1:{node.http_port}", node.peer) for node in cluster.nodes}
    for node in cluster.nodes:
        eventually(10, partial(sees, node, wanted), f"{node.name} knows the addresses")


def has_acked(load: WriteLoad, count: int) -> bool:
    return load.count("acked") > count


def test_all_killed_under_load_and_started_again_lose_nothing(cluster: RealCluster) -> None:
    changed = cluster.nodes[0].ask("PUT", "/v1/buckets/load", b'{"blind_writes": "sibling"}')
    assert changed.status == 200
    with WriteLoad(cluster.nodes, writers=6) as load:
        for wanted in (150, 300):
            eventually(20, partial(has_acked, load, wanted), "writes go through")
            cluster.kill()
            for node in cluster.nodes:
                node.start()
            cluster.wait_ready()
    wait_healed(cluster)
    check_kept(load, cluster.nodes)  # by quorum: what two had acknowledged, the third may lack
    for node in cluster.nodes:
        assert node.ask("GET", "/v1/buckets/load").json()["blind_writes"] == "sibling"


def test_siblings_deletes_and_contexts_outlive_a_kill_of_all(cluster: RealCluster) -> None:
    one, other, third = cluster.nodes
    first = one.ask("PUT", "/v1/kv/kept/siblings", b"first").headers["sadik-context"]
    for node, value in ((one, b"a"), (other, b"b")):
        answer = node.ask("PUT", "/v1/kv/kept/siblings", value, {"Sadik-Context": first})
        assert answer.status == 204
    seen = third.ask("GET", "/v1/kv/kept/siblings").headers["sadik-context"]
    assert one.ask("PUT", "/v1/kv/kept/deleted", b"v").status == 204
    assert other.ask("DELETE", "/v1/kv/kept/deleted").status == 204
    cluster.kill()
    for node in cluster.nodes:
        node.start()
    cluster.wait_ready()
    for node in cluster.nodes:
        assert siblings_of(node.ask("GET", "/v1/kv/kept/siblings")) == [b"a", b"b"]
        check_problem(node.ask("GET", "/v1/kv/kept/deleted"), 404)
    answer = third.ask("PUT", "/v1/kv/kept/siblings", b"one", {"Sadik-Context": seen})
    assert answer.status == 204
    for node in cluster.nodes:
        assert siblings_of(node.ask("GET", "/v1/kv/kept/siblings?r=all")) == [b"one"]


@pytest.mark.parametrize("moved", [0, 2], ids=["the founder", "one that joined"])
def test_a_node_with_changed_addresses_comes_back_by_itself(
    cluster: RealCluster, moved: int
) -> None:
    node = cluster.nodes[moved]
    fill(cluster, "before")
    node.kill()
    stayed = [each for each in cluster.nodes if each is not node]
    for number in range(40):
        answer = stayed[number % 2].ask("PUT", f"/v1/kv/meanwhile/{number}", b"value")
        assert answer.status == 204, answer
    cluster.move(node)
    node.join = []  # it knows its cluster from its disk
    node.start()
    wait_healed(cluster)
    check_addresses(cluster)
    check_filled(cluster, "before")
    for number in range(40):
        assert siblings_of(node.ask("GET", f"/v1/kv/meanwhile/{number}?r=1")) == [b"value"]
    fill(cluster, "after")
    check_filled(cluster, "after")


def test_all_with_changed_addresses_meet_again_at_their_seeds(cluster: RealCluster) -> None:
    fill(cluster, "before")
    for node in cluster.nodes:
        assert node.stop() == 0
    for node in cluster.nodes:
        cluster.move(node)
    for node in cluster.nodes:
        node.join = [other.peer for other in cluster.nodes if other is not node]
    for node in cluster.nodes:
        node.start()
    cluster.wait_ready()
    check_addresses(cluster)
    check_filled(cluster, "before")
    fill(cluster, "after")
    check_filled(cluster, "after")


def test_sigterm_under_load_ends_in_10_seconds_and_every_answer_is_honest(
    cluster: RealCluster,
) -> None:
    stopped = cluster.nodes[1]
    with WriteLoad(cluster.nodes, writers=6) as load:
        eventually(20, lambda: load.count("acked") > 200, "writes go through")
        began = time.monotonic()
        assert stopped.stop(within_s=10) == 0
        took = time.monotonic() - began
        acked = load.count("acked")
        eventually(20, lambda: load.count("acked") > acked + 200, "the others go on")
        stopped.start()
        cluster.wait_ready()
    unclear = [each for each in load.attempts if each.outcome == "indeterminate"]
    print(f"stopped in {took:.2f} s, {len(load.attempts)} writes, {len(unclear)} of them unclear")
    # Of each writer at most the one on its way to the node, and the one that another forwarded.
    assert len(unclear) <= 2 * 6, unclear
    wait_healed(cluster)
    check_kept(load, cluster.nodes, "?r=all")
    assert "Traceback" not in cluster.tail(stopped)


def test_a_request_that_is_half_sent_at_sigterm_is_answered(cluster: RealCluster) -> None:
    node = cluster.nodes[2]
    head = b"PUT /v1/kv/half/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    with RawConnection(node) as connection, RawConnection(node) as idle:
        idle.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.read_answer().status == 200
        connection.send(head + b"first")
        stopping = threading.Thread(target=node.stop)
        stopping.start()
        try:
            assert idle.is_ended(), "idle connections are closed"
            with pytest.raises(OSError, match=r"refused|reset"):
                node.ask("GET", "/healthz")
            connection.send(b"-then")
            answer = connection.read_answer()
        finally:
            stopping.join()
        assert node.process is not None
        assert node.process.returncode == 0
        assert connection.is_ended()
    if answer.status == 204:
        assert siblings_of(cluster.nodes[0].ask("GET", "/v1/kv/half/key")) == [b"first-then"]
    else:
        assert check_problem(answer, 503)["outcome"] == "not_applied"
        assert siblings_of(cluster.nodes[0].ask("GET", "/v1/kv/half/key")) == []


def test_after_a_clean_stop_of_all_everything_is_there(cluster: RealCluster) -> None:
    fill(cluster, "clean")
    for _ in range(2):
        for node in cluster.nodes:
            assert node.stop() == 0
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
    check_filled(cluster, "clean")
    for node in cluster.nodes:
        log = node.log.read_text()
        assert "Traceback" not in log
        assert "new_instance" not in log


def test_a_restart_after_kill_is_never_blocked(cluster: RealCluster) -> None:
    node = cluster.nodes[0]
    for _ in range(6):  # often in the middle of starting up
        assert node.is_running
        node.kill()
        node.start()
        eventually(10, lambda: is_up_or_dead(node), "it listens")
        assert node.is_running, cluster.tail(node)
    cluster.wait_ready()
    fill(cluster, "unblocked")
    check_filled(cluster, "unblocked")


def is_up_or_dead(node: RealNode) -> bool:
    try:
        return not node.is_running or node.ask("GET", "/healthz").status == 200
    except OSError:
        return False


def test_a_node_that_was_away_does_not_serve_what_it_missed(cluster: RealCluster) -> None:
    one, other, away = cluster.nodes
    fill(cluster, "missed")
    away.kill()
    for number in range(0, 60, 2):
        assert one.ask("PUT", f"/v1/kv/missed/{number}", b"newer").status == 204
        assert other.ask("DELETE", f"/v1/kv/missed/{number + 1}").status == 204
    away.start()
    eventually(20, away.is_ready, "it is ready")
    for number in range(0, 60, 2):  # by quorum it is right at once, whatever it holds itself
        assert siblings_of(away.ask("GET", f"/v1/kv/missed/{number}")) == [b"newer"]
        check_problem(away.ask("GET", f"/v1/kv/missed/{number + 1}"), 404)
    wait_healed(cluster)
    one.kill()
    other.kill()
    for number in range(0, 60, 2):
        assert siblings_of(away.ask("GET", f"/v1/kv/missed/{number}?r=1")) == [b"newer"]
        check_problem(away.ask("GET", f"/v1/kv/missed/{number + 1}?r=1"), 404)
