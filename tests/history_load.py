"""Clients that read, write and delete the same few keys through all nodes, and what came of it.

The rules are those of `sadik_sim.history`: a write is judged by what the final siblings are, after
all nodes are back and no hint waits any more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self

from attrs import define
from http_checks import siblings_of
from load import ClientThread, Load
from real_cluster import Answer, RealCluster, RealNode, eventually

from sadik_sim.history import Write, judge

__all__ = ["HistoryLoad", "Operation"]

_CHECKS_AT_ONCE = 8


@define
class Operation:
    """One request as its client saw it. ``status`` is 0 where no answer came."""

    kind: str
    """``get``, ``put`` or ``delete``."""
    node: str
    began: float
    """Monotonic seconds."""
    seconds: float
    status: int


class _Client(ClientThread):
    def __init__(self, number: int, load: HistoryLoad) -> None:
        super().__init__(number, load.ending)
        self.load = load
        self.writes: list[Write] = []
        self.operations: list[Operation] = []
        self.contexts: dict[bytes, tuple[str, tuple[bytes, ...]]] = {}
        self.source = random.Random(number)

    def run(self) -> None:
        while not self.ending.is_set():
            node = self.source.choice(self.load.nodes)
            key = self.source.choice(self.load.keys)
            dice = self.source.randrange(10)
            began = time.monotonic()
            status = 0
            kind = "get" if dice < 4 else "put" if dice < 9 else "delete"
            try:
                status = self._read(node, key) if kind == "get" else self._write(node, key, kind)
            except OSError:
                self.ending.wait(0.01)  # the node is down: go on with another
            if status == 503:
                self.ending.wait(0.01)
            taken = time.monotonic() - began
            self.operations.append(Operation(kind, node.name, began, taken, status))

    def _path(self, key: bytes) -> str:
        return f"/v1/kv/{self.load.bucket}/{key.decode()}"

    def _read(self, node: RealNode, key: bytes) -> int:
        answer = node.ask("GET", self._path(key))
        if answer.status in (200, 300, 404) and "sadik-context" in answer.headers:
            self._now_known(key, answer, tuple(siblings_of(answer)))
        elif answer.status not in (404, 503, 504):
            self.unexpected.append(f"GET {answer.status} {answer.body!r}")
        return answer.status

    def _now_known(self, key: bytes, answer: Answer, saw: tuple[bytes, ...]) -> None:
        self.contexts[key] = (answer.headers["sadik-context"], saw)

    def _write(self, node: RealNode, key: bytes, kind: str) -> int:
        context, saw = self.contexts.get(key, (None, ()))
        name = b"%d.%d" % (self.number, len(self.writes))
        value = None if kind == "delete" else name.ljust(self.load.value_bytes, b" ")
        if value is None and context is None:
            return self._read(node, key)  # to delete, it has to know what
        write = Write(key, value, saw)
        self.writes.append(write)
        headers = {} if context is None else {"Sadik-Context": context}
        method = "DELETE" if value is None else "PUT"
        try:
            answer = node.ask(method, self._path(key), value, headers)
        except ConnectionRefusedError:
            write.outcome = "refused"  # nobody listened
            raise
        except OSError:
            write.outcome = "indeterminate"
            raise
        if answer.status == 204:
            write.outcome = "acked"
            if value is None:
                del self.contexts[key]
            else:
                self._now_known(key, answer, (value,))
        elif answer.status in (503, 504):
            said = answer.json()["outcome"]
            if (said == "not_applied") != (answer.status == 503):
                self.unexpected.append(f"{method} {answer.status} {answer.body!r}")
            write.outcome = "refused" if said == "not_applied" else "indeterminate"
        elif answer.status == 404 and value is None:
            write.outcome = "nothing"
        elif answer.status == 409:
            write.outcome = "refused"
        else:
            self.unexpected.append(f"{method} {answer.status} {answer.body!r}")
        return answer.status


class HistoryLoad(Load[_Client]):
    """Clients that go on while the block runs, each through any of ``nodes``. Values have
    ``value_bytes`` bytes, or as few as tell them apart.
    """

    def __init__(
        self,
        nodes: Sequence[RealNode],
        *,
        bucket: str = "history",
        clients: int = 8,
        keys: int = 20,
        value_bytes: int = 0,
    ) -> None:
        super().__init__(nodes, bucket)
        self.value_bytes = value_bytes
        self.keys = [b"key%d" % number for number in range(keys)]
        self.clients = [_Client(number, self) for number in range(clients)]

    def __enter__(self) -> Self:
        # Without this a put that knows no context replaces what it did not see.
        answer = self.nodes[0].ask(
            "PUT", f"/v1/buckets/{self.bucket}", b'{"blind_writes": "sibling"}'
        )
        assert answer.status == 200, answer
        return super().__enter__()

    @property
    def writes(self) -> list[Write]:
        """All writes so far, by client."""
        return [write for client in self.clients for write in client.writes]

    @property
    def operations(self) -> list[Operation]:
        """All requests so far, as they began."""
        found = [each for client in self.clients for each in client.operations]
        return sorted(found, key=lambda each: each.began)

    def count(self, outcome: str) -> int:
        """How many writes ended so, so far."""
        return sum(write.outcome == outcome for write in self.writes)

    def check(self, cluster: RealCluster, within_s: float = 30) -> int:
        """Judge the history once all nodes are back; the number of acknowledged writes."""
        cluster.wait_ready()
        eventually(within_s, lambda: cluster.hints_total() == 0, "no hint waits")
        with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
            for _ in pool.map(partial(self._check_key, cluster, self.writes), self.keys):
                pass
        return self.count("acked")

    def _check_key(self, cluster: RealCluster, writes: list[Write], key: bytes) -> None:
        path = f"/v1/kv/{self.bucket}/{key.decode()}?r=all&sloppy=false"
        for node in cluster.nodes:  # repairs what no hint knows of
            assert node.ask("GET", path).status in (200, 300, 404)
        finals = [siblings_of(node.ask("GET", path)) for node in cluster.nodes]
        assert all(final == finals[0] for final in finals), (key, finals)
        # The clients' histories interleave; a write saw only what was acknowledged to its
        # client or read, and both began before it.
        verdict = judge(_in_causal_order(writes, key), key, finals[0])
        assert verdict.is_clean, (key, verdict)


def _in_causal_order(writes: Iterable[Write], key: bytes) -> list[Write]:
    """The writes of ``key`` such that each comes after all that it saw."""
    mine = [write for write in writes if write.key == key]
    by_value = {write.value: write for write in mine if write.value is not None}
    ordered: dict[int, Write] = {}

    def visit(write: Write) -> None:
        stack = [(write, iter(write.saw))]
        while stack:
            top, rest = stack[-1]
            for value in rest:
                seen = by_value.get(value)
                if seen is not None and id(seen) not in ordered:
                    stack.append((seen, iter(seen.saw)))
                    break
            else:
                ordered.setdefault(id(top), top)
                stack.pop()

    for write in mine:
        if id(write) not in ordered:
            visit(write)
    return list(ordered.values())
