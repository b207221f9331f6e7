"""The clusters that are measured: Sadik as it is, Sadik with ``sync = "interval"``, and etcd."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from attrs import Factory, define
from cases import Case
from etcd_cluster import EtcdCluster
from real_cluster import RealCluster
from wrk import Load, Measured, prefix_of, run_wrk

__all__ = ["System", "start_etcd", "start_sadik", "write_request"]

_FILLERS = 16


@define
class System:
    """One running cluster. ``speaks`` is sadik or etcd; two may speak the same."""

    name: str
    speaks: str
    addresses: Sequence[str]
    pids: Sequence[int]
    scheme: str = "http"
    filled: set[tuple[str, int]] = Factory(set)

    def measure(self, load: Load) -> Measured:
        """One run."""
        return run_wrk(self.speaks, self.addresses, self.pids, load, self.scheme)

    def fill(self, case: Case) -> None:
        """Write every key of a case once, unless another case had the same keys."""
        what = (prefix_of(case), case.keys)
        if what in self.filled:
            return
        self.filled.add(what)
        with ThreadPoolExecutor(_FILLERS) as executor:
            parts = [range(start, case.keys, _FILLERS) for start in range(_FILLERS)]
            for _ in executor.map(lambda numbers: self._fill_some(numbers, case), parts):
                pass

    def _connect(self, address: str) -> http.client.HTTPConnection:
        if self.scheme == "http":
            return http.client.HTTPConnection(address, timeout=30)
        # As wrk does: what is measured is what TLS costs, not whom one talks to.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(address, timeout=30, context=context)

    def _fill_some(self, numbers: Sequence[int], case: Case) -> None:
        if not numbers:
            return
        address = self.addresses[numbers[0] % len(self.addresses)]
        connection = self._connect(address)
        for number in numbers:
            connection.request(
                *write_request(self.speaks, f"{prefix_of(case)}-{number:08d}", case.value_bytes)
            )
            answer = connection.getresponse()
            told = answer.read()
            if answer.status not in (200, 204):
                raise RuntimeError(f"{self.name} was not filled: {answer.status} {told[:200]!r}")
        connection.close()


def write_request(speaks: str, key: str, value_bytes: int) -> tuple[str, str, bytes]:
    """Method, path and body of a write."""
    value = b"v" * value_bytes
    if speaks == "sadik":
        return "PUT", f"/v1/kv/bench/{key}", value
    body = {"key": _base64(key.encode()), "value": _base64(value)}
    return "POST", "/v3/kv/put", json.dumps(body).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def start_sadik(stack: ExitStack, place: Path, sync: str = "commit") -> System:
    """Three nodes, ended with ``stack``."""
    directory = place / f"sadik-{sync}"
    directory.mkdir()
    environment = {} if sync == "commit" else {"SADIK_STORAGE__SYNC": sync}
    cluster = stack.enter_context(RealCluster(directory, environment=environment))
    cluster.start()
    pids = [node.process.pid for node in cluster.nodes if node.process is not None]
    addresses = [node.url.removeprefix("http://") for node in cluster.nodes]
    return System("sadik", "sadik", addresses, pids)


def start_etcd(stack: ExitStack, place: Path) -> System:
    """Three members, ended with ``stack``."""
    cluster = stack.enter_context(EtcdCluster(place))
    cluster.start()
    return System("etcd", "etcd", cluster.addresses, cluster.pids)
