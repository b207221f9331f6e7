"""What a host can rely on from its messenger, over memory and over TCP."""

from __future__ import annotations

import pytest
import trio

from messenger_hosts import (
    CLUSTER,
    CODEC,
    Host,
    Note,
    aim,
    member,
    node_id,
    running,
    tell_members,
)
from sadik_comms import Address
from sadik_comms.memory import MemoryNetwork
from sadik_comms.tcp import TcpTransport
from sadik_machine import MILLISECOND, SECOND, LinkState, frame
from sadik_members import DialTargets, MemberState
from sadik_members.hello import MAGIC
from sadik_members.messages import Ping
from sadik_members.messenger import MessengerLimits

UP, DOWN, FULL = LinkState.UP, LinkState.DOWN, LinkState.FULL


async def linked(one: Host, other: Host) -> None:
    await one.until(lambda: one.is_linked(other.number))
    await other.until(lambda: other.is_linked(one.number))


async def test_messages_arrive_in_order_and_gathered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(a, b)
        await linked(a, b)
        for number in range(1000):
            assert a.messenger.send(node_id(2), Note(number, b"x" * 100))
        await b.until(lambda: len(b.numbers(1)) == 1000)
        assert b.numbers(1) == list(range(1000))
        assert a.messenger.counters.writes <= 8
        assert b.messenger.send(node_id(1), Note(7))
        await a.until(lambda: a.numbers(2) == [7])
        assert a.states(2) == b.states(1) == [UP]


async def test_a_large_message_goes_beside_the_small_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(a, b)
        await linked(a, b)
        network.delay("h1", "h2", 10 * MILLISECOND)
        body = bytes(range(256)) * 40_000
        assert a.messenger.send(node_id(2), Note(1, body))
        assert a.messenger.send(node_id(2), Note(2))
        await b.until(lambda: len(b.got) == 2)
        assert b.numbers(1) == [2, 1]
        assert b.got[1][1] == Note(1, body)


@pytest.mark.parametrize("seed", range(12))
async def test_both_dial_at_once_and_one_link_survives(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        network.delay("h1", "h2", (seed % 4) * MILLISECOND, one_way=True)
        network.delay("h2", "h1", (seed % 3) * MILLISECOND, one_way=True)
        aim(a, b, seeds=("h2:1", "h1:1"))
        await trio.sleep(seed * 0.0007)
        aim(b, a, seeds=("h1:1",))
        await linked(a, b)
        for number in range(50):
            assert a.messenger.send(node_id(2), Note(number))
            assert b.messenger.send(node_id(1), Note(number))
        await trio.sleep(20)
        assert a.states(2) == b.states(1) == [UP]
        assert a.numbers(2) == b.numbers(1) == list(range(50))
        assert not a.refused
        assert not b.refused
        # Nobody goes on dialling.
        dials = a.messenger.counters.dials + b.messenger.counters.dials
        await trio.sleep(60)
        assert a.messenger.counters.dials + b.messenger.counters.dials == dials


async def test_nothing_to_send_to_who_is_not_linked(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a:
        assert not a.messenger.send(node_id(2), Note(1))
        assert a.messenger.counters.rejected == {"not_linked": 1}


async def test_a_broken_link_is_told_and_dialled_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(a, b)
        aim(b, a)
        await linked(a, b)
        await trio.sleep(5)
        for round_ in range(5):
            network.break_streams("h1", "h2")
            start = trio.current_time()
            await a.until(lambda: a.states(2)[-1] is DOWN)
            await linked(a, b)
            assert trio.current_time() - start < 0.5
            await trio.sleep(3)
            assert a.messenger.send(node_id(2), Note(round_))
            await b.until(lambda round_=round_: b.numbers(1)[-1:] == [round_])
        assert a.states(2) == b.states(1) == [UP, *[DOWN, UP] * 5]


async def test_a_restarted_peer_is_linked_within_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a:
        async with running(network.transport("h2"), 2) as b:
            aim(a, b)
            aim(b, a)
            await linked(a, b)
            await trio.sleep(5)
        await a.until(lambda: not a.is_linked(2))
        await trio.sleep(30)
        start = trio.current_time()
        async with running(network.transport("h2"), 2, boot=2) as b:
            aim(b, a)
            await linked(a, b)
            assert trio.current_time() - start < 1
            assert b.messenger.send(node_id(1), Note(1))
            await a.until(lambda: a.numbers(2) == [1])


async def test_a_new_life_replaces_the_link_of_the_old(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The old life's streams are silent, not broken, as after a power cut."""
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a:
        async with running(network.transport("h2"), 2) as b:
            aim(b, a)
            await linked(a, b)
            network.cut("h1", "h2")
        await trio.sleep(2)
        assert a.is_linked(2)
        # What the dead node's system would have sent stays in the cut; a new stream is let through.
        network.break_streams("h2", "h1")
        network.heal("h1", "h2")
        async with running(network.transport("h2"), 2, boot=2) as b:
            aim(b, a)
            await linked(a, b)
            assert b.messenger.send(node_id(1), Note(1))
            await a.until(lambda: a.numbers(2) == [1])


async def test_a_silent_peer_blocks_nobody_and_holds_bounded_memory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = MessengerLimits(small_buffer_bytes=100_000)
    network = MemoryNetwork(buffer_bytes=10_000)
    async with (
        running(network.transport("h1"), 1, limits=limits) as a,
        running(network.transport("h2"), 2) as b,
        running(network.transport("h3"), 3) as c,
    ):
        aim(a, b, c)
        await linked(a, b)
        await linked(a, c)
        b.messenger.hold()
        taken = 0
        while a.messenger.send(node_id(2), Note(taken, bytes(1000))):
            taken += 1
            if taken % 50 == 0:
                await trio.sleep(0.01)
        assert a.states(2) == [UP, FULL]
        assert a.messenger.pending_bytes[node_id(2)] <= 100_000
        assert not a.messenger.send(node_id(2), Note(0, bytes(100_000)[:5000]))
        assert a.states(2) == [UP, FULL]
        assert a.messenger.send(node_id(3), Note(1))
        await c.until(lambda: c.numbers(1) == [1])
        assert a.is_linked(2)
        b.messenger.release()
        await b.until(lambda: len(b.numbers(1)) == taken)
        assert b.numbers(1) == list(range(taken))
        await a.until(lambda: a.states(2) == [UP, FULL, UP])


async def test_what_was_never_written_is_reported_before_the_link_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = MessengerLimits(write_bytes=2_000)
    network = MemoryNetwork(buffer_bytes=1_000)
    async with (
        running(network.transport("h1"), 1, limits=limits) as a,
        running(network.transport("h2"), 2) as b,
    ):
        aim(a, b)
        await linked(a, b)
        b.messenger.hold()
        await trio.sleep(1)
        for number in range(100):
            assert a.messenger.send(node_id(2), Note(number, bytes(500)))
        await trio.sleep(1)
        network.break_streams("h1", "h2")
        await a.until(lambda: a.states(2)[:2] == [UP, DOWN])
        assert a.told[:3] == ["up", "unsent", "down"]
        unsent = [message.number for _, message in a.unsent if isinstance(message, Note)]
        b.messenger.release()
        await trio.sleep(5)
        # A whole suffix was never written; nothing of it arrived, and nothing arrived twice.
        assert unsent == list(range(unsent[0], 100))
        assert 0 < unsent[0] < 20
        assert not set(b.numbers(1)) & set(unsent)
        assert len(set(b.numbers(1))) == len(b.numbers(1))


async def test_a_peer_of_another_cluster_is_refused_on_both_sides(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        running(network.transport("h1"), 1) as a,
        running(network.transport("h2"), 2, cluster=b"d" * 16) as b,
    ):
        aim(a, b)
        await a.until(lambda: bool(a.refused))
        await b.until(lambda: bool(b.refused))
        (here, there) = (a.refused[0], b.refused[0])
        assert (here.reason, here.by_peer, here.outgoing) == ("other_cluster", True, True)
        assert (there.reason, there.by_peer, there.outgoing) == ("other_cluster", False, False)
        assert (here.cluster_id, there.cluster_id) == (b"d" * 16, CLUSTER)
        assert there.cluster_name == "test"
        assert not a.links
        assert a.messenger.counters.rejected["handshake_other_cluster"] >= 1


async def test_a_stale_boot_is_told_which_one_is_remembered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        tell_members(a, member(2, "h2:1", boot_number=9))
        aim(b, a)
        await b.until(lambda: bool(b.refused))
        assert (b.refused[0].reason, b.refused[0].by_peer) == ("stale_boot", True)
        assert b.refused[0].boot_number == 9


async def test_a_start_that_was_met_is_remembered_before_gossip_tells_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a:
        tell_members(a, member(2, "h2:1", boot_number=1))
        async with running(network.transport("h2"), 2, boot=3) as b:
            aim(b, a)
            await a.until(lambda: a.is_linked(2))
        async with running(network.transport("h2"), 2, boot=2) as copy:
            aim(copy, a)
            await copy.until(lambda: bool(copy.refused))
            assert (copy.refused[0].reason, copy.refused[0].boot_number) == ("stale_boot", 3)


async def test_who_left_loses_its_link_and_is_told_why_it_gets_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(b, a)
        await linked(a, b)
        tell_members(a, member(2, "h2:1", state=MemberState.LEFT))
        assert not a.is_linked(2)
        await b.until(lambda: any(r.reason == "removed" for r in b.refused))


async def test_who_left_still_gets_what_was_said_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(b, a)
        await linked(a, b)
        for number in range(3):
            assert a.messenger.send(node_id(2), Note(number))
        tell_members(a, member(2, "h2:1", state=MemberState.LEFT))
        assert not a.messenger.send(node_id(2), Note(9))
        await b.until(lambda: not b.is_linked(1))
        assert b.got == [(1, Note(number)) for number in range(3)]


async def test_a_joiner_may_speak_of_membership_only_until_it_is_a_member(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        running(network.transport("h1"), 1) as a,
        running(network.transport("h2"), 2, cluster=b"") as b,
    ):
        aim(b, seeds=(str(a.address),))
        await linked(a, b)
        assert b.messenger.send(node_id(1), Note(1))
        assert b.messenger.send(node_id(1), Ping(5))
        await a.until(lambda: bool(a.got))
        assert a.got == [(2, Ping(5))]
        assert a.messenger.counters.rejected["not_a_member"] == 1
        tell_members(a, member(2, "h2:1"))
        assert b.messenger.send(node_id(1), Note(2))
        await a.until(lambda: a.numbers(2) == [2])


async def test_a_changed_address_is_dialled_and_another_node_at_the_old_one_is_left_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        running(network.transport("h1"), 1) as a,
        running(network.transport("h2"), 2) as b,
        running(network.transport("h3"), 3) as c,
    ):
        a.messenger.observe(DialTargets({node_id(2): str(c.address)}, ()))
        await a.until(lambda: bool(a.refused))
        assert a.refused[0].reason == "wrong_node"
        assert not a.is_linked(3)
        aim(a, b)
        await linked(a, b)


async def test_a_node_that_is_its_own_seed_does_not_mind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a:
        aim(a, seeds=("h1:1",))
        await trio.sleep(10)
        assert a.messenger.counters.dials == 1
        assert not a.links
        assert not a.refused


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "handshake_not_sadik"),
        (MAGIC + frame(b"\xff" * 50), "handshake_malformed"),
        (MAGIC + (1 << 20).to_bytes(4, "big"), "handshake_malformed"),
        (MAGIC, "handshake_timeout"),
        (b"", "handshake_timeout"),
    ],
)
async def test_what_is_no_node_is_closed_and_counted(
    autojump_clock: trio.testing.MockClock, data: bytes, reason: str
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a:
        stream = await network.transport("x").dial(Address("h1", 1))
        if data:
            await stream.send_all(data)
        with trio.fail_after(8):
            while await stream.receive_some():
                pass
        assert a.messenger.counters.rejected == {reason: 1}
        assert not a.links
        await stream.aclose()


async def test_a_message_that_is_malformed_ends_its_link_and_harms_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        running(network.transport("h1"), 1) as a,
        running(network.transport("h2"), 2) as b,
        running(network.transport("h3"), 3) as c,
    ):
        aim(b, a)
        aim(c, a)
        await linked(a, b)
        await linked(a, c)
        link = b.messenger._links[node_id(1)]
        link.small._chunks += [frame((1).to_bytes(8, "big") + b"\xff\xff")]
        link.small._messages.append(None)
        assert b.messenger.send(node_id(1), Note(1))
        await a.until(lambda: a.states(2)[-1] is DOWN)
        assert a.messenger.counters.rejected["malformed"] == 1
        assert any(event == "bad_message" for event, _ in a.log)
        assert a.is_linked(3)


async def test_an_unknown_message_of_a_later_version_is_passed_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(b, a)
        await linked(a, b)
        outbox = b.messenger._links[node_id(1)].small
        outbox.offer(None, b"\x82\x19\x27\x0f\x01")
        assert b.messenger.send(node_id(1), Note(1))
        await a.until(lambda: a.numbers(2) == [1])
        assert a.messenger.counters.rejected == {"unknown_message": 1}
        assert a.is_linked(2)


async def test_a_repeated_sequence_number_is_taken_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(b, a)
        await linked(a, b)
        for number in (1, 2):
            b.messenger._links[node_id(1)].small._number = 40
            assert b.messenger.send(node_id(1), Note(number))
        await a.until(lambda: bool(a.got))
        await trio.sleep(1)
        assert a.numbers(2) == [1]
        assert a.messenger.counters.rejected == {"duplicate": 1}


async def test_shutdown_writes_everything_first(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(buffer_bytes=5_000)
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(a, b)
        aim(b, a)
        await linked(a, b)
        network.delay("h1", "h2", 5 * MILLISECOND)
        for number in range(200):
            assert a.messenger.send(node_id(2), Note(number, bytes(300)))
        await a.messenger.shutdown(20 * SECOND)
        await b.until(lambda: len(b.numbers(1)) == 200)
        await b.until(lambda: b.states(1) == [UP, DOWN])
        assert not a.messenger.send(node_id(2), Note(0))
        assert not a.unsent


async def test_shutdown_waits_for_a_stuck_peer_no_longer_than_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(buffer_bytes=1_000)
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(a, b)
        await linked(a, b)
        b.messenger.hold()
        for number in range(200):
            a.messenger.send(node_id(2), Note(number, bytes(300)))
        start = trio.current_time()
        await a.messenger.shutdown(3 * SECOND)
        assert trio.current_time() - start == pytest.approx(3, abs=0.1)


async def test_the_host_is_told_who_was_heard(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with running(network.transport("h1"), 1) as a, running(network.transport("h2"), 2) as b:
        aim(a, b)
        await linked(a, b)
        for number in range(50):
            b.messenger.send(node_id(1), Note(number))
            await trio.sleep(0.01)
        await trio.sleep(0.2)
        assert 3 <= len(a.heard) <= 8
        assert set(a.heard) == {(node_id(2),)}


async def test_over_tcp_three_nodes_exchange_thousands_and_survive_a_break() -> None:
    transport = TcpTransport()
    free = Address("127.0.0.1", 0)
    async with (
        running(transport, 1, listen=free) as a,
        running(transport, 2, listen=free) as b,
        running(transport, 3, listen=free) as c,
    ):
        hosts = (a, b, c)
        for host in hosts:
            aim(host, *[other for other in hosts if other is not host])
        for one, other in ((a, b), (b, c), (a, c)):
            await linked(one, other)
        for number in range(2000):
            for host in hosts:
                for other in hosts:
                    if other is not host:
                        assert host.messenger.send(node_id(other.number), Note(number, b"v" * 100))
        large = Note(1_000_000, bytes(3_000_000))
        assert a.messenger.send(node_id(2), large)
        for host in hosts:
            await host.until(lambda host=host: len(host.got) >= 4000)
        await b.until(lambda: large in [message for _, message in b.got])
        assert c.numbers(1) == c.numbers(2) == list(range(2000))
        await a.messenger.shutdown(SECOND)
        await b.until(lambda: not b.is_linked(1))
        assert b.is_linked(3)


def test_the_codec_of_these_tests_carries_both_ranges() -> None:
    assert CODEC.decode(CODEC.encode(Note(1, b"x"))) == Note(1, b"x")
