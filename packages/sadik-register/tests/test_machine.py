"""What a register promises while nothing goes wrong, and when one thing does."""

from register_world import World, node_id
from sadik_machine import SECOND, RequestId
from sadik_register import (
    Decided,
    Learn,
    Limits,
    Propose,
    Quorums,
    Refused,
    RegisterKey,
    Undecided,
    Vacant,
    row_key,
)
from sadik_register.requests import RefusalReason

KEY = RegisterKey(b"register", 1)


def proposed(world: World, node: int, value: bytes, quorums: Quorums | None = None) -> RequestId:
    quorums = quorums or Quorums.majority(world.nodes)
    return world.request(node_id(node), Propose(KEY, value, quorums))


def test_a_value_that_is_proposed_alone_is_decided_and_everybody_learns_it() -> None:
    world = World(1, nodes=3)
    request = proposed(world, 1, b"one")
    world.run(SECOND)
    assert world.answers[request] == Decided(KEY, b"one")
    for node in world.nodes:
        learning = world.request(node, Learn(KEY, Quorums.majority(world.nodes)))
        world.run(SECOND)
        assert world.answers[learning] == Decided(KEY, b"one")


def test_the_first_value_stays_whatever_is_proposed_later() -> None:
    world = World(2, nodes=3)
    proposed(world, 1, b"one")
    world.run(SECOND)
    later = proposed(world, 2, b"two")
    world.run(SECOND)
    assert world.answers[later] == Decided(KEY, b"one")


def test_proposers_at_odds_end_with_one_value() -> None:
    world = World(3, nodes=5)
    requests = [proposed(world, number, b"%d" % number) for number in range(1, 6)]
    world.run(5 * SECOND)
    answers = {world.answers[request] for request in requests}
    assert len(answers) == 1
    [answer] = answers
    assert isinstance(answer, Decided)
    assert answer.value in {b"1", b"2", b"3", b"4", b"5"}


def test_a_second_request_of_a_node_waits_for_the_first() -> None:
    world = World(4, nodes=3)
    first, second = proposed(world, 1, b"one"), proposed(world, 1, b"two")
    world.run(SECOND)
    assert world.answers[first] == world.answers[second] == Decided(KEY, b"one")


def test_a_proposer_need_be_no_acceptor() -> None:
    world = World(5, nodes=4)
    request = proposed(world, 4, b"one", Quorums.majority(world.nodes[:3]))
    world.run(SECOND)
    assert world.answers[request] == Decided(KEY, b"one")
    assert world.hosts[node_id(4)].rows == {}


def test_an_empty_register_is_vacant() -> None:
    world = World(6, nodes=3)
    request = world.request(node_id(1), Learn(KEY, Quorums.majority(world.nodes)))
    world.run(SECOND)
    assert world.answers[request] == Vacant(KEY)


def test_without_a_quorum_time_runs_out_and_nothing_was_written() -> None:
    world = World(7, nodes=3)
    world.crash(node_id(2))
    world.crash(node_id(3))
    request = proposed(world, 1, b"one")
    world.run(6 * SECOND)
    assert world.answers[request] == Undecided(KEY, may_be_written=False)
    for node in (node_id(2), node_id(3)):
        world.restart(node)
    other = proposed(world, 2, b"two")
    world.run(5 * SECOND)
    assert world.answers[other] == Decided(KEY, b"two")


def test_small_quorums_of_phase_2_write_while_more_acceptors_are_down() -> None:
    world = World(8, nodes=5)
    quorums = Quorums(tuple(world.nodes), phase1=4, phase2=2)
    world.crash(node_id(5))
    request = proposed(world, 1, b"one", quorums)
    world.run(SECOND)
    assert world.answers[request] == Decided(KEY, b"one")


def test_a_decision_outlives_the_power() -> None:
    world = World(9, nodes=3)
    request = proposed(world, 1, b"one")
    while request not in world.answers:
        world.run(100_000)
    for node in world.nodes:
        world.crash(node)
    for node in world.nodes:
        world.restart(node)
    later = proposed(world, 3, b"two")
    world.run(5 * SECOND)
    assert world.answers[later] == Decided(KEY, b"one")


def test_registers_of_other_epochs_and_names_are_others() -> None:
    world = World(10, nodes=3)
    keys = [RegisterKey(b"a", 1), RegisterKey(b"a", 2), RegisterKey(b"b", 1)]
    quorums = Quorums.majority(world.nodes)
    requests = [
        world.request(node_id(1), Propose(key, b"%d" % number, quorums))
        for number, key in enumerate(keys)
    ]
    world.run(SECOND)
    answers = [world.answers[request] for request in requests]
    assert answers == [Decided(key, b"%d" % number) for number, key in enumerate(keys)]


def test_more_registers_than_fit_in_memory_are_read_from_disk_again() -> None:
    world = World(11, nodes=3, limits=Limits(records=4))
    quorums = Quorums.majority(world.nodes)
    keys = [RegisterKey(b"log", position) for position in range(20)]
    for key in keys:
        world.request(node_id(1), Propose(key, b"%d" % key.epoch, quorums))
        world.run(SECOND)
    for key in keys:
        request = world.request(node_id(2), Learn(key, quorums))
        world.run(SECOND)
        assert world.answers[request] == Decided(key, b"%d" % key.epoch)
    for host in world.hosts.values():
        assert host.machine is not None
        assert host.machine.records_in_memory <= 4


def test_what_is_out_of_bounds_is_refused() -> None:
    world = World(12, nodes=3, limits=Limits(value_bytes=10, requests=1))
    quorums = Quorums.majority(world.nodes)
    long = world.request(node_id(1), Propose(KEY, b"12345678901", quorums))
    unnamed = world.request(node_id(1), Learn(RegisterKey(b"", 1), quorums))
    proposed(world, 1, b"one")
    beyond = proposed(world, 1, b"two")
    assert world.answers[long] == Refused(KEY, RefusalReason.INVALID)
    assert isinstance(world.answers[unnamed], Refused)
    assert world.answers[beyond] == Refused(KEY, RefusalReason.OVERLOADED)


def test_what_is_forgotten_is_gone_from_memory_and_disk_and_its_answers_are_dropped() -> None:
    world = World(9, nodes=3)
    proposed(world, 1, b"one")
    world.run(SECOND)
    other = RegisterKey(b"register", 2)
    world.request(node_id(1), Propose(other, b"two", Quorums.majority(world.nodes)))
    host = world.hosts[node_id(1)]
    assert host.machine is not None
    assert len(host.rows) == 1
    world._perform(node_id(1), host.machine.forget(world.now, [KEY, other]))
    world.run(0)
    assert host.machine.records_in_memory == 0
    world.run(SECOND)
    assert row_key(b"P", KEY) not in host.rows
    learning = world.request(node_id(2), Learn(KEY, Quorums.majority(world.nodes)))
    world.run(SECOND)
    assert world.answers[learning] == Decided(KEY, b"one")
