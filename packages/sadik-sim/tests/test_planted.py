"""Planted bugs: the code has each of them only while it is planted, and the checks see it then.

`sadik-sim bugs` looks for all of them; here are those that a seed finds at once, and a test for
each of those that no seed finds.
"""

import random
from pathlib import Path

import attrs
import pytest

import test_deciding
import test_farewell
from sadik_causality import EMPTY, Container, Context
from sadik_machine import (
    MILLISECOND,
    SECOND,
    Codec,
    Link,
    LinkState,
    NodeId,
    Observed,
    Received,
    RemoteProtocolError,
    RequestIds,
    Send,
    Woke,
    encode_plain,
)
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members import (
    ClusterSettings,
    Identity,
    Liveness,
    LivenessChanged,
    Member,
    MembersChanged,
    Membership,
    MemberState,
    Phase,
    Register,
    Remove,
    Ring,
    RingChanged,
)
from sadik_members import table as table_module
from sadik_members.messages import Delta, Ping
from sadik_members.registers import Merged, RegisterTable
from sadik_members.table import member_to_plain
from sadik_register import Ballot, Quorums
from sadik_register.proposer import Proposal
from sadik_sim.plan import Options, draw_plan, plan_from_json
from sadik_sim.planted import BUGS, planted
from sadik_sim.run import execute
from sadik_vnode import Engine, EngineConfig
from sadik_vnode.admission import Admission
from sadik_vnode.births import Births
from sadik_vnode.counters import Counters
from sadik_vnode.keyspace import REAP_ROWS, Key
from sadik_vnode.outbox import Outbox
from sadik_vnode.quorum import JointTally
from sadik_vnode.record import Record, seal_value
from sadik_vnode.replica import Replica
from sadik_vnode.requests import Put
from sadik_vnode.ringchange.messages import FillAsked
from sadik_vnode.tree import HashTree
from sadik_vnode.version import version_of
from vnode_world import World

pytestmark = pytest.mark.system

QUICK = Options(seconds=6, operations=200)

FOUND_AT_ONCE = {
    "ack-before-store": "nothing leaves before it is on disk",
    "sent-before-stored": "nothing leaves before it is on disk",
    "answer-covers-all": "a context covers only what was shown",
    "majority-off-by-one": "a quorum counts owner slots",
    "owner-twice": "the code's own assertions hold",
    "siblings-explode": "nothing covered comes back",
    "answered-twice": "a request is answered once",
    "repair-compares-everything": "a second pass sends nothing",
    "tree-remembers-history": "hash trees tell the records",
}


def test_there_are_enough_of_them_and_they_say_what_they_are() -> None:
    assert len(BUGS) >= 20
    for name, bug in BUGS.items():
        assert bug.name == name
        assert bug.what.endswith(".")
        assert 0 <= bug.row <= 33
        Options(**bug.options)


def test_every_fault_of_the_list_is_planted() -> None:
    assert {bug.row for bug in BUGS.values()} == set(range(34))


@pytest.mark.parametrize("name", sorted(BUGS))
def test_planting_leaves_nothing_behind(name: str) -> None:
    patches = BUGS[name].plant()
    before = [vars(owner)[attribute] for owner, attribute, _ in patches]
    with planted(name):
        pass
    assert [vars(owner)[attribute] for owner, attribute, _ in patches] == before


@pytest.mark.parametrize(("name", "invariant"), FOUND_AT_ONCE.items())
def test_a_planted_bug_is_seen_and_without_it_nothing_is(name: str, invariant: str) -> None:
    broken = next(
        result for seed in range(20) if (result := execute(draw_plan(seed, QUICK, name))).invariant
    )
    assert broken.invariant == invariant
    assert execute(draw_plan(broken.seed, QUICK)).invariant == ""


def test_every_test_that_is_named_for_a_bug_is_there() -> None:
    named = [bug.found_by for bug in BUGS.values() if bug.found_by]
    here = Path(__file__)
    for name in named:
        file, _, test = name.partition("::")
        assert file == here.name
        assert f"def {test}(" in here.read_text("utf-8")


# Those that no seed finds: another guard stands before them.


def package_file(path: str) -> Path:
    return Path(__file__).resolve().parents[1] / path


def replica() -> Replica:
    return Replica(Outbox(), Births(b"instance", None), Counters())


def a_lost_tail_starts_a_new_actor() -> bool:
    own = b"instance" + bytes(4)
    version = version_of(b"v", 1, None, ())
    record = Record(Container({(own, 1): version}, EMPTY.with_dot((own, 1))), own)
    seen = Context.from_dots([(own, 1), (own, 2)])
    after = Record(record.container, b"") if record.lost_tail(seen) else record
    (actor, _), _ = replica().next_dot(after)
    return actor != own


def test_a_lost_tail_starts_a_new_actor() -> None:
    """Seeds do not find it: peers refuse a node that was rolled back, and its instance is new."""
    assert a_lost_tail_starts_a_new_actor()
    with planted("lost-tail-ignored"):
        assert not a_lost_tail_starts_a_new_actor()


def breaks(schedule: str, bug: str) -> str:
    """What breaks with the bug in a kept schedule, in which nothing breaks without."""
    file = package_file(f"regressions/{schedule}.json")
    plan = plan_from_json(file.read_text("utf-8"))
    assert execute(plan).invariant == ""
    return execute(attrs.evolve(plan, bug=bug)).invariant


def test_a_start_is_known_before_gossip_tells_of_it() -> None:
    """One seed in some thousands finds it: the schedule of the one that did is kept."""
    broken = breaks("clean-copy-put-back-unheard-of", "boots-met-forgotten")
    assert broken == "a dot names one value"


def test_an_old_instance_is_proven_before_it_is_used() -> None:
    """As rare: a store is put back and its node cut off from all who would know."""
    assert breaks("put-back-where-nobody-knows", "instance-unproven") == "a dot names one value"


def test_a_doubt_ends_though_nothing_else_happens() -> None:
    """As rare: a store is put back after everything else."""
    broken = breaks("doubt-that-begins-in-a-calm", "doubt-left-in-a-calm")
    assert broken == "everything calms down when faults stop"


def two_lives_share_no_request_id() -> bool:
    lives = [RequestIds(random.Random(seed)) for seed in (1, 2)]
    one, other = ({ids.next() for _ in range(1000)} for ids in lives)
    return not one & other


def test_two_lives_of_a_node_share_no_request_id() -> None:
    """Seeds hardly find it: an answer must come from before a crash, to a request of its number."""
    assert two_lives_share_no_request_id()
    with planted("request-ids-restart"):
        assert not two_lives_share_no_request_id()


def background_work_yields() -> bool:
    admission = Admission()
    for window in range(20):
        took_ns = MILLISECOND if window < 10 else 200 * MILLISECOND
        admission.served(window * SECOND, took_ns)
    return admission.pause_ns(20 * SECOND, MILLISECOND) > 10 * MILLISECOND


def test_background_work_yields_to_slow_requests() -> None:
    """Seeds do not find it: nothing is ever late because of a burst under virtual time."""
    assert background_work_yields()
    with planted("replay-unthrottled"):
        assert not background_work_yields()


def the_own_address_after_gossip() -> str:
    me, peer = NodeId(b"m" * 8), NodeId(b"p" * 8)
    identity = Identity(me, "m", "m:1", "m:2", "z", 1.0, 1, 7)
    machine = Membership(identity, ClusterSettings("c", 8, 3, ()), {}, random.Random(1))
    machine.step(0, Woke())
    forged = attrs.evolve(machine.members[me], peer="elsewhere:1", incarnation=99)
    told = Delta(machine.snapshot().cluster_id, (member_to_plain(forged),), (), ())
    machine.step(1, Received(peer, told))
    return machine.members[me].peer


def test_a_node_has_the_last_word_on_itself() -> None:
    """Seeds do not find it: no simulated peer lies."""
    assert the_own_address_after_gossip() == "m:1"
    with planted("others-believed-of-oneself"):
        assert the_own_address_after_gossip() == "elsewhere:1"


def a_linked_address_after_gossip() -> str:
    me, peer, third = NodeId(b"m" * 8), NodeId(b"p" * 8), NodeId(b"t" * 8)
    identity = Identity(me, "m", "m:1", "m:2", "z", 1.0, 1, 7)
    machine = Membership(identity, ClusterSettings("c", 8, 3, ()), {}, random.Random(1))
    machine.step(0, Woke())
    known = attrs.evolve(machine.members[me], id=third, name="t", peer="t:1")
    cluster = machine.snapshot().cluster_id
    machine.step(1, Received(third, Delta(cluster, (member_to_plain(known),), (), ())))
    machine.step(2, Link(third, LinkState.UP))
    forged = attrs.evolve(known, peer="elsewhere:1", incarnation=99)
    machine.step(3, Received(peer, Delta(cluster, (member_to_plain(forged),), (), ())))
    return machine.members[third].peer


def test_a_third_node_is_asked_itself() -> None:
    """Seeds do not find it: no simulated peer lies."""
    assert a_linked_address_after_gossip() == "t:1"
    with planted("hearsay-believed"):
        assert a_linked_address_after_gossip() == "elsewhere:1"


def a_wrong_type_is_refused() -> bool:
    codec = Codec(MEMBERS_MESSAGES)
    try:
        codec.decode(codec.encode(Ping("many")))  # type: ignore[arg-type]
    except RemoteProtocolError:
        return True
    return False


def test_a_field_of_a_wrong_type_is_refused() -> None:
    """Seeds do not find it: simulated messages are made by the classes that they are of."""
    assert a_wrong_type_is_refused()
    with planted("fields-unchecked"):
        assert not a_wrong_type_is_refused()


def member(incarnation: int, state: MemberState = MemberState.UP) -> Member:
    return Member(NodeId(b"n" * 8), "n", "n:1", "n:2", "z", 1.0, incarnation, state, incarnation, 7)


def entries_merge_alike_in_any_order() -> bool:
    entries = [member(1), member(2), member(3), member(1, MemberState.LEFT)]
    results = []
    for seed in range(10):
        shuffled = random.Random(seed).sample(entries, len(entries))
        known = shuffled[0]
        for entry in shuffled[1:]:
            known = table_module.merge_members(known, entry)
        results.append(known)
    return len({attrs.astuple(result) for result in results}) == 1


def test_member_entries_merge_alike_in_any_order() -> None:
    """Seeds do not find it: gossip compares digests first and sends only what is newer."""
    assert entries_merge_alike_in_any_order()
    with planted("last-told-wins"):
        assert not entries_merge_alike_in_any_order()


def an_older_register_is_not_taken() -> bool:
    owners = tuple(NodeId(bytes([number]) * 8) for number in range(3))
    registers = RegisterTable(8, 3)
    assert registers.merge(0, Register(5, owners)) is Merged.NEWER
    registers.merge(0, Register(4, owners[::-1]))
    return registers[0] == Register(5, owners)


def test_an_older_register_is_not_taken() -> None:
    """Seeds do not find it: digests tell epochs, so nobody sends an older register."""
    assert an_older_register_is_not_taken()
    with planted("older-register-wins"):
        assert not an_older_register_is_not_taken()


def a_failed_store_leaves_nothing_in_a_sum() -> bool:
    tree = HashTree(Outbox())
    leaf = tree.hold(7)
    assert leaf is not None
    tree.loaded(leaf, None)
    tree.change(leaf, 0, 1000)
    tree.drop_pending()
    value, _ = tree.change(leaf, 0, 1)
    return value == 1


def test_a_failed_store_leaves_nothing_in_a_sum() -> None:
    """Seeds do not find it: it takes two keys of one leaf in 131,072, one of which is loading."""
    assert a_failed_store_leaves_nothing_in_a_sum()
    with planted("tree-keeps-failed-stores"):
        assert not a_failed_store_leaves_nothing_in_a_sum()


def engine_in(generation: int, cleared: int, seed: int = 1) -> Engine:
    """An engine that starts on a store in a reap generation."""
    rows = {row: seal_value(encode_plain((generation, cleared))) for row in REAP_ROWS}
    return Engine(NodeId(b"n" * 8), b"instance", EngineConfig(), random.Random(seed), rows)


def what_was_read_two_generations_ago_is_refused() -> bool:
    generations = engine_in(5, 5)._desk.generations
    return [generations.takes(age) for age in (5, 4, 3, 0)] == [True, True, False, False]


def test_what_was_read_two_generations_ago_is_refused() -> None:
    """Seeds do not find it: an older value is handed off before a generation ends, so it takes
    a copy that is still on its way when the key has been reaped, seconds later.
    """
    assert what_was_read_two_generations_ago_is_refused()
    with planted("old-generation-taken"):
        assert not what_was_read_two_generations_ago_is_refused()


def a_member_that_is_down_holds_up_a_generation() -> bool:
    engine = engine_in(5, 5)
    away = NodeId(b"a" * 8)
    members = {node: attrs.evolve(member(1), id=node) for node in (away, NodeId(b"n" * 8))}
    engine.step(1, Observed(MembersChanged(members)))
    engine.step(1, Observed(LivenessChanged(away, Liveness.DOWN)))
    return engine._desk.generations.blockers() == [away]


def test_a_member_that_is_down_holds_up_a_generation() -> None:
    """Seeds do not find it: a node that comes back too late is taken for one that was put back,
    and contributes nothing; which loses what only it has.
    """
    assert a_member_that_is_down_holds_up_a_generation()
    with planted("down-member-ignored"):
        assert not a_member_that_is_down_holds_up_a_generation()


def a_generation_that_needs_this_node_tells_that_it_was_put_back() -> bool:
    found = []
    for cleared, heard in ((5, 6), (5, 7), (4, 6)):
        generations = engine_in(5, cleared)._desk.generations
        generations.start(lambda: False)
        generations.heard(heard)
        found.append(generations.is_behind)
    return found == [False, True, True]


def test_a_generation_that_needs_this_node_tells_that_it_was_put_back() -> None:
    """Seeds seldom find it: the one node that is put back has to hold an older value, and the key
    has to have been deleted and reaped since.
    """
    assert a_generation_that_needs_this_node_tells_that_it_was_put_back()
    with planted("rolled-back-contributes"):
        assert not a_generation_that_needs_this_node_tells_that_it_was_put_back()


def every_start_is_a_life_of_its_own() -> bool:
    lives = [engine_in(5, 5, seed)._desk.generations.life for seed in (1, 2, 3)]
    return len(dict.fromkeys(lives)) == len(lives)


def test_every_start_is_a_life_of_its_own() -> None:
    """Seeds do not find it: an owner that is put back within the seconds of a proof has to lack
    what it had told that it holds, and to get it back before it is asked again.
    """
    assert every_start_is_a_life_of_its_own()
    with planted("life-ignored"):
        assert not every_start_is_a_life_of_its_own()


def a_proposer_takes_up_what_was_accepted() -> bytes:
    acceptors = [NodeId(bytes([number]) * 8) for number in (1, 2, 3)]
    proposal = Proposal(b"own", Quorums.majority(acceptors))
    ballot = proposal.begin(acceptors[0], 1, 1)
    proposal.promised(acceptors[1], ballot, Ballot(1, acceptors[2], 1), b"accepted")
    proposal.promised(acceptors[0], ballot, None, None)
    return proposal.value


def test_a_proposer_takes_up_what_was_accepted() -> None:
    """Seeds seldom find it: two nodes have to drive the same change with different plans, and one
    of them not to have heard what the other decided. `sadik-sim registers --bugs` does.
    """
    assert a_proposer_takes_up_what_was_accepted() == b"accepted"
    with planted("accepted-ignored"):
        assert a_proposer_takes_up_what_was_accepted() == b"own"


def the_old_owners_are_enough_while_owners_change() -> bool:
    old, new = NodeId(b"o" * 8), NodeId(b"n" * 8)
    others = [NodeId(bytes([number]) * 8) for number in (1, 2)]
    register = Register.changing(2, Phase.WRITE_BOTH, (old, *others), (new, *others))
    tally = JointTally(register.lists, ("quorum", 0, 0))
    for node in (old, others[0]):
        tally.add(node, node, durable=True)
    return tally.enough


def test_the_old_owners_are_not_enough_while_owners_change() -> None:
    """Seeds seldom find it: what the new owners missed is brought to them in the next moments, and
    in these a strict read has to ask just those two that missed it.
    """
    assert not the_old_owners_are_enough_while_owners_change()
    with planted("old-quorum-only"):
        assert the_old_owners_are_enough_while_owners_change()


def a_driver_waits_until_its_owners_have_adopted() -> bool:
    """Whether a driver asks nobody to fill a receiver before all owners have the register."""
    driver, *others = (NodeId(bytes([number]) * 8) for number in (1, 2, 3))
    engine = Engine(driver, b"instance", EngineConfig(), random.Random(1), {})
    members = {n: attrs.evolve(member(1), id=n) for n in (driver, *others)}
    register = Register.changing(2, Phase.WRITE_BOTH, (driver,), (driver, *others))
    engine.step(1, Observed(MembersChanged(members)))
    for node in others:
        engine.step(1, Observed(LivenessChanged(node, Liveness.UP)))
    engine.step(1, Observed(RingChanged(Ring(3, (register,) * 8))))
    sent: list[object] = []
    for tick in range(1, 5):
        effects = engine.step(tick * SECOND, Woke())
        sent += [effect.message for effect in effects if isinstance(effect, Send)]
    return not any(isinstance(message, FillAsked) for message in sent)


def test_a_driver_waits_until_its_owners_have_adopted() -> None:
    """Seeds seldom find it: a coordinator that has not heard has to write by the old register while
    the new owners are filled, and the receiver to be read before anti-entropy brings it that.
    """
    assert a_driver_waits_until_its_owners_have_adopted()
    with planted("adoption-not-awaited"):
        assert not a_driver_waits_until_its_owners_have_adopted()


def a_removal_beats_every_incarnation() -> bool:
    removed, refuting = member(2, MemberState.LEFT), member(9)
    return all(
        table_module.merge_members(*pair).state is MemberState.LEFT
        for pair in ((removed, refuting), (refuting, removed))
    )


def test_a_removal_beats_every_incarnation() -> None:
    """Seeds do not find it: a removed node is refused before it can say anything."""
    assert a_removal_beats_every_incarnation()
    with planted("removal-refuted"):
        assert not a_removal_beats_every_incarnation()


def states_after_a_removal_that_nobody_else_agrees_to() -> list[MemberState]:
    me, others = NodeId(b"m" * 8), [NodeId(bytes([number]) * 8) for number in (1, 2)]
    identity = Identity(me, "m", "m:1", "m:2", "z", 1.0, 1, 7)
    machine = Membership(identity, ClusterSettings("c", 8, 3, ()), {}, random.Random(1))
    machine.step(0, Woke())
    cluster = machine.snapshot().cluster_id
    entries = tuple(
        member_to_plain(attrs.evolve(machine.members[me], id=other, name=f"n{other[0]}"))
        for other in others
    )
    machine.step(1, Received(others[0], Delta(cluster, entries, (), ())))
    machine.step(2, Observed(Remove(1, others[1], is_forced=False)))
    return [machine.members[other].state for other in others]


def test_a_split_removes_nobody() -> None:
    """Seeds do not find it: whom the simulator removes is dead, and told of to a majority."""
    assert states_after_a_removal_that_nobody_else_agrees_to() == [MemberState.UP] * 2
    with planted("minority-removes"):
        left = states_after_a_removal_that_nobody_else_agrees_to()
    assert left == [MemberState.UP, MemberState.LEFT]


def notes_after_an_owner_was_replaced() -> tuple[int, list[str]]:
    """An owner is away from a write, and then another one takes its place. What the notes that the
    other owners have say of the new one, and who has the value once it is back.

    Nothing else tells the new one: there is no anti-entropy, and nobody has foreign records.
    """
    key = Key("b", b"k")
    config = EngineConfig(anti_entropy_interval_ns=0, foreign_after_ns=0)
    world = World(1, nodes=4, config=config)
    partition = key.token >> 61
    old = world.ring.registers[partition].owners
    [new] = [node for node in world.nodes if node not in old]
    world.run(SECOND)
    world.crash(old[2])
    world.crash(new)  # else it is the fallback, and has the value from the start
    world.run(SECOND)
    world.answer(old[0], Put("b", b"k", b"v", 5 * SECOND))
    world.run(SECOND)
    registers = list(world.ring.registers)
    registers[partition] = Register(2, (*old[:2], new))
    world.ring = Ring(3, tuple(registers))
    for node in world.nodes.values():
        world.step(node, Observed(RingChanged(world.ring)))
    world.leave(old[2])
    world.run(5 * SECOND)
    engines = [engine for node in old[:2] if (engine := world.nodes[node].engine) is not None]
    notes = sum(
        count for engine in engines for slot, count, _ in engine._desk.hints.by_slot()
        if slot == new
    )  # fmt: skip
    world.start(new)
    world.run(20 * SECOND)
    return notes, [name for name in world.holders(b"v") if name == world.nodes[new].name]


def test_notes_for_a_departed_owner_pass_to_the_new_one() -> None:
    """Seeds do not find it: anti-entropy heals what notes stood for, some seconds later."""
    notes, holders = notes_after_an_owner_was_replaced()
    assert (notes > 0, len(holders)) == (True, 1)
    with planted("note-lost-with-its-owner"):
        assert notes_after_an_owner_was_replaced() == (0, [])


def test_who_forgot_what_it_had_voted_does_not_vote_again() -> None:
    """Seeds do not find it: of three owners two have to decide without a word to anybody, one of
    them to be put back, and the other one to be away while the third asks.
    """
    abstains = test_deciding.test_an_acceptor_that_was_rolled_back_does_not_help_to_decide_again
    abstains()
    with planted("rolled-back-votes"), pytest.raises(AssertionError, match="one value an epoch"):
        abstains()


def test_a_farewell_is_said_until_it_is_heard() -> None:
    """Seeds seldom find it: every stream has to break in the moment of the farewell."""
    is_heard = test_farewell.test_a_stream_that_breaks_at_the_wrong_moment_loses_nothing
    is_heard()
    with planted("farewell-not-awaited"), pytest.raises(AssertionError):
        is_heard()
