"""Simulated links: what TCP and the messenger promise, and what they do not."""

import random
from functools import partial

from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_sim.events import Events
from sadik_sim.network import Delay, Network

A, B = NodeId(b"a" * 8), NodeId(b"b" * 8)


class Ends:
    """Two nodes that note what arrives, and a network between them."""

    def __init__(self, seed: int = 1) -> None:
        self.events = Events(0)
        self.arrived: list[tuple[NodeId, object]] = []
        self.links: list[tuple[NodeId, bool]] = []
        self.alive = {A: True, B: True}
        self.admits = True
        self.network = Network(
            self.events,
            random.Random(seed),
            alive=lambda node: self.alive[node],
            admit=lambda one, other: self.admits,
            linked=lambda node, peer, is_up: self.links.append((node, is_up)),
        )
        for node in (A, B):
            self.network.receivers[node] = partial(self.arrive, node)

    def arrive(self, node: NodeId, _sender: NodeId, message: object) -> None:
        self.arrived.append((node, message))

    def connect(self) -> None:
        self.network.want(A, B)
        self.run(SECOND)
        assert self.network.has_session(A, B)

    def run(self, duration_ns: int) -> None:
        self.events.run_until(self.events.now + duration_ns)

    def got(self, node: NodeId) -> list[object]:
        return [message for receiver, message in self.arrived if receiver == node]


def test_both_ends_learn_of_a_stream_and_messages_keep_their_order() -> None:
    ends = Ends()
    ends.connect()
    assert sorted(ends.links) == [(A, True), (B, True)]
    for number in range(50):
        assert ends.network.send(A, B, number)
    ends.run(SECOND)
    assert ends.got(B) == list(range(50))


def test_without_a_stream_a_message_is_provably_never_written() -> None:
    ends = Ends()
    assert not ends.network.send(A, B, "never")
    ends.connect()
    ends.network.end_session(A, B, notice=(A, B))
    assert not ends.network.send(A, B, "never")
    ends.run(SECOND)
    assert ends.arrived == []
    assert sorted(ends.links)[-4:] == [(A, False), (A, True), (B, False), (B, True)]


def test_what_is_on_the_way_when_a_stream_breaks_is_gone() -> None:
    ends = Ends()
    ends.connect()
    assert ends.network.send(A, B, "lost")
    ends.network.end_session(A, B, notice=())
    ends.connect()
    assert ends.network.send(A, B, "new")
    ends.run(SECOND)
    assert ends.got(B) == ["new"]


def test_a_one_way_cut_holds_messages_back_until_it_heals() -> None:
    ends = Ends()
    ends.connect()
    ends.network.cut(A, B)
    ends.network.send(A, B, "waits")
    ends.network.send(B, A, "passes")
    ends.run(SECOND)
    assert ends.arrived == [(A, "passes")]
    ends.network.heal(A, B)
    ends.run(SECOND)
    assert ends.got(B) == ["waits"]


def test_a_dial_into_a_cut_or_a_refusal_is_tried_again() -> None:
    ends = Ends()
    ends.network.cut(B, A)
    ends.network.want(A, B)
    ends.run(5 * SECOND)
    assert not ends.network.has_session(A, B)
    ends.network.heal_all()
    ends.admits = False
    ends.run(5 * SECOND)
    assert not ends.network.has_session(A, B)
    ends.admits = True
    ends.run(2 * SECOND)
    assert ends.network.has_session(A, B)


def test_a_duplicate_reaches_the_node_once() -> None:
    ends = Ends()
    ends.connect()
    ends.network.faults.duplication = 1000
    for number in range(20):
        ends.network.send(A, B, number)
    ends.run(10 * SECOND)
    assert ends.got(B) == list(range(20))


def test_reordering_changes_the_order_and_loses_nothing() -> None:
    ends = Ends()
    ends.connect()
    ends.network.faults.reordering = 500
    for number in range(100):
        ends.network.send(A, B, number)
    ends.run(SECOND)
    assert sorted(ends.got(B)) == list(range(100))  # type: ignore[type-var]
    assert ends.got(B) != list(range(100))


def test_loss_loses_and_a_break_breaks() -> None:
    ends = Ends()
    ends.connect()
    ends.network.faults.loss = 1000
    assert ends.network.send(A, B, "lost")
    ends.network.faults.loss = 0
    ends.network.faults.breaks = 1000
    assert ends.network.send(A, B, "broke the stream")
    ends.run(SECOND)
    assert ends.arrived == []
    assert not ends.network.has_session(A, B)


def test_a_clogged_direction_is_slow_and_only_that() -> None:
    ends = Ends()
    ends.connect()
    ends.network.clogged_ns[A, B] = 500 * MILLISECOND
    ends.network.send(A, B, "slow")
    ends.network.send(B, A, "fast")
    ends.run(100 * MILLISECOND)
    assert ends.arrived == [(A, "fast")]
    ends.run(SECOND)
    assert ends.got(B) == ["slow"]


def test_delays_come_from_the_table_of_the_pair() -> None:
    ends = Ends()
    ends.connect()
    ends.network.delays[A, B] = Delay([70 * MILLISECOND])
    ends.network.send(A, B, "exact")
    ends.run(70 * MILLISECOND - 1)
    assert ends.arrived == []
    ends.run(1)
    assert ends.got(B) == ["exact"]
