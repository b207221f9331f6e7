"""Nodes are killed: the others go on, and say honestly what they cannot do."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest
from chaos_cluster import Rig, private_mib, roll
from chaos_record import Record, longest_gap_s, percentile_ms
from history_load import HistoryLoad, Operation
from http_checks import check_problem
from real_cluster import RealNode, eventually
from write_load import WriteLoad, check_kept


def put(node: RealNode, path: str, value: bytes, record: Record) -> Operation:
    """One put as its client sees it."""
    began = time.monotonic()
    try:
        status = node.ask("PUT", path, value).status
    except OSError:
        status = 0
    operation = Operation("put", node.name, began, time.monotonic() - began, status)
    record.operations.append(operation)
    return operation


@pytest.mark.chaos_slice
def test_coordinator_killed(rig: Rig, record: Record) -> None:
    """The coordinator of a key is killed: the next request on it is answered all the same."""
    cluster = rig()
    one = cluster.nodes[0]
    victim = cluster.nodes[2]
    keys = [
        f"key{number}"
        for number in range(100)
        if cluster.first_owner("b", f"key{number}") is victim
    ][:10]
    for key in keys:
        assert put(one, f"/v1/kv/b/{key}", b"before", record).status == 204
    victim.kill()
    record.event(f"{victim.name}, the first owner of {len(keys)} keys, killed")
    after = [put(one, f"/v1/kv/b/{key}", b"after", record) for key in keys]
    record.at_most("requests that failed", sum(each.status != 204 for each in after), 0)
    record.at_most("the first answered after", after[0].seconds, 2, "s")
    record.at_most("the slowest answered after", max(each.seconds for each in after), 2, "s")


@pytest.mark.chaos_slice
def test_replica_killed(rig: Rig, record: Record) -> None:
    """One of three replicas is killed: writes with W=2 go on, and hints bring it up to date."""
    cluster = rig()
    victim = cluster.nodes[2]
    with HistoryLoad(cluster.nodes[:2]) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes are acknowledged")
        victim.kill()
        killed = time.monotonic()
        record.event(f"{victim.name} killed")
        load.ending.wait(4)
        back = time.monotonic()
    record.operations += load.operations
    gap = longest_gap_s(load.operations, killed, back, [204])
    record.at_most("longest time without an acknowledged write", gap, 2, "s")
    record.at_least("notes that wait for it", cluster.hints_total(), 1)
    victim.start()
    record.event(f"{victim.name} started")
    cluster.wait_ready()
    took = eventually(30, lambda: cluster.hints_total() == 0, "hints drain to zero")
    record.at_most("hints drained after", took, 30, "s")
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


def test_two_of_three_killed(rig: Rig, record: Record) -> None:
    """Two of three are killed: no quorum is claimed that is not there, and W=1 goes on."""
    cluster = rig()
    one, *others = cluster.nodes
    for node in others:
        node.kill()
    record.event("n2 and n3 killed")
    taken = []
    for number in range(10):
        began = time.monotonic()
        query = "w=2&sloppy=false&timeout=1000"
        answer = one.ask("PUT", f"/v1/kv/b/strict{number}?{query}", b"v")
        taken.append(time.monotonic() - began)
        document = check_problem(answer, 503, 504)
        said = "not_applied" if answer.status == 503 else "indeterminate"
        assert document["outcome"] == said, document
    record.at_most("the slowest refusal of a strict W=2", max(taken), 1.5, "s")
    sloppy = [put(one, f"/v1/kv/b/sloppy{number}?w=1", b"v", record) for number in range(20)]
    record.at_most("failed writes with W=1", sum(each.status != 204 for each in sloppy), 0)
    for node in others:
        node.start()
    record.event("n2 and n3 started")
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "hints drain to zero")
    lost = 0
    for number in range(20):
        answer = cluster.nodes[number % 3].ask("GET", f"/v1/kv/b/sloppy{number}?r=all")
        lost += answer.status != 200
    record.at_most("acknowledged writes that are lost", lost, 0)


class Overwriter(threading.Thread):
    """Puts large values of one byte, over and over."""

    def __init__(self, nodes: list[RealNode], keys: list[str], stop: threading.Event) -> None:
        super().__init__()
        self.nodes = nodes
        self.keys = keys
        self.stop = stop

    def run(self) -> None:
        """Until it is told to stop."""
        count = 0
        while not self.stop.is_set():
            count += 1
            key, node = self.keys[count % len(self.keys)], self.nodes[count % len(self.nodes)]
            try:
                node.ask("PUT", f"/v1/kv/torn/{key}", bytes([count % 251]) * 300_000)
            except OSError:
                self.stop.wait(0.01)


@pytest.mark.timeout(900)
@pytest.mark.chaos_slice
def test_killed_in_the_middle_of_writes(rig: Rig, record: Record, is_long: bool) -> None:
    """Nodes are killed in the middle of writes of large values: each is whole, whichever it is."""
    cluster = rig()
    answer = cluster.nodes[0].ask("PUT", "/v1/buckets/torn", b'{"blind_writes": "replace"}')
    assert answer.status == 200, answer
    keys = [f"key{number}" for number in range(5)]
    stop = threading.Event()
    writers = [Overwriter(cluster.nodes, keys, stop) for _ in range(3)]
    rounds = 100 if is_long else 10
    dice = random.Random(1)
    try:
        for writer in writers:
            writer.start()
        for _ in range(rounds):
            stop.wait(dice.random() / 2)
            node = dice.choice(cluster.nodes)
            node.kill()
            record.event(f"{node.name} killed")
            node.start()
            eventually(30, node.is_ready, f"{node.name} is ready")
    finally:
        stop.set()
        for writer in writers:
            writer.join(30)
    cluster.wait_ready()
    torn = seen = 0
    for key in keys:
        for node in cluster.nodes:
            answer = node.ask("GET", f"/v1/kv/torn/{key}?r=1")
            if answer.status == 200:
                seen += 1
                torn += len(set(answer.body)) != 1 or len(answer.body) != 300_000
            else:
                assert answer.status in (300, 404), answer
    record.at_least("values read", seen, len(keys))
    record.at_most("of them torn", torn, 0)


@pytest.mark.timeout(300)
def test_rolling_restart(rig: Rig, record: Record) -> None:
    """Every node in turn is stopped in good order and started again, under load."""
    cluster = rig()
    with HistoryLoad(cluster.nodes) as load:
        eventually(20, lambda: load.count("acked") > 50, "writes are acknowledged")
        roll(cluster, load, record)
    record.operations += load.operations
    failed = [each for each in load.operations if each.status >= 500]
    record.at_most("failed requests", len(failed), 0)
    record.at_least("acknowledged writes, none lost", load.check(cluster), 100)


@pytest.mark.timeout(900)
def test_stopped_peer(rig: Rig, record: Record, is_long: bool) -> None:
    """A node is stopped by a signal, and lives: nobody's memory grows, and latency comes back."""
    cluster = rig()
    one, two, victim = cluster.nodes
    with WriteLoad([one, two], value_bytes=1000) as load:
        eventually(20, lambda: load.count("acked") > 200, "writes are acknowledged")
        before = [private_mib(node) for node in (one, two)]
        victim.signal(signal.SIGSTOP)
        record.event(f"{victim.name} stopped (SIGSTOP)")
        stopped = time.monotonic()
        load.ending.wait(60 if is_long else 15)
        grown = [private_mib(node) - was for node, was in zip((one, two), before, strict=True)]
        victim.signal(signal.SIGCONT)
        record.event(f"{victim.name} goes on (SIGCONT)")
        load.ending.wait(10)
        settled = time.monotonic()
        load.ending.wait(3)
    attempts = load.attempts
    record.operations += [
        Operation("put", each.node, each.began, each.seconds, each.status) for each in attempts
    ]
    quiet = [each for each in record.operations if each.began < stopped]
    after = [each for each in record.operations if each.began > settled]
    record.at_most("growth of the others' memory", max(grown), 64, "MiB")
    slow_ms = max(10 * percentile_ms(quiet, 0.99), 100)
    record.at_most("p99 from 10 s after it goes on", percentile_ms(after, 0.99), slow_ms, "ms")
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "no hint waits")
    check_kept(load, cluster.nodes)
    record.at_least("acknowledged writes, none lost", load.count("acked"), 200)
