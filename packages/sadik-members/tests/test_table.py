"""The laws of the tables: merging is commutative, associative and idempotent, and LEFT absorbs."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import NodeId, RemoteProtocolError, decode_plain, encode_plain
from sadik_members import (
    Document,
    DocumentTable,
    Member,
    MemberState,
    MemberTable,
    Merged,
    Register,
    RegisterTable,
    SequenceFilter,
    claimants,
    first_owned_by,
    merge_members,
    slot_of,
    vnodes_by_node,
)
from sadik_members.documents import document_from_plain, document_to_plain
from sadik_members.registers import register_from_plain
from sadik_members.sequence import WINDOW
from sadik_members.table import MEMBERS_MAX, member_from_plain, member_to_plain

ids = st.integers(1, 4).map(lambda n: NodeId(n.to_bytes(8, "big")))
entries = st.builds(
    Member,
    id=ids,
    name=st.sampled_from(["a", "b"]),
    peer=st.sampled_from(["p:1", "q:1"]),
    http=st.just("h:1"),
    zone=st.sampled_from(["", "z"]),
    weight=st.sampled_from([1.0, 2.0]),
    incarnation=st.integers(1, 3),
    state=st.sampled_from(MemberState),
    boot_number=st.integers(1, 2),
    boot_nonce=st.integers(0, 1),
)


def of_one_node(count: int) -> st.SearchStrategy[list[Member]]:
    one = NodeId(bytes(7) + b"\x01")
    return st.lists(entries.map(lambda m: evolve(m, id=one)), min_size=count, max_size=count)


@given(of_one_node(3))
def test_merging_entries_is_a_join(three: list[Member]) -> None:
    a, b, c = three
    assert merge_members(a, a) == a
    assert merge_members(a, b) == merge_members(b, a)
    assert merge_members(merge_members(a, b), c) == merge_members(a, merge_members(b, c))


@given(of_one_node(2))
def test_left_absorbs_whatever_the_incarnation(two: list[Member]) -> None:
    a, b = two
    left = evolve(a, state=MemberState.LEFT, incarnation=1)
    assert merge_members(left, b).state is MemberState.LEFT
    if MemberState.LEFT not in (a.state, b.state) and a.incarnation > b.incarnation:
        assert merge_members(a, b) == a


@given(st.lists(entries, max_size=12), st.randoms(use_true_random=False))
def test_tables_that_took_the_same_entries_are_equal(members: list[Member], chance: object) -> None:
    shuffled = list(members)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = MemberTable(members), MemberTable(shuffled)
    assert one.members == other.members
    assert list(one.members) == sorted(one.members)
    assert one.hash == other.hash


@given(st.lists(entries, max_size=8), st.lists(entries, max_size=8))
def test_one_exchange_of_differences_makes_tables_equal(
    left: list[Member], right: list[Member]
) -> None:
    one, other = MemberTable(left), MemberTable(right)
    to_other, wanted = one.differences(other.digest())
    from_other = [other.members[NodeId(node)] for node in wanted]
    for member in to_other:
        other.merge(member)
    for member in from_other:
        one.merge(member)
    assert one.members == other.members
    assert one.hash == other.hash
    assert one.differences(other.digest()) == ([], [])


@given(entries)
def test_an_entry_survives_the_wire(member: Member) -> None:
    assert member_from_plain(decode_plain(encode_plain(member_to_plain(member)))) == member


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"short"),
        (1, ""),
        (1, "n" * 65),
        (1, "a\nb"),
        (2, "p" * 256),
        (5, 0.0),
        (5, float("inf")),
        (5, 1),
        (6, 0),
        (6, 1 << 63),
        (6, True),
        (7, 0),
        (7, 5),
        (8, 0),
        (9, -1),
    ],
)
def test_what_no_node_says_of_itself_is_refused(at: int, value: object) -> None:
    good = member_to_plain(
        Member(NodeId(bytes(8)), "n", "p:1", "h:1", "", 1.0, 1, MemberState.UP, 1, 1)
    )
    assert member_from_plain((*good, "of a later version")).name == "n"
    with pytest.raises(RemoteProtocolError):
        member_from_plain((*good[:at], value, *good[at + 1 :]))
    with pytest.raises(RemoteProtocolError):
        member_from_plain(good[:9])


def test_a_table_is_bounded() -> None:
    table = MemberTable()
    member = Member(NodeId(bytes(8)), "n", "p:1", "h:1", "", 1.0, 1, MemberState.UP, 1, 1)
    for number in range(MEMBERS_MAX + 5):
        table.merge(evolve(member, id=NodeId(number.to_bytes(8, "big"))))
    assert len(table.members) == MEMBERS_MAX


owners = st.lists(ids, min_size=1, max_size=3, unique=True).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 4)), max_size=20))
def test_the_greatest_epoch_wins_in_any_order(changes: list[tuple[int, int]]) -> None:
    def value(partition: int, epoch: int) -> Register:
        return Register(epoch, (NodeId(bytes([partition, epoch]) * 4),))

    one, other = RegisterTable(8, 3), RegisterTable(8, 3)
    for partition, epoch in changes:
        one.merge(partition, value(partition, epoch))
    for partition, epoch in reversed(changes):
        other.merge(partition, value(partition, epoch))
    assert one.ring == other.ring
    assert one.hash == other.hash
    assert one.differences(other.digest()) == ([], [])


@given(owners, owners)
def test_a_second_value_of_an_epoch_is_a_conflict_and_changes_nothing(
    first: tuple[NodeId, ...], second: tuple[NodeId, ...]
) -> None:
    table = RegisterTable(8, 3)
    assert table.merge(0, Register(5, first)) is Merged.NEWER
    again = table.merge(0, Register(5, second))
    assert again is (Merged.KNOWN if first == second else Merged.CONFLICT)
    assert table.merge(0, Register(4, second)) is Merged.KNOWN
    assert table[0] == Register(5, first)


@pytest.mark.parametrize(
    "plain",
    [
        (0, 1),
        (0, 0, (bytes(8),)),
        (0, 1, ()),
        (0, 1, (b"short",)),
        (0, 1, (bytes(8), bytes(8))),
        (0, True, (bytes(8),)),
        ("0", 1, (bytes(8),)),
        "register",
    ],
)
def test_what_nobody_can_have_decided_is_refused(plain: object) -> None:
    with pytest.raises(RemoteProtocolError):
        register_from_plain(plain)


def test_registers_of_another_ring_are_refused() -> None:
    table = RegisterTable(8, 1)
    two = (NodeId(bytes(8)), NodeId(bytes(7) + b"\x01"))
    for partition, owners_ in ((8, two[:1]), (-1, two[:1]), (0, two)):
        with pytest.raises(RemoteProtocolError):
            table.merge(partition, Register(1, owners_))
    with pytest.raises(RemoteProtocolError):
        table.differences((0,) * 16)


def test_the_vnode_map_reads_a_ring_from_the_side_of_nodes() -> None:
    a, b, c = (NodeId(bytes([n]) * 8) for n in (1, 2, 3))
    table = RegisterTable(8, 2)
    for partition in range(8):
        table.merge(partition, Register(1, (b, a) if partition % 2 else (a, c)))
    ring = table.ring
    assert vnodes_by_node(ring) == {a: list(range(8)), b: [1, 3, 5, 7], c: [0, 2, 4, 6]}
    assert first_owned_by(ring, a) == [0, 2, 4, 6]
    assert (slot_of(ring, 1, b), slot_of(ring, 1, a), slot_of(ring, 1, c)) == (0, 1, None)
    assert all(ring.owned_by(node) == vnodes_by_node(ring)[node] for node in (a, b, c))
    states = (MemberState.UP, MemberState.LEFT, MemberState.JOINING)
    members = {
        node: Member(node, "n", "p:1", "h:1", "z", 2.0, 1, state, 1, 1)
        for node, state in zip((c, b, a), states, strict=True)
    }
    assert [claimant.id for claimant in claimants(members)] == [c]


documents = st.builds(
    Document,
    name=st.sampled_from(["a", "b", "c"]),
    stamp=st.integers(0, 3),
    body=st.sampled_from([b"", b"x", b"y"]),
)


@given(st.lists(documents, max_size=10), st.lists(documents, max_size=10))
def test_documents_merge_and_differ_like_members(
    left: list[Document], right: list[Document]
) -> None:
    one, other = DocumentTable(left), DocumentTable(right)
    assert DocumentTable(reversed(left)).documents == one.documents
    to_other, wanted = one.differences(other.digest())
    from_other = [other.get(name) for name in wanted]
    for document in to_other:
        other.merge(document)
    for found in from_other:
        assert found is not None
        one.merge(found)
    assert one.documents == other.documents
    assert one.hash == other.hash


@pytest.mark.parametrize(
    "document",
    [
        Document("", 1, b""),
        Document("n" * 129, 1, b""),
        Document("a\x00", 1, b""),
        Document("\ud800", 1, b""),
        Document("a", -1, b""),
        Document("a", 1 << 63, b""),
        Document("a", 1, bytes(4097)),
    ],
)
def test_a_document_out_of_bounds_is_refused(document: Document) -> None:
    with pytest.raises(RemoteProtocolError):
        document_from_plain(document_to_plain(document))


@given(st.lists(st.integers(-3, 3000), max_size=200))
def test_a_sequence_number_is_accepted_at_most_once(numbers: list[int]) -> None:
    window, seen, greatest = SequenceFilter(), set[int](), 0
    for number in numbers:
        accepted = window.accept(number)
        is_new = number >= 1 and number not in seen
        assert accepted == (is_new and number > greatest - WINDOW)
        if accepted:
            seen.add(number)
            greatest = max(greatest, number)


def test_numbers_in_order_and_a_little_out_of_order_all_pass() -> None:
    window = SequenceFilter()
    order = [number ^ 3 for number in range(4, 40_000)]
    assert all(window.accept(number) for number in order)
    assert not any(window.accept(number) for number in order)
    assert window.refused_count == len(order)
