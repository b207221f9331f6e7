"""What the HTTP server and the host cost per request, apart from the engine.

Run with the package installed: ``python benchmarks/http_overhead.py [--connections 64]``. A client
process keeps as many requests in flight as there are connections; the server's own processor time
is divided by the requests. The engine answers at once from a dictionary. The baseline is the least
that Python can do for the same bytes: one epoll loop that parses with httptools and sends a
constant answer. The ratio is what to watch; absolute figures belong to a machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import select
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection as Pipe

import httptools
import trio

from sadik_machine import Effect, Input, NodeId, Reply, Requested
from sadik_metrics import NodeMetrics
from sadik_node.clock import SystemClock
from sadik_node.cluster_view import ClusterView
from sadik_node.host import Host
from sadik_node.http.access import Access
from sadik_node.http.application import HttpApplication
from sadik_node.http.hosts import LOOPBACK_NAMES, HostCheck
from sadik_node.http.limits import HttpLimits
from sadik_node.http.request_log import RequestLog
from sadik_node.http.server import HttpServer, listen_at
from sadik_node.http.service import Service
from sadik_node.log import Log
from sadik_storage.memory import MemoryStore
from sadik_vnode.requests import Found, Get, Put, Tally, VersionView, Written

VALUE = b"x" * 100
OWN = NodeId(b"\x01" * 8)
CONTEXT = "c" * 60
GET = b"GET /v1/kv/bucket/key-123456 HTTP/1.1\r\nHost: 127.0.0.1:7070\r\nAccept: */*\r\n\r\n"
PUT = (
    b"PUT /v1/kv/bucket/key-123456 HTTP/1.1\r\nHost: 127.0.0.1:7070\r\nAccept: */*\r\n"
    b"Content-Length: 100\r\n\r\n" + VALUE
)


class AtOnce:
    """An engine that knows the answer."""

    deadline = None

    def step(self, _now: int, event: Input) -> list[Effect]:
        """See `Machine.step`."""
        if not isinstance(event, Requested):
            return []
        tally = Tally(2, 2, 2, 2, 0)
        if isinstance(event.request, Get):
            version = VersionView(VALUE, "application/octet-stream", (), 1 << 56, "e" * 16)
            return [Reply(event.request_id, Found([version], CONTEXT, "e" * 16, tally, OWN))]
        assert isinstance(event.request, Put)
        return [Reply(event.request_id, Written(CONTEXT, "e" * 16, tally, OWN))]


async def _serve_sadik(pipe: Pipe) -> None:
    clock = SystemClock()
    store = MemoryStore.open(None, {}, durable=True)
    host = Host(store, clock, source=random.Random(1), send=lambda _to, _message: False)
    host.take_requests(host.add(AtOnce()))
    view = ClusterView(OWN, "n1")
    view.not_ready = ""
    metrics = NodeMetrics("bench")
    limits = HttpLimits()
    log = Log("n1")
    service = Service(host, view, limits, metrics.exposition, dict, log.defect, clock.now)
    application = HttpApplication(
        service, HostCheck(LOOPBACK_NAMES), Access(None, clock.now, time.time), metrics,
        RequestLog(log), id_prefix="b",
        clock_ns=clock.now,
    )  # fmt: skip
    server = HttpServer(
        application, listen_at("127.0.0.1", 0), limits, clock.now, time.time, host.reactor
    )
    host.gather = server.gather
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        nursery.start_soon(server.run)
        pipe.send(server.ports[0])
        await _report(pipe)
        nursery.cancel_scope.cancel()
    host.close()


async def _report(pipe: Pipe) -> None:
    """Send this process's processor seconds whenever asked; end when told."""
    while True:
        await trio.lowlevel.wait_readable(pipe.fileno())
        if not pipe.recv():
            return
        pipe.send(time.process_time())


def _sadik(pipe: Pipe) -> None:
    trio.run(_serve_sadik, pipe)


class _Bare:
    """A connection that parses and answers with the same bytes each time."""

    def __init__(self, sock: socket.socket, answer: bytes) -> None:
        self.sock = sock
        self.answer = answer
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, _url: bytes) -> None:
        pass

    def on_header(self, _name: bytes, _value: bytes) -> None:
        pass

    def on_message_complete(self) -> None:
        self.sock.send(self.answer)


def _bare(pipe: Pipe) -> None:
    (listener,) = listen_at("127.0.0.1", 0)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + VALUE
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    epoll.register(pipe.fileno(), select.EPOLLIN)
    pipe.send(listener.getsockname()[1])
    connections: dict[int, _Bare] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                sock, _address = listener.accept()
                sock.setblocking(False)
                connections[sock.fileno()] = _Bare(sock, answer)
                epoll.register(sock, select.EPOLLIN)
            elif fd == pipe.fileno():
                if not pipe.recv():
                    return
                pipe.send(time.process_time())
            else:
                try:
                    data = connections[fd].sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                if data:
                    connections[fd].parser.feed_data(data)
                else:
                    epoll.unregister(fd)
                    connections.pop(fd).sock.close()


def _drive(port: int, request: bytes, connections: int, seconds: float) -> int:
    """Keep one request in flight on each connection; how many were answered."""
    epoll = select.epoll()
    socks: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks[sock.fileno()] = sock
        epoll.register(sock, select.EPOLLIN)
        sock.sendall(request)
    answered = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for fd, _ in epoll.poll(1):
            # Answers are small and come whole.
            if not socks[fd].recv(65536):
                raise ConnectionError("the server closed a connection")
            answered += 1
            socks[fd].sendall(request)
    for sock in socks.values():
        sock.close()
    return answered


def _measure(
    serve: Callable[[Pipe], None], request: bytes, connections: int, seconds: float
) -> tuple[float, float]:
    """Microseconds of the server's processor time per request, and requests per second."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(theirs,))
    process.start()
    port = ours.recv()
    ask = partial(ours.send, True)
    _drive(port, request, connections, seconds / 5)
    ask()
    before = ours.recv()
    answered = _drive(port, request, connections, seconds)
    ask()
    spent = ours.recv() - before
    ours.send(False)
    process.join()
    return spent / answered * 1e6, answered / seconds


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=3.0)
    given = arguments.parse_args()
    for name, request in (("get", GET), ("put", PUT)):
        bare, bare_rate = _measure(_bare, request, given.connections, given.seconds)
        ours, rate = _measure(_sadik, request, given.connections, given.seconds)
        sys.stdout.write(
            f"{name}: {ours:.1f} µs a request ({rate:,.0f}/s), bare loop {bare:.1f} µs "
            f"({bare_rate:,.0f}/s), ratio {ours / bare:.2f}\n"
        )


if __name__ == "__main__":
    main()
