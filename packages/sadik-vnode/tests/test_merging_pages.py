"""A page of another node's rows, taken into a range where nothing is known, comes to what merging
each of its records as a change of its own does: row by row, whoever writes meanwhile.
"""

from __future__ import annotations

import random

import pytest
from attrs import Factory, define
from hypothesis import given
from hypothesis import strategies as st

from replica_host import ReplicaHost
from sadik_causality import Container
from sadik_machine import FailureReason
from sadik_vnode.due import due_ms
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import Key, due_row, index_row
from sadik_vnode.record import Record
from sadik_vnode.tree import SUM_MASK, hash_of
from sadik_vnode.version import Version, tombstone, version_of
from tree_oracle import leaves_of_records, leaves_of_rows
from vnode_values import STATES, one_version, same

KEYS = [Key("b", b"k%d" % number) for number in range(5)]


OWN_ACTORS = st.sampled_from([b"", b"x", b"other-actor1"])
PAGES = st.lists(st.tuples(st.sampled_from(KEYS), STATES, OWN_ACTORS), max_size=6)


@given(st.sampled_from(KEYS), st.integers(0, 4), st.integers(0, 255))
def test_a_key_is_that_of_a_row_only_where_the_row_lies_at_its_name(
    key: Key, at: int, byte: int
) -> None:
    assert Key.of_row(key.record_row) == key
    moved = key.record_row[:at] + bytes([byte]) + key.record_row[at + 1 :]
    assert (Key.of_row(moved) is None) == (moved != key.record_row)
    assert Key.of_row(key.record_row.replace(b"\0k", b"k")) is None


@define(slots=True)
class Way:
    """One of the two ways to merge a page, and what others were told of it."""

    host: ReplicaHost = Factory(ReplicaHost)
    due: list[tuple[bytes, int | None]] = Factory(list)
    changed: list[bytes] = Factory(list)
    asked: int = 0
    done: int = 0
    failed: list[FailureReason] = Factory(list)

    def __attrs_post_init__(self) -> None:
        self.host.replica.on_due = lambda key, due: self.due.append((key.name, due))
        self.host.replica.on_changed = lambda key: self.changed.append(key.name)

    def ended(self, count: int = 1) -> None:
        self.done += count

    def take(self, page: list[tuple[Key, Container[Version], bytes]]) -> None:
        rows = [(key, Record(container, own).encode()) for key, container, own in page]
        came = [(key, Record.received(row)) for key, row in rows]
        came = [(key, record) for key, record in came if record.is_whole]
        self.asked += len(came)
        self.host.replica.merge_many(came, lambda: True, self.ended, self.failed.append)

    def merge_each(self, page: list[tuple[Key, Container[Version], bytes]]) -> None:
        for key, container, own in page:
            record = Record.received(Record(container, own).encode())
            if all(version.body is not None for version in record.container.versions.values()):
                self.host.replica.merge(
                    key, record.container, list, (), self.ended, self.failed.append
                )

    def write(self, number: int, key: Key, is_delete: bool) -> None:
        """A client's write, which replaces what is there then."""

        def make(before: Record) -> Change:
            dot = (b"client%06d" % number, 1)
            version = tombstone(3) if is_delete else version_of(b"w", 3, None, ())
            after = before.container.write(before.container.context, dot, version)
            return Change(Record(after, dot[0]), [], ())

        self.asked += 1
        self.host.replica.update(key, make, self.ended, self.failed.append)


def sums(host: ReplicaHost) -> dict[int, int]:
    found = {}
    for key in KEYS:
        leaf = host.replica.tree.hold(key.leaf)
        assert leaf is not None
        found[key.leaf] = leaf.durable or 0
        host.replica.tree.release(leaf)
    return found


def check_rows(host: ReplicaHost) -> None:
    """All other rows are those that the records on disk want, and nothing is under way."""
    records = {key: host.on_disk(key) for key in KEYS if key.record_row in host.disk}
    assert leaves_of_rows(host.disk) == leaves_of_records(host.disk)
    assert {row for row in host.disk if row.startswith(b"K")} == set(map(index_row, records))
    dues = {key: due_ms(record.container) for key, record in records.items()}
    wanted = {due_row(due, key) for key, due in dues.items() if due is not None}
    assert {row for row in host.disk if row.startswith(b"D")} == wanted
    assert host.replica.tombstones == sum(due == 0 for due in dues.values())
    assert host.replica.keys_pending == 0
    for leaf, value in sums(host).items():
        there = [hash_of(key, record) for key, record in records.items() if key.leaf == leaf]
        assert value == sum(there) & SUM_MASK


OTHERS = st.tuples(st.sampled_from(KEYS), st.booleans())
SCRIPTS = st.lists(PAGES | OTHERS | st.sampled_from(["load", "sync", "read"]), max_size=12)


@pytest.mark.property
@given(SCRIPTS)
def test_a_page_comes_to_what_merging_each_does(script: list[object]) -> None:
    way, reference = Way(), Way()
    shown: list[Record] = []
    for number, each in enumerate(script):
        host = way.host
        host.perform()
        if each == "load" and host.loads:
            host.answer_load()
        elif each == "sync":
            host.sync(1)
        elif each == "read":
            for key in KEYS:
                host.replica.read(key, shown.append, way.failed.append)
        elif isinstance(each, list):
            way.take(each)
            reference.merge_each(each)
        elif isinstance(each, tuple):
            way.write(number, *each)
            reference.write(number, *each)
        reference.host.settle()
    way.host.settle()
    assert way.host.disk == reference.host.disk
    assert way.done == reference.done
    assert not way.failed
    assert way.host.counters.damaged_records == 0
    assert sorted(set(way.changed)) == sorted(set(reference.changed))
    if not any(isinstance(each, tuple) for each in script):
        assert sorted(way.due, key=repr) == sorted(reference.due, key=repr)
    check_rows(way.host)
    assert sums(way.host) == sums(reference.host)


@pytest.mark.property
@given(SCRIPTS, st.integers(0, 1 << 32))
def test_stores_and_loads_that_fail_leave_rows_that_fit(script: list[object], seed: int) -> None:
    way = Way()
    source = random.Random(seed)
    for number, each in enumerate(script):
        host = way.host
        host.perform()
        if each == "load" and host.loads:
            if source.randrange(3):
                host.answer_load()
            else:
                host.fail_load()
        elif each == "sync" and host.stores:
            if source.randrange(3):
                host.sync(1)
            else:
                host.fail_stores()
        elif isinstance(each, list):
            way.take(each)
        elif isinstance(each, tuple):
            way.write(number, *each)
    way.host.settle()
    assert way.done + len(way.failed) == way.asked
    check_rows(way.host)


def test_a_page_of_new_records_is_one_store_of_whole_leaves() -> None:
    way = Way()
    page = [(key, one_version((b"a", 1), 100, None, known=True), b"other-actor1") for key in KEYS]
    way.take(page)
    host = way.host
    host.perform()
    host.answer_load()
    assert way.done == 0, "none is on disk"
    (store,) = host.stores
    rows = [row for row, _ in store.batch]
    assert len(rows) == len(set(rows)) == 2 * len(KEYS) + len({key.leaf for key in KEYS})
    host.sync()
    assert way.done == len(KEYS)
    assert sorted(way.changed) == sorted(key.name for key in KEYS)
    check_rows(host)


def test_a_write_upon_a_record_that_is_being_stored_as_it_came_builds_on_it() -> None:
    way = Way()
    came = one_version((b"a", 1), 100, None, known=True)
    way.take([(KEYS[0], came, b"other-actor1")])
    host = way.host
    host.perform()
    host.answer_load()
    way.write(1, KEYS[0], False)
    host.perform()
    assert not host.loads, "what is pending is known"
    assert len(host.stores) == 2
    host.settle()
    record = host.on_disk(KEYS[0])
    assert list(record.container.versions) == [(b"client000001", 1)]
    assert record.container.context.covers((b"a", 1))
    check_rows(host)


def test_a_read_waits_for_what_is_being_stored_as_it_came() -> None:
    way = Way()
    shown: list[Record] = []
    came = one_version((b"a", 1), 100, None, known=True)
    way.take([(KEYS[0], came, b"")])
    host = way.host
    host.perform()
    host.answer_load()
    host.replica.read(KEYS[0], shown.append, way.failed.append)
    host.perform()
    assert not shown
    host.settle()
    assert same(shown[0].container, came)


def test_a_page_whose_store_fails_is_loaded_from_disk_by_who_comes_next() -> None:
    way = Way()
    came = one_version((b"a", 1), 100, None, known=True)
    way.take([(key, came, b"") for key in KEYS])
    host = way.host
    host.perform()
    host.answer_load()
    host.fail_stores()
    assert way.failed == [FailureReason.FULL] * len(KEYS)
    assert host.disk == {}
    way.take([(key, came, b"") for key in KEYS])
    host.settle()
    assert way.done == len(KEYS)
    check_rows(host)
