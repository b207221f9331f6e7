"""Eight writers while nodes are killed and started again: no acknowledged write is lost.

The rules are those of `sadik_sim.history`: a write is judged by what the final siblings are, after
all nodes are back and no hint waits any more.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from every_backend import every_durable_backend
from real_cluster import RealCluster, RealNode, eventually

from sadik_sim.history import Write, judge

KEYS = [b"key%d" % number for number in range(20)]


class Writer(threading.Thread):
    """Reads, writes and deletes through random nodes until told to stop."""

    def __init__(self, number: int, nodes: list[RealNode], stop: threading.Event) -> None:
        super().__init__(name=f"writer {number}")
        self.number = number
        self.nodes = nodes
        self.stop = stop
        self.writes: list[Write] = []
        self.contexts: dict[bytes, tuple[str, tuple[bytes, ...]]] = {}
        self.source = random.Random(number)
        self.unexpected: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            node = self.source.choice(self.nodes)
            key = self.source.choice(KEYS)
            try:
                if self.source.randrange(3) == 0:
                    self._read(node, key)
                else:
                    self._write(node, key)
            except OSError:
                self.stop.wait(0.01)  # the node is down: go on with another

    def _read(self, node: RealNode, key: bytes) -> None:
        answer = node.ask("GET", f"/v1/kv/kill/{key.decode()}")
        if answer.status in (200, 300, 404) and "sadik-context" in answer.headers:
            self.contexts[key] = (answer.headers["sadik-context"], siblings_of(answer))
        elif answer.status not in (404, 503, 504):
            self.unexpected.append(f"GET {answer.status} {answer.body!r}")

    def _write(self, node: RealNode, key: bytes) -> None:
        context, saw = self.contexts.get(key, (None, ()))
        value = b"%d.%d" % (self.number, len(self.writes))
        write = Write(key, value, saw)
        self.writes.append(write)
        headers = {} if context is None else {"Sadik-Context": context}
        try:
            answer = node.ask("PUT", f"/v1/kv/kill/{key.decode()}", value, headers)
        except ConnectionRefusedError:
            write.outcome = "refused"  # nobody listened
            raise
        if answer.status == 204:
            write.outcome = "acked"
            self.contexts[key] = (answer.headers["sadik-context"], (*saw, value))
        elif answer.status in (503, 504):
            said = answer.json()["outcome"]
            assert (said == "not_applied") == (answer.status == 503), answer
            write.outcome = "refused" if said == "not_applied" else "indeterminate"
        elif answer.status == 409:
            write.outcome = "refused"
        else:
            self.unexpected.append(f"PUT {answer.status} {answer.body!r}")


def siblings_of(answer) -> tuple[bytes, ...]:  # type: ignore[no-untyped-def]
    """The values of a GET's answer."""
    if answer.status == 404:
        return ()
    if answer.status == 200:
        return (answer.body,)
    return tuple(sibling["text"].encode() for sibling in answer.json()["siblings"])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with RealCluster(tmp_path) as cluster:
        cluster.start()
        yield cluster


def run_kill_loop(cluster: RealCluster, seconds: float) -> list[Write]:
    answer = cluster.nodes[0].ask("PUT", "/v1/buckets/kill", b'{"blind_writes": "sibling"}')
    assert answer.status == 200, answer
    stop = threading.Event()
    writers = [Writer(number, cluster.nodes, stop) for number in range(8)]
    for writer in writers:
        writer.start()
    dice = random.Random(1)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            node = dice.choice(cluster.nodes)
            stop.wait(1)
            node.kill()
            stop.wait(1)
            node.start()
    finally:
        stop.set()
        for writer in writers:
            writer.join(30)
    assert not any(writer.unexpected for writer in writers), [w.unexpected for w in writers]
    cluster.wait_ready()
    eventually(30, lambda: cluster.hints_total() == 0, "no hint waits")
    return [write for writer in writers for write in writer.writes]


def check_kill_loop(cluster: RealCluster, writes: list[Write]) -> None:
    acked = 0
    for key in KEYS:
        path = f"/v1/kv/kill/{key.decode()}?r=all&sloppy=false"
        for node in cluster.nodes:  # repairs what no hint knows of
            assert node.ask("GET", path).status in (200, 300, 404)
        finals = [siblings_of(node.ask("GET", path)) for node in cluster.nodes]
        assert all(sorted(final) == sorted(finals[0]) for final in finals), finals
        # The writers' histories interleave; a write saw only what was acknowledged to its writer or
        # read, and both began before it.
        verdict = judge(in_causal_order(writes, key), key, finals[0])
        assert verdict.is_clean, verdict
        acked += sum(write.key == key and write.outcome == "acked" for write in writes)
    print(f"{len(writes)} writes, {acked} acknowledged, none lost")
    assert acked > 100


def in_causal_order(writes: list[Write], key: bytes) -> list[Write]:
    """The writes of ``key`` such that each comes after all that it saw."""
    by_value = {write.value: write for write in writes if write.key == key}
    ordered: dict[bytes | None, Write] = {}

    def visit(write: Write) -> None:
        stack = [(write, iter(write.saw))]
        while stack:
            top, rest = stack[-1]
            for value in rest:
                if value not in ordered and value in by_value:
                    stack.append((by_value[value], iter(by_value[value].saw)))
                    break
            else:
                ordered.setdefault(top.value, top)
                stack.pop()

    for write in by_value.values():
        if write.value not in ordered:
            visit(write)
    return list(ordered.values())


@every_durable_backend
def test_nothing_acknowledged_is_lost_when_nodes_are_killed(
    backend: str, cluster: RealCluster
) -> None:
    assert all(f"store={backend}" in node.log.read_text() for node in cluster.nodes)
    check_kill_loop(cluster, run_kill_loop(cluster, seconds=8))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_in_a_minute_of_kills(cluster: RealCluster) -> None:
    seconds = float(os.environ.get("SADIK_KILL_LOOP_SECONDS", "60"))
    check_kill_loop(cluster, run_kill_loop(cluster, seconds))
