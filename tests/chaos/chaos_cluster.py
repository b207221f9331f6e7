"""Nodes of Sadik on the hosts of a network, one each, on the ports of the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from chaos_network import Network
from chaos_record import Record
from history_load import HistoryLoad
from real_cluster import RealCluster, RealNode

__all__ = ["ChaosCluster", "Rig", "private_mib", "resident_mib", "roll"]

_HTTP, _PEER = 7070, 7071


class ChaosCluster(RealCluster):
    """``n1`` on host 1 and so on; the first founds the cluster. ``spare`` hosts stay without."""

    def __init__(
        self,
        network: Network,
        root: Path,
        *,
        spare: int = 0,
        environment: Mapping[str, str] | None = None,
        zones: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.root = root
        self.environment = {"SADIK_LISTEN__INSECURE": "true", **(environment or {})}
        hosts = list(network.hosts)[1:]
        self.nodes = []
        for host in hosts[: len(hosts) - spare]:
            self.nodes.append(self.make(host, zones[host - 1] if zones else ""))

    def make(self, host: int, zone: str = "", name: str = "") -> RealNode:
        """A node for a host, which joins by the first; not started."""
        name = name or f"n{host}"
        founder = self.nodes[0] if self.nodes else None
        return RealNode(
            name=name,
            directory=self.root / name,
            http_port=_HTTP,
            peer_port=_PEER,
            join=[founder.peer] if founder else [],
            log=self.root / f"{name}.log",
            options=["--zone", zone] if zone else [],
            environment=dict(self.environment),
            host=self.network.address(host),
            before=self.network.before(host),
        )

    def host(self, node: RealNode) -> int:
        """The host of a node."""
        return next(h for h in self.network.hosts if self.network.address(h) == node.host)

    def isolate(self, nodes: Sequence[RealNode]) -> None:
        """Cut some nodes off the others. Clients reach all."""
        hosts = [self.host(node) for node in nodes]
        others = [self.host(node) for node in self.nodes if node not in nodes]
        self.network.separate(hosts, others)


def roll(
    cluster: ChaosCluster,
    load: HistoryLoad,
    record: Record,
    change: Callable[[RealNode], object] = lambda _node: None,
) -> None:
    """Under a load, stop each node in turn in good order, ``change`` it, and start it again."""
    for node in cluster.nodes:
        record.event(f"{node.name} told to stop")
        assert node.stop() == 0
        # As a balancer has it that asks /readyz.
        load.nodes = [other for other in cluster.nodes if other is not node]
        change(node)
        node.start()
        cluster.wait_ready()
        record.event(f"{node.name} is back")
        load.nodes = cluster.nodes
        load.ending.wait(0.5)


class Rig(Protocol):
    """Makes a cluster on a network of its own, and starts it unless told not to."""

    def __call__(
        self,
        nodes: int = 3,
        *,
        start: bool = True,
        delay_ms: tuple[float, float] | None = None,
        **options: Any,
    ) -> ChaosCluster: ...


def resident_mib(node: RealNode) -> float:
    """The memory that a node has in use, in MiB, with the pages of its files that it mapped."""
    return _status_mib(node, "VmRSS")


def private_mib(node: RealNode) -> float:
    """The memory that is a node's own, in MiB: what the kernel cannot take back."""
    return _status_mib(node, "RssAnon")


def _status_mib(node: RealNode, field: str) -> float:
    assert node.process is not None
    fields = Path(f"/proc/{node.process.pid}/status").read_text("ascii").splitlines()
    kib = next(line.split()[1] for line in fields if line.startswith(f"{field}:"))
    return int(kib) / 1024
