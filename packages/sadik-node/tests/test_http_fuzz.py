"""Mangled requests in any portions: always an answer or an end, never a defect, never a leak."""

from __future__ import annotations

import random

import pytest
import trio

from node_fakes import Wire, site
from sadik_node.http.limits import HttpLimits
from test_http_strictness import FRAMING

OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
GOOD = [
    OK,
    b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    (
        b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Sadik-Meta-A: b\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n"
    ),
    b"GET /v1/kv/b/k?r=1&sloppy=false HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n",
    (
        b"DELETE /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        b"Content-Length: 0\r\n\r\n"
    ),
    b"HEAD /v1/kv/b?prefix=%41 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b'PUT /v1/buckets/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n{"r": 1}',
    b"GET /v1/ring HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
CORPUS = GOOD + list(FRAMING.values())


def _mangle(rng: random.Random) -> bytes:
    data = bytearray(b"".join(rng.choice(CORPUS) for _ in range(rng.randint(1, 4))))
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randint(1, 20)]
            case 2:
                data[at:at] = rng.choice(
                    (b"\r\n", b"\n", b"\0", b" ", b":", b"%", b"0", b"\xff" * 9)
                )
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 40)]
            case _:
                data = data[: at + 1]
    return bytes(data)


async def _speak(wire: Wire, data: bytes, rng: random.Random) -> None:
    """Send in portions, then say that this was all, and read until the end."""
    try:
        while data:
            size = rng.choice((1, 7, 64, 1000, len(data)))
            await wire.send(data[:size])
            data = data[size:]
            await trio.lowlevel.checkpoint()
        wire.socket.shutdown(1)
        while await wire.socket.recv(65536):
            pass
    except OSError:
        pass  # cut off by the server after a refusal, which is its right


@pytest.mark.parametrize("seed", range(10))
async def test_mangled_requests_harm_nobody(seed: int) -> None:
    rng = random.Random(seed)
    async with site(HttpLimits(waiting=4, pipelined=2, value_bytes=1000)) as here:
        with trio.fail_after(30):
            bystander = await here.connect()
            for _ in range(30):
                wire = await here.connect()
                await _speak(wire, _mangle(rng), rng)
                wire.close()
                assert (await bystander.ask(OK)).status == 200
            while here.server.connections > 1:
                await trio.lowlevel.checkpoint()
            assert here.server.traffic.held_bytes == 0
            assert here.host.requests_open == 0
