"""A memory network's faults: cuts hide all, heals bring all in order, delays take their time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sadik_comms import (
    Address,
    DialFailed,
    ListenFailed,
    LocallyClosed,
    MemoryNetwork,
    Stream,
    StreamBroken,
)
from sadik_comms.conformance import hold, receive_exactly


@asynccontextmanager
async def _pair(network: MemoryNetwork, a: str = "a", b: str = "b") -> AsyncIterator[list[Stream]]:
    """Open a stream from ``a`` to ``b``; give both ends."""
    far: list[Stream] = []

    async def keep(stream: Stream) -> None:
        far.append(stream)
        await trio.sleep_forever()

    async with (
        trio.open_nursery() as nursery,
        await network.transport(b).listen(Address(b, 0)) as listener,
    ):
        nursery.start_soon(listener.serve, keep, nursery)
        async with await network.transport(a).dial(listener.address) as near:
            await wait_all_tasks_blocked()
            yield [near, far[0]]
        nursery.cancel_scope.cancel()


async def _silent(stream: Stream) -> bool:
    """Whether nothing arrives within an hour."""
    with trio.move_on_after(3600):
        await stream.receive_some()
        return False
    return True


async def test_a_cut_silences_without_breaking_and_a_heal_brings_all_in_order(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    async with _pair(network) as (near, far):
        await near.send_all(b"0")
        network.cut("a", "b")
        await near.send_all(b"1")
        await far.send_all(b"2")
        assert await far.receive_some() == b"0", "what had arrived stays readable"
        assert await _silent(far)
        assert await _silent(near)
        await near.send_all(b"3")
        network.heal("b", "a")
        assert await receive_exactly(far, 2) == b"13"
        assert await receive_exactly(near, 1) == b"2"


async def test_a_one_way_cut_leaves_the_other_way_alone(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with _pair(network) as (near, far):
        network.cut("a", "b", one_way=True)
        await near.send_all(b"there")
        await far.send_all(b"back")
        assert await receive_exactly(near, 4) == b"back"
        assert await _silent(far)
        network.heal("b", "a", one_way=True)
        assert await _silent(far)
        network.heal("a", "b", one_way=True)
        assert await receive_exactly(far, 5) == b"there"


async def test_a_cut_hides_closing_and_resetting_until_the_heal(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with _pair(network) as (near, far):
        network.cut("a", "b")
        await near.aclose()
        assert await _silent(far)
        await far.send_all(b"unaware")
        network.heal("a", "b")
        assert await far.receive_some() == b""
        with pytest.raises(StreamBroken):
            await far.send_all(b"aware")
    async with _pair(network) as (near, far):
        network.cut("a", "b")
        near.abort()
        assert await _silent(far)
        network.heal("a", "b")
        with pytest.raises(StreamBroken):
            await far.receive_some()


async def test_a_cut_fills_the_buffer_and_then_the_sender_waits(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(buffer_bytes=10)
    async with _pair(network) as (near, far):
        network.cut("a", "b")
        await near.send_all(b"0123456789")
        with trio.move_on_after(3600) as scope:
            await near.send_all(b"x")
        assert scope.cancelled_caught
        network.heal("a", "b")
        assert await receive_exactly(far, 10) == b"0123456789"


async def test_a_waiting_sender_learns_that_the_peer_closed(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(buffer_bytes=10)
    network.delay("a", "b", 500_000_000)
    async with _pair(network) as (near, far):
        start = trio.current_time()

        async def send() -> None:
            with pytest.raises(StreamBroken):
                await near.send_all(b"x" * 100)
            assert trio.current_time() - start == pytest.approx(0.5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            await far.aclose()


async def test_a_delay_takes_its_time_and_keeps_the_order(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.delay("a", "b", 50_000_000)
    start = trio.current_time()
    async with _pair(network) as (near, far):
        assert trio.current_time() - start == pytest.approx(0.1), "a dial is a round trip"
        start = trio.current_time()
        await near.send_all(b"1")
        assert trio.current_time() == start, "sending does not wait for the way"
        network.delay("a", "b", 10_000_000, one_way=True)
        await near.send_all(b"2")
        assert await receive_exactly(far, 2) == b"12"
        assert trio.current_time() - start == pytest.approx(0.05)
        start = trio.current_time()
        await near.send_all(b"3")
        assert await receive_exactly(far, 1) == b"3"
        assert trio.current_time() - start == pytest.approx(0.01)
        await far.send_all(b"4")
        assert await receive_exactly(near, 1) == b"4"
        assert trio.current_time() - start == pytest.approx(0.06)


async def test_what_is_under_way_when_the_link_is_cut_waits(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.delay("a", "b", 50_000_000)
    async with _pair(network) as (near, far):
        await near.send_all(b"x")
        network.cut("a", "b")
        assert await _silent(far)
        network.heal("a", "b")
        assert await receive_exactly(far, 1) == b"x"


async def test_a_dial_hangs_while_cut_and_fails_at_its_timeout(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    for one_way in ((), ("a", "b"), ("b", "a")):
        network.cut(*(one_way or ("a", "b")), one_way=bool(one_way))
        listener = await network.transport("b").listen(Address("b", 0))
        start = trio.current_time()
        with pytest.raises(DialFailed, match="no answer within 3 s"):
            await network.transport("a", dial_timeout_ns=3_000_000_000).dial(listener.address)
        assert trio.current_time() - start == pytest.approx(3)
        network.heal("a", "b")
        async with listener, await network.transport("a").dial(listener.address):
            pass


async def test_a_dial_that_hangs_goes_on_after_the_heal(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.cut("a", "b")
    async with (
        await network.transport("b").listen(Address("b", 0)) as listener,
        trio.open_nursery() as nursery,
    ):

        async def dial() -> None:
            async with await network.transport("a").dial(listener.address):
                pass

        nursery.start_soon(dial)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        network.heal("a", "b")


async def test_what_has_arrived_and_was_not_looked_at_is_readable_through_a_cut(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    network.delay("a", "b", 50_000_000)
    async with _pair(network) as (near, far):
        await near.send_all(b"x")
        autojump_clock.jump(1)
        network.cut("a", "b")
        assert await receive_exactly(far, 1) == b"x"


async def test_a_cut_that_overtakes_a_dial_holds_it_up(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.delay("a", "b", 500_000_000)
    # What was lost on the way there makes the whole way again; a held answer arrives at the heal.
    for direction, seconds in ((("a", "b"), 61), (("b", "a"), 60)):
        async with (
            await network.transport("b").listen(Address("b", 0)) as listener,
            trio.open_nursery() as nursery,
        ):
            start = trio.current_time()

            async def dial(address: Address, until: float) -> None:
                transport = network.transport("a", dial_timeout_ns=100_000_000_000)
                async with await transport.dial(address):
                    assert trio.current_time() == pytest.approx(until)

            nursery.start_soon(dial, listener.address, start + seconds)
            await wait_all_tasks_blocked()
            network.cut(*direction, one_way=True)
            autojump_clock.jump(1)
            await wait_all_tasks_blocked()
            autojump_clock.jump(59)
            network.heal(*direction, one_way=True)


async def test_closing_refuses_the_dials_that_wait_for_a_full_backlog(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork(backlog=1)
    listener = await network.transport("b").listen(Address("b", 0))

    async def dial() -> None:
        with pytest.raises(DialFailed, match="refused"):
            await network.transport("a").dial(listener.address)

    async with await network.transport("a").dial(listener.address), trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        await wait_all_tasks_blocked()
        await listener.aclose()


async def test_a_dial_waits_while_the_backlog_is_full(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(backlog=1)
    dialler = network.transport("a", dial_timeout_ns=1_000_000_000)
    async with (
        trio.open_nursery() as nursery,
        await network.transport("b").listen(Address("b", 0)) as listener,
    ):
        first = await dialler.dial(listener.address)
        with pytest.raises(DialFailed, match="no answer"):
            await dialler.dial(listener.address)
        nursery.start_soon(listener.serve, hold, nursery)
        await (await dialler.dial(listener.address)).aclose()
        await first.aclose()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_dial_leaves_a_broken_stream_at_the_listener(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    network.delay("b", "a", 1_000_000_000, one_way=True)
    ends: list[Stream] = []

    async def keep(stream: Stream) -> None:
        ends.append(stream)
        with pytest.raises(StreamBroken):
            await stream.receive_some()

    async with (
        trio.open_nursery() as nursery,
        await network.transport("b").listen(Address("b", 0)) as listener,
    ):
        nursery.start_soon(listener.serve, keep, nursery)
        with trio.move_on_after(0.5):
            await network.transport("a").dial(listener.address)
        await wait_all_tasks_blocked()
        assert len(ends) == 1
        assert network.break_streams("a") == 0
        await listener.aclose()


async def test_breaking_streams_touches_only_the_pair_named(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with _pair(network, "a", "b") as (ab, ba), _pair(network, "a", "c") as (ac, ca):
        await ab.send_all(b"lost")
        assert network.break_streams("b", "a") == 2
        for end in (ab, ba):
            with pytest.raises(StreamBroken):
                await end.receive_some()
        await ab.aclose()
        with pytest.raises(StreamBroken):
            await ba.receive_some()
        await ac.send_all(b"x")
        assert await receive_exactly(ca, 1) == b"x"
        assert network.break_streams("a") == 3, (
            "one end of the first is left, and both of the other"
        )
        with pytest.raises(StreamBroken):
            await ca.send_all(b"x")


async def test_a_cut_touches_only_the_pair_named(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with _pair(network, "a", "b"), _pair(network, "a", "c") as (ac, ca):
        network.cut("a", "b")
        await ac.send_all(b"x")
        assert await receive_exactly(ca, 1) == b"x"


async def test_an_unknown_host_and_a_foreign_address_are_refused(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    transport = network.transport("A")
    with pytest.raises(DialFailed, match="does not resolve"):
        await transport.dial(Address("nowhere", 1))
    with pytest.raises(ListenFailed, match="not an address of this host"):
        await transport.listen(Address("b", 1))
    async with await transport.listen(Address("a", 1)) as listener:
        await (await transport.dial(listener.address)).aclose()


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="delay_ns"):
        MemoryNetwork().delay("a", "b", -1)


async def test_a_paused_host_neither_reads_nor_writes_and_goes_on_where_it_was(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork(buffer_bytes=10)
    async with _pair(network) as (near, far), trio.open_nursery() as nursery:
        network.pause("b")
        nursery.start_soon(far.send_all, b"from b")
        await near.send_all(b"0123456789")
        assert await _silent(far), "what came is not read"
        assert await _silent(near), "what its task sends does not leave"
        with trio.move_on_after(3600) as scope:
            await near.send_all(b"x")
        assert scope.cancelled_caught, "the buffer fills"
        network.resume("b")
        assert await receive_exactly(near, 6) == b"from b"
        assert await receive_exactly(far, 10) == b"0123456789"


async def test_a_dial_of_a_paused_host_succeeds_and_nobody_serves_it(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    served: list[Stream] = []

    async def serve(stream: Stream) -> None:
        served.append(stream)
        await stream.send_all(b"hello")

    async with (
        trio.open_nursery() as nursery,
        await network.transport("b").listen(Address("b", 0)) as listener,
    ):
        nursery.start_soon(listener.serve, serve, nursery)
        network.pause("b")
        async with await network.transport("a").dial(listener.address) as near:
            assert await _silent(near)
            assert not served
            network.resume("b")
            assert await receive_exactly(near, 5) == b"hello"
        nursery.cancel_scope.cancel()


async def test_a_paused_host_dials_when_it_goes_on(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    transport = network.transport("a", dial_timeout_ns=2 * 3600_000_000_000)
    network.pause("a")
    async with (
        await network.transport("b").listen(Address("b", 0)) as listener,
        trio.open_nursery() as nursery,
    ):

        async def dial() -> None:
            async with await transport.dial(listener.address):
                pass

        nursery.start_soon(dial)
        await trio.sleep(3600)
        assert nursery.child_tasks
        network.resume("a")


async def test_a_paused_stream_can_be_closed(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with _pair(network) as (near, far):
        network.pause("b")
        far.abort()
        with pytest.raises(StreamBroken):
            await near.receive_some()
        with pytest.raises(LocallyClosed):
            await far.receive_some()
