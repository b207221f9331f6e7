# ruff: noqa: RUF009 - the defaults here are attrs fields, made by one helper with their rules
"""What an operator can decide about a node: one attribute for each key of the configuration.

Beside each stand its default and the rule of what it accepts. This is the only list of the keys:
the reader of files, variables and flags (`sadik_node.config`) works from it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import Factory, frozen

from sadik_node import settings_rules as rules
from sadik_node.address import Address
from sadik_node.settings_rules import Rule

__all__ = [
    "PARTITIONS_DEFAULT",
    "REPLICAS_DEFAULT",
    "Auth",
    "Cluster",
    "Limits",
    "Listen",
    "Log",
    "Node",
    "PeerTls",
    "Repair",
    "Settings",
    "Storage",
    "Tls",
    "TlsFiles",
    "build",
    "rules_by_key",
]

PARTITIONS_DEFAULT = 256
"""How many partitions a cluster is formed with when nothing was said."""

REPLICAS_DEFAULT = 3
"""How many replicas a cluster is formed with when nothing was said."""


def _host_name() -> str:
    return socket.gethostname()


def _setting(rule: Rule, default: object) -> Any:
    return attrs.field(default=default, metadata={"rule": rule})


@frozen
class Node:
    """``[node]``: who this node is."""

    name: str = _setting(rules.name("a node's name"), Factory(_host_name))
    """Unique among the members of the cluster. Default: the machine's host name."""
    data_dir: Path = _setting(rules.path("a directory, made if it is not there"),
                              Path("/var/lib/sadik"))  # fmt: skip
    zone: str = _setting(rules.name("a zone's name"), "default")
    """What fails together; replicas spread over zones first."""
    weight: float = _setting(rules.number(1000), 1.0)
    """The share of partitions that this node takes, relative to others."""


@frozen
class Listen:
    """``[listen]``: where clients, operators and peers reach this node."""

    http: Address = _setting(rules.address(any_port=True), Address("127.0.0.1", 7070))
    peer: Address = _setting(rules.address(any_port=True), Address("127.0.0.1", 7071))
    admin: Address | None = _setting(rules.address(any_port=True), None)
    """A listener for operators alone; None: clients' serves what is theirs too."""
    advertise: Address | None = _setting(rules.address(any_port=False), None)
    """What peers dial, where it differs from ``peer``."""
    advertise_http: Address | None = _setting(rules.address(any_port=False), None)
    """What clients are told, where it differs from ``http``."""
    advertise_admin: Address | None = _setting(rules.address(any_port=False), None)
    """What operators are told, where it differs from ``admin``."""
    insecure: bool = _setting(rules.flag(), default=False)
    """Listen beyond loopback though nothing protects the traffic."""

    def advertised_peer(self, bound_port: int) -> Address:
        """The address that the member table bears for peers."""
        return self.advertise or self.peer.advertised(bound_port)

    def advertised_http(self, bound_port: int) -> Address:
        """The address that the member table bears for clients."""
        return self.advertise_http or self.http.advertised(bound_port)

    def advertised_admin(self, bound_port: int) -> Address:
        """The address that operators are told; there must be a listener of theirs."""
        assert self.admin is not None
        return self.advertise_admin or self.admin.advertised(bound_port)


@frozen
class Cluster:
    """``[cluster]``: which cluster, and how it is formed."""

    name: str = _setting(rules.name("a cluster's name"), "sadik")
    join: tuple[Address, ...] = _setting(rules.addresses(), ())
    """Peer addresses of members; empty on a new data directory forms a cluster of one."""
    partitions: int | None = _setting(rules.power_of_two(8, 4096), None)
    """None when nothing was said: `PARTITIONS_DEFAULT` at forming, the cluster's at joining."""
    replicas: int | None = _setting(rules.integer(1, 32), None)
    """None when nothing was said: `REPLICAS_DEFAULT` at forming, the cluster's at joining."""


@frozen
class Storage:
    """``[storage]``: what keeps the data, and when a write counts as kept."""

    backend: str = _setting(rules.backend(), "lmdb")
    sync: str = _setting(rules.choice("commit", "interval"), "commit")
    interval_ms: int = _setting(rules.integer(1, 60_000, " (milliseconds)"), 100)
    """How often ``sync = "interval"`` syncs."""
    options: dict[str, object] = _setting(rules.table(), Factory(dict))
    """For the backend, which checks it when it opens."""


@frozen
class Limits:
    """``[limits]``: what a node accepts."""

    value_bytes: int = _setting(rules.integer(1, 64 * 2**20, " (bytes)"), 4 * 2**20)
    connections: int = _setting(rules.integer(1, 1_000_000), 10_000)
    """Of clients; at the limit the longest-idle is closed first."""
    connections_per_address: int = _setting(rules.integer(0, 1_000_000), 0)
    """Of one client address. 0: 2000, and no bound for loopback."""
    requests: int = _setting(rules.integer(1, 1_000_000), 20_000)
    """Clients' requests under way; beyond it 503."""
    held_bytes: int = _setting(rules.integer(2**20, 2**40, " (bytes)"), 256 * 2**20)
    """Requests and unread answers of all clients; beyond it 503."""
    connection_bytes: int = _setting(rules.integer(2**16, 2**40, " (bytes)"), 16 * 2**20)
    """Unanswered requests of one connection; beyond it no more is read from it."""
    header_bytes: int = _setting(rules.integer(1024, 2**20, " (bytes)"), 16 * 2**10)
    header_fields: int = _setting(rules.integer(10, 10_000), 100)
    header_seconds: int = _setting(rules.integer(1, 3600, " (seconds)"), 10)
    """How long the header of a request may take."""
    idle_seconds: int = _setting(rules.integer(1, 86_400, " (seconds)"), 60)
    """How long a connection is kept between requests."""
    body_bytes_per_second: int = _setting(rules.integer(1, 2**30, " (bytes)"), 1024)
    """The least pace of a body, judged every 10 s."""
    meta_bytes: int = _setting(rules.integer(0, 12 * 2**10, " (bytes)"), 8 * 2**10)
    """All Sadik-Meta fields of an object; with its content type they must fit in 16 KiB."""
    batch_lines: int = _setting(rules.integer(1, 1_000_000), 1000)
    batch_bytes: int = _setting(rules.integer(1024, 2**40, " (bytes)"), 16 * 2**20)
    list_keys: int = _setting(rules.integer(1, 1_000_000), 10_000)
    """The greatest limit of a listing."""
    hint_bytes: int = _setting(rules.integer(0, 2**50, " (bytes)"), 2**30)
    free_bytes: int | None = _setting(rules.integer(0, 2**50, " (bytes)"), None)
    """Disk space never used; None is 5% of the file system, at most 1 GiB."""


@frozen
class Repair:
    """``[repair]``: when what is proven superfluous goes."""

    tombstone_seconds: int = _setting(rules.integer(0, 10**9, " (seconds)"), 60)


@frozen
class TlsFiles:
    """``[tls.http]`` and ``[tls.admin]``: TLS for clients, and for operators where they have a
    listener of their own; certificate and key, or neither. PEM files."""

    cert: Path | None = _setting(rules.path(
        "a file with the certificate that clients are shown"), None)  # fmt: skip
    key: Path | None = _setting(rules.path("a file with its key, private to this node"), None)
    ca: Path | None = _setting(rules.path(
        "a file with the authorities of clients' certificates"), None)  # fmt: skip
    """With it clients must present a certificate."""


@frozen
class PeerTls:
    """``[tls.peer]``: certificates between nodes; all three or none. PEM files."""

    cert: Path | None = _setting(rules.path(
        "a file with this node's certificate, which names node.name"), None)  # fmt: skip
    key: Path | None = _setting(rules.path("a file with its key, private to this node"), None)
    ca: Path | None = _setting(rules.path(
        "a file with the authorities whose certificates are accepted"), None)  # fmt: skip


@frozen
class Tls:
    """``[tls]``: encryption, and who is at the other end."""

    http: TlsFiles = Factory(TlsFiles)
    admin: TlsFiles = Factory(TlsFiles)
    """Where nothing is said here, ``http`` holds for operators too."""
    peer: PeerTls = Factory(PeerTls)

    @property
    def of_admin(self) -> TlsFiles:
        """What the operators' listener uses."""
        return self.http if self.admin.cert is None else self.admin


@frozen
class Auth:
    """``[auth]``: who may come."""

    tokens: Path | None = _setting(rules.path(
        "a file, private to this node, with the hashes of clients' tokens"), None)  # fmt: skip
    """As `sadik-node token` writes it. Without it no client is asked for a token."""
    cluster_secret_file: Path | None = _setting(rules.path(
        "a file, private to this node, with the secret that all nodes share"), None)  # fmt: skip
    """One secret a line, the newest first; two while one replaces the other."""


@frozen
class Log:
    """``[log]``: events on standard error."""

    format: str = _setting(rules.choice("console", "json"), "console")
    requests: str = _setting(rules.choice("named", "all", "none"), "named")
    """Which requests are logged: ``named`` are those whose client sent Sadik-Request-Id, on every
    node that they touch, and those that failed, were refused or were slow."""
    slow_ms: int = _setting(rules.integer(0, 60_000, " (milliseconds; 0: none is slow)"), 1000)
    """A request that takes longer is logged."""


@frozen
class Settings:
    """Everything a node is told at start. Made by `load_settings`; tests may make it directly."""

    node: Node = Factory(Node)
    listen: Listen = Factory(Listen)
    cluster: Cluster = Factory(Cluster)
    storage: Storage = Factory(Storage)
    limits: Limits = Factory(Limits)
    repair: Repair = Factory(Repair)
    tls: Tls = Factory(Tls)
    auth: Auth = Factory(Auth)
    log: Log = Factory(Log)


# Annotations are kept as text, so the nested classes are found by their names.
_SECTIONS: dict[object, type] = {
    section.__name__: section
    for section in (
        Node,
        Listen,
        Cluster,
        Storage,
        Limits,
        Repair,
        Tls,
        TlsFiles,
        PeerTls,
        Auth,
        Log,
    )
}


def rules_by_key() -> dict[str, Rule]:
    """The rule of every key, by its dotted name, in the order of the classes."""
    return dict(_rules(Settings, ""))


def build(values: Mapping[str, object]) -> Settings:
    """Settings from checked values by dotted key; what is not there takes its default."""
    made: Settings = _build(Settings, "", values)
    return made


def _rules(section: type, prefix: str) -> Iterator[tuple[str, Rule]]:
    for field in attrs.fields(section):
        nested = _SECTIONS.get(field.type)
        if nested is not None:
            yield from _rules(nested, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field.metadata["rule"]


def _build(section: type, prefix: str, values: Mapping[str, object]) -> Any:
    chosen: dict[str, object] = {}
    for field in attrs.fields(section):
        key = f"{prefix}{field.name}"
        nested = _SECTIONS.get(field.type)
        if nested is not None:
            chosen[field.name] = _build(nested, f"{key}.", values)
        elif key in values:
            chosen[field.name] = values[key]
    return section(**chosen)
