"""Whoever is waited for in the reactor is heard, and nobody is heard who is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import trio

from sadik_node.reactor import Reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with closing(Reactor()) as made:
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    far.setblocking(False)
    with near, far:
        yield near, far


async def test_a_watched_descriptor_ends_the_wait_and_its_watcher_is_called(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    got: list[bytes] = []
    reactor.watch(far.fileno(), lambda: got.append(far.recv(100)))
    assert not reactor.poll()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.wait)
        await trio.testing.wait_all_tasks_blocked()
        near.send(b"some")
    assert reactor.poll()
    assert got == [b"some"]
    assert not reactor.poll()


def test_it_may_linger_until_something_comes(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    got: list[bytes] = []
    reactor.watch(far.fileno(), lambda: got.append(far.recv(100)))
    assert not reactor.poll(0.001)
    thread = threading.Thread(target=lambda: near.send(b"some"))
    thread.start()
    assert reactor.poll(60)
    thread.join()
    assert got == [b"some"]


async def test_what_was_not_read_is_told_again(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    got: list[bytes] = []
    reactor.watch(far.fileno(), lambda: got.append(far.recv(1)))
    near.send(b"ab")
    assert reactor.poll()
    assert reactor.poll()
    assert got == [b"a", b"b"]


async def test_who_is_forgotten_is_called_no_more_not_even_in_the_same_poll(
    reactor: Reactor, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    called: list[int] = []

    def one_alone(mine: socket.socket, others: socket.socket) -> None:
        called.append(mine.fileno())
        reactor.forget(others.fileno())

    near.setblocking(False)
    reactor.watch(near.fileno(), lambda: one_alone(near, far))
    reactor.watch(far.fileno(), lambda: one_alone(far, near))
    near.send(b"to far")
    far.send(b"to near")
    assert reactor.poll()
    assert len(called) == 1
    reactor.forget(near.fileno())
    reactor.forget(far.fileno())
    reactor.forget(far.fileno())
    assert not reactor.poll()


async def test_calls_of_threads_are_made_here_in_their_order_and_end_the_wait(
    reactor: Reactor,
) -> None:
    here, made = threading.get_ident(), list[tuple[int, int]]()
    count = 500

    def call() -> None:
        for number in range(count):
            reactor.call_soon(lambda number=number: made.append((threading.get_ident(), number)))  # type: ignore[misc]

    thread = threading.Thread(target=call)
    with trio.fail_after(10):
        thread.start()
        while len(made) < count:
            await reactor.wait()
            reactor.poll()
    thread.join()
    assert made == [(here, number) for number in range(count)]


async def test_a_ring_before_the_wait_ends_it_once(reactor: Reactor) -> None:
    reactor.ring()
    reactor.ring()
    with trio.fail_after(10):
        await reactor.wait()
    assert reactor.poll()
    with trio.move_on_after(0) as scope:
        await reactor.wait()
    assert scope.cancelled_caught


async def test_a_call_that_asks_for_another_is_not_stuck_in_it(reactor: Reactor) -> None:
    calls = 0

    def again() -> None:
        nonlocal calls
        calls += 1
        reactor.call_soon(again)

    reactor.call_soon(again)
    reactor.poll()
    assert calls == 1
    reactor.poll()
    assert calls == 2


def test_after_its_end_nobody_is_heard_and_nothing_breaks() -> None:
    reactor = Reactor()
    reactor.close()
    reactor.close()
    reactor.forget(0)
    reactor.call_soon(lambda: None)
