"""A three-node etcd on loopback, as Debian packages it, with its own defaults."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any, Self

from real_cluster import eventually, free_ports

__all__ = ["EtcdCluster"]

_HOST = "127.0.0.1"


class EtcdCluster:
    """Three members on free ports; leaving the context kills them."""

    def __init__(self, root: Path, nodes: int = 3) -> None:
        ports = free_ports(2 * nodes)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.addresses = [f"{_HOST}:{ports[2 * index]}" for index in range(nodes)]
        peers = [f"http://{_HOST}:{ports[2 * index + 1]}" for index in range(nodes)]
        members = ",".join(f"e{index + 1}={peer}" for index, peer in enumerate(peers))
        self._root = root
        self._commands = [
            [
                *("etcd", "--name", f"e{index + 1}", "--data-dir", str(root / f"e{index + 1}")),
                *("--listen-client-urls", f"http://{self.addresses[index]}"),
                *("--advertise-client-urls", f"http://{self.addresses[index]}"),
                *("--listen-peer-urls", peers[index]),
                *("--initial-advertise-peer-urls", peers[index]),
                *("--initial-cluster", members, "--initial-cluster-state", "new"),
                *("--log-level", "error"),
            ]
            for index in range(nodes)
        ]

    @property
    def pids(self) -> list[int]:
        """The processes of the members."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Start all members and wait until each is healthy."""
        self._processes = [self._started(index) for index in range(len(self._commands))]
        self._wait_healthy()

    def kill(self, index: int) -> None:
        """kill -9."""
        self._processes[index].kill()
        self._processes[index].wait()

    def start_again(self, index: int) -> None:
        """Start a member that was killed, and wait until all are healthy."""
        self._processes[index] = self._started(index)
        self._wait_healthy()

    def leader(self) -> int:
        """The index of the member that leads."""
        for index, address in enumerate(self.addresses):
            told = _ask(address, "POST", "/v3/maintenance/status", b"{}")
            if told["leader"] == told["header"]["member_id"]:
                return index
        raise RuntimeError("etcd has no leader")

    def _started(self, index: int) -> subprocess.Popen[bytes]:
        with (self._root / f"e{index + 1}.log").open("ab") as log:
            return subprocess.Popen(
                self._commands[index], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait_healthy(self) -> None:
        for address in self.addresses:
            eventually(30, lambda at=address: _is_healthy(at), f"{address} is healthy")  # type: ignore[misc]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _ask(address: str, method: str, path: str, body: bytes | None = None) -> Any:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request(method, path, body)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _is_healthy(address: str) -> bool:
    try:
        return bool(_ask(address, "GET", "/health")["health"] == "true")
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
