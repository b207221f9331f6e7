"""Keep-alive, pipelining, slow and vanishing clients, draining."""

from __future__ import annotations

import gc
import json
import sys

import attrs
import pytest
import trio

from node_fakes import OWN_ID, TALLY, site, version
from sadik_machine import MILLISECOND, SECOND, Cancelled
from sadik_node.http.exchange import Exchange
from sadik_node.http.limits import HttpLimits
from sadik_node.http.request_reader import RequestReader
from sadik_vnode.requests import Found, Get, Put

OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET = b"GET /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b"PUT /v1/kv/b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n"


async def test_pipelined_requests_are_answered_in_order_and_take_effect_in_order() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(b"".join(PUT + b"%d" % n + GET + GET + OK for n in range(10)))
            for n in range(10):
                assert (await wire.answer()).status == 204
                assert (await wire.answer()).body == b"%d" % n
                assert (await wire.answer()).body == b"%d" % n
                assert (await wire.answer()).body == b"ok\n"


async def test_only_safe_requests_run_at_once_and_no_more_than_the_bound() -> None:
    async with site(HttpLimits(pipelined=4)) as here:
        with trio.fail_after(10):
            here.engine.silent = {Get, Put}
            reader, writer = await here.connect(), await here.connect()
            await reader.send(GET * 10)
            await writer.send(PUT + b"a" + PUT + b"b")
            other = await here.connect()
            await other.ask(OK)
            await trio.testing.wait_all_tasks_blocked()
            kinds = [type(each) for each in here.engine.seen]
            assert kinds.count(Get) == 4
            assert kinds.count(Put) == 1


async def test_what_waits_on_a_connection_is_bounded() -> None:
    async with site(HttpLimits(waiting=8, pipelined=2)) as here:
        with trio.fail_after(10):
            here.engine.silent = {Get}
            wire = await here.connect()
            with trio.move_on_after(0.2):
                while True:
                    await wire.send(GET * 1000)
            assert len(here.engine.seen) == 2
            assert here.host.requests_open == 2
            # It was not read on: the client is stuck in its own send.
            assert here.server.traffic.received_bytes < 1 << 20


async def test_continue_is_said_to_who_asks_before_a_body() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            head = PUT[:-2] + b"Expect: 100-continue\r\n\r\n"
            await wire.send(head)
            assert (await wire.head())[0] == 100
            await wire.send(b"a")
            assert (await wire.answer()).status == 204
            # Behind an earlier request it is said when that one is answered.
            await wire.send(GET + head)
            assert (await wire.answer()).body == b"a"
            assert (await wire.head())[0] == 100
            await wire.send(b"b")
            assert (await wire.answer()).status == 204
            got = await wire.ask(head.replace(b"100-continue", b"magic"))
            assert got.status == 400


async def test_a_body_that_would_be_refused_is_not_asked_for() -> None:
    async with site(HttpLimits(value_bytes=10)) as here:
        with trio.fail_after(10):
            wire = await here.connect()
            head = PUT.replace(b": 1\r\n\r\n", b": 11\r\nExpect: 100-continue\r\n\r\n")
            got = await wire.ask(head)
            assert got.status == 413
            assert await wire.ended()


async def test_http_1_0_closes_unless_it_asks_otherwise() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (got.status, got.fields["connection"]) == (200, "close")
            assert await wire.ended()
            wire = await here.connect()
            for _ in range(2):
                got = await wire.ask(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert got.fields["connection"] == "keep-alive"


async def test_connection_close_is_kept() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(OK[:-2] + b"Connection: close\r\n\r\n" + OK)
            assert (got.status, got.fields["connection"]) == (200, "close")
            assert await wire.ended(), "the second request was not wanted"


async def test_an_upgrade_is_ignored() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(OK[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
            assert (await wire.answer()).body == b"ok\n"
            assert (await wire.answer()).status == 404


async def test_any_number_of_upgrades_in_one_packet_is_ignored() -> None:
    upgrade = b"GET /healthz HTTP/1.1\r\nHost:x\r\nConnection:upgrade\r\nUpgrade:x\r\n\r\n"
    count = sys.getrecursionlimit() + 10
    assert len(upgrade) * count < 65536, "they fit one read"
    async with site(names=None) as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(upgrade * count)
            for _ in range(count):
                assert (await wire.answer()).body == b"ok\n"


async def test_requests_may_be_cut_anywhere() -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n6\r\n\r\n\r\nGE\r\n2\r\n\r\n\r\n0\r\nT: u\r\n\r\n"
    said = PUT + b"\r" + GET + b"\r\n" + PUT.partition(b"Content-Length")[0] + chunks + GET + OK
    async with site() as here:
        with trio.fail_after(20):
            for at in range(1, len(said)):
                wire = await here.connect()
                await wire.send(said[:at])
                if at % 2:  # both reads of one turn and of two
                    await trio.testing.wait_all_tasks_blocked()
                await wire.send(said[at:])
                got = [await wire.answer() for _ in range(5)]
                assert [each.status for each in got] == [204, 200, 204, 200, 200], said[:at]
                assert (got[1].body, got[3].body) == (b"\r", b"\r\n\r\nGE\r\n")
                wire.close()


def of_connections() -> list[object]:
    """What there is of requests, also where only the collector would find it.

    Of connections some may stand in the heap of deadlines, which lets go of them in time.
    """
    return [each for each in gc.get_objects() if type(each) in (RequestReader, Exchange)]


async def test_closed_connections_leave_nothing_to_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with site() as here:
            with trio.fail_after(10):
                for said in (b"", OK, OK[:30], PUT, PUT + b"a", OK * 3, b"nonsense\r\n\r\n"):
                    wires = [await here.connect() for _ in range(3)]
                    for wire in wires:
                        await wire.send(said)
                    await trio.testing.wait_all_tasks_blocked()
                    wires[0].close()
                    wires[1].reset()
                    wires[2].socket.shutdown(1)
                    while await wires[2].socket.recv(65536):
                        pass
                    while here.server.connections:
                        await trio.lowlevel.checkpoint()
                assert not of_connections()
    finally:
        gc.enable()


async def test_a_client_that_has_said_all_is_still_answered() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(PUT + b"a" + GET)
            wire.socket.shutdown(1)
            assert (await wire.answer()).status == 204
            assert (await wire.answer()).body == b"a"
            assert await wire.ended()


async def test_a_client_that_vanishes_cancels_its_request() -> None:
    async with site() as here:
        with trio.fail_after(10):
            here.engine.silent = {Get}
            wire = await here.connect()
            await wire.send(GET)
            while not here.engine.seen:
                await trio.lowlevel.checkpoint()
            wire.reset()
            while not any(isinstance(event, Cancelled) for event in here.engine.events):
                await trio.lowlevel.checkpoint()
            assert here.host.requests_open == 0
            assert here.metrics.requests["get", "cancelled"] == 1


async def test_a_body_that_breaks_off_reaches_nobody_and_is_given_back() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(PUT.replace(b": 1", b": 100") + b"half")
            while not here.server.traffic.held_bytes:
                await trio.lowlevel.checkpoint()
            wire.reset()
            while here.server.connections:
                await trio.lowlevel.checkpoint()
            assert here.server.traffic.held_bytes == 0
            assert not here.engine.seen


async def test_large_answers_go_out_as_the_client_reads_and_stay_whole() -> None:
    value = bytes(range(256)) * 40_000
    async with site() as here:
        with trio.fail_after(20):
            here.engine.answers[Get] = Found([version(value)], "c", "e", TALLY, OWN_ID)
            wire = await here.connect()
            await wire.send(GET * 3)
            while not here.server.traffic.held_bytes:
                await trio.lowlevel.checkpoint()
            for _ in range(3):
                assert (await wire.answer()).body == value
            await wire.ask(OK)
            assert here.server.traffic.held_bytes == 0


async def test_a_client_that_does_not_read_is_let_go() -> None:
    limits = attrs.evolve(HttpLimits(), stall_ns=30 * MILLISECOND, tick_ns=5 * MILLISECOND)
    async with site(limits) as here:
        with trio.fail_after(10):
            big = version(bytes(8_000_000))
            here.engine.answers[Get] = Found([big], "c", "e", TALLY, OWN_ID)
            wire = await here.connect()
            await wire.send(GET)
            while not here.server.traffic.held_bytes:
                await trio.lowlevel.checkpoint()
            while here.server.connections:
                await trio.lowlevel.checkpoint()
            assert here.server.traffic.held_bytes == 0


async def test_when_too_much_is_held_bodies_are_refused_with_retry_after() -> None:
    async with site(HttpLimits(held_bytes=1000)) as here:
        with trio.fail_after(10):
            hog = await here.connect()
            await hog.send(PUT.replace(b": 1", b": 5000") + bytes(2000))
            while not here.server.traffic.held_bytes:
                await trio.lowlevel.checkpoint()
            wire = await here.connect()
            got = await wire.ask(PUT + b"a")
            assert (got.status, got.fields["retry-after"]) == (503, "1")
            assert json.loads(got.body)["outcome"] == "not_applied"
            assert here.metrics.requests["put", "overloaded"] == 1
            assert (await wire.ask(OK)).status == 200
            await hog.send(bytes(3000))
            assert (await hog.answer()).status == 204
            assert (await wire.ask(PUT + b"a")).status == 204


async def test_draining_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    async with site() as here:
        with trio.fail_after(10):
            passing = await here.connect()
            await passing.ask(OK)
            passing.close()
            while here.server.connections:
                await trio.lowlevel.checkpoint()
            idle, busy, sending = [await here.connect() for _ in range(3)]
            assert (await idle.ask(OK)).status == 200
            here.engine.silent = {Get}
            await busy.send(GET + GET)
            await sending.send(PUT)
            while len(here.engine.seen) < 2 or here.server.connections < 3:
                await trio.lowlevel.checkpoint()
            is_drained = trio.Event()

            async def drain() -> None:
                await here.server.drain(here.server.clock_ns() + 20 * SECOND)
                is_drained.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                assert await idle.ended()
                with pytest.raises(OSError):  # noqa: PT011 - refused
                    await here.connect()
                here.engine.silent = set()
                assert not is_drained.is_set()
                await sending.send(b"a")
                got = await sending.answer()
                assert (got.status, got.fields["connection"]) == (204, "close")
                sending.close()
                busy.reset()


async def test_draining_ends_at_its_deadline() -> None:
    async with site() as here:
        with trio.fail_after(10):
            here.engine.silent = {Get}
            wire = await here.connect()
            await wire.send(GET)
            while not here.engine.seen:
                await trio.lowlevel.checkpoint()
            await here.server.drain(here.server.clock_ns() + 20 * MILLISECOND)


async def test_a_defect_costs_one_request_or_one_connection_and_is_logged() -> None:
    async with site(is_broken_on_purpose=True) as here:
        with trio.fail_after(10):
            here.engine.answers[Get] = "no result at all"
            wire = await here.connect()
            got = await wire.ask(GET)
            assert got.status == 500
            assert (await wire.ask(OK)).status == 200

            def broken() -> dict[str, object]:
                raise RuntimeError("planted")

            here.service.status = broken
            other = await here.connect()
            await other.send(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await other.ended()
            assert (await wire.ask(OK)).status == 200
            assert "planted" in here.log.getvalue()
            assert "Traceback" in here.log.getvalue()


async def test_answers_of_one_turn_keep_their_order_and_come_before_an_end() -> None:
    """Also where they are sent together: small and large ones, and the last that closes."""
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            put = b"PUT /v1/kv/b/%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
            sizes = {b"small": 10, b"large": 100_000, b"other": 20}
            for name, size in sizes.items():
                assert (await wire.ask(put % (name, size, name[:1] * size))).status == 204
            get = b"GET /v1/kv/b/%b HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
            last = get % (b"none", b"Connection: close\r\n")
            await wire.send(b"".join(get % (name, b"") for name in sizes) + last)
            for name, size in sizes.items():
                assert (await wire.answer()).body == name[:1] * size
            assert (await wire.answer()).status == 404
            assert await wire.ended()
            assert not here.server.gathered
