"""How long clients wait when a node is killed under load, and what errors they see.

Clients write one request after another, each over a connection to a node of its own choice; who
loses the connection goes on with the next node. A node is killed with ``kill -9`` (of etcd the
leader, since another costs nothing), and counted is, over all clients, the longest time between two
successful answers to one client.
"""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from attrs import Factory, define
from etcd_cluster import EtcdCluster
from real_cluster import RealCluster, eventually
from systems import write_request

__all__ = ["measure_failover"]

_CLIENTS = 12
_BEFORE_S = 2.0
_AFTER_S = 4.0
_AIM_MS = 300.0
_KEYS = 1000
_VALUE_BYTES = 100


def measure_failover(
    place: Path, *, beside: bool, rounds: int
) -> dict[str, list[dict[str, object]]]:
    """Measure and tell: by system, what every kill did."""
    place = place / "failover"
    place.mkdir()
    print(f"\nfailover: {_CLIENTS} clients write, a node is killed; the longest wait of a client")
    found = {"sadik": _of_sadik(place, rounds)}
    if beside:
        found["etcd"] = _of_etcd(place, rounds)
    for system, kills in found.items():
        waits = [kill.wait_ms for kill in kills]
        errors = sum((kill.errors for kill in kills), Counter[str]())
        told = ", ".join(f"{count} {what}" for what, count in sorted(errors.items())) or "none"
        verdict = ""
        if system == "sadik":
            verdict = f"; aim {_AIM_MS:.0f}: {'met' if max(waits) <= _AIM_MS else 'missed'}"
        print(
            f"{system:>5}  median {statistics.median(waits):.0f} ms, most {max(waits):.0f} ms over "
            f"{len(waits)} kills{verdict}; errors: {told}",
            flush=True,
        )
    return {
        system: [{"wait_ms": kill.wait_ms, "errors": dict(kill.errors)} for kill in kills]
        for system, kills in found.items()
    }


@define
class Kill:
    """What one kill did to the clients."""

    wait_ms: float
    errors: Counter[str]
    """Answers that were no success, by status; ``cut`` is a connection to the killed node that
    broke, which no server can spare a client."""


def _of_sadik(place: Path, rounds: int) -> list[Kill]:
    with RealCluster(place) as cluster:
        cluster.start()
        addresses = [node.url.removeprefix("http://") for node in cluster.nodes]
        kills = []
        for number in range(rounds):
            node = cluster.nodes[number % len(cluster.nodes)]
            kills.append(_one(addresses, "sadik", addresses[number % len(addresses)], node.kill))
            node.start()
            eventually(30, node.is_ready, f"{node.name} is ready again")
        return kills


def _of_etcd(place: Path, rounds: int) -> list[Kill]:
    with EtcdCluster(place) as cluster:
        cluster.start()
        kills = []
        for _ in range(rounds):
            leader = cluster.leader()
            kill = _one(
                cluster.addresses, "etcd", cluster.addresses[leader],
                lambda index=leader: cluster.kill(index),  # type: ignore[misc]
            )  # fmt: skip
            kills.append(kill)
            cluster.start_again(leader)
        return kills


def _one(addresses: Sequence[str], speaks: str, victim: str, kill: Callable[[], None]) -> Kill:
    with _Clients(addresses, speaks, victim) as clients:
        time.sleep(_BEFORE_S)
        kill()
        time.sleep(_AFTER_S)
    return Kill(1000 * max(client.longest_s for client in clients.all), clients.errors)


@define(eq=False)
class _Client:
    number: int
    answered: int = 0
    longest_s: float = 0.0


@define(eq=False)
class _Clients:
    """Threads that write until the context is left."""

    addresses: Sequence[str]
    speaks: str
    victim: str
    all: list[_Client] = Factory(list)
    errors: Counter[str] = Factory(Counter)
    _ending: threading.Event = Factory(threading.Event)
    _threads: list[threading.Thread] = Factory(list)

    def __enter__(self) -> Self:
        self.all = [_Client(number) for number in range(_CLIENTS)]
        self._threads = [
            threading.Thread(target=self._write_all, args=(client,)) for client in self.all
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _write_all(self, client: _Client) -> None:
        at = client.number
        connection = self._connected(at)
        last = time.monotonic()
        while not self._ending.is_set():
            key = f"failover-{(client.number * 7919 + client.answered) % _KEYS:08d}"
            try:
                connection.request(*write_request(self.speaks, key, _VALUE_BYTES))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                is_cut = self.addresses[at % len(self.addresses)] == self.victim
                self.errors["cut" if is_cut else type(error).__name__] += 1
                connection.close()
                at += 1
                connection = self._connected(at)
                continue
            if answer.status not in (200, 204):
                self.errors[str(answer.status)] += 1
                continue
            now = time.monotonic()
            client.longest_s = max(client.longest_s, now - last)
            client.answered += 1
            last = now
        client.longest_s = max(client.longest_s, time.monotonic() - last)
        connection.close()

    def _connected(self, at: int) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.addresses[at % len(self.addresses)], timeout=10)
