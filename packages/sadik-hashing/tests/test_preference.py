"""Preference lists: owners, then every other node once, zones in turn, load spread."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadik_hashing import Claimant, PreferenceTable, claim, preference_list

NODES = [Claimant(b"n%d" % i, f"z{i % 4}") for i in range(12)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[bytes], list[Claimant], int]:
    zones = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=10))
    nodes = [Claimant(b"n%d" % i, zone) for i, zone in enumerate(zones)]
    ids = [node.id for node in nodes] + [b"elsewhere"]
    owners = draw(st.lists(st.sampled_from(ids), max_size=3, unique=True))
    return owners, nodes, draw(st.integers(0, 63))


@given(cases(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_owners_then_every_other_node_once_whatever_order_they_are_given_in(
    case: tuple[list[bytes], list[Claimant], int], rng: random.Random
) -> None:
    owners, nodes, partition = case
    found = preference_list(owners, nodes, partition)
    assert found[: len(owners)] == owners
    assert sorted(found[len(owners) :]) == sorted({n.id for n in nodes} - set(owners))
    rng.shuffle(nodes)
    assert preference_list(owners, nodes, partition) == found


@given(cases())
@settings(deadline=None)
def test_each_fallback_is_from_a_zone_that_appeared_least_so_far(
    case: tuple[list[bytes], list[Claimant], int],
) -> None:
    owners, nodes, partition = case
    zone_of = {node.id: node.zone for node in nodes}
    found = preference_list(owners, nodes, partition)
    for place in range(len(owners), len(found)):
        before = Counter(zone_of[node] for node in found[:place] if node in zone_of)
        open_zones = {zone_of[node] for node in found[place:]}
        assert before[zone_of[found[place]]] == min(before[zone] for zone in open_zones)


@given(cases())
@settings(deadline=None)
def test_a_table_gives_the_same_lists(case: tuple[list[bytes], list[Claimant], int]) -> None:
    owners, nodes, partition = case
    table = PreferenceTable((tuple(owners),) * 64, nodes)
    assert list(table[partition]) == preference_list(owners, nodes, partition)
    assert table[partition] is table[partition], "made once"


def test_fallback_load_spreads_over_the_nodes() -> None:
    owners = [NODES[0].id, NODES[1].id, NODES[2].id]
    first = Counter(preference_list(owners, NODES, p)[3] for p in range(300))
    assert set(first) == {NODES[3].id, NODES[7].id, NODES[11].id}, "the zone that owners lack"
    assert min(first.values()) > 70


def test_a_node_that_goes_leaves_the_others_in_order() -> None:
    nodes = [Claimant(node.id) for node in NODES]
    for partition in range(20):
        whole = preference_list([b"n0"], nodes, partition)
        less = preference_list([b"n0"], [n for n in nodes if n.id != b"n5"], partition)
        assert less == [node for node in whole if node != b"n5"]


def test_a_table_of_a_claimed_ring() -> None:
    assignment = claim(NODES, 64, 3)
    table = PreferenceTable(assignment, NODES)
    assert len(table) == 64
    for partition, owners in enumerate(assignment):
        assert table.owners(partition) == owners == table[partition][:3]
        assert len(table[partition]) == 12


def test_a_partition_can_be_given_other_owners() -> None:
    table = PreferenceTable(((b"n0", b"n1"),) * 8, NODES)
    kept = table[3]
    assert table[4][:2] == (b"n0", b"n1")
    table.assign(4, [b"n7", b"n0"])
    assert table.owners(4) == table[4][:2] == (b"n7", b"n0")
    assert list(table[4]) == preference_list([b"n7", b"n0"], NODES, 4)
    assert table[3] is kept


def test_a_table_refuses_two_nodes_of_one_id_and_unknown_partitions() -> None:
    with pytest.raises(ValueError, match="one id"):
        PreferenceTable(((b"n0",),) * 8, [*NODES, Claimant(b"n0", "other")])
    with pytest.raises(IndexError):
        PreferenceTable(((b"n0",),) * 8, NODES)[8]


def test_the_order_never_changes() -> None:
    """All nodes of a cluster must find the same list, those of other releases too."""
    assert preference_list([b"n0"], NODES[:8], 10) == [
        b"n0",
        b"n2",
        b"n5",
        b"n3",
        b"n4",
        b"n6",
        b"n1",
        b"n7",
    ]
