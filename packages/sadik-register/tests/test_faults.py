"""One fault at a time, at the machine's own inputs: disks that fail, records that rot, nonsense."""

import random

from register_world import World, node_id
from sadik_machine import (
    SECOND,
    Announce,
    Cancelled,
    Effect,
    Failed,
    FailureReason,
    Load,
    Loaded,
    Received,
    Requested,
    RequestId,
    Send,
    Store,
    Stored,
)
from sadik_register import (
    Ballot,
    Conflict,
    Damaged,
    Decided,
    Learn,
    Limits,
    Propose,
    Quorums,
    RegisterKey,
    Registers,
    record_row,
)
from sadik_register.messages import Accept, Ask, Chosen, Decision, Prepare, Promise, State
from sadik_register.records import EMPTY

KEY = RegisterKey(b"r", 1)
PEER = node_id(9)
ONE, TWO = (Ballot(round_, PEER, 1) for round_ in (1, 2))


def acceptor(limits: Limits | None = None) -> Registers:
    return Registers(node_id(1), 1, random.Random(1), limits=limits)


def ask(machine: Registers, question: object, row: bytes | None = None) -> list[Effect]:
    """The effects of a question, once a record that is not in memory was loaded."""
    effects = machine.step(0, Received(PEER, question))
    match effects:
        case [Load(ticket, _)]:
            return machine.step(0, Loaded(ticket, [row]))
    return effects


def test_a_promise_leaves_with_its_store_and_a_second_one_waits_for_it() -> None:
    machine = acceptor()
    [store] = ask(machine, Prepare(b"r", 1, ONE))
    assert isinstance(store, Store)
    assert store.then == [Send(PEER, Promise(b"r", 1, ONE, None, None))]
    [barrier] = ask(machine, Ask(b"r", 1, 5))
    assert isinstance(barrier, Store)
    assert (list(barrier.batch), barrier.then) == ([], [Send(PEER, State(b"r", 1, 5, None, None))])
    for ticket in (store.ticket, barrier.ticket):
        assert machine.owns(ticket)
        assert machine.step(0, Stored(ticket)) == []
        assert not machine.owns(ticket)
    assert ask(machine, Ask(b"r", 1, 6)) == [Send(PEER, State(b"r", 1, 6, None, None))]


def test_what_could_not_be_stored_was_never_said_and_is_forgotten() -> None:
    machine = acceptor()
    [first] = ask(machine, Prepare(b"r", 1, TWO))
    [second] = ask(machine, Accept(b"r", 1, TWO, b"two"))
    assert isinstance(first, Store)
    assert isinstance(second, Store)
    for store in (first, second):
        assert machine.step(0, Failed(store.ticket, FailureReason.FULL)) == []
    [again] = ask(machine, Prepare(b"r", 1, ONE))
    assert isinstance(again, Store)
    assert again.then == [Send(PEER, Promise(b"r", 1, ONE, None, None))]


def test_a_record_that_cannot_be_loaded_answers_nothing_and_is_tried_again() -> None:
    machine = acceptor()
    [load] = machine.step(0, Received(PEER, Ask(b"r", 1, 5)))
    assert isinstance(load, Load)
    assert machine.step(0, Failed(load.ticket, FailureReason.IO)) == []
    assert machine.records_in_memory == 0
    assert ask(machine, Ask(b"r", 1, 5)) == [Send(PEER, State(b"r", 1, 5, None, None))]


def test_a_damaged_record_is_silent_until_it_is_told_the_decision() -> None:
    machine = acceptor()
    _, row = record_row(b"P", KEY, EMPTY)
    damaged = row[:-1] + bytes([row[-1] ^ 1])
    assert ask(machine, Prepare(b"r", 1, ONE), damaged) == [Announce(Damaged(KEY))]
    assert ask(machine, Ask(b"r", 1, 5)) == []
    assert machine.counters.damaged == 1
    [store] = ask(machine, Decision(b"r", 1, b"one"))
    assert isinstance(store, Store)
    machine.step(0, Stored(store.ticket))
    assert ask(machine, Ask(b"r", 1, 5)) == [Send(PEER, Chosen(b"r", 1, b"one"))]


def test_a_second_decision_is_reported_and_not_taken() -> None:
    machine = acceptor()
    ask(machine, Decision(b"r", 1, b"one"))
    assert ask(machine, Decision(b"r", 1, b"two")) == [Announce(Conflict(KEY, b"one", b"two"))]
    assert machine.counters.conflicts == 1


def test_nonsense_is_counted_and_changes_nothing() -> None:
    machine = acceptor(Limits(value_bytes=4))
    nonsense = [
        object(),
        Prepare(b"", 1, ONE),
        Prepare(b"n" * 201, 1, ONE),
        Prepare(b"r", -1, ONE),
        Accept(b"r", 1, ONE, b"12345"),
        Promise(b"r", 1, ONE, ONE, None),
        State(b"r", 1, 1, None, b"one"),
    ]
    for message in nonsense:
        assert machine.step(0, Received(PEER, message)) == []
    assert machine.counters.malformed == len(nonsense)
    assert machine.records_in_memory == 0


def test_tables_stay_within_their_bounds() -> None:
    machine = acceptor(Limits(records=2, waiting=3))
    for epoch in range(5):
        for number in range(5):
            machine.step(0, Received(PEER, Ask(b"r", epoch, number)))
    assert machine.records_in_memory == 2, "both are being loaded, and can not be let go"
    assert machine.counters.dropped == 2 * 2 + 3 * 5


def test_a_request_that_was_cancelled_is_not_answered_and_leaves_nothing() -> None:
    quorums = Quorums.majority([node_id(2)])
    for request in (Propose(KEY, b"one", quorums), Learn(KEY, quorums)):
        world = World(1, nodes=2)
        world.crash(node_id(2))
        machine = world.hosts[node_id(1)].machine
        assert machine is not None
        request_id = world.request(node_id(1), request)
        assert machine.deadline is not None
        world.step(node_id(1), Cancelled(request_id))
        world.run(10 * SECOND)
        assert world.answers == {}
        assert machine.deadline is None


def test_a_proposal_that_was_given_up_leaves_no_ballot_to_be_used_again() -> None:
    machine = Registers(node_id(1), 1, random.Random(1))
    ballots = []
    for number in range(3):
        request = Propose(KEY, b"%d" % number, Quorums.majority([PEER]))
        [send] = machine.step(0, Requested(RequestId(number), request))
        assert isinstance(send, Send)
        assert isinstance(send.message, Prepare)
        ballots.append(send.message.ballot)
        machine.step(0, Cancelled(RequestId(number)))
    assert len(set(ballots)) == 3


def test_whoever_asks_second_is_proposed_when_the_first_has_gone() -> None:
    """The first was told that its value is not written, so it must not be."""
    world = World(2, nodes=3)
    quorums = Quorums.majority(world.nodes)
    first = world.request(node_id(1), Propose(KEY, b"one", quorums))
    second = world.request(node_id(1), Propose(KEY, b"two", quorums))
    world.step(node_id(1), Cancelled(first))
    world.run(SECOND)
    assert world.answers == {second: Decided(KEY, b"two")}
