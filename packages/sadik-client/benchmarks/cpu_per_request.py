"""What a request costs the client, beside httpx: processor time, in the same run.

Run with the package and httpx installed: ``python benchmarks/cpu_per_request.py``. One server
process answers with constant bytes, as a node would: it parses with httptools and does nothing
else, so that it is never what is waited for. Each client sends one request after another over one
connection; the rounds alternate, so that a busy machine hurts all alike. What is printed is this
process's processor time for a request, least of the rounds, and httpx's beside it; the ratio is
what to watch. "socket" is the least that Python can do: send constant bytes, receive, and look at
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import select
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe

import httptools
import httpx
import trio

import sadik_client.asyncio
import sadik_client.blocking
import sadik_client.trio
from sadik_client import Settings

VALUE = b"x" * 100
FIELDS = (
    b"Sadik-Context: " + b"c" * 60 + b'\r\nETag: "0123456789abcdef"\r\n'
    b"Content-Type: application/octet-stream\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"X-Content-Type-Options: nosniff\r\nSadik-Node: n1\r\nSadik-Request-Id: 0123456789abcdef\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
)
GET_ANSWER = (
    b"HTTP/1.1 200 OK\r\nSadik-Replies: needed=2, got=2, primaries=2\r\nContent-Length: 100\r\n"
    + FIELDS + b"\r\n" + VALUE
)  # fmt: skip
PUT_ANSWER = (
    b"HTTP/1.1 204 No Content\r\n"
    b"Sadik-Acks: needed=2, got=2, durable=2, primaries=2, hinted=0\r\n" + FIELDS + b"\r\n"
)
PATH = "/v1/kv/bucket/key-123456"
Run = Callable[[str, int], float]
"""Given a URL and a count, sends so many puts and gets: processor seconds a request."""


class _Peer:
    """One connection of the server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.parser = httptools.HttpRequestParser(self)

    def on_message_complete(self) -> None:
        is_put = self.parser.get_method() == b"PUT"
        self.sock.send(PUT_ANSWER if is_put else GET_ANSWER)


def _serve(pipe: Pipe) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    epoll.register(pipe.fileno(), select.EPOLLIN)
    peers: dict[int, _Peer] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == pipe.fileno():
                return
            if fd == listener.fileno():
                sock, _address = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[sock.fileno()] = _Peer(sock)
                epoll.register(sock, select.EPOLLIN)
                continue
            try:
                data = peers[fd].sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if data:
                peers[fd].parser.feed_data(data)
            else:
                epoll.unregister(fd)
                peers.pop(fd).sock.close()


def _spent(began: float, count: int) -> float:
    return (time.process_time() - began) / (2 * count)


def _bare_socket(url: str, count: int) -> float:
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"{PATH} HTTP/1.1\r\nHost: {host}\r\n".encode()
    get = b"GET " + head + b"\r\n"
    put = b"PUT " + head + b"Content-Length: 100\r\n\r\n" + VALUE
    with socket.create_connection((host, int(port))) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.process_time()
        for _ in range(count):
            sock.sendall(put)
            sock.recv(65536)
            sock.sendall(get)
            sock.recv(65536)
        return _spent(began, count)


def _sadik_blocking(url: str, count: int) -> float:
    with sadik_client.blocking.Client(url, settings=Settings(ring=False)) as client:
        client.get("bucket", "key-123456")
        began = time.process_time()
        for _ in range(count):
            client.put("bucket", "key-123456", VALUE)
            assert client.get("bucket", "key-123456").value == VALUE
        return _spent(began, count)


def _httpx_blocking(url: str, count: int) -> float:
    with httpx.Client(base_url=url) as client:
        client.get(PATH)
        began = time.process_time()
        for _ in range(count):
            client.put(PATH, content=VALUE).raise_for_status()
            assert client.get(PATH).content == VALUE
        return _spent(began, count)


async def _sadik_async(
    kind: type[sadik_client.asyncio.Client | sadik_client.trio.Client], url: str, count: int
) -> float:
    async with kind(url, settings=Settings(ring=False)) as client:
        await client.get("bucket", "key-123456")
        began = time.process_time()
        for _ in range(count):
            await client.put("bucket", "key-123456", VALUE)
            assert (await client.get("bucket", "key-123456")).value == VALUE
        return _spent(began, count)


async def _httpx_async(url: str, count: int) -> float:
    async with httpx.AsyncClient(base_url=url) as client:
        await client.get(PATH)
        began = time.process_time()
        for _ in range(count):
            (await client.put(PATH, content=VALUE)).raise_for_status()
            assert (await client.get(PATH)).content == VALUE
        return _spent(began, count)


RUNS: dict[str, Run] = {
    "socket": _bare_socket,
    "sadik-client, blocking": _sadik_blocking,
    "httpx, blocking": _httpx_blocking,
    "sadik-client, asyncio": lambda url, count: asyncio.run(
        _sadik_async(sadik_client.asyncio.Client, url, count)
    ),
    "httpx, asyncio": lambda url, count: asyncio.run(_httpx_async(url, count)),
    "sadik-client, trio": lambda url, count: trio.run(
        _sadik_async, sadik_client.trio.Client, url, count
    ),
    "httpx, trio": lambda url, count: trio.run(_httpx_async, url, count),
}


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=1000, help="a client and round")
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs,))
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    least = dict.fromkeys(RUNS, float("inf"))
    try:
        for _ in range(given.rounds):
            for name, run in RUNS.items():
                least[name] = min(least[name], run(url, max(given.requests // 2, 1)))
    finally:
        ours.send(None)
        server.join()
    for name, seconds in least.items():
        sys.stdout.write(f"{name:24} {seconds * 1e6:7.1f} µs of processor time a request\n")
    for kind in ("blocking", "asyncio", "trio"):
        ratio = least[f"httpx, {kind}"] / least[f"sadik-client, {kind}"]
        sys.stdout.write(f"{kind}: httpx takes {ratio:.1f} times as much as sadik-client\n")


if __name__ == "__main__":
    main()
