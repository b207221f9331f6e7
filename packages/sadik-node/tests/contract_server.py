"""A stand-in for a cluster: the HTTP API's data part in memory, with faults on demand.

Several servers may share one `Cluster`, as nodes do. Contexts name the dots that they cover, so
siblings come about exactly as the contract says.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes

__all__ = ["Cluster", "Fault", "Server", "serving"]

Fault = Callable[[str, str], str | None]
"""Given a method and a path, what goes wrong: ``drop`` (nothing is applied), ``apply and drop``, a
status to answer with, or None."""

Version = tuple[bytes, dict[str, str]]


VIEWS: dict[str, object] = {
    "/v1/status": {"name": "n1", "ready": True, "store": {"keys": 3}},
    "/v1/ring": {"epoch": 2, "partitions": 3, "replicas": 2,
                 "owners": [["n1", "n2"], ["n2", "n1"], ["n1", "n2"]]},
    "/v1/hints": {"total": 4, "bytes": 400, "by_node": {"n2": 4}},
}  # fmt: skip


class Cluster:
    """The data, whichever node is asked."""

    def __init__(self, value_bytes_max: int = 1000, page: int = 3) -> None:
        self.lock = threading.RLock()
        self.versions: dict[tuple[str, bytes], dict[int, Version]] = {}
        self.seen: dict[tuple[str, bytes], int] = {}
        self.properties: dict[str, dict[str, object]] = {}
        self.nodes: list[str] = []
        self.value_bytes_max = value_bytes_max
        self.page = page
        self.last_dot = 0

    def value(self, bucket: str, key: bytes) -> bytes:
        """The one value of a key."""
        ((value, _),) = self.versions[bucket, key].values()
        return value

    def add(self, bucket: str, key: bytes, value: bytes, **headers: str) -> None:
        """Put a version beside what is there."""
        with self.lock:
            self.last_dot += 1
            self.versions.setdefault((bucket, key), {})[self.last_dot] = (value, headers)

    def write(self, bucket: str, key: bytes, version: Version | None, context: str | None) -> str:
        with self.lock:
            held = self.versions.setdefault((bucket, key), {})
            covered = list(held) if context is None else _dots(context)
            for dot in covered:
                held.pop(dot, None)
            self.last_dot += 1
            self.seen[bucket, key] = self.last_dot
            if version is not None:
                held[self.last_dot] = version
            return _context([*covered, self.last_dot])


class Server(ThreadingHTTPServer):
    """One node."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = cluster
        self.fault: Fault = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.open: list[Any] = []
        self.views = dict(VIEWS)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        cluster.nodes.append(self.url)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self) -> None:
        """Stop as a killed process does: the port and all connections are gone."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is part of the tests."""


@contextlib.contextmanager
def serving(cluster: Cluster | None = None) -> Iterator[Server]:
    """One node for the length of a test."""
    server = Server(cluster or Cluster())
    try:
        yield server
    finally:
        server.end()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.open.append(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append((self.command, self.path))
        self.server.headers.append({key.lower(): value for key, value in self.headers.items()})
        fault = self.server.fault(self.command, self.path)
        if fault is not None and fault.isdigit():
            outcome = {"503": "not_applied", "504": "indeterminate"}.get(fault)
            self._answer(int(fault), json.dumps({"title": "a fault", "outcome": outcome}).encode(),
                         {"Content-Type": "application/problem+json"})  # fmt: skip
            return
        self.muted = fault in ("drop", "apply and drop")
        if fault != "drop":
            self._route(body)
        if self.muted:
            self.close_connection = True

    def _route(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        parts = path.split("/", 4)[1:]
        if parts[:2] == ["v1", "kv"] and len(parts) == 4:
            self._object(parts[2], unquote_to_bytes(parts[3]), body)
        elif parts[:2] == ["v1", "kv"]:
            self._list(parts[2], parse_qs(query))
        elif parts[:2] == ["v1", "buckets"]:
            self._buckets(parts[2] if len(parts) > 2 else None, body)
        elif path in self.server.views:
            self._json(self.server.views[path])
        elif path == "/v1/members":
            members = [{"name": f"n{i}", "state": "up", "id": f"{i:032x}",
                        "http": url.removeprefix("http://"), "peer": "127.0.0.1:1"}
                       for i, url in enumerate(self.server.cluster.nodes, start=1)]  # fmt: skip
            self._json({"members": members})
        elif parts[:2] == ["v1", "explain"]:
            self._json({"bucket": parts[2], "key": parts[3], "partition": 7,
                        "owners": ["n1", "n2"], "fallbacks": ["n3"],
                        "replicas": [{"node": "n1", "state": "ok", "behind": False, "why": "",
                                      "versions": [{"dot": "a:1:1", "bytes": 5, "deleted": False,
                                                    "time": "2026-01-01T00:00:00.000Z"}]}],
                        "hints": [{"on": "n3", "for": "n2"}]})  # fmt: skip
        else:
            self._problem(404, "no such path")

    def _object(self, bucket: str, key: bytes, body: bytes) -> None:
        cluster = self.server.cluster
        context = self.headers.get("Sadik-Context")
        if self.command == "PUT":
            if len(body) > cluster.value_bytes_max:
                self._problem(413, f"{cluster.value_bytes_max} bytes are accepted")
                return
            kept = {name: value for name, value in self.headers.items()
                    if name.startswith(("Sadik-Meta-", "Content-Type"))}  # fmt: skip
            token = cluster.write(bucket, key, (body, kept), context)
            acks = "needed=2, got=2, durable=2, primaries=1, hinted=1"
            self._answer(204, b"", {"Sadik-Context": token, "ETag": '"e"', "Sadik-Node": "n1",
                                    "Sadik-Acks": acks})  # fmt: skip
            return
        with cluster.lock:
            held = dict(cluster.versions.get((bucket, key), {}))
        if self.command == "DELETE" and held:
            token = cluster.write(bucket, key, None, context)
            self._answer(204, b"", {"Sadik-Context": token, "Sadik-Acks": "needed=2, got=2"})
        elif not held:
            seen = cluster.seen.get((bucket, key))
            extra = {} if seen is None else {"Sadik-Context": _context([seen])}
            self._problem(404, "no such key", extra)
        elif len(held) == 1:
            ((value, headers),) = held.values()
            self._answer(200, value, {"Sadik-Context": _context(held), "ETag": '"e"', **headers})
        else:
            siblings = [{"value_b64": base64.b64encode(value).decode(), "content_type": "a/b",
                         "last_modified": "then"} for value, _ in held.values()]  # fmt: skip
            token = _context(held)
            text = json.dumps({"context": token, "siblings": siblings}).encode()
            self._answer(300, text, {"Sadik-Context": token, "Content-Type": "application/json"})

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        cluster = self.server.cluster
        prefix = unquote_to_bytes(quote(query.get("prefix", [""])[0], safe="", errors="replace"))
        after = bytes.fromhex(query.get("after", [""])[0])
        limit = min(int(query.get("limit", ["1000"])[0]), cluster.page)
        with cluster.lock:
            live = [
                key for (each, key), held in cluster.versions.items() if each == bucket and held
            ]
        keys = sorted(key for key in live if key.startswith(prefix) and key > after)
        lines = [{"key": quote(key, safe="/")} for key in keys[:limit]]
        following = keys[limit - 1].hex() if len(keys) > limit else None
        text = "".join(f"{json.dumps(line)}\n" for line in [*lines, {"next": following}])
        self._answer(200, text.encode(), {"Content-Type": "application/x-ndjson"})

    def _buckets(self, bucket: str | None, body: bytes) -> None:
        cluster = self.server.cluster
        if bucket is None:
            self._json({"buckets": [{"bucket": each} for each in cluster.properties]})
            return
        if self.command == "DELETE":
            cluster.properties.pop(bucket, None)
            self._answer(204, b"", {})
            return
        if self.command == "PUT":
            cluster.properties.setdefault(bucket, {}).update(json.loads(body))
        self._json({"bucket": bucket, "r": "quorum", **cluster.properties.get(bucket, {})})

    def _json(self, document: object) -> None:
        self._answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _problem(self, status: int, detail: str, extra: dict[str, str] | None = None) -> None:
        text = json.dumps({"title": "Refused", "status": status, "detail": detail}).encode()
        self._answer(status, text, {"Content-Type": "application/problem+json", **(extra or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if getattr(self, "muted", False):
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)


def _context(dots: Any) -> str:
    return ".".join(str(dot) for dot in dots)


def _dots(context: str) -> list[int]:
    return [int(dot) for dot in context.split(".")]
