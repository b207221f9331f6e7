"""What one client, one address, or all of them together may take of a node."""

from __future__ import annotations

import json

import attrs
import pytest
import trio

from node_fakes import site
from sadik_machine import MILLISECOND, SECOND
from sadik_node.http.limits import HttpLimits
from sadik_node.http.server import LOOPBACK, client_of
from sadik_node.settings import Limits
from sadik_vnode.requests import Get, Put

OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET = b"GET /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", LOOPBACK),
        ("127.9.9.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3::4", "2001:0db8:0001:0002"),
        ("2001:db8:1:2:ffff::", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
    ],
)
def test_a_client_is_a_host_or_a_network_of_one(host: str, client: str) -> None:
    assert client_of(host) == client


async def test_one_address_has_so_many_connections_and_a_newcomer_is_told() -> None:
    async with site(HttpLimits(connections_per_address=2)) as here:
        with trio.fail_after(10):
            first, second = await here.connect(), await here.connect()
            assert (await first.ask(OK)).status == 200
            assert (await second.ask(OK)).status == 200
            third = await here.connect()
            got = await third.answer()
            assert (got.status, got.fields["retry-after"]) == (429, "1")
            assert got.fields["connection"] == "close"
            assert json.loads(got.body)["status"] == 429
            assert await third.ended()
            assert here.metrics.rejected["connections"] == 1
            second.close()
            third.close()
            while here.server.connections > 1:
                await trio.lowlevel.checkpoint()
            assert (await (await here.connect()).ask(OK)).status == 200
            assert (await first.ask(OK)).status == 200


async def test_who_comes_faster_than_answers_can_be_read_gets_none() -> None:
    async with site(HttpLimits(connections_per_address=1)) as here:
        with trio.fail_after(10):
            wires = [await here.connect() for _ in range(4)]
            assert (await wires[0].ask(OK)).status == 200
            assert (await wires[1].answer()).status == 429
            for wire in wires[2:]:
                assert await wire.ended()


async def test_where_everybody_is_busy_health_is_told_and_data_is_not() -> None:
    async with site(HttpLimits(connections=2)) as here:
        with trio.fail_after(10):
            here.engine.silent = {Get}
            busy = [await here.connect() for _ in range(2)]
            for wire in busy:
                await wire.send(GET)
            while len(here.engine.seen) < 2:
                await trio.lowlevel.checkpoint()
            prober = await here.connect()
            got = await prober.ask(OK)
            assert (got.status, got.fields["connection"]) == (200, "close")
            assert await prober.ended()
            prober.close()
            writer = await here.connect()
            got = await writer.ask(PUT + b"Content-Length: 0\r\n\r\n")
            assert (got.status, got.fields["retry-after"]) == (503, "1")
            assert json.loads(got.body)["outcome"] == "not_applied"
            assert await writer.ended()


async def test_a_header_that_never_comes_makes_room_for_who_asks() -> None:
    async with site(HttpLimits(connections=2, connections_spare=0)) as here:
        with trio.fail_after(10):
            slow = [await here.connect() for _ in range(2)]
            for wire in slow:
                await wire.send(GET[:20])
            while here.server.traffic.received_bytes < 40:
                await trio.lowlevel.checkpoint()
            assert (await (await here.connect()).ask(GET)).status == 404
            assert await slow[0].ended(), "it was the longest in asking"


async def test_what_one_connection_may_have_waiting_is_bounded_in_bytes() -> None:
    async with site(HttpLimits(connection_bytes=200_000, held_bytes=1 << 30)) as here:
        with trio.fail_after(10):
            here.engine.silent = {Put}
            greedy = await here.connect()
            with trio.move_on_after(0.2):
                while True:
                    await greedy.send(PUT + b"Content-Length: 100000\r\n\r\n" + bytes(100_000))
            assert here.server.traffic.held_bytes < 600_000
            assert (await (await here.connect()).ask(OK)).status == 200
            greedy.reset()
            while here.server.traffic.held_bytes:
                await trio.lowlevel.checkpoint()


async def test_a_full_connection_goes_on_when_it_is_answered() -> None:
    async with site(HttpLimits(connection_bytes=1 << 16)) as here:
        with trio.fail_after(10):
            wire = await here.connect()
            async with trio.open_nursery() as nursery:
                one = PUT + b"Content-Length: 50000\r\n\r\n" + bytes(50_000)
                nursery.start_soon(wire.send, one * 20)
                for _ in range(20):
                    assert (await wire.answer()).status == 204


async def test_the_number_of_fields_is_bounded() -> None:
    async with site() as here:
        with trio.fail_after(10):
            fields = b"".join(b"X%d: \r\n" % n for n in range(100))
            assert (await (await here.connect()).ask(GET[:-2] + fields + b"\r\n")).status == 431
            assert (
                await (await here.connect()).ask(GET[:-2] + fields[:-7] + b"\r\n")
            ).status == 404


async def test_a_body_in_tiny_chunks_is_held_as_what_it_is() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * 20_000)
            while here.server.traffic.held_bytes < 40_000:
                await trio.lowlevel.checkpoint()
            (exchange,) = next(iter(here.server._connections.values())).queue
            assert len(exchange.parts) == 1
            await wire.send(b"0\r\n\r\n")
            assert (await wire.answer()).status == 204
            assert (await wire.ask(GET)).body == b"ab" * 20_000


async def test_when_too_much_is_held_reads_are_refused_and_health_is_told() -> None:
    async with site(HttpLimits(held_bytes=10_000)) as here:
        with trio.fail_after(10):
            hog = await here.connect()
            await hog.send(PUT + b"Content-Length: 20000\r\n\r\n" + bytes(10_000))
            while here.server.traffic.held_bytes < 10_000:
                await trio.lowlevel.checkpoint()
            wire = await here.connect()
            got = await wire.ask(GET)
            assert (got.status, got.fields["retry-after"]) == (503, "1")
            assert (await wire.ask(OK)).status == 200


def test_what_an_operator_decides_is_what_the_server_bears() -> None:
    assert HttpLimits.of(Limits()) == HttpLimits()
    changed = HttpLimits.of(Limits(header_seconds=3, connections_per_address=7, list_keys=5))
    assert changed == attrs.evolve(
        HttpLimits(), header_ns=3 * SECOND, connections_per_address=7, list_keys=5
    )
    assert changed.tick_ns < 1000 * MILLISECOND
