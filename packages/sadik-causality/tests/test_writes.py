"""Clients, replicas and a naive twin: what a client was not shown, its writes never erase.

The twin keeps, for every write, the plain set of dots that its client had been shown or that it
replaced blindly, and for every replica the plain set of writes that reached it. A write is live
at a replica if none of the writes there had seen it. Contexts must agree with those sets dot by
dot, over any order of delivery.
"""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import EMPTY, Container, Context, Dot, write_context

REPLICAS, CLIENTS = 3, 3


class Replica:
    """A node's one record of one key: the real container beside the twin's log."""

    def __init__(self, number: int) -> None:
        self.actor = bytes([number + 1])
        self.made = 0
        self.container: Container[str] = Container.empty()
        self.log: dict[Dot, frozenset[Dot]] = {}  # dot of a write -> what it had seen

    def next_dot(self) -> Dot:
        self.made += 1
        return (self.actor, self.made)

    def live_in_log(self) -> list[Dot]:
        seen = frozenset[Dot]().union(*self.log.values())
        return sorted(dot for dot in self.log if dot not in seen)

    def shown_by_log(self) -> frozenset[Dot]:
        return frozenset(self.log).union(*self.log.values())


class Client:
    """Holds the context of its last answer, and the twin's set of what it was shown."""

    def __init__(self) -> None:
        self.context = EMPTY
        self.shown: frozenset[Dot] = frozenset()


class World:
    """Replicas and clients of one key; ``sent`` holds every delta, to be delivered at any time."""

    def __init__(self) -> None:
        self.replicas = [Replica(number) for number in range(REPLICAS)]
        self.clients = [Client() for _ in range(CLIENTS)]
        self.sent: list[tuple[Dot, frozenset[Dot], Container[str]]] = []

    def put(self, replica: Replica, client: Client, *, chained: bool, replace: bool) -> None:
        """A write with the client's context (chained), or a blind one that replaces or adds."""
        request = client.context if chained else EMPTY
        shown = client.shown if chained else frozenset()
        replaced = replica.container.live_dots() if replace and not chained else []
        dot = replica.next_dot()
        answer = write_context(request, replaced, dot)
        seen = request.with_dots(replaced)
        value = f"{dot}"
        delta = Container.delta(request, replaced, dot, value)
        replica.container = replica.container.write(seen, dot, value)
        twin_seen = shown | frozenset(replaced)
        replica.log[dot] = twin_seen
        self.sent.append((dot, twin_seen, delta))
        client.context = answer
        client.shown = twin_seen | {dot}
        self.check(replica, client)

    def read(self, replica: Replica, client: Client) -> None:
        client.context = client.context.join(replica.container.context)
        client.shown |= replica.shown_by_log()
        self.check(replica, client)

    def deliver(self, index: int, replica: Replica) -> None:
        dot, seen, delta = self.sent[index % len(self.sent)]
        replica.container = replica.container.merge(delta)
        replica.log[dot] = seen
        self.check(replica)

    def sync(self, giver: Replica, taker: Replica, how: str, random: Random) -> None:
        if how == "whole":
            taker.container = taker.container.merge(giver.container)
        elif how == "repair":
            missing = giver.container.missing_in(taker.container)
            taker.container = taker.container.merge(missing or Container.empty())
        else:
            parts = list(giver.container.split())
            random.shuffle(parts)
            for part in parts:
                taker.container = taker.container.merge(part)
        taker.log.update(giver.log)
        self.check(taker)

    def check(self, replica: Replica, client: Client | None = None) -> None:
        assert replica.container.live_dots() == replica.live_in_log()
        assert replica.container.context == Context.from_dots(replica.shown_by_log())
        if client is not None:
            assert client.context == Context.from_dots(client.shown), "covers what was not shown"

    def heal(self) -> list[Dot]:
        """Deliver everything everywhere; the live dots that all replicas agree on."""
        for replica in self.replicas:
            for index in range(len(self.sent)):
                self.deliver(index, replica)
        first, *others = self.replicas
        assert all(other.container == first.container for other in others)
        return first.container.live_dots()


replicas = st.integers(0, REPLICAS - 1)
clients = st.integers(0, CLIENTS - 1)
steps = st.one_of(
    st.tuples(st.just("chained"), replicas, clients),
    st.tuples(st.just("replace"), replicas, clients),
    st.tuples(st.just("sibling"), replicas, clients),
    st.tuples(st.just("read"), replicas, clients),
    st.tuples(st.just("deliver"), replicas, st.integers(0, 30)),
    st.tuples(st.sampled_from(["whole", "repair", "parts"]), replicas, replicas),
)


@given(st.lists(steps, max_size=30), st.randoms(use_true_random=False))
def test_no_write_erases_what_its_client_was_not_shown(
    history: list[tuple[str, int, int]], random: Random
) -> None:
    world = World()
    for kind, where, other in history:
        replica = world.replicas[where]
        if kind in ("chained", "replace", "sibling"):
            chained, replace = kind == "chained", kind == "replace"
            world.put(replica, world.clients[other], chained=chained, replace=replace)
        elif kind == "read":
            world.read(replica, world.clients[other])
        elif kind == "deliver":
            if world.sent:
                world.deliver(other, replica)
        else:
            world.sync(replica, world.replicas[other], kind, random)
    live = world.heal()
    seen_by_some_write = frozenset[Dot]().union(*(seen for _, seen, _ in world.sent))
    assert live == sorted(dot for dot, _, _ in world.sent if dot not in seen_by_some_write)


def one_node(_round: int, _client: int) -> int:
    return 0


def own_node(_round: int, client: int) -> int:
    return client


def any_node(round_: int, client: int) -> int:
    return (round_ * 7 + client * 3) % REPLICAS


@pytest.mark.parametrize("route", [one_node, own_node, any_node])
@pytest.mark.parametrize("spread", [True, False], ids=["replicated", "healed at the end"])
def test_two_clients_chaining_their_own_contexts_leave_their_two_last_values(
    route: Callable[[int, int], int], spread: bool
) -> None:
    world = World()
    for round_ in range(20):
        for number in (0, 1):
            replica = world.replicas[route(round_, number)]
            world.put(replica, world.clients[number], chained=True, replace=False)
            if spread:
                for other in world.replicas:
                    world.deliver(-1, other)
    last = sorted(dot for dot, _, _ in world.sent[-2:])
    assert world.heal() == last


@pytest.mark.parametrize("route", [one_node, own_node, any_node])
def test_a_hundred_rounds_of_two_interleaving_writers_leave_at_most_two_siblings(
    route: Callable[[int, int], int],
) -> None:
    """Sibling explosion: each reads, the other writes in between, then the first writes."""
    world = World()
    for round_ in range(100):
        places = [world.replicas[route(round_, number)] for number in (0, 1)]
        for place, client in zip(places, world.clients, strict=False):
            world.read(place, client)
        for place, client in zip(places, world.clients, strict=False):
            world.put(place, client, chained=True, replace=False)
            for other in world.replicas:
                world.deliver(-1, other)
                assert len(other.container.versions) <= 2
    assert len(world.heal()) <= 2


def test_a_thousand_interleaved_writes_keep_the_clients_context_small() -> None:
    """Every other dot is a gap, which costs two bytes; a reader's has none."""
    container: Container[int] = Container.empty()
    contexts = [EMPTY, EMPTY]
    for counter in range(1, 2001):
        dot = (b"node", counter)
        mine = contexts[counter % 2]
        container = container.write(mine, dot, counter)
        contexts[counter % 2] = write_context(mine, (), dot)
    assert container.live_dots() == [(b"node", 1999), (b"node", 2000)]
    assert contexts[0].encoded_size() < 2100
    assert container.context.encoded_size() < 16
