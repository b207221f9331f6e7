"""Tallies: distinct owner slots and nothing else, checked against a naive count."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import NodeId
from sadik_vnode.quorum import BadQuorum, JointTally, ReadTally, WriteTally, resolve

NODES = [NodeId(bytes([n]) * 8) for n in range(6)]
OWNERS = NODES[:3]


@pytest.mark.parametrize("owners", range(1, 8))
def test_the_names_of_quorums_are_of_the_owners_that_there_are(owners: int) -> None:
    assert resolve("one", 2, owners, 7) == 1
    assert resolve("all", 2, owners, 7) == owners
    majority = resolve("quorum", 2, owners, 7)
    assert 2 * majority > owners
    assert 2 * (majority - 1) <= owners


def test_nothing_said_means_the_buckets_own() -> None:
    assert resolve(None, "all", 3, 3) == 3
    assert resolve(None, 1, 3, 3) == 1
    assert resolve(2, "all", 3, 3) == 2


def test_a_number_may_exceed_the_owners_but_not_the_replicas() -> None:
    assert resolve(3, 1, 1, 3) == 3
    assert resolve(0, 1, 3, 3) == 0
    for wrong in (4, -1, 1 << 70, "two", ""):
        with pytest.raises(BadQuorum):
            resolve(wrong, 1, 3, 3)
    # A bucket's own, set in a cluster of more replicas, means all of the fewer.
    assert resolve(None, 4, 3, 3) == 3


Ack = tuple[NodeId, NodeId, bool]


def naive_write(acks: list[Ack]) -> tuple[int, int, int]:
    """(slots, slots whose owner acknowledged, slots with a durable acknowledgement)."""
    slots = [slot for slot in NODES if any(ack[0] == slot for ack in acks)]
    primaries = [slot for slot in slots if (slot, slot) in [ack[:2] for ack in acks]]
    durable = [slot for slot in slots if any(ack[0] == slot and ack[2] for ack in acks)]
    return len(slots), len(primaries), len(durable)


def random_acks(source: random.Random, *, durable: bool | None) -> list[Ack]:
    return [
        (
            slot := source.choice(OWNERS),
            slot if source.randrange(2) else source.choice(NODES),
            source.randrange(2) == 0 if durable is None else durable,
        )
        for _ in range(source.randrange(9))
    ]


def test_a_write_counts_as_the_naive_twin_does_over_thousands_of_cases() -> None:
    source = random.Random(4)
    enough_seen = [0, 0]
    for _ in range(4000):
        w, pw, dw = source.randrange(4), source.randrange(4), source.randrange(4)
        acks = random_acks(source, durable=source.randrange(2) == 0)
        tally = WriteTally(w, pw, dw)
        for index, (slot, node, durable) in enumerate(acks):
            tally.add(slot, node, durable=durable)
            got, primaries, kept = naive_write(acks[: index + 1])
            value = tally.value()
            assert (value.got, value.primaries, value.durable) == (got, primaries, kept)
            assert value.hinted == got - primaries
            assert value.needed == w
            assert tally.enough == (got >= w and primaries >= pw and kept >= dw)
            assert [slot in tally for slot in NODES] == [
                any(slot == ack[0] for ack in acks[: index + 1]) for slot in NODES
            ]
        enough_seen[tally.enough] += 1
    assert min(enough_seen) > 500


def test_a_read_counts_as_the_naive_twin_does_over_thousands_of_cases() -> None:
    source = random.Random(5)
    enough_seen = [0, 0]
    for _ in range(4000):
        r, pr = source.randrange(4), source.randrange(4)
        answers = random_acks(source, durable=False)
        tally = ReadTally(r, pr)
        for index, (slot, node, _) in enumerate(answers):
            tally.add(slot, node)
            got, primaries, _ = naive_write(answers[: index + 1])
            value = tally.value()
            assert (value.got, value.primaries) == (got, primaries)
            assert (value.needed, value.durable, value.hinted) == (r, 0, 0)
            assert tally.enough == (got >= r and primaries >= pr)
        enough_seen[tally.enough] += 1
    assert min(enough_seen) > 500


@given(st.integers(0, 1 << 30))
def test_the_order_of_acknowledgements_does_not_matter(seed: int) -> None:
    source = random.Random(seed)
    acks = random_acks(source, durable=None)
    values = []
    for _ in range(3):
        tally = WriteTally(2, 1, 1)
        for slot, node, durable in acks:
            tally.add(slot, node, durable=durable)
        values.append((tally.value(), tally.enough))
        source.shuffle(acks)
    assert values[0] == values[1] == values[2]


def test_an_owner_and_the_fallback_for_it_are_one_acknowledgement() -> None:
    tally = WriteTally(2, 0, 0)
    tally.add(OWNERS[0], NODES[4], durable=True)
    tally.add(OWNERS[0], OWNERS[0], durable=True)
    tally.add(OWNERS[0], NODES[5], durable=True)
    assert not tally.enough
    assert (tally.value().got, tally.value().primaries, tally.value().hinted) == (1, 1, 0)


def test_a_duplicate_is_one_acknowledgement() -> None:
    writes, reads = WriteTally(2, 0, 0), ReadTally(2, 0)
    for _ in range(5):
        writes.add(OWNERS[0], OWNERS[0], durable=True)
        reads.add(OWNERS[0], OWNERS[0])
    assert not writes.enough
    assert not reads.enough


def test_nothing_wanted_is_enough_at_once() -> None:
    assert WriteTally(0, 0, 0).enough
    assert ReadTally(0, 0).enough
    assert not WriteTally(0, 1, 0).enough
    assert not WriteTally(0, 0, 1).enough
    assert not ReadTally(0, 1).enough


def test_while_owners_change_a_write_needs_its_quorum_in_both_lists() -> None:
    old, new = (NODES[0], NODES[1], NODES[2]), (NODES[0], NODES[3], NODES[4])
    tally = JointTally((old, new), ("quorum", 0, 0))
    for node in (NODES[0], NODES[1]):
        tally.add(node, node, durable=True)
    before = tally.enough
    assert (tally.value().needed, tally.value().got) == (2, 1)
    tally.add(NODES[3], NODES[3], durable=True)
    assert (before, tally.enough) == (False, True)  # two of the old and one of the new; then both
    assert (tally.value().needed, tally.value().got) == (2, 2)


def test_a_joint_quorum_is_lacking_where_either_list_is() -> None:
    old, new = (NODES[0],), (NODES[0], NODES[1])
    tally = JointTally((old, new), ("all", 0, 0))
    assert not tally.lacks([(NODES[0], NODES[0]), (NODES[1], NODES[5])])
    assert "1 of 2 replicas" in tally.lacks([(NODES[0], NODES[0]), (NODES[1], None)])
