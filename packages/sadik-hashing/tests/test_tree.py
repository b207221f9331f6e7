"""Hash trees: equal data and only equal data gives equal roots, and differences are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_hashing import HashTree, differences, record_hash, token_of
from sadik_hashing.tree import SUM_BYTES

Dots = tuple[tuple[bytes, int], ...]

dots: st.SearchStrategy[Dots] = st.lists(
    st.tuples(st.sampled_from([b"x", b"y", b"xy"]), st.integers(1, 4)), max_size=3, unique=True
).map(lambda found: tuple(sorted(found)))
keys = st.sampled_from([b"k%d" % i for i in range(20)])
writes = st.lists(st.tuples(keys, st.none() | dots), max_size=40)


class Replica:
    """A store of records beside its tree, kept as a node keeps them."""

    def __init__(self) -> None:
        self.records: dict[bytes, Dots] = {}
        self.tree = HashTree(leaves=16, fanout=4)

    def write(self, key: bytes, live: Dots | None) -> None:
        before = self.records.pop(key, None)
        if live is not None:
            self.records[key] = live
        leaf = self.tree.leaf_of(token_of("b", key))
        self.tree.replace(leaf, hash_or_none(key, before), hash_or_none(key, live))

    def rebuilt(self) -> HashTree:
        tree = HashTree(leaves=16, fanout=4)
        for key, live in self.records.items():
            tree.replace(tree.leaf_of(token_of("b", key)), None, record_hash(key, live))
        return tree


def hash_or_none(key: bytes, live: Dots | None) -> int | None:
    return None if live is None else record_hash(key, live)


def exchange(mine: HashTree, theirs: HashTree) -> list[int]:
    """Compare as two nodes do: only packed rows cross."""
    if mine.root == theirs.root:
        return []
    return [
        leaf
        for middle in mine.differing_middles(theirs.packed_middles())
        for leaf in mine.differing_leaves(middle, theirs.packed_leaves(middle))
    ]


@given(writes)
def test_any_order_of_writes_equals_a_rebuild(history: list[tuple[bytes, Dots | None]]) -> None:
    replica = Replica()
    for key, live in history:
        replica.write(key, live)
    assert replica.tree.dump() == replica.rebuilt().dump()
    assert replica.tree.root == replica.rebuilt().root
    assert replica.tree.packed_middles() == replica.rebuilt().packed_middles()


@given(writes, writes)
def test_roots_are_equal_exactly_if_live_dots_are_and_an_exchange_finds_the_leaves(
    one: list[tuple[bytes, Dots | None]], other: list[tuple[bytes, Dots | None]]
) -> None:
    left, right = Replica(), Replica()
    for replica, history in ((left, one), (right, other)):
        for key, live in history:
            replica.write(key, live)
    every = left.records.keys() | right.records.keys()
    differing = {key for key in every if left.records.get(key, ()) != right.records.get(key, ())}
    assert (left.tree.root == right.tree.root) == (not differing)
    leaves = sorted({left.tree.leaf_of(token_of("b", key)) for key in differing})
    assert exchange(left.tree, right.tree) == exchange(right.tree, left.tree) == leaves
    for key in differing:
        right.write(key, left.records.get(key))
    assert exchange(left.tree, right.tree) == [], "a second pass sends nothing"


@given(writes)
def test_levels_are_sums_of_the_level_below(history: list[tuple[bytes, Dots | None]]) -> None:
    replica = Replica()
    for key, live in history:
        replica.write(key, live)
    tree = replica.tree
    for middle in range(4):
        below = [tree.leaf(leaf) for leaf in range(4 * middle, 4 * middle + 4)]
        assert tree.middle(middle) == sum(below) % 2**128
        packed = b"".join(value.to_bytes(SUM_BYTES, "big") for value in below)
        assert tree.packed_leaves(middle) == packed
    assert tree.root == sum(tree.middle(middle) for middle in range(4)) % 2**128


@given(writes)
def test_a_dump_is_loaded_as_it_was(history: list[tuple[bytes, Dots | None]]) -> None:
    replica = Replica()
    for key, live in history:
        replica.write(key, live)
    loaded = HashTree.load(replica.tree.dump())
    assert (loaded.leaves, loaded.fanout, loaded.root) == (16, 4, replica.tree.root)
    assert exchange(loaded, replica.tree) == []


def test_a_record_counted_twice_shows() -> None:
    tree = HashTree()
    one = record_hash(b"k", ((b"x", 1),))
    tree.replace(5, None, one)
    assert tree.replace(5, None, one) == 2 * one % 2**128 != 0


def test_replace_returns_the_sum_to_store_and_assign_restores_it() -> None:
    tree, restored = HashTree(), HashTree()
    for leaf in (0, 77, 1023):
        value = tree.replace(leaf, None, record_hash(b"%d" % leaf, ((b"x", 1),)))
        assert restored.assign(leaf, value) == value == tree.leaf(leaf)
    assert restored.dump() == tree.dump()
    assert restored.root == tree.root != 0


def test_an_emptied_tree_is_an_empty_tree() -> None:
    tree = HashTree()
    one = record_hash(b"k", ((b"x", 1),))
    tree.replace(3, None, one)
    assert tree.replace(3, one, None) == 0
    assert tree.root == HashTree().root == 0


def test_keys_of_one_partition_spread_over_the_leaves() -> None:
    tree = HashTree()
    tokens = [token_of("b", b"%d" % i) for i in range(40_000)]
    found = {tree.leaf_of(token) for token in tokens if token >> 61 == 3}
    assert len(found) > 1000


def test_a_record_without_live_dots_is_no_record() -> None:
    assert record_hash(b"k", ()) == 0


@given(st.binary(max_size=4), dots, st.binary(max_size=4), dots)
def test_records_that_differ_have_other_hashes(
    key: bytes, live: Dots, other_key: bytes, other: Dots
) -> None:
    same = (live == other and key == other_key) or (not live and not other)
    assert (record_hash(key, live) == record_hash(other_key, other)) == same


def test_key_and_actor_are_told_apart() -> None:
    assert record_hash(b"ab", ((b"c", 1),)) != record_hash(b"a", ((b"bc", 1),))


def test_the_hash_of_a_record_never_changes() -> None:
    """Leaf sums are on disk and compared between releases."""
    live = ((b"a", 1), (b"b", 2**64 - 1))
    assert record_hash(b"k", live) == 91106229975163470786818655912898615714
    assert record_hash(b"k", list(live)) == record_hash(b"k", live)


def test_unsorted_dots_are_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="unsorted"):
        record_hash(b"k", ((b"b", 1), (b"a", 1)))


@pytest.mark.parametrize("dot", [(b"a" * 256, 1), (b"a", -1), (b"a", 2**64)])
def test_dots_out_of_range_are_refused(dot: tuple[bytes, int]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        record_hash(b"k", (dot,))


@pytest.mark.parametrize(
    ("leaves", "fanout"), [(0, 1), (3, 1), (1 << 17, 2), (16, 0), (16, 3), (16, 32), (-8, 2)]
)
def test_a_shape_is_of_powers_of_two(leaves: int, fanout: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        HashTree(leaves, fanout)


def test_trees_of_other_shapes_do_not_compare() -> None:
    tree = HashTree(16, 4)
    with pytest.raises(ValueError, match="compare"):
        tree.differing_middles(HashTree(32, 4).packed_middles())
    with pytest.raises(ValueError, match="compare"):
        tree.differing_leaves(0, b"")
    with pytest.raises(ValueError, match="compare"):
        differences(b"abc", b"abd")


@pytest.mark.parametrize("middle", [-1, 4])
def test_a_middle_that_does_not_exist_is_refused(middle: int) -> None:
    with pytest.raises(IndexError):
        HashTree(16, 4).packed_leaves(middle)
    with pytest.raises(IndexError):
        HashTree(16, 4).differing_leaves(middle, bytes(64))


def test_what_is_no_dump_is_refused() -> None:
    dump = HashTree(16, 4).dump()
    for damaged in (b"", b"x" + dump, dump[:-1], dump + b"\0", dump[:15], dump[:13] + bytes(8)):
        with pytest.raises(ValueError):  # noqa: PT011 - several messages, each says its own
            HashTree.load(damaged)
