"""Whatever breaks, and however dials cross: one link a pair, nothing twice, nothing lost unsaid."""

from __future__ import annotations

import itertools
import random

import pytest
import trio

from messenger_hosts import Host, Note, aim, node_id, running
from sadik_comms.memory import MemoryNetwork
from sadik_machine import MILLISECOND, LinkState


def pairs(hosts: list[Host]) -> list[tuple[Host, Host]]:
    return list(itertools.permutations(hosts, 2))


def all_linked(hosts: list[Host]) -> bool:
    """Every pair has a link, and both sides mean the same one."""
    for one, other in pairs(hosts):
        mine = one.messenger._links.get(node_id(other.number))
        theirs = other.messenger._links.get(node_id(one.number))
        if mine is None or theirs is None or mine.nonce != theirs.nonce:
            return False
        if mine.is_ours == theirs.is_ours or not (mine.has_bulk and theirs.has_bulk):
            return False
    return True


async def linked_within(hosts: list[Host], seconds: float) -> None:
    with trio.fail_after(seconds):
        while not all_linked(hosts):  # noqa: ASYNC110 -- several hosts' state, on a virtual clock
            await trio.sleep(0.01)


@pytest.mark.parametrize("seed", range(8))
async def test_links_heal_and_messages_come_at_most_once(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    chance = random.Random(seed)
    network = MemoryNetwork(buffer_bytes=chance.choice([2_000, 65_536]))
    async with (
        running(network.transport("h1"), 1) as a,
        running(network.transport("h2"), 2) as b,
        running(network.transport("h3"), 3) as c,
    ):
        hosts = [a, b, c]
        names = ["h1", "h2", "h3"]
        for one, other in itertools.permutations(names, 2):
            network.delay(one, other, chance.randint(0, 30) * MILLISECOND, one_way=True)
        for host in hosts:
            seeds = tuple(f"{name}:1" for name in names) if chance.random() < 0.5 else ()
            aim(host, *[other for other in hosts if other is not host], seeds=seeds)
            await trio.sleep(chance.choice([0, 0, 0.01, 0.2]))
        number = 0
        sent: dict[tuple[int, int], list[int]] = {}
        for _ in range(30):
            one, other = chance.sample(names, 2)
            fault = chance.choice(["break", "break", "cut", "one way", "heal", "none"])
            if fault == "break":
                network.break_streams(one, other)
            elif fault in ("cut", "one way"):
                network.cut(one, other, one_way=fault == "one way")
            elif fault == "heal":
                for left, right in itertools.combinations(names, 2):
                    network.heal(left, right)
            for host, peer in pairs(hosts):
                for _ in range(chance.randint(0, 5)):
                    number += 1
                    body = bytes(chance.choice([10, 400, 70_000]))
                    if host.messenger.send(node_id(peer.number), Note(number, body)):
                        sent.setdefault((host.number, peer.number), []).append(number)
            await trio.sleep(chance.choice([0, 0.001, 0.02, 0.3, 2]))
        for left, right in itertools.combinations(names, 2):
            network.heal(left, right)
        # A cut in the middle of a handshake may take that one's whole time.
        await linked_within(hosts, 12)
        await trio.sleep(10)
        assert all_linked(hosts)
        for host, peer in pairs(hosts):
            got = peer.numbers(host.number)
            handed_over = sent.get((host.number, peer.number), [])
            unsent = [m.number for p, m in host.unsent if p == peer.number and isinstance(m, Note)]
            assert len(got) == len(set(got))
            assert set(got) <= set(handed_over)
            assert not set(got) & set(unsent)
            # What is neither there nor reported was lost with a link that broke.
            lost = set(handed_over) - set(got) - set(unsent)
            assert not lost or LinkState.DOWN in host.states(peer.number)
            ups_and_downs = [s for s in host.states(peer.number) if s is not LinkState.FULL]
            assert ups_and_downs[0] is LinkState.UP
            assert not host.refused


@pytest.mark.parametrize("seeds", [(), ("h1:1", "h2:1", "h3:1")])
@pytest.mark.parametrize("seed", range(6))
async def test_a_start_of_all_at_once_links_each_pair_once(
    autojump_clock: trio.testing.MockClock, seed: int, seeds: tuple[str, ...]
) -> None:
    chance = random.Random(seed)
    network = MemoryNetwork()
    async with (
        running(network.transport("h1"), 1) as a,
        running(network.transport("h2"), 2) as b,
        running(network.transport("h3"), 3) as c,
    ):
        hosts = [a, b, c]
        for one, other in itertools.permutations(["h1", "h2", "h3"], 2):
            network.delay(one, other, chance.randint(0, 10) * MILLISECOND, one_way=True)
        for host in hosts:
            aim(host, *[other for other in hosts if other is not host], seeds=seeds)
            await trio.sleep(chance.choice([0, 0, 0.005, 0.02]))
        await linked_within(hosts, 3)
        await trio.sleep(5)
        for host, peer in pairs(hosts):
            assert host.states(peer.number) == [LinkState.UP]
