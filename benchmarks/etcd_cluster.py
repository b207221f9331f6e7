"""A three-node etcd on loopback, as Debian packages it, with its own defaults."""

from __future__ import annotations

import http.client
import subprocess
from pathlib import Path
from typing import Self

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
        for index, command in enumerate(self._commands):
            with (self._root / f"e{index + 1}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
        for address in self.addresses:
            eventually(30, lambda at=address: _is_healthy(at), f"{address} is healthy")  # type: ignore[misc]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _is_healthy(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/health")
        return b'"true"' in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
