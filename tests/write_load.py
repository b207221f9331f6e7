"""Writers that go on until told to stop, and note what each write was answered, and how soon.

Every write has a key and a value of its own, so that what became of it can be told afterwards: an
acknowledged one is there, a refused one is not, and only of one whose answer never came, or said
so, is either right.
"""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Sequence

from attrs import define
from load import ClientThread, Load
from real_cluster import RealNode

__all__ = ["Attempt", "WriteLoad", "check_kept"]


@define
class Attempt:
    """One write. ``status`` is 0 where no answer came."""

    key: str
    value: bytes
    node: str
    began: float
    """Monotonic seconds."""
    seconds: float = 0.0
    status: int = 0
    outcome: str = "indeterminate"
    """``acked``, ``refused`` or ``indeterminate``."""


class _Writer(ClientThread):
    def __init__(self, number: int, load: WriteLoad) -> None:
        super().__init__(number, load.ending)
        self.load = load
        self.attempts: list[Attempt] = []
        self.connections: dict[str, http.client.HTTPConnection] = {}

    def run(self) -> None:
        load = self.load
        try:
            while not self.ending.is_set():
                node = load.nodes[(self.number + len(self.attempts)) % len(load.nodes)]
                self.write(node, f"{self.number}-{len(self.attempts)}")
        finally:
            for connection in self.connections.values():
                connection.close()

    def write(self, node: RealNode, key: str) -> None:
        value = key.encode().ljust(self.load.value_bytes, b".")
        attempt = Attempt(key, value, node.name, time.monotonic())
        self.attempts.append(attempt)
        connection = self.connections.get(node.url)
        if connection is None:
            connection = node.connect(20)
            self.connections[node.url] = connection
        try:
            connection.request("PUT", f"/v1/kv/{self.load.bucket}/{key}{self.load.query}", value)
            answer = connection.getresponse()
            body = answer.read()
        except ConnectionRefusedError:
            attempt.outcome = "refused"  # nobody listened
            connection.close()
            self.ending.wait(0.01)
        except (OSError, http.client.HTTPException):
            connection.close()
        else:
            attempt.status = answer.status
            self.judge(attempt, body)
        attempt.seconds = time.monotonic() - attempt.began

    def judge(self, attempt: Attempt, body: bytes) -> None:
        if attempt.status == 204:
            attempt.outcome = "acked"
        elif attempt.status in (503, 504):
            said = json.loads(body)["outcome"]
            if said != ("not_applied" if attempt.status == 503 else "indeterminate"):
                self.unexpected.append(f"{attempt.status} {body!r}")
            elif attempt.status == 503:
                attempt.outcome = "refused"
                self.ending.wait(0.01)
        else:
            self.unexpected.append(f"{attempt.status} {body!r}")


class WriteLoad(Load[_Writer]):
    """Several writers, each going round the nodes that it was given, while the block runs."""

    def __init__(
        self,
        nodes: Sequence[RealNode],
        *,
        bucket: str = "load",
        writers: int = 4,
        value_bytes: int = 20,
        query: str = "",
    ) -> None:
        super().__init__(nodes, bucket)
        self.value_bytes = value_bytes
        self.query = query
        self.clients = [_Writer(number, self) for number in range(writers)]

    @property
    def attempts(self) -> list[Attempt]:
        """What was tried so far, by writer."""
        return [attempt for writer in self.clients for attempt in writer.attempts]

    def count(self, outcome: str) -> int:
        """How many attempts ended so, so far."""
        return Counter(attempt.outcome for attempt in self.attempts)[outcome]


def check_kept(load: WriteLoad, nodes: Sequence[RealNode], query: str = "") -> None:
    """Each write is what its answer said: there, or not; seen through each of ``nodes`` in turn."""
    connections = [node.connect(20) for node in nodes]
    try:
        for number, attempt in enumerate(load.attempts):
            connection = connections[number % len(connections)]
            connection.request("GET", f"/v1/kv/{load.bucket}/{attempt.key}{query}")
            answer = connection.getresponse()
            body = answer.read()
            seen = (answer.status, body if answer.status == 200 else b"")
            allowed = {
                "acked": [(200, attempt.value)],
                "refused": [(404, b"")],
                "indeterminate": [(200, attempt.value), (404, b"")],
            }[attempt.outcome]
            assert seen in allowed, f"{attempt} is now {answer.status} {body[:300]!r}"
    finally:
        for connection in connections:
            connection.close()
