"""Agreement, validity and stability under loss, duplicates, reordering, crashes and full disks.

The world fails at once when anybody says two different things of one register; here it is made to
misbehave, and at the end every node is asked.
"""

from hypothesis import example, given
from hypothesis import strategies as st

from register_world import Faults, World, node_id
from sadik_machine import MILLISECOND, SECOND
from sadik_register import Decided, Learn, Limits, Propose, Quorums, RegisterKey

KEYS = [RegisterKey(b"ring", epoch) for epoch in (1, 2)]
QUICK = Limits(round_ns=40 * MILLISECOND, back_off_ns=5 * MILLISECOND, records=4)

happenings = st.lists(
    st.tuples(
        st.sampled_from(["propose"] * 4 + ["learn", "crash", "restart", "power", "full", "room"]),
        st.integers(1, 5),
        st.integers(0, 12),
    ),
    min_size=5,
    max_size=30,
)


def happen(world: World, what: str, number: int, value: bytes, quorums: Quorums) -> None:
    node = node_id(number)
    host = world.hosts[node]
    key = KEYS[number % len(KEYS)]
    match what:
        case "propose" if host.machine is not None:
            world.request(node, Propose(key, value, quorums, SECOND))
        case "learn" if host.machine is not None:
            world.request(node, Learn(key, quorums, SECOND))
        case "crash":
            world.crash(node)
        case "restart" if host.machine is None:
            world.restart(node)
        case "power":
            for each in world.nodes:
                world.crash(each)
            for each in world.nodes:
                world.restart(each)
        case "full" | "room":
            host.is_full = what == "full"
        case _:
            pass


@given(
    seed=st.integers(0, 1 << 16),
    loss=st.sampled_from([0, 5, 30]),
    duplication=st.sampled_from([0, 30]),
    sync_ms=st.sampled_from([1, 10]),
    phase1=st.integers(2, 5),
    script=happenings,
)
@example(1, 30, 30, 10, 3, [("propose", n % 5 + 1, 3) for n in range(20)] + [("power", 1, 0)])
def test_a_register_has_one_value_for_ever_and_somebody_proposed_it(
    seed: int,
    loss: int,
    duplication: int,
    sync_ms: int,
    phase1: int,
    script: list[tuple[str, int, int]],
) -> None:
    world = World(seed, 5, Faults(loss, duplication, 8 * MILLISECOND, sync_ms * MILLISECOND), QUICK)
    quorums = Quorums(tuple(world.nodes), phase1, 6 - phase1)
    proposed = set()
    for number, (what, node, wait_ms) in enumerate(script):
        value = b"%d" % number
        proposed.add(value)
        happen(world, what, node, value, quorums)
        world.run(wait_ms * MILLISECOND)

    world.faults = Faults()
    for each, host in world.hosts.items():
        host.is_full = False
        if host.machine is None:
            world.restart(each)
    world.run(2 * SECOND)
    for key in KEYS:
        known = world.decided.get(key)
        last = world.request(node_id(1), Propose(key, b"last", quorums, 60 * SECOND))
        world.run(3 * SECOND)
        answer = world.answers[last]
        assert isinstance(answer, Decided), "time is enough once the faults are over"
        assert answer.value in proposed | {b"last"}
        assert known in (None, answer.value)
        questions = [world.request(node, Learn(key, quorums)) for node in world.nodes]
        world.run(SECOND)
        assert {world.answers[question] for question in questions} == {answer}
    for host in world.hosts.values():
        assert host.machine is not None
        assert host.machine.deadline is None, "nothing is left to wait for"
        assert host.machine.records_in_memory <= QUICK.records


@given(seed=st.integers(0, 1 << 16), loss=st.sampled_from([0, 20]))
def test_a_request_whose_value_cannot_be_written_is_told_so_truly(seed: int, loss: int) -> None:
    """``may_be_written=False`` is a promise: the value never turns up."""
    world = World(seed, 3, Faults(loss, 0, 30 * MILLISECOND, 5 * MILLISECOND), QUICK)
    quorums = Quorums.majority(world.nodes)
    requests = {}
    for number in range(12):
        node = node_id(number % 3 + 1)
        value = b"%d" % number
        request = Propose(KEYS[0], value, quorums, (number + 1) * 20 * MILLISECOND)
        requests[world.request(node, request)] = value
        world.run(world.random.randrange(10) * MILLISECOND)
    world.run(SECOND)
    last = world.request(node_id(1), Propose(KEYS[0], b"last", quorums))
    world.run(5 * SECOND)
    answer = world.answers[last]
    assert isinstance(answer, Decided)
    for request_id, value in requests.items():
        if not getattr(world.answers[request_id], "may_be_written", True):
            assert answer.value != value
