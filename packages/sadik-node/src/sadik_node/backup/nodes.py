"""Talking to every node of a cluster by itself: sums, records, values, and records for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, frozen

from sadik_causality import Container, Context, Dot
from sadik_client import Response, SadikError, Settings, StoppedError, encode_key
from sadik_client.blocking import Client
from sadik_machine import decode_plain, encode_plain
from sadik_node.backup.layout import BackupError, Name
from sadik_node.following import follow
from sadik_vnode.version import Version, version_from_plain

__all__ = ["Cluster", "Node", "NodeFailedError", "Reach"]

_SETTINGS = Settings(ring=False, retries=False, timeout_s=60, connect_timeout_s=3)
_BETWEEN_TRIES_S = 0.2

Reach = Callable[[str, Settings], Client]
"""Makes a client of the node at an address or URL, with all that clients of the cluster need."""


class NodeFailedError(BackupError):
    """A node did not do what it was asked for; another may, or the same one later."""


class Node:
    """One node. Each call is one try. ``address`` is the one that members show."""

    def __init__(self, name: str, address: str, reach: Reach) -> None:
        self.name = name
        self._reach = reach
        self._clients = [self._connect(address)]
        """The one in use last. Others may still be in another thread's hands."""

    def sums(self, partition: int | None) -> dict[int, int]:
        """The sums of its hash tree's middles that are not 0."""
        query = "" if partition is None else f"?partition={partition}"
        told = self._ask("GET", f"/v1/backup/sums{query}").json()
        return {int(number): int(text, 16) for number, text in told["sums"].items()}

    def records(self, middle: int) -> dict[Name, Container[Version]]:
        """All that it has below a middle; large bodies are left out."""
        found: dict[Name, Container[Version]] = {}
        after = ""
        while True:
            answer = self._ask("GET", f"/v1/backup/records?middle={middle}{after}")
            following, page = decode_plain(answer.body)
            for bucket, key, versions, context in page:
                found[bucket, key] = Container.checked(
                    dict(map(version_from_plain, versions)), Context.from_plain(context)
                )
            if following is None:
                return found
            after = f"&after={following.hex()}"

    def value(self, name: Name, dot: Dot) -> bytes | None:
        """One version's body; None where it is there no more."""
        target = f"/v1/backup/values/{name[0]}/{encode_key(name[1])}?dot={dot[0].hex()}:{dot[1]}"
        answer = self._ask("GET", target, accepted=(200, 404))
        return answer.body if answer.status == 200 else None

    def take(self, records: Sequence[tuple[Name, Container[Version]]]) -> None:
        """Put records into its store."""
        body = encode_plain([
            (
                *name,
                [version.to_plain(dot) for dot, version in sorted(container.versions.items())],
                container.context.to_plain(),
            )
            for name, container in records
        ])  # fmt: skip
        self._ask("POST", "/v1/restore", body=body)

    def close(self) -> None:
        """Close the connections to it."""
        for client in self._clients:
            client.close()

    def stop(self) -> None:
        """End what it is being asked, from another thread."""
        for client in self._clients:
            client.stop()

    def _connect(self, address: str) -> Client:
        return self._reach(address, _SETTINGS)

    def _ask(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        accepted: tuple[int, ...] = (200,),
    ) -> Response:
        headers = None if body is None else {"Content-Type": "application/cbor"}
        try:
            answer = self._clients[-1].request(method, target, headers=headers, body=body)
            elsewhere = follow(answer, self.name, self._connect)
            if elsewhere is not None:
                self._clients.append(elsewhere)
                answer = elsewhere.request(method, target, headers=headers, body=body)
        except StoppedError:
            raise
        except SadikError as error:
            raise NodeFailedError(f"{self.name}: {error}") from error
        if answer.status not in accepted:
            kind = NodeFailedError if answer.status in (421, 429, 503, 504) else BackupError
            raise kind(f"{self.name}: {answer.complaint}")
        return answer


@frozen
class _Ring:
    partitions: int
    owners: list[list[str]]


@define
class Cluster:
    """All nodes of a cluster, and who owns what."""

    client: Client
    patience_s: float
    reach: Reach
    nodes: dict[str, Node]
    ring: _Ring
    about: dict[str, Any]

    @classmethod
    def learn(cls, client: Client, patience_s: float, reach: Reach) -> Cluster:
        """Ask the client's node about its cluster."""
        cluster = cls(client, patience_s, reach, {}, _Ring(0, []), {})
        cluster.refresh()
        about = client.status()["cluster"]
        cluster.about = {key: about[key] for key in ("name", "id", "partitions", "replicas")}
        return cluster

    def refresh(self) -> None:
        """Learn members and ring anew."""
        for member in self.client.members()["members"]:
            if member["state"] != "left":
                name = member["name"]
                if name not in self.nodes:
                    self.nodes[name] = Node(name, member["http"], self.reach)
        told = self.client.ring()
        self.ring = _Ring(told["partitions"], told["owners"])

    def close(self) -> None:
        """Close the connections to the nodes."""
        for node in self.nodes.values():
            node.close()

    def stop(self) -> None:
        """End what is being asked, from another thread."""
        self.client.stop()
        for node in self.nodes.values():
            node.stop()

    def middles_of(self, partition: int) -> range:
        """The shares of the ring that make up a partition."""
        share = 4096 // self.ring.partitions
        return range(partition * share, (partition + 1) * share)

    def patiently(self, what: Callable[[], Any]) -> Any:
        """Try until it works or the patience ends; the last failure is raised."""
        give_up_at = time.monotonic() + self.patience_s
        while True:
            try:
                return what()
            except NodeFailedError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(_BETWEEN_TRIES_S)
