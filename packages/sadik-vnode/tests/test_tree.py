"""The hash tree is that of the records on disk, whatever happened and in whatever order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica_host import ReplicaHost
from sadik_causality import Container, Context
from sadik_machine import FailureReason, GetRows, Load, ScanRows, Store
from sadik_vnode.keyspace import LEAVES, Key, leaf_row, record_key, records_range
from sadik_vnode.record import Record
from sadik_vnode.tree import HashTree, hash_of
from sadik_vnode.version import Version
from tree_oracle import leaves_of_records, leaves_of_rows
from vnode_values import CONTAINERS, container_of

KEYS = [Key("b", bytes([n])) for n in range(6)]

# Two keys of one leaf, for a sum has to be shared to go wrong.
_BY_LEAF: dict[int, Key] = {}
for _number in range(100_000):
    _key = Key("b", b"%d" % _number)
    if _key.leaf in _BY_LEAF:
        KEYS += [_BY_LEAF[_key.leaf], _key]
        break
    _BY_LEAF[_key.leaf] = _key

MERGES = st.tuples(st.sampled_from(range(len(KEYS))), CONTAINERS)
STEPS = st.one_of(MERGES, st.sampled_from(["load", "sync", "fail", "crash"]))


def merge(host: ReplicaHost, key: Key, incoming: Container[Version]) -> None:
    host.replica.merge(key, incoming, list, (), None, lambda _: None)
    host.perform()


def known(host: ReplicaHost) -> HashTree:
    """Read the leaves, as a start does."""
    tree = host.replica.tree
    tree.start(lambda: None, lambda _: None)
    for effect in host.outbox.take():
        assert isinstance(effect, Load)
        assert isinstance(effect.query, ScanRows)
        query = effect.query
        rows = sorted(r for r in host.disk.items() if query.start <= r[0] < (query.stop or b"\xff"))
        host.outbox.loaded(effect.ticket, rows)
    return tree


def check(host: ReplicaHost, tree: HashTree) -> None:
    sums = leaves_of_records(host.disk)
    assert leaves_of_rows(host.disk) == sums
    assert tree.root(0, 1) == sum(sums.values()) % (1 << 128)


@given(st.lists(STEPS, max_size=40))
def test_any_order_of_updates_failures_and_crashes_equals_a_rebuild(steps: list[object]) -> None:
    host = ReplicaHost()
    tree = known(host)
    for step in steps:
        match step:
            case "load":
                if host.loads:
                    host.answer_load()
            case "sync":
                host.sync()
            case "fail":
                host.fail_stores()
            case "crash":
                host.boot()
                tree = known(host)
            case (int(number), Container() as incoming):
                merge(host, KEYS[number], incoming)
            case _:
                raise AssertionError(step)
        check(host, tree)  # what the tree shows is what is on disk, at any moment
    host.settle()
    check(host, tree)
    assert not tree._held


@given(st.lists(MERGES, max_size=12), st.integers(0, 1 << 32))
def test_equal_data_gives_equal_roots_whatever_the_order(
    merges: list[tuple[int, Container[Version]]], seed: int
) -> None:
    roots = []
    lives = []
    for order in (merges, random.Random(seed).sample(merges, len(merges)), merges[1:]):
        host = ReplicaHost()
        tree = known(host)
        for number, incoming in order:
            merge(host, KEYS[number], incoming)
        host.settle()
        roots.append(tree.root(0, 1))
        lives.append([host.on_disk(key).container.live_dots() for key in KEYS])
    assert lives[0] == lives[1]
    assert roots[0] == roots[1]
    assert (roots[0] == roots[2]) == (lives[0] == lives[2])


def test_a_sum_costs_no_load_of_its_own_and_one_row_a_store() -> None:
    host = ReplicaHost()
    host.replica.merge(KEYS[0], container_of([], [(b"a", 1)]), list, (), None, lambda _: None)
    host.replica.merge(KEYS[0], container_of([], [(b"b", 1)]), list, (), None, lambda _: None)
    [load] = host.outbox.take()
    assert isinstance(load, Load)
    assert load.query == GetRows((KEYS[0].record_row, leaf_row(KEYS[0].leaf)))
    host.outbox.loaded(load.ticket, [None, None])
    stores = [effect for effect in host.outbox.take() if isinstance(effect, Store)]
    rows = [[row for row, _ in store.batch if row.startswith(b"T")] for store in stores]
    assert rows == [[leaf_row(KEYS[0].leaf)]] * 2


def test_what_changes_no_live_dot_changes_no_sum() -> None:
    host = ReplicaHost()
    merge(host, KEYS[0], container_of([], [(b"a", 1)]))
    host.settle()
    merge(host, KEYS[0], Container({}, Context.from_dots([(b"z", 4)])))
    assert [row[:1] for row, _ in host.stores[0].batch] == [b"O"]


def test_a_sum_is_told_from_disk_while_a_change_is_under_way() -> None:
    host = ReplicaHost()
    tree = known(host)
    told: list[list[int]] = []
    merge(host, KEYS[0], container_of([], [(b"a", 1)]))
    host.answer_load()
    tree.read([KEYS[0].leaf], told.append, lambda _: None)
    host.perform()
    host.answer_load()  # it shows the store that is under way
    host.fail_stores()
    merge(host, KEYS[0], container_of([], [(b"a", 2)]))
    host.answer_load()
    tree.read([KEYS[0].leaf], told.append, lambda _: None)
    host.perform()
    host.sync()
    host.answer_load()
    expected = hash_of(KEYS[0], Record(container_of([], [(b"a", 2)])))
    assert told == [[0], [expected]]


def test_loads_of_sums_may_be_answered_in_any_order() -> None:
    host = ReplicaHost()
    tree = known(host)
    first: list[list[int]] = []
    second: list[list[int]] = []
    merge(host, KEYS[0], container_of([], [(b"a", 1)]))
    host.answer_load()
    tree.read([KEYS[0].leaf], first.append, lambda _: None)
    tree.read([KEYS[0].leaf], second.append, lambda _: None)
    host.perform()
    host.loads.rotate()
    host.answer_load()
    host.sync()
    host.answer_load()
    expected = hash_of(KEYS[0], Record(container_of([], [(b"a", 1)])))
    assert (first, second) == ([[expected]], [[0]])


def test_a_damaged_record_leaves_a_mark_until_its_leaf_is_built_anew() -> None:
    host = ReplicaHost()
    merge(host, KEYS[0], container_of([], [(b"a", 1)]))
    host.settle()
    host.boot()
    row = host.disk[KEYS[0].record_row]
    host.disk[KEYS[0].record_row] = row[:-1] + bytes([row[-1] ^ 1])
    broken: list[int] = []
    host.replica.tree.on_broken = broken.append
    merge(host, KEYS[0], container_of([], [(b"a", 2)]))
    host.settle()
    assert broken == [KEYS[0].leaf]
    host.boot()
    broken.clear()
    host.replica.tree.on_broken = broken.append
    known(host)
    assert broken == [KEYS[0].leaf]


@pytest.mark.parametrize("leaf", [0, 1, 4095, LEAVES - 1])
def test_a_leaf_is_one_range_of_records(leaf: int) -> None:
    start, stop = records_range(leaf, leaf + 1)
    for key in [Key("b", b"%d" % n) for n in range(2000)]:
        assert (start <= key.record_row < stop) == (key.leaf == leaf)
        assert record_key(key.record_row) == key


def test_updates_of_shut_leaves_wait_and_others_do_not() -> None:
    host = ReplicaHost()
    one, other = KEYS[0], KEYS[1]
    merge(host, one, container_of([], [(b"a", 1)]))
    quiet: list[str] = []
    host.replica.shut(one.leaf, one.leaf + 1, lambda: quiet.append("quiet"))
    assert quiet == []
    merge(host, one, container_of([], [(b"a", 2)]))
    merge(host, other, container_of([], [(b"a", 1)]))
    host.settle()
    assert quiet == ["quiet"]
    assert host.on_disk(one).container.live_dots() == [(b"a", 1)]
    assert host.on_disk(other).container.live_dots() == [(b"a", 1)]
    host.replica.open()
    host.settle()
    assert host.on_disk(one).container.live_dots() == [(b"a", 1), (b"a", 2)]
    assert leaves_of_rows(host.disk) == leaves_of_records(host.disk)


def test_a_load_that_fails_holds_no_leaf() -> None:
    host = ReplicaHost()
    merge(host, KEYS[0], container_of([], [(b"a", 1)]))
    host.fail_load(FailureReason.IO)
    assert not host.replica.tree._held
