"""Real nodes for tests: processes, sockets and disks on loopback, on ports that are free.

A node is ended by its own pid only, and whatever a test does, leaving the `RealCluster` kills and
reaps every process that it started.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypedDict

from attrs import Factory, define

__all__ = [
    "Answer",
    "Credentials",
    "RealCluster",
    "RealNode",
    "anonymous_bytes",
    "eventually",
    "free_base_port",
    "free_ports",
]

_HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections: one of those could be on the port
# of a killed node just when that node wants it back.
_PORTS = range(10_000, 32_000)


@define
class Answer:
    """One HTTP answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def eventually(within_s: float, check: Callable[[], bool], what: str) -> float:
    """Poll ``check`` until it holds; the seconds it took. Fails with ``what`` if it never does."""
    began = time.monotonic()
    pause = threading.Event()
    while not check():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        pause.wait(0.02)
    return time.monotonic() - began


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def free_base_port(offsets: list[int]) -> int:
    """A port from which each of these distances is a port that nobody listens on now."""
    while True:
        base = random.choice(_PORTS)
        if all(_is_free(base + offset) for offset in offsets):
            return base


def _is_free(port: int) -> bool:
    try:
        socket.create_server((_HOST, port)).close()
    except OSError:
        return False
    return True


class ClientOptions(TypedDict, total=False):
    """What `sadik_client` is to be given beside addresses."""

    token: str
    ssl_context: ssl.SSLContext


class Credentials:
    """What clients of a secured cluster have: authorities to trust, and a token in a file."""

    def __init__(self, ca: Path, token_file: Path) -> None:
        self.ca = ca
        self.token_file = token_file

    @cached_property
    def context(self) -> ssl.SSLContext:
        """For a client's TLS."""
        return ssl.create_default_context(cafile=self.ca)

    @cached_property
    def token(self) -> str:
        """What it shows."""
        return self.token_file.read_text("ascii").strip()


class _SecuredConnection(http.client.HTTPSConnection):
    """Shows a token with every request that has no other."""

    def __init__(self, host: str, port: int, timeout: float, credentials: Credentials) -> None:
        super().__init__(host, port, timeout=timeout, context=credentials.context)
        self._token = credentials.token

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        *,
        encode_chunked: bool = False,
    ) -> None:
        shown = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        super().request(method, url, body, shown, encode_chunked=encode_chunked)


@define
class RealNode:
    """One node process, running or not."""

    name: str
    directory: Path
    http_port: int
    peer_port: int
    join: list[str]
    log: Path
    options: list[str] = Factory(list)
    environment: dict[str, str] = Factory(dict)
    python: str = sys.executable
    """The interpreter, and with it the environment, that the node runs in."""
    host: str = _HOST
    before: list[str] = Factory(list)
    """What stands before the command: a program that runs it elsewhere."""
    admin_port: int | None = None
    """Where operators have a listener of their own."""
    process: subprocess.Popen[bytes] | None = None
    credentials: Credentials | None = None
    """What its clients need; None where it asks nobody."""

    @property
    def operators_url(self) -> str:
        """What operators ask."""
        return f"http://{self.host}:{self.admin_port or self.http_port}"

    @property
    def url(self) -> str:
        """The node's base URL."""
        scheme = "http" if self.credentials is None else "https"
        return f"{scheme}://{self.host}:{self.http_port}"

    @property
    def client_options(self) -> ClientOptions:
        """For `sadik_client`."""
        held = self.credentials
        return {} if held is None else {"token": held.token, "ssl_context": held.context}

    @property
    def client_environment(self) -> dict[str, str]:
        """For a client verb of the command line, to ask this node."""
        environment = {"SADIK_NODE": self.url}
        if self.credentials is not None:
            environment["SADIK_CA"] = str(self.credentials.ca)
            environment["SADIK_TOKEN_FILE"] = str(self.credentials.token_file)
        return environment

    def connect(self, timeout_s: float, port: int | None = None) -> http.client.HTTPConnection:
        """A client's connection, to the clients' port unless another is named; it is made with the
        first request.
        """
        port = port or self.http_port
        if self.credentials is None:
            return http.client.HTTPConnection(self.host, port, timeout=timeout_s)
        return _SecuredConnection(self.host, port, timeout_s, self.credentials)

    @property
    def peer(self) -> str:
        """The address that other nodes dial."""
        return f"{self.host}:{self.peer_port}"

    @property
    def command(self) -> list[str]:
        """What an operator would type."""
        command = [
            *(*self.before, self.python, "-m", "sadik_node", "serve"),
            *("--name", self.name, "--data-dir", str(self.directory)),
            *("--http", f"{self.host}:{self.http_port}", "--peer", self.peer),
        ]
        if self.admin_port is not None:
            command += ["--admin", f"{self.host}:{self.admin_port}"]
        for address in self.join:
            command += ["--join", address]
        return command + self.options

    def start(self) -> None:
        """Start the process; `RealCluster.wait_ready` waits for it."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9, and reap."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, within_s: float = 10) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(within_s)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 15,
        port: int | None = None,
    ) -> Answer:
        """One request on a connection of its own, to the clients' port unless another is named.
        OSError where the node is gone.
        """
        connection = self.connect(timeout_s, port)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self.name}: {error!r}") from error
        finally:
            connection.close()

    def ask_operators(
        self, method: str, path: str, body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """The same at the listener of operators, where they have their own."""
        return self.ask(method, path, body, headers, port=self.admin_port)

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return self.ask("GET", "/readyz", timeout_s=2).status == 200
        except OSError:
            return False


def anonymous_bytes(node: RealNode) -> int:
    """Memory of a node's own: without the files that it has mapped, which the system may drop."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text("ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


class RealCluster:
    """Several nodes; the first founds the cluster and the others join it."""

    def __init__(
        self,
        root: Path,
        nodes: int = 3,
        options: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._root = root
        self._options = list(options or [])
        self._environment = dict(environment or {})
        self.nodes: list[RealNode] = []
        ports = free_ports(2 * nodes)
        for index in range(nodes):
            join = [self.nodes[0].peer] if index else []
            self.add(f"n{index + 1}", join, ports[2 * index : 2 * index + 2])

    def add(self, name: str, join: Iterable[str], ports: list[int] | None = None) -> RealNode:
        """A further node, which is not started."""
        http_port, peer_port = ports or free_ports(2)
        node = RealNode(
            name=name,
            directory=self._root / name,
            http_port=http_port,
            peer_port=peer_port,
            join=list(join),
            log=self._root / f"{name}.log",
            options=list(self._options),
            environment=dict(self._environment),
        )
        self.nodes.append(node)
        return node

    @property
    def client_options(self) -> ClientOptions:
        """For `sadik_client`, of any of its nodes."""
        return self.nodes[0].client_options

    def start(self) -> None:
        """Start all nodes and wait until each is ready and knows of all."""
        for node in self.nodes:
            node.start()
        self.wait_ready()

    def wait_ready(self, within_s: float = 30) -> None:
        """Wait until every running node is ready and sees every other up."""
        names = sorted(node.name for node in self.nodes)
        for node in self.nodes:
            eventually(within_s, node.is_ready, f"{node.name} is ready; {self.tail(node)}")

            def sees_all(node: RealNode = node) -> bool:
                members = node.ask("GET", "/v1/members").json()["members"]
                return sorted(m["name"] for m in members if m["state"] == "up") == names

            eventually(within_s, sees_all, f"{node.name} sees all up")
        eventually(within_s, self.is_ring_settled, "the ring is where it should be")

    def is_ring_settled(self) -> bool:
        """Whether nothing moves, and the ring names every running node."""
        running = [node for node in self.nodes if node.is_running]
        moving = running[0].ask_operators("GET", "/v1/transfers")
        owners = running[0].ask("GET", "/v1/ring").json()["owners"]
        named = {name for names in owners for name in names}
        return (
            moving.status == 200 and not moving.json()["transfers"] and len(named) >= len(running)
        )

    def tail(self, node: RealNode) -> str:
        """The end of a node's log."""
        return node.log.read_text(errors="replace")[-2000:] if node.log.exists() else ""

    def hints_total(self) -> int:
        """Hint notes that wait on any running node."""
        running = [node for node in self.nodes if node.is_running]
        return sum(int(node.ask_operators("GET", "/v1/hints").json()["total"]) for node in running)

    def move(self, node: RealNode) -> None:
        """Give a node that is down other ports."""
        assert not node.is_running
        node.http_port, node.peer_port = free_ports(2)

    def kill(self) -> None:
        """kill -9 of every node, as near to at once as can be."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.signal(signal.SIGKILL)
        for node in running:
            node.kill()

    def first_owner(self, bucket: str, key: str) -> RealNode:
        """The node that coordinates blind writes of a key (percent-encoded) while it is up."""
        node = next(node for node in self.nodes if node.is_running)
        owners = node.ask_operators("GET", f"/v1/explain/{bucket}/{key}").json()["owners"]
        return next(node for node in self.nodes if node.name == owners[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes:
            if node.is_running:
                node.signal(signal.SIGCONT)
            node.kill()
