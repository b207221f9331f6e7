"""Messengers that prove who they are: with a secret, with certificates, and to whom they do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from certificates import Authority
from messenger_hosts import Host, Note, aim, member, node_id, running, tell_members
from sadik_comms import Address, CommsError, MemoryNetwork, Stream, TlsTransport
from sadik_machine import Codec, frame
from sadik_members import (
    HANDSHAKE_MESSAGES,
    MAGIC,
    ClusterSecrets,
)
from sadik_members.hello import Challenge, Refuse
from sadik_members.messages import JoinRequest
from sadik_members.messenger import MessengerLimits

OLD = ClusterSecrets((b"the-old-secret-0123456789-abcdefgh",))
NEW = ClusterSecrets((b"the-new-secret-0123456789-abcdefgh",))
BOTH = ClusterSecrets((*NEW.secrets, *OLD.secrets))
OURS = Authority()
HANDSHAKE = Codec(HANDSHAKE_MESSAGES)


async def linked(one: Host, other: Host) -> None:
    await one.until(lambda: one.is_linked(other.number))
    await other.until(lambda: other.is_linked(one.number))


async def test_a_secret_lets_in_on_both_streams_and_keeps_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        running(network.transport("h1"), 1, secrets=BOTH) as a,
        running(network.transport("h2"), 2, secrets=OLD) as b,
        running(network.transport("h3"), 3, secrets=NEW) as c,
        running(network.transport("h4"), 4) as d,
    ):
        for host in (b, c, d):
            aim(host, a)
        await linked(a, b)
        await linked(a, c)
        body = bytes(200_000)
        assert a.messenger.send(node_id(2), Note(1, body))
        await b.until(lambda: b.numbers(1) == [1])
        await d.until(lambda: any(each.reason == "proof" for each in d.refused))
        assert not d.is_linked(1)
        aim(b, a, c)
        await b.until(lambda: any(each.reason == "proof" for each in b.refused))
        assert not b.refused[-1].is_proven

        # Who learns of the new secret is let in from then on, and the link that stands lives on.
        b.messenger.use_secrets(BOTH)
        await linked(b, c)
        assert a.is_linked(2)
        assert a.states(2) == b.states(1)
        assert len(a.states(2)) == 1


@asynccontextmanager
async def answering(network: MemoryNetwork, host: str, answer: bytes) -> AsyncIterator[Address]:
    """Somebody at an address who says the same to all."""

    async def say(stream: Stream) -> None:
        try:
            await stream.send_all(answer)
            while await stream.receive_some():
                pass
        except CommsError:
            pass

    async with (
        trio.open_nursery() as nursery,
        await network.transport(host).listen(Address(host, 1)) as listener,
    ):
        nursery.start_soon(listener.serve, say, nursery)
        yield listener.address
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("reason", ["stale_boot", "removed", "other_cluster"])
async def test_what_a_stranger_refuses_with_is_not_believed(
    autojump_clock: trio.testing.MockClock, reason: str
) -> None:
    network = MemoryNetwork()
    lie = Refuse(reason, "believe me", 1 << 60, node_id(2), b"c" * 16, "test")
    answer = MAGIC + b"".join(frame(HANDSHAKE.encode(each)) for each in (Challenge(bytes(16)), lie))
    async with (
        answering(network, "h2", answer) as address,
        running(network.transport("h1"), 1, secrets=NEW) as a,
    ):
        aim(a, seeds=(str(address),))
        await a.until(lambda: bool(a.refused))
        assert (a.refused[0].reason, a.refused[0].is_proven) == (reason, False)


async def test_many_that_say_nothing_keep_nobody_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    limits = MessengerLimits(handshakes=4)
    async with (
        running(network.transport("h1"), 1, secrets=NEW, limits=limits) as a,
        running(network.transport("h2"), 2, secrets=NEW) as b,
    ):
        assert a.address is not None
        silent = [await network.transport("h3").dial(a.address) for _ in range(12)]
        aim(b, a)
        began = trio.current_time()
        await linked(a, b)
        assert trio.current_time() - began < 1
        assert a.messenger.counters.rejected["handshake_busy"] >= 8
        for stream in silent:
            await stream.aclose()


def tls(network: MemoryNetwork, host: str, *names: str) -> TlsTransport:
    return TlsTransport(inner=network.transport(host), credentials=OURS.credentials(*names))


async def test_certificates_let_in_whom_they_name(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with (
        running(tls(network, "h1", "n1"), 1) as a,
        running(tls(network, "h2", "n2", "n2.example"), 2) as b,
        running(tls(network, "h3", "n1"), 3) as c,
    ):
        # In memory no time passes while OpenSSL works, so the order of dials is what it is.
        aim(b, a)
        await linked(a, b)
        assert a.messenger.send(node_id(2), Note(1, bytes(100_000)))
        await b.until(lambda: b.numbers(1) == [1])
        aim(c, a)
        await a.until(lambda: any(each.reason == "certificate" for each in a.refused))
        assert not a.is_linked(3)


async def test_a_members_certificate_opens_no_other_members_id(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with (
        running(tls(network, "h1", "n1"), 1) as a,
        running(tls(network, "h2", "n2"), 2) as b,
    ):
        # The table knows node 2 by another name, and n2 as another node.
        tell_members(a, member(2, "h2:1", name="n7"), member(9, "h9:1", name="n2"))
        aim(b, a)
        await b.until(lambda: any(each.reason == "certificate" for each in b.refused))
        assert not a.is_linked(2)
        tell_members(a, member(2, "h2:1", boot_nonce=2))
        await linked(a, b)


async def test_nobody_asks_to_be_taken_in_under_another_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    request = JoinRequest("test", "n9", "h2:1", "h:1", "", 1.0, 1, 2, None, None)
    async with (
        running(network.transport("h1"), 1, secrets=NEW) as a,
        running(network.transport("h2"), 2, secrets=NEW) as b,
    ):
        aim(b, a)
        await linked(a, b)
        assert b.messenger.send(node_id(1), request)
        request.name = "n2"
        assert b.messenger.send(node_id(1), request)
        await a.until(lambda: bool(a.got))
        assert [message for _, message in a.got] == [request]
        assert a.messenger.counters.rejected["forged"] == 1
