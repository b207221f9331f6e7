"""What HTTP clients say: the bad inputs that a test has the answers of, and good ones."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from http_host import TOKEN, Ending, HttpHost

from sadik_node.http.routes import ROUTES

__all__ = ["http_seeds"]

_BAD_INPUTS = Path(__file__).parents[1] / "packages" / "sadik-node" / "tests" / "bad_inputs"
_REPEATED = re.compile(r"\{\{(.+?)\*([0-9]+)\}\}", re.DOTALL)
_REPEATED_BYTES_MAX = 1100
"""Beyond every limit of the fuzzed server, and short enough to be mutated with sense."""


def http_seeds() -> list[bytes]:
    """Whole connections."""
    return [*_bad(), *_of_each_route(), *_objects(), *_connections()]


def _bad() -> list[bytes]:
    return [
        _REPEATED.sub(_shortened, case["send"]).encode("latin-1")
        for file in sorted(_BAD_INPUTS.glob("*.toml"))
        for case in tomllib.loads(file.read_text("utf-8"))["case"]
    ]


def _shortened(repeated: re.Match[str]) -> str:
    return repeated[1] * min(int(repeated[2]), _REPEATED_BYTES_MAX // len(repeated[1]) + 1)


def _of_each_route() -> list[bytes]:
    """One for each, without a query, and as a guarded node wants it."""
    bodies = {"PUT": b"{}", "POST": b""}
    return [
        _request(
            route.method,
            route.template.format(bucket="b", key="k", name="n1", action="leave"),
            bodies.get(route.method),
            f"Authorization: Bearer {TOKEN.decode()}",
        )
        for route in ROUTES
    ]


def _request(method: str, target: str, body: bytes | None = None, *fields: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def _objects() -> list[bytes]:
    """What is done with objects, most of it to one key, with a context that is right.

    It is of an instance that the fuzzed node has not: else it would cover what is not yet written.
    """
    object_ = "/v1/kv/b/k"
    put = _request("PUT", object_, b"hello")
    host = HttpHost(instance=b"of-other")
    heard = host.converse([put], Ending.ENDS).data
    host.close()
    found = re.search(rb"(Sadik-Context: .+?)\r\n", heard)
    assert found is not None
    context = found[1].decode()
    sibling = _request("PUT", "/v1/buckets/b", json.dumps({"blind_writes": "sibling"}).encode())
    operations: list[dict[str, object]] = [
        {"op": "put", "bucket": "b", "key": "k", "value_b64": "YQ=="},
        {"op": "get", "bucket": "b", "key": "k"},
        {"op": "delete", "bucket": "b", "key": "k", "context": context.partition(" ")[2]},
    ]
    batch = "".join(f"{json.dumps(each)}\n" for each in operations).encode()
    records = b"\x81\x84\x61b\x41k\x80\x80"  # one record without a version
    return [
        put + _request("GET", object_) + _request("DELETE", object_) + _request("GET", object_),
        put + _request("PUT", object_, b"again", context) + _request("GET", object_, None, context),
        put + _request("DELETE", object_, None, context) + _request("HEAD", object_),
        sibling + put + put + _request("GET", object_)
        + _request("GET", object_ + "?resolve=latest"),
        _request("PUT", object_ + "?w=all&dw=1&return=body", b"x", "Sadik-TTL: 5",
                 "Sadik-Meta-A: b", "Content-Type: text/plain", "Sadik-Request-Id: me"),
        put + _request("GET", object_, None, "If-None-Match: *")
        + _request("PUT", object_, b"", 'If-Match: "no"'),
        put + _request("GET", "/v1/kv/b?prefix=k&limit=1") + _request("GET", "/v1/explain/b/k"),
        _request("POST", "/v1/batch?timeout=100", batch, "Content-Type: application/x-ndjson"),
        _request("POST", "/v1/restore", records, "Content-Type: application/cbor"),
        put + _request("GET", "/v1/backup/records?middle=1") + _request("GET", "/v1/backup/sums"),
        _request("GET", "/v1/plan?join=n4:z:2&leave=n1")
        + _request("POST", "/v1/repair?partition=1"),
        _request("PUT", "/v1/kv/b/%00%ff%2F//..", b"\0" * 40) + _request("GET", "/v1/kv/b?limit=9"),
        _request("DELETE", "/v1/buckets/b") + _request("GET", "/v1/buckets"),
    ]  # fmt: skip


def _connections() -> list[bytes]:
    """Ways to speak HTTP."""
    health = _request("GET", "/healthz")
    chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n"
    chunked = _request("PUT", "/v1/kv/b/c", None, "Transfer-Encoding: chunked") + chunks
    return [
        health * 9,
        chunked + health,
        _request("PUT", "/v1/kv/b/e", b"hello", "Expect: 100-continue") + health,
        b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + health,
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"\r\n" + health + b"\r\n" + _request("HEAD", "/metrics"),
        _request("GET", "http://localhost/healthz", None, "Connection: close"),
        _request("GET", "/healthz", None, "Connection: upgrade", "Upgrade: h2c") * 3,
        health + _request("PUT", "/v1/kv/b/large", b"v" * 1001),
        health[:-2],
        _request("PUT", "/v1/kv/b/k", b"hello")[:-3],
    ]
