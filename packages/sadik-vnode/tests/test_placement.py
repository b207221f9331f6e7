"""Placement: owners first, nobody twice, and the same order on every node."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import NodeId
from sadik_members import Liveness, Member, MemberState, Register, Ring
from sadik_vnode.keyspace import Key
from sadik_vnode.placement import Placement

PARTITIONS = 8
IDS = [NodeId(bytes([n + 1]) * 8) for n in range(9)]
ME = IDS[0]


def member(node: NodeId, state: MemberState = MemberState.UP, zone: str = "z") -> Member:
    return Member(node, node.hex(), "", "", zone, 1.0, 1, state, 1, 1)


@attrs.frozen
class Cluster:
    """Members, who owns what, and what this node believes of each."""

    members: dict[NodeId, Member]
    owners: tuple[tuple[NodeId, ...], ...]
    liveness: dict[NodeId, Liveness]

    def placement(self) -> Placement:
        placement = Placement(ME)
        placement.set_members(self.members)
        placement.set_ring(Ring(3, tuple(Register(1, owners) for owners in self.owners)))
        for node, liveness in self.liveness.items():
            placement.set_liveness(node, liveness)
        return placement


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    count = draw(st.integers(1, len(IDS)))
    states = st.sampled_from([MemberState.UP] * 3 + [MemberState.LEFT, MemberState.LEAVING])
    members = {
        node: member(node, draw(states), draw(st.sampled_from("xyz"))) for node in IDS[:count]
    }
    present = [n for n, m in members.items() if m.state is not MemberState.LEFT] or [ME]
    owners = st.lists(st.sampled_from(present), min_size=1, max_size=3, unique=True).map(tuple)
    return Cluster(
        members,
        tuple(draw(owners) for _ in range(PARTITIONS)),
        {node: draw(st.sampled_from(Liveness)) for node in draw(st.sets(st.sampled_from(IDS)))},
    )


@given(clusters(), st.booleans())
def test_every_slot_is_asked_for_in_order_and_no_node_twice(cluster: Cluster, sloppy: bool) -> None:
    placement = cluster.placement()
    for partition, owners in enumerate(cluster.owners):
        slots = placement.stand_ins(partition, sloppy=sloppy)
        assert tuple(slot for slot, _ in slots) == owners
        asked = [node for _, node in slots if node is not None]
        assert len(dict.fromkeys(asked)) == len(asked)
        for slot, node in slots:
            if placement.is_routable(slot):
                assert node == slot
            elif node is not None:
                assert sloppy
                assert node not in owners


@given(clusters())
def test_a_fallback_is_a_member_that_is_no_owner_and_believed_to_answer(cluster: Cluster) -> None:
    placement = cluster.placement()
    for partition, owners in enumerate(cluster.owners):
        fallbacks = placement.fallbacks(partition)
        present = [n for n, m in cluster.members.items() if m.state is not MemberState.LEFT]
        assert sorted(fallbacks) == sorted(node for node in present if node not in owners)
        live = placement.live_fallbacks(partition)
        assert live == [node for node in fallbacks if placement.is_routable(node)]
        stand_ins = placement.stand_ins(partition, sloppy=True)
        chosen = [node for slot, node in stand_ins if node not in (slot, None)]
        assert chosen == live[: len(chosen)]
        if len(chosen) < len(live):
            assert all(node is not None for _, node in stand_ins)


@given(clusters(), clusters())
def test_the_order_is_a_function_of_members_and_ring_alone(
    cluster: Cluster, other: Cluster
) -> None:
    """Whatever was known before, whatever is believed of peers, and in whatever order it came."""
    fresh = cluster.placement()
    used = other.placement()
    for partition in range(PARTITIONS):
        used.fallbacks(partition)
    used.set_ring(Ring(3, tuple(Register(1, owners) for owners in cluster.owners)))
    for partition in range(PARTITIONS):
        used.fallbacks(partition)
    used.set_members(dict(reversed(cluster.members.items())))
    for partition in range(PARTITIONS):
        assert used.fallbacks(partition) == fresh.fallbacks(partition)


@given(clusters())
def test_oneself_is_always_up_and_a_stranger_never_routable(cluster: Cluster) -> None:
    placement = cluster.placement()
    assert placement.liveness(ME) is Liveness.UP
    assert placement.is_routable(ME)
    for node in IDS:
        if node not in cluster.members:
            assert not placement.is_routable(node)
            assert not placement.is_member(node)
        elif node != ME:
            liveness = cluster.liveness.get(node, Liveness.UNKNOWN)
            assert placement.liveness(node) is liveness
            if liveness in (Liveness.DOWN, Liveness.SUSPECT):
                assert not placement.is_routable(node)


def test_who_was_not_heard_of_yet_is_tried_and_not_presumed_down() -> None:
    placement = Cluster({IDS[1]: member(IDS[1])}, ((IDS[1],),) * PARTITIONS, {}).placement()
    assert placement.is_routable(IDS[1])
    assert placement.stand_ins(0, sloppy=True) == [(IDS[1], IDS[1])]


def test_fallbacks_of_other_zones_come_first() -> None:
    zones = {IDS[0]: "x", IDS[1]: "x", IDS[2]: "x", IDS[3]: "y", IDS[4]: "x", IDS[5]: "z"}
    members = {node: member(node, zone=zone) for node, zone in zones.items()}
    placement = Cluster(members, (tuple(IDS[:3]),) * PARTITIONS, {}).placement()
    for partition in range(PARTITIONS):
        fallbacks = placement.fallbacks(partition)
        assert sorted(zones[node] for node in fallbacks[:2]) == ["y", "z"]


def test_the_members_that_stand_in_are_not_the_same_for_every_partition() -> None:
    members = {node: member(node) for node in IDS}
    placement = Cluster(members, (tuple(IDS[:3]),) * PARTITIONS, {}).placement()
    first = [placement.fallbacks(partition)[0] for partition in range(PARTITIONS)]
    assert len(dict.fromkeys(first)) > 1


@given(st.binary(min_size=1, max_size=50), st.integers(0, 12))
def test_a_keys_partition_is_the_top_bits_of_its_token(name: bytes, bits: int) -> None:
    placement = Placement(ME)
    placement.set_ring(Ring(3, (Register(1, (ME,)),) * (1 << bits)))
    key = Key("b", name)
    assert placement.partition(key) == key.token * (1 << bits) >> 64


def test_a_newer_ring_is_adopted_as_a_whole() -> None:
    members = {node: member(node) for node in IDS[:4]}
    placement = Cluster(members, (tuple(IDS[:3]),) * PARTITIONS, {}).placement()
    assert placement.fallbacks(0) == [IDS[3]]
    placement.set_ring(Ring(3, (Register(2, (IDS[3], IDS[0])),) * PARTITIONS))
    assert placement.register(0) == Register(2, (IDS[3], IDS[0]))
    assert sorted(placement.fallbacks(0)) == [IDS[1], IDS[2]]


@given(clusters(), st.integers(0, PARTITIONS - 1), st.sampled_from(list(Liveness)))
def test_the_live_owners_are_those_that_are_routable_now(
    cluster: Cluster, partition: int, then: Liveness
) -> None:
    placement = cluster.placement()
    for _ in range(2):
        owners = placement.register(partition).owners
        assert list(placement.live_owners(partition)) == [
            owner for owner in owners if placement.is_routable(owner)
        ]
        placement.set_liveness(owners[-1], then)
    placement.set_ring(Ring(3, (Register(2, (ME,)),) * PARTITIONS))
    assert placement.live_owners(partition) == (ME,)
