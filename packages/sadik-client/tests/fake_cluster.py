"""A cluster that fits in a test: the HTTP API as CONTRACT says it, in memory, on real sockets.

Several nodes share one `FakeCluster`. A context is the sorted list of the dots that it covers, so
siblings, conditional writes and session reads come about as with real nodes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote_to_bytes

from sadik_hashing import Partitions

__all__ = ["FakeCluster", "FakeNode", "serving"]

PARTITIONS = 8


class Stored(NamedTuple):
    """One live version."""

    value: bytes
    fields: dict[str, str]


class FakeCluster:
    """What all nodes share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.versions: dict[tuple[str, bytes], dict[int, Stored]] = {}
        self.seen: dict[tuple[str, bytes], set[int]] = {}
        self.properties: dict[str, dict[str, Any]] = {}
        self.nodes: list[FakeNode] = []
        self.token: str | None = None
        self.dots = 0

    def owners(self, partition: int) -> list[str]:
        """The names of two owners."""
        count = len(self.nodes)
        return [f"n{(partition + slot) % count + 1}" for slot in range(min(2, count))]

    def add_sibling(self, bucket: str, key: bytes, value: bytes) -> None:
        """A write that has seen nothing of what is there."""
        with self.lock:
            self.dots += 1
            self.versions.setdefault((bucket, key), {})[self.dots] = Stored(value, {})
            self.seen.setdefault((bucket, key), set()).add(self.dots)

    def write(self, bucket: str, key: bytes, version: Stored | None, context: str | None) -> str:
        """Make a version, or delete; the context of the answer."""
        held = self.versions.setdefault((bucket, key), {})
        covered = set(held) if context is None else dots_of(context)
        for dot in covered:
            held.pop(dot, None)
        self.dots += 1
        if version is not None:
            held[self.dots] = version
        self.seen.setdefault((bucket, key), set()).update(covered | {self.dots})
        return context_of(covered | {self.dots})


class FakeNode(ThreadingHTTPServer):
    """One node. ``fault``, given method and path, may say ``drop``, ``hang`` or a status."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, cluster: FakeCluster, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = cluster
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self.open: list[Any] = []
        self.hanging = threading.Event()
        self.released = threading.Event()
        if context is not None:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http{'' if context is None else 's'}://{self.address}"
        cluster.nodes.append(self)
        self.name = f"n{len(cluster.nodes)}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self) -> None:
        """Stop as a killed process does: the port and all connections are gone."""
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.break_connections()

    def break_connections(self) -> None:
        """Close every connection from this side."""
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is part of the tests."""


@contextlib.contextmanager
def serving(count: int = 1, context: ssl.SSLContext | None = None) -> Iterator[FakeCluster]:
    """Some nodes for the length of a test."""
    cluster = FakeCluster()
    try:
        for _ in range(count):
            FakeNode(cluster, context)
        yield cluster
    finally:
        for node in cluster.nodes:
            node.end()


class _Handler(BaseHTTPRequestHandler):
    server: FakeNode
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.open.append(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append((self.command, self.path))
        cluster = self.server.cluster
        fault = self.server.fault(self.command, self.path)
        if fault == "hang":
            self.server.hanging.set()
            self.server.released.wait()
        if fault in ("drop", "hang"):
            self.close_connection = True
        elif fault is not None:
            outcome = {"503": "not_applied", "504": "indeterminate"}.get(fault)
            self._problem(int(fault), "a fault", outcome=outcome)
        elif cluster.token and self.headers.get("Authorization") != f"Bearer {cluster.token}":
            self._problem(401, "no token that is known here")
        else:
            with cluster.lock:
                self._route(body)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _handle  # noqa: N815 - the library's names

    def _route(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        parts = path.split("/", 4)[1:]
        given = {name: values[0] for name, values in parse_qs(query).items()}
        match parts:
            case ["v1", "kv", bucket, key]:
                status, fields, content = self._object(
                    self.command, bucket, unquote_to_bytes(key), body, dict(self.headers), given
                )
                self._answer(status, content, fields)
            case ["v1", "kv", bucket]:
                self._list(bucket, given)
            case ["v1", "batch"]:
                self._batch(body)
            case ["v1", "buckets", bucket]:
                self._bucket(bucket, body)
            case _:
                self._view(path, parts)

    def _object(
        self, method: str, bucket: str, key: bytes, body: bytes, sent: dict[str, str],
        query: dict[str, str],
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        cluster = self.server.cluster
        name = (bucket, key)
        held = cluster.versions.get(name, {})
        context = sent.get("Sadik-Context")
        etag = f'"{context_of(held)}"'
        fields = {"Sadik-Node": self.server.name}
        if method in ("PUT", "DELETE"):
            wanted = sent.get("If-Match")
            if (wanted is not None and wanted != etag) or (sent.get("If-None-Match") and held):
                return self._refusal(412, "the condition does not hold")
            if method == "DELETE" and not held:
                return self._refusal(404, "nothing to delete")
            kept = {field: value for field, value in sent.items()
                    if field.lower().startswith(("sadik-meta-", "content-type"))}  # fmt: skip
            version = Stored(body, kept) if method == "PUT" else None
            fields["Sadik-Context"] = cluster.write(bucket, key, version, context)
            fields["Sadik-Acks"] = "needed=2, got=2, durable=2, primaries=2, hinted=0"
            fields["ETag"] = f'"{context_of(cluster.versions[name])}"'
            if query.get("return") != "body":
                return 204, fields, b""
            held = cluster.versions[name]
        elif context is not None and not dots_of(context) <= cluster.seen.get(name, set()):
            return self._refusal(504, "behind the session")
        else:
            fields["Sadik-Replies"] = "needed=2, got=2, primaries=2"
        seen = cluster.seen.get(name)
        if seen:
            fields["Sadik-Context"] = context_of(seen)
        if not held:
            return 404, fields, b""
        fields["ETag"] = f'"{context_of(held)}"'
        if sent.get("If-None-Match") == fields["ETag"] and method == "GET":
            return 304, fields, b""
        if query.get("resolve") == "latest":
            held = dict([max(held.items())])
        if len(held) == 1:
            (version_held,) = held.values()
            return 200, fields | version_held.fields, version_held.value
        siblings = [{"value_b64": base64.b64encode(each.value).decode()} for each in held.values()]
        fields["Content-Type"] = "application/json"
        return 300, fields, json.dumps({"siblings": siblings}).encode()

    def _batch(self, body: bytes) -> None:
        results = []
        for line in body.splitlines():
            asked = json.loads(line)
            method = {"get": "GET", "put": "PUT", "delete": "DELETE"}[asked["op"]]
            sent = {"Sadik-Context": asked["context"]} if asked.get("context") else {}
            value = base64.b64decode(asked.get("value_b64", ""))
            key = unquote_to_bytes(asked["key"])
            status, fields, content = self._object(method, asked["bucket"], key, value, sent, {})
            result = {"status": status, "context": fields.get("Sadik-Context")}
            if status == 200:
                result["value_b64"] = base64.b64encode(content).decode()
            results.append(json.dumps(result) + "\n")
        self._answer(200, "".join(results).encode(), {"Content-Type": "application/x-ndjson"})

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        cluster = self.server.cluster
        limit = int(query.get("limit", "3"))
        after, prefix = query.get("after", "").encode(), query.get("prefix", "").encode()
        keys = sorted(
            key for (each, key), held in cluster.versions.items()
            if each == bucket and held and key > after and key.startswith(prefix)
        )  # fmt: skip
        lines: list[dict[str, str | None]] = [{"key": quote(key, safe="/")} for key in keys[:limit]]
        lines.append({"next": keys[limit - 1].decode() if len(keys) > limit else None})
        self._answer(200, "".join(json.dumps(line) + "\n" for line in lines).encode(), {})

    def _bucket(self, bucket: str, body: bytes) -> None:
        properties = self.server.cluster.properties
        if self.command == "DELETE":
            properties.pop(bucket, None)
            self._answer(204, b"", {})
            return
        if self.command == "PUT":
            properties.setdefault(bucket, {}).update(json.loads(body))
        self._json({"bucket": bucket, "w": "quorum", **properties.get(bucket, {})})

    def _view(self, path: str, parts: list[str]) -> None:
        cluster = self.server.cluster
        match path:
            case "/v1/members":
                self._json({"members": [
                    {"name": node.name, "state": "up", "http": node.address,
                     "self": node is self.server} for node in cluster.nodes
                ]})  # fmt: skip
            case "/v1/ring":
                owners = [cluster.owners(partition) for partition in range(PARTITIONS)]
                self._json({"epoch": 1, "partitions": PARTITIONS, "replicas": 2, "owners": owners})
            case "/v1/buckets":
                self._json({"buckets": [{"bucket": name} for name in cluster.properties]})
            case "/v1/status" | "/v1/hints" | "/v1/transfers":
                self._json({"view": parts[1]})
            case _ if parts[1] == "explain":
                partition = Partitions(PARTITIONS).of_key(parts[2], unquote_to_bytes(parts[3]))
                self._json({"owners": cluster.owners(partition)})
            case _:
                self._problem(404, "no such path")

    def _json(self, document: object) -> None:
        self._answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _refusal(self, status: int, detail: str) -> tuple[int, dict[str, str], bytes]:
        text = json.dumps({"title": "Refused", "status": status, "detail": detail}).encode()
        return status, {"Content-Type": "application/problem+json"}, text

    def _problem(self, status: int, detail: str, **more: object) -> None:
        text = json.dumps({"title": "Refused", "status": status, "detail": detail, **more}).encode()
        self._answer(status, text, {"Content-Type": "application/problem+json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def context_of(dots: Any) -> str:
    return ".".join(str(dot) for dot in sorted(dots))


def dots_of(context: str) -> set[int]:
    return {int(dot) for dot in context.split(".")}
