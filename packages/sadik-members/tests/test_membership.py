"""What an operator sees of a cluster's membership, in the small world."""

from __future__ import annotations

import random

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from members_world import Node, World, needs_instance, node_id
from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    Failed,
    FailureReason,
    Link,
    LinkState,
    Observed,
    Received,
    Store,
    Stored,
    Woke,
)
from sadik_members import (
    MEMBERSHIP_ROWS,
    ClusterJoined,
    ClusterSettings,
    Document,
    DocumentRefused,
    DocumentsChanged,
    Identity,
    JoinRefused,
    Leave,
    Left,
    Member,
    MembersChanged,
    Membership,
    MemberState,
    NewerRegister,
    Publish,
    Readiness,
    Register,
    RemovalDone,
    Remove,
    RingChanged,
    SavedStateError,
    SettingsError,
)
from sadik_members.messages import Delta, JoinAccepted, Ping, RemovalAsked
from sadik_members.table import member_to_plain


def cluster(world: World, size: int, *, within_ns: int = 5 * SECOND) -> None:
    """Founder 1 and nodes 2 to ``size`` that join it."""
    world.add(1)
    world.start(1)
    for number in range(2, size + 1):
        world.add(number, seeds=(1,))
        world.start(number)
    world.run_until(lambda: len(world.running[0].members()) == size and world.agree(), within_ns)


def test_an_empty_directory_without_seeds_is_a_cluster_ready_at_once() -> None:
    world = World(1)
    world.add(1, partitions=None)
    node = world.start(1)
    world.run(20 * MILLISECOND)
    assert node.readiness.ready
    assert node.ring.partitions == 256
    assert all(register == Register(1, (node.id,)) for register in node.ring.registers)
    joined = node.of(ClusterJoined)[0]
    assert isinstance(joined, ClusterJoined)
    assert (len(joined.cluster_id), len(joined.cluster_key)) == (16, 32)


def test_three_nodes_agree_within_two_seconds_of_starting() -> None:
    world = World(2)
    cluster(world, 3, within_ns=2 * SECOND)
    assert all(m.state is MemberState.UP for m in world.nodes[1].members().values())


@pytest.mark.parametrize("order", [(1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1)])
def test_five_joins_at_once_are_all_taken_in(order: tuple[int, ...]) -> None:
    world = World(3)
    world.add(1)
    for number in range(2, 7):
        world.add(number, seeds=(1, 2, 3))
    for number in order:
        world.start(number)
    world.run_until(lambda: len(world.nodes[1].members()) == 6 and world.agree(), 3 * SECOND)


def test_any_member_takes_a_joiner_in() -> None:
    world = World(4)
    cluster(world, 2)
    world.add(3, seeds=(2,))
    world.start(3)
    world.run_until(lambda: len(world.nodes[3].members()) == 3 and world.agree(), 3 * SECOND)


def test_a_name_that_a_member_has_is_refused_and_says_whose() -> None:
    world = World(5)
    cluster(world, 2)
    world.add(3, seeds=(1,), name="n2")
    node = world.start(3)
    world.run(3 * SECOND)
    (reason,) = refusals(node)
    assert "'n2'" in reason
    assert "h2:1" in reason
    assert not node.readiness.ready
    assert len(world.nodes[1].members()) == 2


def test_two_joiners_of_one_name_are_not_both_taken() -> None:
    world = World(6)
    world.add(1)
    world.start(1)
    for number in (2, 3):
        world.add(number, seeds=(1,), name="twin")
        world.start(number)
    world.run(4 * SECOND)
    names = [member.name for member in world.nodes[1].members().values()]
    assert sorted(names) == ["n1", "twin"]


@pytest.mark.parametrize(
    ("partitions", "replicas", "words"),
    [(32, None, ("partitions = 16", "32")), (None, 2, ("replicas = 3", "2"))],
)
def test_other_fixed_settings_are_refused_and_named(
    partitions: int | None, replicas: int | None, words: tuple[str, str]
) -> None:
    world = World(9)
    cluster(world, 1)
    world.add(2, seeds=(1,), partitions=partitions, replicas=replicas)
    node = world.start(2)
    world.run(3 * SECOND)
    (reason,) = refusals(node)
    assert all(word in reason for word in words)


def test_unnamed_settings_are_taken_from_the_cluster() -> None:
    world = World(10)
    world.add(1, partitions=64, replicas=2)
    world.start(1)
    world.add(2, seeds=(1,), partitions=None)
    world.start(2)
    world.run_until(lambda: len(world.nodes[1].members()) == 2 and world.agree(), 3 * SECOND)
    assert (world.nodes[2].ring.partitions, world.nodes[2].ring.replicas) == (64, 2)


def test_who_is_taken_in_while_another_member_is_away_is_known_to_it_later() -> None:
    world = World(11)
    cluster(world, 3)
    world.crash(3)
    world.add(4, seeds=(1,))
    world.start(4)
    world.run_until(lambda: len(world.nodes[2].members()) == 4, 5 * SECOND)
    world.start(3)
    world.run_until(lambda: len(world.nodes[3].members()) == 4 and world.agree(), 5 * SECOND)


def removals(node: Node) -> list[RemovalDone]:
    return [news for news in node.of(RemovalDone) if isinstance(news, RemovalDone)]


def test_a_dead_node_is_removed_with_the_word_of_a_majority_and_stays_removed() -> None:
    world = World(12)
    cluster(world, 3)
    world.crash(3)
    world.run(2 * SECOND)
    world.observe(1, Remove(7, node_id(3), is_forced=False))
    world.run(SECOND)
    assert removals(world.nodes[1]) == [RemovalDone(7, "")]
    assert world.nodes[2].members()[node_id(3)].state is MemberState.LEFT
    back = world.start(3)
    world.run(5 * SECOND)
    assert not back.readiness.ready
    assert "left the cluster or was removed" in back.readiness.reason
    assert world.nodes[1].members()[node_id(3)].state is MemberState.LEFT


def test_a_minority_removes_nobody_unless_it_is_forced() -> None:
    world = World(22)
    cluster(world, 3)
    world.crash(2)
    world.crash(3)
    world.run(2 * SECOND)
    world.observe(1, Remove(1, node_id(3), is_forced=False))
    world.run(3 * SECOND)
    assert "1 of 2 members that are needed" in removals(world.nodes[1])[0].refusal
    assert world.nodes[1].members()[node_id(3)].state is MemberState.UP
    world.observe(1, Remove(2, node_id(3), is_forced=True))
    world.run(SECOND)
    assert removals(world.nodes[1])[1] == RemovalDone(2, "")
    assert world.nodes[1].members()[node_id(3)].is_forced


def test_nobody_agrees_to_the_removal_of_a_node_that_answers() -> None:
    world = World(23)
    cluster(world, 3)
    world.observe(1, Remove(1, node_id(3), is_forced=False))
    world.run(3 * SECOND)
    assert removals(world.nodes[1])[0].refusal
    assert world.nodes[1].members()[node_id(3)].state is MemberState.UP


def test_a_node_that_leaves_says_so_itself_in_two_steps() -> None:
    world = World(24)
    cluster(world, 3)
    world.observe(3, Leave())
    world.run(SECOND)
    assert world.nodes[1].members()[node_id(3)].state is MemberState.LEAVING
    assert world.nodes[3].readiness.ready
    world.observe(3, Left())
    world.run(SECOND)
    for number in (1, 2):
        assert world.nodes[number].members()[node_id(3)].state is MemberState.LEFT


def test_restarted_nodes_come_back_by_themselves_with_other_addresses() -> None:
    world = World(13)
    cluster(world, 3)
    ring = world.nodes[1].ring
    world.crash(2)
    world.run(SECOND)
    world.start(2, peer="elsewhere:1")
    world.run_until(world.agree, 4 * SECOND)
    assert world.nodes[1].members()[node_id(2)].peer == "elsewhere:1"
    assert world.nodes[3].ring == ring


def test_all_restarted_with_other_addresses_meet_through_seeds() -> None:
    world = World(14)
    cluster(world, 3)
    for number in (1, 2, 3):
        world.crash(number)
    world.run(SECOND)
    for number in (1, 2, 3):
        node = world.nodes[number]
        node.settings = ClusterSettings("test", 16, None, ("seed:1",))
        world.start(number, peer="seed:1" if number == 2 else f"new{number}:1")
    world.run_until(world.agree, 6 * SECOND)
    peers = [member.peer for member in world.nodes[3].members().values()]
    assert peers == ["new1:1", "seed:1", "new3:1"]


def test_a_member_that_one_side_does_not_know_is_learned_through_its_seed() -> None:
    world = World(15)
    cluster(world, 3)
    for number in (1, 2):
        world.crash(number)
    node = world.nodes[2]
    del node.disk[b"Mm" + node_id(3)]
    node.settings = ClusterSettings("test", 16, None, ("h3:1",))
    world.start(2, peer="unheard:1")
    world.run_until(lambda: len(node.members()) == 3, SECOND)
    assert world.nodes[3].members()[node_id(2)].peer == "unheard:1"


def test_a_copied_or_rolled_back_store_is_told_to_take_a_new_instance() -> None:
    world = World(16)
    cluster(world, 2)
    old_disk = dict(world.nodes[2].disk)
    for _ in range(3):
        world.crash(2)
        world.start(2)
        world.run(3 * SECOND)
    assert not needs_instance(world.nodes[2])
    world.crash(2)
    world.nodes[2].disk = old_disk
    world.nodes[2].boots = 1
    world.start(2)
    world.run(SECOND)
    assert needs_instance(world.nodes[2])[0].boot_number == 4
    assert not world.nodes[2].readiness.ready
    world.crash(2)
    world.nodes[2].boots = 4
    world.start(2)
    world.run_until(world.agree, 5 * SECOND)


def test_a_known_boot_number_with_another_nonce_is_stale() -> None:
    world = World(17)
    cluster(world, 2)
    world.crash(2)
    world.start(2, boot_number=1)
    world.run(SECOND)
    assert needs_instance(world.nodes[2])[0].boot_number == 1


def test_gossip_alone_tells_a_node_that_its_store_went_back() -> None:
    world = World(18)
    cluster(world, 1)
    node = world.nodes[1]
    own = node.members()[node.id]
    later = evolve(own, incarnation=9, boot_number=7, boot_nonce=5)
    assert node.machine is not None
    world._step(node, Received(node_id(2), delta_of(node.cluster_id, later)))
    assert needs_instance(node)[0].boot_number == 7
    assert node.members()[node.id] == own


def test_a_fresh_founder_dialled_by_its_lost_cluster_is_not_ready_and_says_why() -> None:
    world = World(19)
    cluster(world, 3)
    world.crash(1)
    world.nodes[1].disk.clear()
    world.nodes[1].boots = 0
    world.add(1, name="n1")
    world.nodes[1].identity = Identity(node_id(99), "n1", "h1:1", "h1:2", "", 1.0, 1, 1)
    world.nodes[99] = world.nodes.pop(1)
    world.nodes[99].number = 99
    node = world.start(99)
    world.run(3 * SECOND)
    assert not node.readiness.ready
    assert "another cluster" in node.readiness.reason
    world.run(3 * SECOND)
    assert not node.readiness.ready


def test_a_member_of_a_grown_cluster_does_not_mind_such_a_dial() -> None:
    world = World(20)
    cluster(world, 2)
    world.add(8)
    world.start(8)
    world.add(9, seeds=(8, 1))
    world.start(9)
    world.run(4 * SECOND)
    assert world.nodes[1].readiness.ready


def test_documents_reach_every_node_and_survive_restarts() -> None:
    world = World(21)
    cluster(world, 3)
    world.observe(2, Publish(Document("bucket/a", 5, b"new")))
    world.run(100 * MILLISECOND)
    for number in (1, 2, 3):
        seen = world.nodes[number].of(DocumentsChanged)[-1]
        assert seen == DocumentsChanged((Document("bucket/a", 5, b"new"),))
    world.observe(1, Publish(Document("bucket/a", 4, b"old")))
    world.run(2 * SECOND)
    world.crash(3)
    world.start(3)
    world.run(100 * MILLISECOND)
    assert world.nodes[3].of(DocumentsChanged)[-1] == DocumentsChanged(
        (Document("bucket/a", 5, b"new"),)
    )


def test_a_document_out_of_bounds_is_counted_and_goes_nowhere() -> None:
    world = World(22)
    cluster(world, 1)
    world.observe(1, Publish(Document("big", 1, bytes(5000))))
    assert world.nodes[1].machine is not None
    assert world.nodes[1].machine.counters["document_refused"] == 1
    assert not world.nodes[1].of(DocumentsChanged)
    [refused] = world.nodes[1].of(DocumentRefused)
    assert isinstance(refused, DocumentRefused)
    assert refused.name == "big"


def test_a_newer_register_from_the_data_machine_is_merged_and_a_second_value_is_not() -> None:
    world = World(23)
    cluster(world, 2)
    owners = (node_id(2), node_id(1))
    world.observe(1, NewerRegister(3, Register(9, owners)))
    world.run(3 * SECOND)
    assert world.nodes[2].ring.registers[3] == Register(9, owners)
    world.observe(1, NewerRegister(3, Register(9, (node_id(1), node_id(2)))))
    world.observe(1, NewerRegister(99, Register(9, owners)))
    machine = world.nodes[1].machine
    assert machine is not None
    assert machine.counters["register_conflict"] == 1
    assert machine.counters["bad_register"] == 1
    assert world.nodes[1].ring.registers[3] == Register(9, owners)


def test_nothing_is_sent_to_who_has_left_nor_taken_from_it() -> None:
    world = World(24)
    cluster(world, 3)
    left = evolve(world.nodes[1].members()[node_id(3)], state=MemberState.LEFT)
    world._step(world.nodes[1], Received(node_id(2), delta_of(world.nodes[1].cluster_id, left)))
    world.run(3 * SECOND)
    assert node_id(3) not in world.nodes[1].targets.members
    world.observe(1, Publish(Document("x", 1, b"")))
    world.run(3 * SECOND)
    assert not world.nodes[3].of(DocumentsChanged)
    assert world.nodes[2].of(DocumentsChanged)
    # The messenger ends streams to it; when it dials again it is told why it gets none.
    world.restream()
    world.run(SECOND)
    assert not world.nodes[3].readiness.ready
    assert "left the cluster or was removed" in world.nodes[3].readiness.reason
    machine = world.nodes[1].machine
    assert machine is not None
    world._step(world.nodes[1], Received(node_id(3), Ping(1)))
    assert machine.counters["removed"] >= 1


def test_messages_of_strangers_are_counted_and_change_nothing() -> None:
    world = World(25)
    cluster(world, 1)
    node = world.nodes[1]
    machine = node.machine
    assert machine is not None
    stranger = node_id(77)
    forged = evolve(node.members()[node.id], id=stranger, name="evil")
    before = (node.members(), node.ring)
    world._step(node, Received(stranger, delta_of(b"x" * 16, forged)))
    world._step(node, Received(stranger, RemovalAsked(node.cluster_id, 1, bytes(node_id(1)))))
    accepted = JoinAccepted(b"x" * 16, b"k" * 32, "test", 16, 3, stranger, (), (), ())
    world._step(node, Received(stranger, accepted))
    assert (node.members(), node.ring) == before
    assert machine.counters["other_cluster"] == 1
    assert machine.counters["unknown_sender"] == 1
    assert machine.counters["joined_already"] == 1


def test_what_others_say_of_a_node_is_outbid_by_the_node_itself() -> None:
    world = World(26)
    cluster(world, 2)
    own = world.nodes[2].members()[node_id(2)]
    forged = evolve(own, incarnation=own.incarnation + 50, http="evil:1")
    world._step(world.nodes[1], Received(node_id(2), delta_of(world.nodes[1].cluster_id, forged)))
    world.run_until(world.agree, 4 * SECOND)
    world.run(3 * SECOND)
    entry = world.nodes[1].members()[node_id(2)]
    assert entry.http == "h2:2"
    assert entry.incarnation == own.incarnation + 51


@pytest.mark.parametrize(
    "changes", [{"peer": "evil:1"}, {"http": "evil:2"}, {"name": "evil"}, {"boot_number": 9}]
)
def test_what_a_member_says_of_a_third_is_asked_of_the_third(changes: dict[str, object]) -> None:
    world = World(28)
    cluster(world, 3)
    target, third = world.nodes[1], world.nodes[3]
    known = target.members()[third.id]
    forged = evolve(known, incarnation=known.incarnation + 50, **changes)  # type: ignore[arg-type]
    world._step(target, Received(node_id(2), delta_of(target.cluster_id, forged)))
    assert target.members()[third.id] == known
    assert target.machine is not None
    assert target.machine.counters["hearsay"] == 1
    world.run(5 * SECOND)
    assert target.members()[third.id].peer == known.peer
    # The third itself is believed, and so is hearsay while it cannot be asked.
    world.crash(3)
    world.run(2 * SECOND)
    told = evolve(target.members()[third.id], incarnation=known.incarnation + 60, peer="new:1")
    world._step(target, Received(node_id(2), delta_of(target.cluster_id, told)))
    assert target.members()[third.id].peer == "new:1"


def test_saved_rows_of_another_make_are_refused_with_both_values_named() -> None:
    world = World(27)
    cluster(world, 2)
    node = world.nodes[1]
    rows = dict(node.disk)
    assert all(MEMBERSHIP_ROWS[0] <= key < MEMBERSHIP_ROWS[1] for key in rows)

    def open_with(settings: ClusterSettings, identity: Identity = node.identity) -> None:
        Membership(identity, settings, rows, random.Random(1))

    with pytest.raises(SettingsError, match=r"'test'.*'other'"):
        open_with(ClusterSettings("other"))
    with pytest.raises(SettingsError, match=r"partitions = 16.* 32"):
        open_with(ClusterSettings("test", partitions=32))
    with pytest.raises(SettingsError, match="'n2'"):
        open_with(ClusterSettings("test"), evolve(node.identity, name="n2"))
    with pytest.raises(SavedStateError, match="does not name this node"):
        open_with(ClusterSettings("test"), evolve(node.identity, node_id=node_id(5)))
    for key in rows:
        damaged = {**rows, key: rows[key][:-1]}
        with pytest.raises(SavedStateError, match="damaged"):
            Membership(node.identity, ClusterSettings("test"), damaged, random.Random(1))
    newer = {**rows, b"Mc": b"\x83\x18\x63" + rows[b"Mc"][2:]}
    with pytest.raises(SavedStateError, match="format 99"):
        Membership(node.identity, ClusterSettings("test"), newer, random.Random(1))


def test_nothing_is_announced_or_sent_before_it_is_on_disk() -> None:
    machine = Membership(
        Identity(node_id(1), "n1", "h1:1", "h1:2", "", 1.0, 1, 1),
        ClusterSettings("test", 16),
        {},
        random.Random(1),
    )
    assert machine.deadline == 0
    (store,) = machine.step(5, Woke())
    assert isinstance(store, Store)
    kinds = [type(effect.news) for effect in store.then if isinstance(effect, Announce)]
    assert kinds[:3] == [ClusterJoined, MembersChanged, RingChanged]
    assert Readiness in kinds
    # A peer that comes meanwhile gets nothing but a barrier's worth.
    effects = machine.step(6, Link(node_id(2), LinkState.UP))
    assert all(isinstance(effect, Store) and not effect.batch for effect in effects)
    machine.step(7, Stored(store.ticket))


def test_a_full_disk_delays_and_loses_nothing() -> None:
    machine = Membership(
        Identity(node_id(1), "n1", "h1:1", "h1:2", "", 1.0, 1, 1),
        ClusterSettings("test", 16),
        {},
        random.Random(1),
    )
    (first,) = machine.step(0, Woke())
    (second,) = machine.step(1, Observed(Publish(Document("a", 1, b"1"))))
    assert isinstance(first, Store)
    assert isinstance(second, Store)
    assert machine.step(2, Failed(first.ticket, FailureReason.FULL)) == []
    assert machine.step(3, Observed(Publish(Document("a", 2, b"2")))) == []
    assert machine.step(4, Failed(second.ticket, FailureReason.FULL)) == []
    deadline = machine.deadline
    assert deadline is not None
    (again,) = [e for e in machine.step(deadline + SECOND, Woke()) if isinstance(e, Store)]
    rows = dict(again.batch)
    assert set(rows) == {*dict(first.batch), b"Mda"}
    assert rows[b"Mda"] != dict(second.batch)[b"Mda"]
    kinds = [type(effect.news) for effect in again.then if isinstance(effect, Announce)]
    assert kinds[:3] == [ClusterJoined, MembersChanged, RingChanged]
    assert DocumentsChanged in kinds


@settings(max_examples=settings().max_examples // 2)
@given(st.integers(0, 10_000))
def test_whatever_the_network_does_all_nodes_end_with_one_view(seed: int) -> None:
    chance = random.Random(seed)
    world = World(seed, loss=chance.choice([0.0, 0.05, 0.3]))
    size = chance.randint(3, 7)
    world.add(1)
    world.start(1)
    for number in range(2, size + 1):
        world.add(number, seeds=(chance.randint(1, number - 1), 1), zone=f"z{number % 3}")
        world.start(number)
    for _ in range(chance.randint(0, 8)):
        world.run(chance.randint(10, 1500) * MILLISECOND)
        number = chance.randint(1, size)
        fault = chance.choice(["crash", "stop", "cut", "restream", "heal"])
        if fault == "crash":
            world.crash(number)
            world.run(chance.randint(0, 800) * MILLISECOND)
            # The founder stays where it is: some joiners know nothing else yet.
            moves = number > 1 and chance.random() < 0.5
            world.start(number, peer=f"m{number}-{chance.randint(1, 99)}:1" if moves else "")
        elif fault == "stop" and world.nodes[number].machine is not None:
            world.stop(number)
            world.run(chance.randint(0, 3000) * MILLISECOND)
            world.resume(number)
        elif fault == "cut":
            world.cut(number, chance.randint(1, size))
        elif fault == "restream":
            world.restream()
        else:
            world.cuts.clear()
    world.heal()
    world.run_until(lambda: len(world.nodes[1].members()) == size and world.agree(), 20 * SECOND)
    world.run(3 * SECOND)
    assert world.agree()


def test_one_seed_gives_one_trace() -> None:
    def digest() -> str:
        world = World(5, loss=0.1, traced=True)
        world.add(1)
        world.start(1)
        for number in (2, 3, 4):
            world.add(number, seeds=(1,))
            world.start(number)
        world.run(3 * SECOND)
        world.crash(2)
        world.run(SECOND)
        world.start(2)
        world.run(3 * SECOND)
        return world.trace.digest

    assert digest() == digest()


def refusals(node: Node) -> list[str]:
    return [news.reason for news in node.of(JoinRefused) if isinstance(news, JoinRefused)]


def delta_of(cluster_id: bytes, member: Member) -> Delta:
    return Delta(cluster_id, (member_to_plain(member),), (), ())
