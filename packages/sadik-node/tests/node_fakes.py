"""Small stand-ins for tests of the host and the HTTP API: an engine, a server around it, a client.

The engine keeps one version a key in the host's store, through loads and stores like the real one,
and knows nothing of clusters.
"""

from __future__ import annotations

import io
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from sadik_machine import (
    Effect,
    GetRows,
    Input,
    Load,
    Loaded,
    NodeId,
    Reply,
    Requested,
    ScanRows,
    Store,
    Ticket,
)
from sadik_members.view import Member, MemberState, Register, Ring
from sadik_metrics import NodeMetrics
from sadik_node.clock import SystemClock
from sadik_node.cluster_view import ClusterView
from sadik_node.host import Host
from sadik_node.http.access import Access
from sadik_node.http.application import HttpApplication
from sadik_node.http.elsewhere import Elsewhere
from sadik_node.http.hosts import LOOPBACK_NAMES, HostCheck
from sadik_node.http.limits import HttpLimits
from sadik_node.http.request_log import RequestLog
from sadik_node.http.server import HttpServer, listen_at
from sadik_node.http.service import Service
from sadik_node.log import Log
from sadik_node.tokens import TokenFile
from sadik_storage.memory import MemoryStore
from sadik_vnode.requests import (
    BucketProperties,
    BucketResult,
    BucketSet,
    BucketsResult,
    Delete,
    Explain,
    Found,
    Get,
    GetMany,
    Hints,
    HintsResult,
    ListKeys,
    ListResult,
    ManyFound,
    ManyWritten,
    Missing,
    Put,
    PutMany,
    Tally,
    Transfers,
    TransfersResult,
    VersionView,
    Written,
)

OWN_ID = NodeId(b"\x01" * 8)
PEER_ID = NodeId(b"\x02" * 8)
TALLY = Tally(needed=2, got=2, durable=2, primaries=2, hinted=0)
TIMESTAMP = (1_700_000_000_000 << 16) | 1


class FakeEngine:
    """A machine that answers a front end's requests from one store of rows ``O<bucket>\\0<key>``.

    ``answers`` maps a request's class to a result to give at once, or to a function of the request.
    Requests whose class is in ``silent`` get no answer at all.
    """

    def __init__(self) -> None:
        self.answers: dict[type, Any] = {}
        self.silent: set[type] = set()
        self.seen: list[Any] = []
        """Requests in the order in which they came."""
        self.events: list[Input] = []
        """All other inputs but loads."""
        self._tickets = 0
        self._waiting: dict[Ticket, Callable[[Any], list[Effect]]] = {}
        self.deadline: int | None = None

    def step(self, now: int, event: Input) -> list[Effect]:
        """See `Machine.step`."""
        match event:
            case Requested(request_id, request):
                if type(request) is GetMany:
                    return self._many(now, request_id, request.gets, ManyFound)
                if type(request) is PutMany:
                    return self._many(now, request_id, request.puts, ManyWritten)
                self.seen.append(request)
                if type(request) in self.silent:
                    return []
                answer = self.answers.get(type(request))
                if answer is not None:
                    return [Reply(request_id, answer(request) if callable(answer) else answer)]
                return self._requested(request_id, request)
            case Loaded(ticket, value):
                return self._waiting.pop(ticket)(value)
            case _:
                self.events.append(event)
                return []

    def _many(
        self, now: int, request_id: Any, requests: Sequence[object], result: Callable[[Any], Any]
    ) -> list[Effect]:
        """Each as if it had come alone, in the order of their answers."""
        results: dict[int, Any] = {}

        def took(at: int, effects: list[Effect]) -> list[Effect]:
            for effect in effects:
                if isinstance(effect, Reply):
                    results[at] = effect.result
                elif isinstance(effect, Store):
                    effect.then = took(at, list(effect.then))
                elif isinstance(effect, Load):
                    loaded = partial(then_took, at, self._waiting[effect.ticket])
                    self._waiting[effect.ticket] = loaded
            others: list[Effect] = [effect for effect in effects if not isinstance(effect, Reply)]
            if len(results) == len(requests) and len(others) < len(effects):
                in_order = [results[at] for at in range(len(results))]
                return [*others, Reply(request_id, result(in_order))]
            return others

        def then_took(at: int, then: Callable[[Any], list[Effect]], rows: Any) -> list[Effect]:
            return took(at, then(rows))

        wanted = [
            took(at, self.step(now, Requested(request_id, request)))
            for at, request in enumerate(requests)
        ]
        return [effect for effects in wanted for effect in effects]

    def _load(self, query: Any, then: Callable[[Any], list[Effect]]) -> list[Effect]:
        self._tickets += 1
        ticket = Ticket(self._tickets)
        self._waiting[ticket] = then
        return [Load(ticket, query)]

    def _requested(self, request_id: Any, request: Any) -> list[Effect]:
        match request:
            case Get():
                return self._load(
                    GetRows([_row(request.bucket, request.key)]),
                    lambda rows: [Reply(request_id, _read(rows[0]))],
                )
            case Put():
                self._tickets += 1
                row = (_row(request.bucket, request.key), request.value)
                then = [Reply(request_id, Written("context", "etag", TALLY, OWN_ID))]
                return [Store(Ticket(self._tickets), [row], then)]
            case Delete():
                self._tickets += 1
                then = [Reply(request_id, Written("context", "etag", TALLY, OWN_ID))]
                gone = (_row(request.bucket, request.key), None)
                return [Store(Ticket(self._tickets), [gone], then)]
            case ListKeys():
                prefix = _row(request.bucket, request.prefix)
                start = prefix
                if request.after is not None:
                    start = max(start, _row(request.bucket, request.after) + b"\0")
                return self._load(
                    ScanRows(start, prefix + b"\xff" * 8, request.limit, 1 << 20, keys_only=True),
                    lambda rows: [Reply(request_id, _page(request, rows))],
                )
            case BucketSet():
                changes: Any = request.changes
                properties = attrs.evolve(BucketProperties(), **changes)
                return [Reply(request_id, BucketResult(request.bucket, properties, 3))]
            case Hints():
                return [Reply(request_id, HintsResult(3, 99, {PEER_ID: 3}))]
            case Transfers():
                return [Reply(request_id, TransfersResult([], PEER_ID))]
            case Explain():
                raise AssertionError("no test asks the fake engine to explain")
            case _:
                return [Reply(request_id, BucketsResult([]))]


def _row(bucket: str, key: bytes) -> bytes:
    return b"O" + bucket.encode() + b"\0" + key


def _read(value: bytes | None) -> Found | Missing:
    if value is None:
        return Missing(None, TALLY, OWN_ID)
    return Found([version(value)], "context", "etag", TALLY, OWN_ID)


def version(value: bytes, **changes: Any) -> VersionView:
    """A version with this value."""
    return attrs.evolve(
        VersionView(value, "application/octet-stream", (), TIMESTAMP, "etag"), **changes
    )


def _page(request: ListKeys, rows: list[tuple[bytes, bytes]]) -> ListResult:
    keys = [row.partition(b"\0")[2] for row, _ in rows]
    return ListResult(keys, keys[-1] if len(keys) == request.limit else None)


def member(node: NodeId, name: str, state: MemberState = MemberState.UP) -> Member:
    """A member of a test's cluster."""
    return Member(node, name, f"{name}:7071", f"{name}:7070", "z", 1.0, 1, state, 1, 1)


def cluster_view() -> ClusterView:
    """A ready node n1 that knows n2."""
    view = ClusterView(OWN_ID, "n1")
    view.members = {OWN_ID: member(OWN_ID, "n1"), PEER_ID: member(PEER_ID, "n2")}
    view.ring = Ring(2, tuple(Register(1, (OWN_ID, PEER_ID)) for _ in range(8)))
    view.not_ready = ""
    return view


@attrs.define
class Site:
    """A running server with all that stands behind it."""

    port: int
    engine: FakeEngine
    host: Host
    server: HttpServer
    view: ClusterView
    metrics: NodeMetrics
    log: io.StringIO
    service: Service
    access: Access
    wires: list[Wire] = attrs.Factory(list)

    async def connect(self) -> Wire:
        """A raw connection of a client; closed with the site."""
        sock = trio.socket.socket()
        self.wires.append(Wire(sock))
        await sock.connect(("127.0.0.1", self.port))
        return self.wires[-1]


@attrs.define
class Got:
    """An answer as a client reads it."""

    status: int
    fields: dict[str, str]
    body: bytes


class Wire:
    """A client's connection: raw bytes out, answers in."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.socket = sock
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        """Send it all."""
        view = memoryview(data)
        while view:
            view = view[await self.socket.send(view) :]

    async def _more(self) -> bytes:
        data = await self.socket.recv(65536)
        self._buffer += data
        return data

    async def head(self) -> tuple[int, dict[str, str]]:
        """The next status and header fields (names in lower case)."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                raise EOFError(self._buffer)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def answer(self, *, of_head: bool = False) -> Got:
        """The next whole answer."""
        status, fields = await self.head()
        size = 0 if of_head else int(fields.get("content-length", 0))
        while len(self._buffer) < size:
            if not await self._more():
                raise EOFError(self._buffer)
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return Got(status, fields, body)

    async def ask(self, request: bytes) -> Got:
        """Send and read one answer."""
        await self.send(request)
        return await self.answer(of_head=request.startswith(b"HEAD"))

    async def ended(self) -> bool:
        """Wait until the server has closed its side; False if bytes come instead."""
        return not self._buffer and not await self.socket.recv(1)

    def close(self) -> None:
        """Go."""
        self.socket.close()

    def reset(self) -> None:
        """Go with a reset, as a crashed client's kernel would."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


@asynccontextmanager
async def site(
    limits: HttpLimits | None = None,
    *,
    names: tuple[str, ...] | None = LOOPBACK_NAMES,
    tokens: TokenFile | None = None,
    tls: ssl.SSLContext | None = None,
    elsewhere: Elsewhere | None = None,
    is_broken_on_purpose: bool = False,
) -> AsyncIterator[Site]:
    """A server on a free port of loopback, until the block ends."""
    limits = limits or HttpLimits()
    clock = SystemClock()
    store = MemoryStore.open(None, {}, durable=True)
    host = Host(store, clock, source=random.Random(1), send=lambda _to, _message: False)
    engine = FakeEngine()
    host.take_requests(host.add(engine))
    view = cluster_view()
    metrics = NodeMetrics("test")
    stream = io.StringIO()
    log = Log("n1", stream=stream)
    service = Service(
        host, view, limits, metrics.exposition, lambda: {"name": "n1"}, log.defect, clock.now
    )
    access = Access(tokens, clock.now, lambda: clock.wall() / 1e9)
    application = HttpApplication(
        service, HostCheck(names), access, metrics, RequestLog(log), id_prefix="t",
        clock_ns=clock.now, elsewhere=elsewhere,
    )  # fmt: skip
    server = HttpServer(
        application,
        listen_at("127.0.0.1", 0),
        limits,
        clock.now,
        lambda: clock.wall() / 1e9,
        host.reactor,
        tls,
    )
    host.gather = server.gather
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        nursery.start_soon(server.run)
        here = Site(server.ports[0], engine, host, server, view, metrics, stream, service, access)
        try:
            yield here
        finally:
            for wire in here.wires:
                wire.close()
            nursery.cancel_scope.cancel()
    host.close()
    store.close()
    assert is_broken_on_purpose or " defect " not in stream.getvalue(), stream.getvalue()
