"""What every transport must do, as tests that anybody can run on a transport of their own.

Derive a test class from `TransportConformance` and say how to make the transports; pytest then
collects the inherited checks. They are async methods for pytest-trio (``trio_mode = true``); this
module itself imports neither. No check sleeps, so a virtual clock may be used, and each ends
within `LIMIT_S`.

    class TestMyTransport(TransportConformance):
        def transports(self):
            transport = MyTransport()
            return transport, transport, Address("127.0.0.1", 0)
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from typing import NoReturn

import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from sadik_comms.address import Address
from sadik_comms.errors import AddressInUse, CommsError, DialFailed, LocallyClosed, StreamBroken
from sadik_comms.transport import Listener, Stream, Transport

LIMIT_S = 30
"""What a check may take, on trio's clock."""
LARGE_BYTES = 4 * 1024 * 1024
"""A transfer that fills no pipe at once, but many times."""
ENDLESS_BYTES = 256 * 1024 * 1024
"""More than any transport may hold for a peer that does not read."""
# How long all tasks must be idle before a real network counts as stuck.
_QUIET_S = 0.05


async def receive_exactly(stream: Stream, size: int) -> bytes:
    """Receive ``size`` bytes; AssertionError when the stream ends before."""
    data = bytearray()
    while len(data) < size:
        chunk = await stream.receive_some(size - len(data))
        assert chunk, f"ended after {len(data)} of {size} bytes"
        data += chunk
    return bytes(data)


async def receive_all(stream: Stream) -> bytes:
    """Receive until the end."""
    data = bytearray()
    while chunk := await stream.receive_some():
        data += chunk
    return bytes(data)


async def raises(kind: type[BaseException], act: Callable[[], Awaitable[object]]) -> str:
    """Return the message of the ``kind`` that ``act()`` raises; AssertionError without one."""
    try:
        await act()
    except kind as error:
        return str(error)
    raise AssertionError(f"did not raise {kind.__name__}")


def pattern(size: int, start: int = 0) -> bytes:
    """Return ``size`` bytes in which a lost, doubled or exchanged block shows."""
    blocks = range(start, start + size // 16 + 1)
    return b"".join(index.to_bytes(16, "big") for index in blocks)[:size]


async def hold(stream: Stream) -> None:
    """Serve a stream by keeping it open."""
    assert stream.peer
    await trio.sleep_forever()


class TransportConformance:
    """The checks; derive from it and give `transports`."""

    shakes_hands = False
    """Whether a dial waits for the listener to be served."""

    @abstractmethod
    def transports(self) -> tuple[Transport, Transport, Address]:
        """Return one that listens, one that dials, and where to listen (port 0: any)."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[tuple[Listener, Transport, trio.Nursery]]:
        """Listen; give the listener, who may dial it, and a nursery cancelled at the end."""
        listening, dialling, address = self.transports()
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery, await listening.listen(address) as listener:
                yield listener, dialling, nursery
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Stream, Stream]]:
        """Open a stream; give the dialling and the listening end."""
        accepted: list[Stream] = []
        arrived = trio.Event()

        async def keep(stream: Stream) -> None:
            accepted.append(stream)
            arrived.set()
            await trio.sleep_forever()

        async with self.listening() as (listener, dialling, nursery):
            nursery.start_soon(listener.serve, keep, nursery)
            async with await dialling.dial(listener.address) as near:
                await arrived.wait()
                yield near, accepted[0]

    # Bytes

    async def test_bytes_arrive_both_ways(self) -> None:
        async with self.pair() as (near, far):
            assert near.peer
            assert far.peer
            await near.send_all(b"ping")
            assert await receive_exactly(far, 4) == b"ping"
            await far.send_all(bytearray(b"po"))
            await far.send_all(memoryview(b"ng"))
            assert await receive_exactly(near, 4) == b"pong"

    async def test_empty_data_is_no_end(self) -> None:
        async with self.pair() as (near, far):
            await near.send_all(b"")
            await near.send_all(b"x")
            assert await far.receive_some() == b"x"

    async def test_receive_some_gives_at_most_what_was_asked_for(self) -> None:
        async with self.pair() as (near, far):
            await near.send_all(b"abcdef")
            assert await far.receive_some(1) == b"a"
            assert len(await far.receive_some(2)) in (1, 2)
            await raises(ValueError, lambda: far.receive_some(0))

    async def test_what_is_sent_now_arrives_in_order(self) -> None:
        async with self.pair() as (near, far):
            said = b"some" * 50
            sent = near.send_now(said)
            assert 0 <= sent <= len(said)
            await near.send_all(said[sent:])
            assert await receive_exactly(far, len(said)) == said

    async def test_sending_now_never_waits_nor_raises(self) -> None:
        async with self.pair() as (near, far):
            sent = 0
            for _ in range(10_000):  # nobody reads
                taken = near.send_now(bytes(65_536))
                sent += taken
                if not taken:
                    break
            else:
                raise AssertionError("it takes more than anybody may hold")
            while sent:
                sent -= len(await far.receive_some(min(sent, 65_536)))
            await near.send_eof()
            assert near.send_now(b"x") == 0
            await near.aclose()
            assert near.send_now(b"x") == 0

    async def test_what_has_come_can_be_received_without_waiting_where_it_can_be_watched(
        self,
    ) -> None:
        async with self.pair() as (near, far):
            if far.descriptor is None:
                assert far.receive_now() is None
                return
            assert far.receive_now() is None
            await near.send_all(b"abc")
            await trio.lowlevel.wait_readable(far.descriptor)
            assert far.receive_now(2) == b"ab"
            assert far.receive_now() == b"c"
            assert far.receive_now() is None
            await near.send_all(b"d")
            assert await far.receive_some() == b"d"
            await near.aclose()
            await trio.lowlevel.wait_readable(far.descriptor)
            assert far.receive_now() == b""
            assert await far.receive_some() == b""
            await far.aclose()
            assert far.descriptor is None

    async def test_a_broken_stream_says_so_to_who_does_not_wait(self) -> None:
        async with self.pair() as (near, far):
            if far.descriptor is None:
                return
            near.abort()
            await trio.lowlevel.wait_readable(far.descriptor)
            try:
                data = far.receive_now()
            except StreamBroken:
                return
            raise AssertionError(f"a broken stream gave {data!r}")

    async def test_large_transfers_both_ways_at_once(self) -> None:
        async with self.pair() as (near, far):
            digests: dict[str, bytes] = {}

            async def send(stream: Stream, data: bytes) -> None:
                await stream.send_all(data)
                await stream.send_eof()

            async def receive(stream: Stream, name: str) -> None:
                digests[name] = blake2b(await receive_all(stream)).digest()

            there, back = pattern(LARGE_BYTES), pattern(LARGE_BYTES, start=1 << 40)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, near, there)
                nursery.start_soon(send, far, back)
                nursery.start_soon(receive, far, "there")
                nursery.start_soon(receive, near, "back")
            assert digests["there"] == blake2b(there).digest()
            assert digests["back"] == blake2b(back).digest()

    async def test_a_peer_that_does_not_read_makes_the_sender_wait(self) -> None:
        async with self.pair() as (near, far), trio.open_nursery() as nursery:
            sent = 0

            async def send() -> None:
                nonlocal sent
                chunk = pattern(65536)
                while sent < ENDLESS_BYTES:
                    await near.send_all(chunk)
                    sent += len(chunk)

            nursery.start_soon(send)
            await wait_all_tasks_blocked(_QUIET_S)
            stuck_at = sent
            assert stuck_at < ENDLESS_BYTES, "nothing bounds what is sent and not read"
            # Half read, it goes on where it was.
            got = await receive_exactly(far, stuck_at // 65536 // 2 * 65536 + 65536)
            assert got == pattern(65536) * (len(got) // 65536)
            while sent <= stuck_at + 65536:
                await receive_exactly(far, 65536)
            nursery.cancel_scope.cancel()

    # Ends

    async def test_after_send_eof_the_peer_can_still_answer(self) -> None:
        async with self.pair() as (near, far):
            await near.send_all(b"question")
            await near.send_eof()
            await near.send_eof()
            assert await receive_all(far) == b"question"
            assert await far.receive_some() == b""
            await far.send_all(b"answer")
            assert await receive_exactly(near, 6) == b"answer"
            await raises(LocallyClosed, lambda: near.send_all(b"more"))

    async def test_what_was_sent_before_closing_arrives(self) -> None:
        async with self.pair() as (near, far):
            await near.send_all(b"last words")
            await near.aclose()
            assert await receive_all(far) == b"last words"
            assert await far.receive_some() == b""

    async def test_sending_to_a_closed_peer_breaks(self) -> None:
        async with self.pair() as (near, far):
            await far.aclose()

            async def send() -> NoReturn:
                while True:
                    await near.send_all(b"x" * 4096)

            await raises(StreamBroken, send)

    async def test_closing_breaks_a_peer_that_is_blocked_sending(self) -> None:
        async with self.pair() as (near, far), trio.open_nursery() as nursery:

            async def send() -> NoReturn:
                while True:
                    await near.send_all(b"x" * 65536)

            nursery.start_soon(raises, StreamBroken, send)
            await wait_all_tasks_blocked(_QUIET_S)
            await far.aclose()

    async def test_abort_breaks_the_peer_and_stays_broken(self) -> None:
        async with self.pair() as (near, far), trio.open_nursery() as nursery:
            nursery.start_soon(raises, StreamBroken, near.receive_some)
            await wait_all_tasks_blocked()
            far.abort()
            far.abort()
        async with self.pair() as (near, far):
            far.abort()
            await raises(StreamBroken, near.receive_some)
            await raises(StreamBroken, near.receive_some)
            await raises(StreamBroken, lambda: near.send_all(b"x"))
            await raises(StreamBroken, near.receive_some)

    async def test_a_closed_stream_says_that_it_was_closed_here(self) -> None:
        for close in ("aclose", "abort"):
            async with self.pair() as (near, _):
                if close == "aclose":
                    await near.aclose()
                    await near.aclose()
                near.abort()
                await raises(LocallyClosed, near.receive_some)
                await raises(LocallyClosed, partial(near.send_all, b"x"))
                await raises(LocallyClosed, near.send_eof)
                await near.aclose()

    async def test_closing_wakes_the_tasks_that_wait(self) -> None:
        async with self.pair() as (_, far), trio.open_nursery() as nursery:

            async def send() -> NoReturn:
                while True:
                    await far.send_all(b"x" * 65536)

            nursery.start_soon(raises, LocallyClosed, far.receive_some)
            nursery.start_soon(raises, LocallyClosed, send)
            await wait_all_tasks_blocked(_QUIET_S)
            await far.aclose()

    # Cancellation and misuse

    async def test_a_cancelled_receive_has_taken_nothing(self) -> None:
        async with self.pair() as (near, far):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(far.receive_some)
                    await wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
            await near.send_all(b"kept")
            with trio.CancelScope() as scope:
                scope.cancel()
                await far.receive_some()
            assert scope.cancelled_caught
            assert await receive_exactly(far, 4) == b"kept"

    async def test_a_cancelled_send_has_sent_a_prefix(self) -> None:
        async with self.pair() as (near, far):
            data = pattern(LARGE_BYTES) * 16
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(near.send_all, data)
                    await wait_all_tasks_blocked(_QUIET_S)
                    scope.cancel()
            assert scope.cancelled_caught
            await near.aclose()
            got = bytearray()
            with contextlib.suppress(StreamBroken):
                while chunk := await far.receive_some():
                    got += chunk
            assert 0 < len(got) < len(data)
            assert data.startswith(got)

    async def test_a_cancelled_close_has_closed(self) -> None:
        async with self.pair() as (near, far):
            with trio.CancelScope() as scope:
                scope.cancel()
                await near.aclose()
            assert await far.receive_some() == b""

    async def test_a_cancelled_dial_gives_no_stream(self) -> None:
        async with self.listening() as (listener, dialling, nursery):
            nursery.start_soon(listener.serve, hold, nursery)
            with trio.CancelScope() as scope:
                scope.cancel()
                await dialling.dial(listener.address)
            assert scope.cancelled_caught

    async def test_two_tasks_in_one_direction_are_a_fault(self) -> None:
        async with self.pair() as (near, _), trio.open_nursery() as nursery:

            async def send() -> NoReturn:
                while True:
                    await near.send_all(b"x" * 65536)

            nursery.start_soon(near.receive_some)
            nursery.start_soon(send)
            await wait_all_tasks_blocked(_QUIET_S)
            await raises(trio.BusyResourceError, near.receive_some)
            await raises(trio.BusyResourceError, lambda: near.send_all(b"x"))
            nursery.cancel_scope.cancel()

    async def test_every_wait_is_a_checkpoint(self) -> None:
        async with self.listening() as (listener, dialling, nursery):
            nursery.start_soon(listener.serve, hold, nursery)
            with assert_checkpoints():
                stream = await dialling.dial(listener.address)
            with assert_checkpoints():
                await stream.send_all(b"x")
            with assert_checkpoints():
                await stream.send_all(b"")
            with assert_checkpoints():
                await stream.send_eof()
            with assert_checkpoints():
                await stream.aclose()
            with assert_checkpoints():
                await listener.aclose()
        async with self.pair() as (near, far):
            await near.send_all(b"x")
            with assert_checkpoints():
                await far.receive_some()
            await near.aclose()
            with assert_checkpoints():
                await far.receive_some()

    # Listening

    async def test_the_address_bound_can_be_dialled(self) -> None:
        if self.shakes_hands:
            return
        async with self.listening() as (listener, dialling, _):
            assert listener.address.port != 0
            # Nobody serves yet: the stream waits.
            async with await dialling.dial(listener.address) as stream:
                await stream.send_all(b"early")

    async def test_two_dials_at_once_give_two_streams(self) -> None:
        async def echo(stream: Stream) -> None:
            while data := await stream.receive_some():
                await stream.send_all(data)

        async with self.listening() as (listener, dialling, nursery):

            async def ask(question: bytes) -> None:
                async with await dialling.dial(listener.address) as stream:
                    for _ in range(3):
                        await stream.send_all(question)
                        assert await receive_exactly(stream, len(question)) == question

            nursery.start_soon(listener.serve, echo, nursery)
            async with trio.open_nursery() as asking:
                for index in range(8):
                    asking.start_soon(ask, b"question %d" % index)

    async def test_the_stream_is_closed_after_its_handler(self) -> None:
        async def greet(stream: Stream) -> None:
            await stream.send_all(b"bye")

        async with self.listening() as (listener, dialling, nursery):
            nursery.start_soon(listener.serve, greet, nursery)
            async with await dialling.dial(listener.address) as stream:
                assert await receive_all(stream) == b"bye"

    async def test_serving_ends_when_the_listener_closes(self) -> None:
        async with self.listening() as (listener, _, nursery):
            async with trio.open_nursery() as serving:
                serving.start_soon(listener.serve, hold, nursery)
                await wait_all_tasks_blocked()
                await listener.aclose()
                await listener.aclose()
            await listener.serve(hold, nursery)

    async def test_nobody_listening_fails_a_dial_at_once(self) -> None:
        async with self.listening() as (listener, dialling, _):
            await listener.aclose()
            message = await raises(DialFailed, partial(dialling.dial, listener.address))
            assert str(listener.address) in message

    async def test_port_0_cannot_be_dialled(self) -> None:
        _, dialling, address = self.transports()
        await raises(DialFailed, lambda: dialling.dial(Address(address.host, 0)))

    async def test_an_address_is_listened_at_once_only(self) -> None:
        listening, _, address = self.transports()
        async with await listening.listen(address) as first:
            await raises(AddressInUse, lambda: listening.listen(first.address))

    async def test_closing_the_listener_breaks_who_waits_for_it(self) -> None:
        if self.shakes_hands:
            return
        async with (
            self.listening() as (listener, dialling, _),
            await dialling.dial(listener.address) as stream,
        ):
            await listener.aclose()
            await raises(StreamBroken, stream.receive_some)

    async def test_listening_again_at_once_while_old_streams_live(self) -> None:
        listening, dialling, address = self.transports()
        accepted: list[Stream] = []
        arrived = trio.Event()

        async def keep(stream: Stream) -> None:
            accepted.append(stream)
            arrived.set()
            await trio.sleep_forever()

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                first = await listening.listen(address)
                nursery.start_soon(first.serve, keep, nursery)
                old = await dialling.dial(first.address)
                closed_by_us = await dialling.dial(first.address)
                await arrived.wait()
                await first.aclose()
                async with await listening.listen(first.address) as second:
                    assert second.address == first.address
                    nursery.start_soon(second.serve, keep, nursery)
                    async with await dialling.dial(second.address) as new:
                        await new.send_all(b"new")
                        await old.send_all(b"old")
                        assert await receive_exactly(accepted[0], 3) == b"old"
                await old.aclose()
                await closed_by_us.aclose()
                nursery.cancel_scope.cancel()

    async def test_only_errors_of_this_package_come_out(self) -> None:
        async with self.pair() as (near, far):
            far.abort()
            for act in (near.receive_some, lambda: near.send_all(b"x"), near.send_eof):
                try:
                    await act()
                except CommsError:
                    continue
