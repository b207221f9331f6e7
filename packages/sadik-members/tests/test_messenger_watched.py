"""Streams that the host waits for in one place bring what streams with tasks of their own do."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import Factory, define

from messenger_hosts import Host, Note, aim, node_id, running
from sadik_comms import Address
from sadik_comms.tcp import TcpStream, TcpTransport
from sadik_machine import LinkState, frame

LOOPBACK = Address("127.0.0.1", 0)


@define
class Watching:
    """Watches for a messenger, in a task of its own."""

    epoll: select.epoll = Factory(select.epoll)
    watched: dict[int, Callable[[], None]] = Factory(dict)

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """See `Watcher.watch`."""
        assert descriptor not in self.watched
        self.watched[descriptor] = ready
        self.epoll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """See `Watcher.forget`."""
        if self.watched.pop(descriptor, None) is not None:
            self.epoll.unregister(descriptor)

    async def run(self) -> None:
        """Call who is watched for, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self.epoll.fileno())
            self.turn()

    def turn(self) -> None:
        """Call whom there is something for."""
        for descriptor, _ in self.epoll.poll(0):
            if descriptor in self.watched:
                self.watched[descriptor]()


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Host, Host, Watching, Watching]]:
    """Two linked messengers over TCP, each with somebody who watches for it."""
    first, second = Watching(), Watching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)
        async with (
            running(TcpTransport(), 1, listen=LOOPBACK, watcher=first) as a,
            running(TcpTransport(), 2, listen=LOOPBACK, watcher=second) as b,
        ):
            aim(a, b)
            await spin_until(lambda: is_watching_both(first) and is_watching_both(second))
            yield a, b, first, second
        assert not first.watched
        assert not second.watched
        nursery.cancel_scope.cancel()
    first.epoll.close()
    second.epoll.close()


def is_watching_both(watching: Watching) -> bool:
    """The small stream and the bulk one."""
    return len(watching.watched) == 2


async def spin_until(condition: Callable[[], bool]) -> None:
    """Let others run until it is so."""
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_messages_come_both_ways_in_order() -> None:
    async with two() as (a, b, _, _):
        for number in range(500):
            assert a.messenger.send(node_id(2), Note(number, b"x" * 100))
            assert b.messenger.send(node_id(1), Note(number, b"x" * 100))
        assert a.messenger.send(node_id(2), Note(500, bytes(range(256)) * 1000))
        await a.until(lambda: len(a.numbers(2)) == 500)
        await b.until(lambda: len(b.numbers(1)) == 501)
        assert a.numbers(2) == list(range(500))
        assert sorted(b.numbers(1)) == list(range(501))


async def test_nothing_is_read_while_held_and_all_of_it_later() -> None:
    async with two() as (a, b, _, watching):
        b.messenger.hold()
        for number in range(100):
            assert a.messenger.send(node_id(2), Note(number))
        await spin_until(lambda: not is_watching_both(watching))
        assert not b.numbers(1)
        b.messenger.release()
        await b.until(lambda: len(b.numbers(1)) == 100)
        assert b.numbers(1) == list(range(100))


async def test_a_peer_that_ends_is_told_as_down_after_its_last_message() -> None:
    async with two() as (a, b, _, _):
        assert a.messenger.send(node_id(2), Note(1))
        await a.messenger.shutdown(10**9)
        await b.until(lambda: LinkState.DOWN in b.states(1))
        assert b.numbers(1) == [1]


@pytest.mark.parametrize("how", ["closes", "breaks"])
async def test_who_has_gone_is_linked_no_more_before_any_task_runs(how: str) -> None:
    async with two() as (a, b, _, watching):
        link = a.messenger._links[node_id(2)]
        for stream in (link.small.stream, link.bulk.stream):
            assert isinstance(stream, TcpStream)
            if how == "closes":
                stream._socket.shutdown(socket.SHUT_RDWR)
            else:
                stream.abort()
        until = time.monotonic() + 10
        while b.is_linked(1):  # nothing is awaited here
            assert time.monotonic() < until
            watching.turn()
        assert b.states(1) == [LinkState.UP, LinkState.DOWN]


async def test_nonsense_ends_the_link_and_is_counted() -> None:
    async with two() as (a, b, _, _):
        link = a.messenger._links[node_id(2)]
        assert link.small.stream is not None
        link.small.stream.send_now(frame((1 << 40).to_bytes(8, "big") + b"\xff\xff"))
        await b.until(lambda: LinkState.DOWN in b.states(1))
        assert "bad_message" in [event for event, _ in b.log]
        assert sum(b.messenger.counters.rejected.values()) >= 1
