"""Merging many records at once comes to what merging them one by one does."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica_host import ReplicaHost
from sadik_causality import Container
from sadik_machine import FailureReason, encode_plain
from sadik_vnode.keyspace import Key
from sadik_vnode.record import ABSENT, INLINE_BYTES_MAX, Record, seal_value
from sadik_vnode.version import Version, version_of
from vnode_values import CONTAINERS, container_of, same

KEYS = [Key("b", b"k%d" % number) for number in range(4)]
STATES = st.lists(st.tuples(st.sampled_from(KEYS), CONTAINERS), max_size=8)


class Ends:
    """How many merges ended well, and how the others did."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: Counter[FailureReason] = Counter()

    def ok(self, count: int) -> None:
        self.done += count

    def bad(self, reason: FailureReason) -> None:
        self.failed[reason] += 1


def received(key: Key, container: Container[Version]) -> tuple[Key, Record]:
    return key, Record.received(Record(container, b"other-actor1").encode())


def merge_many(host: ReplicaHost, states: list[tuple[Key, Container[Version]]]) -> Ends:
    ends = Ends()
    incoming = [received(key, container) for key, container in states if container.context]
    host.replica.merge_many(incoming, lambda: True, ends.ok, ends.bad)
    return ends


def merge_each(host: ReplicaHost, states: list[tuple[Key, Container[Version]]]) -> None:
    for key, container in states:
        host.replica.merge(key, container, list, (), None, lambda _: None)
        host.settle()


def durable_sum(host: ReplicaHost, key: Key) -> int:
    """What the tree knows of the key's leaf."""
    leaf = host.replica.tree.hold(key.leaf)
    assert leaf is not None
    return leaf.durable or 0


@pytest.mark.property
@given(STATES, STATES)
def test_the_disk_is_as_after_merging_each(
    before: list[tuple[Key, Container[Version]]], incoming: list[tuple[Key, Container[Version]]]
) -> None:
    one, many = ReplicaHost(), ReplicaHost()
    for host in (one, many):
        merge_each(host, before)
    merge_each(one, incoming)
    ends = merge_many(many, incoming)
    many.settle()
    assert ends.done == sum(bool(container.context) for _, container in incoming)
    assert many.disk == one.disk
    assert many.replica.keys_pending == 0
    for key in KEYS:
        assert durable_sum(many, key) == durable_sum(one, key)


def test_new_records_take_one_load_and_one_store() -> None:
    host = ReplicaHost()
    ends = merge_many(host, [(key, container_of([], [(b"a", 1)])) for key in KEYS])
    host.perform()
    assert len(host.loads) == 1
    host.answer_load()
    assert len(host.stores) == 1
    assert ends.done == 0, "none is on disk"
    host.sync()
    assert ends.done == len(KEYS)


def test_what_updates_have_left_is_not_loaded_and_all_is_stored_together() -> None:
    host = ReplicaHost()
    mine, theirs = container_of([], [(b"a", 1)]), container_of([], [(b"b", 1)])
    merge_each(host, [(key, mine) for key in KEYS[:2]])
    for keys, loads in ((KEYS[:2], 0), (KEYS, 1)):
        ends = merge_many(host, [(key, theirs) for key in keys])
        host.perform()
        assert len(host.loads) == loads
        host.settle()
        assert ends.done == len(keys)
    assert same(host.on_disk(KEYS[0]).container, mine.merge(theirs))
    assert same(host.on_disk(KEYS[3]).container, theirs)


def test_each_state_of_a_record_is_in_a_store_of_its_own() -> None:
    host = ReplicaHost()
    states = [(key, container_of([], [(b"a", n)])) for n in (1, 2) for key in KEYS[:2]]
    merge_many(host, states)
    host.perform()
    host.answer_load()
    rows = [[row for row, _ in store.batch if row.startswith(b"O")] for store in host.stores]
    assert all(len(set(each)) == len(each) for each in rows)
    assert sum(map(len, rows)) == len(states)


def test_a_key_that_is_being_changed_takes_its_turn() -> None:
    host = ReplicaHost()
    mine, theirs = container_of([], [(b"a", 1)]), container_of([], [(b"b", 1)])
    host.replica.merge(KEYS[0], mine, list, (), None, lambda _: None)
    host.perform()
    merge_many(host, [(key, theirs) for key in (*KEYS, KEYS[1])])
    host.settle()
    assert same(host.on_disk(KEYS[0]).container, mine.merge(theirs))
    assert same(host.on_disk(KEYS[1]).container, theirs)


def test_a_store_that_fails_fails_them_all_and_leaves_nothing() -> None:
    host = ReplicaHost()
    ends = merge_many(host, [(key, container_of([], [(b"a", 1)])) for key in KEYS])
    host.perform()
    host.answer_load()
    host.fail_stores()
    assert ends.failed == {FailureReason.FULL: len(KEYS)}
    assert host.disk == {}
    assert host.replica.keys_pending == 0


def test_one_row_that_cannot_be_read_is_found_and_the_others_stay_whole() -> None:
    host = ReplicaHost()
    mine, theirs = container_of([], [(b"a", 1)]), container_of([], [(b"b", 1)])
    merge_each(host, [(key, mine) for key in KEYS])
    host.boot()  # or it would know what it has left there
    ends = merge_many(host, [(key, theirs) for key in KEYS])
    host.perform()
    host.fail_load(FailureReason.DAMAGED)
    assert len(host.loads) == len(KEYS), "each is loaded by itself"
    host.fail_load(FailureReason.DAMAGED)
    host.settle()
    assert ends.done == len(KEYS)
    assert same(host.on_disk(KEYS[0]).container, theirs)
    for key in KEYS[1:]:
        assert same(host.on_disk(key).container, mine.merge(theirs))


def test_what_may_not_go_on_is_left_out() -> None:
    host = ReplicaHost()
    answers = [True, False, True, False]
    ends = Ends()
    incoming = [received(key, container_of([], [(b"a", 1)])) for key in KEYS]
    host.replica.merge_many(incoming, answers.pop, ends.ok, ends.bad)
    host.settle()
    assert ends.done == 2
    assert [host.on_disk(key).is_absent for key in KEYS] == [True, False, True, False]


@given(CONTAINERS, st.binary(max_size=12))
def test_a_received_row_is_stored_as_it_came_without_its_actor(
    container: Container[Version], actor: bytes
) -> None:
    record = Record.received(Record(container, actor).encode())
    assert record.own_actor == b""
    assert record.encode() == Record(container).encode()
    assert same(Record.decode(record.encode()).container, container)


def test_a_large_body_within_a_received_row_gets_a_row_of_its_own() -> None:
    version = version_of(b"x" * (INLINE_BYTES_MAX + 1), 1, None, ())
    context = container_of([], [(b"a", 1)]).context
    plain = (1, b"", context.to_plain(), [version.to_plain((b"a", 1))])
    record = Record.received(seal_value(encode_plain(plain)))
    rows = dict(record.rows(KEYS[0], ABSENT))
    assert list(rows) == [KEYS[0].record_row, KEYS[0].value_row((b"a", 1))]
    assert Record.decode(rows[KEYS[0].record_row]).container.versions[b"a", 1].body is None
