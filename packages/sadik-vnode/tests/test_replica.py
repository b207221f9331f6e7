"""The replica: updates of a key one after another, and no state shown before it is on disk."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from replica_host import INSTANCE, ReplicaHost
from sadik_causality import EMPTY, Container, Context, Dot
from sadik_machine import Effect, FailureReason, NodeId, Send
from sadik_vnode.births import BIRTH_BLOCK
from sadik_vnode.key_state import Change, MakeChange
from sadik_vnode.keyspace import BIRTHS_ROW, Key, hint_row, index_row, leaf_row
from sadik_vnode.record import INLINE_BYTES_MAX, Record, Rows, open_value
from sadik_vnode.version import Version, version_of
from vnode_values import container_of, same

KEY = Key("b", b"k")
OTHER = Key("b", b"other")
PEER = NodeId(b"12345678")


class Outcomes:
    """What became of operations: each ends once."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failed: list[tuple[str, FailureReason]] = []
        self.records: dict[str, Record] = {}

    def ok(self, name: str) -> Callable[[], None]:
        return lambda: self._end(name)

    def bad(self, name: str) -> Callable[[FailureReason], None]:
        def failed(reason: FailureReason) -> None:
            self._once(name)
            self.failed.append((name, reason))

        return failed

    def read(self, name: str) -> Callable[[Record], None]:
        def done(record: Record) -> None:
            self._end(name)
            self.records[name] = record

        return done

    def _end(self, name: str) -> None:
        self._once(name)
        self.done.append(name)

    def _once(self, name: str) -> None:
        assert name not in self.done, "an operation ends once"
        assert name not in [failed for failed, _ in self.failed], "an operation ends once"


@pytest.fixture
def host() -> ReplicaHost:
    return ReplicaHost()


@pytest.fixture
def ends() -> Outcomes:
    return Outcomes()


def write(
    host: ReplicaHost,
    value: bytes,
    *,
    seen: Context | None = EMPTY,
    then: list[Effect] | None = None,
    made: list[Dot] | None = None,
) -> MakeChange:
    """A local write that replaces what ``seen`` covers; None: whatever there is."""

    def make(before: Record) -> Change:
        dot, rows = host.replica.next_dot(before)
        if made is not None:
            made.append(dot)
        covered = before.container.context if seen is None else seen
        after = before.container.write(covered, dot, version_of(value, 1, None, ()))
        return Change(Record(after, dot[0]), rows, then or [])

    return make


def bodies(record: Record) -> list[bytes | None]:
    return [version.body for _, version in sorted(record.container.versions.items())]


def no_rows() -> Rows:
    return []


# Reading


def test_a_read_gives_what_is_on_disk(host: ReplicaHost, ends: Outcomes) -> None:
    host.replica.read(KEY, ends.read("absent"), ends.bad("absent"))
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.settle()
    host.replica.read(KEY, ends.read("r"), ends.bad("r"))
    host.settle()
    assert ends.records["absent"].is_absent
    assert bodies(ends.records["r"]) == [b"v"]
    assert host.replica.keys_pending == 0


def test_a_read_never_shows_a_state_before_it_is_on_disk(host: ReplicaHost, ends: Outcomes) -> None:
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.perform()
    host.answer_load()
    host.replica.read(KEY, ends.read("r"), ends.bad("r"))
    host.perform()
    assert not host.loads, "the pending state is known: it is waited for, not loaded"
    assert ends.done == []
    host.sync()
    assert ends.done == ["w"]
    host.sync()
    assert ends.done == ["w", "r"]
    assert bodies(ends.records["r"]) == [b"v"]


def test_a_read_of_a_state_whose_batch_failed_shows_what_was_there_before(
    host: ReplicaHost, ends: Outcomes
) -> None:
    host.replica.update(KEY, write(host, b"old"), ends.ok("old"), ends.bad("old"))
    host.settle()
    host.replica.update(KEY, write(host, b"new", seen=None), ends.ok("new"), ends.bad("new"))
    host.replica.read(KEY, ends.read("r"), ends.bad("r"))
    host.perform()
    host.fail_stores()
    host.settle()
    assert ends.failed == [("new", FailureReason.FULL)]
    assert bodies(ends.records["r"]) == [b"old"]


def test_a_read_of_one_key_does_not_wait_for_another(host: ReplicaHost, ends: Outcomes) -> None:
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.perform()
    host.answer_load()
    host.replica.read(OTHER, ends.read("r"), ends.bad("r"))
    host.perform()
    host.answer_load()
    assert ends.done == ["r"]


def test_many_records_are_shown_when_all_of_them_are_on_disk(
    host: ReplicaHost, ends: Outcomes
) -> None:
    shown: list[list[Record]] = []
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.perform()
    host.answer_load()
    host.replica.read_many([OTHER, KEY], shown.append, ends.bad("r"))
    host.perform()
    host.answer_load()
    assert shown == []
    host.settle()
    assert [bodies(record) for record in shown[0]] == [[], [b"v"]]
    assert len(shown) == 1


def test_many_records_are_read_again_when_a_state_among_them_failed(
    host: ReplicaHost, ends: Outcomes
) -> None:
    shown: list[list[Record]] = []
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.perform()
    host.answer_load()
    host.replica.read_many([KEY], shown.append, ends.bad("r"))
    host.perform()
    host.answer_load()
    host.fail_stores()
    host.settle()
    assert [record.is_absent for record in shown[0]] == [True]


def test_a_read_that_fails_says_why(host: ReplicaHost, ends: Outcomes) -> None:
    host.replica.read(KEY, ends.read("r"), ends.bad("r"))
    host.replica.read_many([KEY], lambda _: ends.ok("m")(), ends.bad("m"))
    host.perform()
    host.fail_load()
    host.fail_load(FailureReason.DAMAGED)
    assert ends.failed == [("r", FailureReason.IO), ("m", FailureReason.DAMAGED)]


def test_a_damaged_record_is_never_served_and_is_counted(host: ReplicaHost, ends: Outcomes) -> None:
    host.disk[KEY.record_row] = b"\x00" * 20
    host.replica.read(KEY, ends.read("r"), ends.bad("r"))
    host.settle()
    assert ends.failed == [("r", FailureReason.DAMAGED)]
    assert host.counters.damaged_records == 1


# Updating


def test_updates_of_a_key_build_on_each_other_before_any_is_on_disk(
    host: ReplicaHost, ends: Outcomes
) -> None:
    made: list[Dot] = []
    for name in "abc":
        update = write(host, name.encode(), made=made)
        host.replica.update(KEY, update, ends.ok(name), ends.bad(name))
    host.perform()
    assert len(host.loads) == 1, "one load serves all"
    host.answer_load()
    assert len(host.stores) == 3
    assert [counter for _, counter in made] == [1, 2, 3]
    assert len(dict.fromkeys(actor for actor, _ in made)) == 1
    host.settle()
    assert ends.done == ["a", "b", "c"]
    assert bodies(host.on_disk(KEY)) == [b"a", b"b", b"c"]


def test_what_waits_for_a_write_leaves_when_it_is_on_disk(
    host: ReplicaHost, ends: Outcomes
) -> None:
    send = Send(PEER, "ack")
    host.replica.update(KEY, write(host, b"v", then=[send]), ends.ok("w"), ends.bad("w"))
    host.perform()
    host.answer_load()
    assert host.left == []
    host.sync()
    assert host.left == [send]


def test_when_a_batch_fails_all_that_was_built_on_it_fails_and_nothing_leaves(
    host: ReplicaHost, ends: Outcomes
) -> None:
    for name in "abc":
        update = write(host, name.encode(), then=[Send(PEER, name)])
        host.replica.update(KEY, update, ends.ok(name), ends.bad(name))
    host.perform()
    host.answer_load()
    host.sync()
    host.fail_stores()
    assert ends.done == ["a"]
    assert ends.failed == [("b", FailureReason.FULL), ("c", FailureReason.FULL)]
    assert host.left == [Send(PEER, "a")]
    host.replica.update(KEY, write(host, b"d"), ends.ok("d"), ends.bad("d"))
    host.settle()
    assert bodies(host.on_disk(KEY)) == [b"a", b"d"]
    assert host.replica.keys_pending == 0


def test_a_failed_operation_may_be_tried_again_from_within_its_failure(
    host: ReplicaHost, ends: Outcomes
) -> None:
    def again(reason: FailureReason) -> None:
        host.replica.update(KEY, write(host, b"again"), ends.ok("again"), ends.bad("again"))

    host.replica.update(KEY, write(host, b"a"), ends.ok("a"), again)
    host.replica.update(KEY, write(host, b"b"), ends.ok("b"), ends.bad("b"))
    host.perform()
    host.answer_load()
    host.fail_stores()
    host.settle()
    assert ends.done == ["again"]
    assert bodies(host.on_disk(KEY)) == [b"again"]


def test_a_load_that_fails_fails_every_update_that_waits_for_it(
    host: ReplicaHost, ends: Outcomes
) -> None:
    for name in "ab":
        host.replica.update(KEY, write(host, b""), ends.ok(name), ends.bad(name))
    host.perform()
    host.fail_load()
    assert ends.failed == [("a", FailureReason.IO), ("b", FailureReason.IO)]
    assert host.replica.keys_pending == 0


def test_an_update_that_wants_nothing_ends_without_a_word_and_the_next_goes_on(
    host: ReplicaHost, ends: Outcomes
) -> None:
    host.replica.update(KEY, lambda _: None, ends.ok("n"), ends.bad("n"))
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.settle()
    assert ends.done == ["w"]
    assert ends.failed == []
    assert host.replica.keys_pending == 0


def test_the_first_write_of_a_key_puts_it_into_the_index_and_reserves_births(
    host: ReplicaHost, ends: Outcomes
) -> None:
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.settle()
    assert sorted(host.disk) == sorted(
        [BIRTHS_ROW, KEY.record_row, index_row(KEY), leaf_row(KEY.leaf)]
    )
    assert host.disk[index_row(KEY)] == b""
    assert int.from_bytes(open_value(host.disk[BIRTHS_ROW]), "big") == 1 + BIRTH_BLOCK
    assert host.replica.has_written


def test_a_change_of_nothing_waits_for_the_present_state_and_writes_nothing(
    host: ReplicaHost, ends: Outcomes
) -> None:
    send = Send(PEER, "ack")
    host.replica.update(KEY, write(host, b"v"), ends.ok("w"), ends.bad("w"))
    host.replica.update(KEY, lambda r: Change(r, [], [send]), ends.ok("n"), ends.bad("n"))
    host.perform()
    host.answer_load()
    assert [len(store.batch) for store in host.stores] == [4, 0]
    host.sync()
    assert host.left == []
    host.sync()
    assert host.left == [send]
    assert ends.done == ["w", "n"]


# Merging


def test_merging_stores_and_acknowledges_and_merging_again_acknowledges_at_once(
    host: ReplicaHost, ends: Outcomes
) -> None:
    incoming = container_of([], [(b"a", 1), (b"b", 2)])
    ack = [Send(PEER, "ack")]
    host.replica.merge(KEY, incoming, no_rows, ack, ends.ok("first"), ends.bad("first"))
    host.settle()
    assert same(host.on_disk(KEY).container, incoming)
    assert host.on_disk(KEY).own_actor == b"", "a merge makes no dot"
    host.replica.merge(KEY, incoming, no_rows, ack, ends.ok("again"), ends.bad("again"))
    host.perform()
    assert not host.stores
    assert ends.done == ["first", "again"]
    assert host.left == ack * 2


def test_an_update_builds_on_what_the_one_before_left_on_disk_without_loading_it(
    host: ReplicaHost, ends: Outcomes
) -> None:
    made: list[Dot] = []
    for name in "abc":
        make = write(host, name.encode(), seen=None, made=made)
        host.replica.update(KEY, make, ends.ok(name), ends.bad(name))
        host.perform()
        assert bool(host.loads) == (name == "a")
        host.settle()
    assert [counter for _, counter in made] == [1, 2, 3]
    assert bodies(host.on_disk(KEY)) == [b"c"]


def test_after_a_failed_batch_an_update_loads_again(host: ReplicaHost, ends: Outcomes) -> None:
    host.replica.update(KEY, write(host, b"v"), ends.ok("v"), ends.bad("v"))
    host.settle()
    host.replica.update(KEY, write(host, b"lost", seen=None), ends.ok("lost"), ends.bad("lost"))
    host.perform()
    host.fail_stores()
    host.replica.update(KEY, write(host, b"w", seen=EMPTY), ends.ok("w"), ends.bad("w"))
    host.perform()
    assert host.loads
    host.settle()
    assert bodies(host.on_disk(KEY)) == [b"v", b"w"]


def test_a_record_that_was_taken_away_is_absent_for_the_next_update(
    host: ReplicaHost, ends: Outcomes
) -> None:
    made: list[Dot] = []
    host.replica.update(KEY, write(host, b"v", made=made), ends.ok("v"), ends.bad("v"))
    host.settle()
    host.replica.take_away(KEY, lambda _: True, ends.ok("away"), ends.bad("away"))
    host.settle()
    host.replica.update(KEY, write(host, b"w", made=made), ends.ok("w"), ends.bad("w"))
    host.settle()
    assert made[0][0] != made[1][0], "a new record is a new birth"
    assert bodies(host.on_disk(KEY)) == [b"w"]


def test_mending_loads_what_the_disk_has(host: ReplicaHost, ends: Outcomes) -> None:
    incoming = container_of([], [(b"a", 1)])
    host.replica.merge(KEY, incoming, no_rows, (), ends.ok("w"), ends.bad("w"))
    host.settle()
    row = host.disk[KEY.record_row]
    host.disk[KEY.record_row] = row[:-1] + bytes([row[-1] ^ 1])
    host.replica.mend(KEY, incoming, lambda: True, ends.bad("mend"))
    host.settle()
    assert host.disk[KEY.record_row] == row


def test_after_leaves_were_built_anew_updates_load_again(host: ReplicaHost, ends: Outcomes) -> None:
    host.replica.update(KEY, write(host, b"v"), ends.ok("v"), ends.bad("v"))
    host.settle()
    host.replica.shut(0, 1, lambda: None)
    host.replica.open()
    host.replica.update(KEY, write(host, b"w", seen=None), ends.ok("w"), ends.bad("w"))
    host.perform()
    assert host.loads


def test_a_duplicate_of_a_pending_merge_is_acknowledged_when_that_is_on_disk(
    host: ReplicaHost, ends: Outcomes
) -> None:
    incoming = container_of([], [(b"a", 1)])
    for name in "ab":
        ack = [Send(PEER, name)]
        host.replica.merge(KEY, incoming, no_rows, ack, ends.ok(name), ends.bad(name))
    host.perform()
    host.answer_load()
    assert host.left == []
    host.fail_stores()
    assert host.left == []
    assert [name for name, _ in ends.failed] == ["a", "b"]


def test_a_note_rides_in_the_batch_of_what_it_stands_for(host: ReplicaHost, ends: Outcomes) -> None:
    note = hint_row(PEER, KEY)
    incoming = container_of([], [(b"a", 1)])
    for name in "ab":
        host.replica.merge(KEY, incoming, lambda: [(note, b"")], (), ends.ok(name), ends.bad(name))
    host.perform()
    host.answer_load()
    assert [[row for row, _ in store.batch] for store in host.stores] == [
        [note, KEY.record_row, index_row(KEY), leaf_row(KEY.leaf)],
        [note],
    ]
    host.settle()
    assert ends.done == ["a", "b"]


def test_a_merge_that_finds_no_room_for_its_note_stores_nothing(
    host: ReplicaHost, ends: Outcomes
) -> None:
    incoming = container_of([], [(b"a", 1)])
    host.replica.merge(KEY, incoming, lambda: None, (), ends.ok("m"), ends.bad("m"))
    host.settle()
    assert host.disk == {}
    assert ends.done == []
    assert host.replica.keys_pending == 0


def test_merging_what_was_lost_of_ones_own_actor_gives_that_actor_up(
    host: ReplicaHost, ends: Outcomes
) -> None:
    made: list[Dot] = []
    host.replica.update(KEY, write(host, b"v", made=made), ends.ok("w"), ends.bad("w"))
    host.settle()
    [(actor, counter)] = made
    tail = Container[Version]({}, Context.from_dots([(actor, counter), (actor, counter + 1)]))
    host.replica.merge(KEY, tail, no_rows, (), ends.ok("m"), ends.bad("m"))
    host.replica.update(KEY, write(host, b"x", made=made), ends.ok("x"), ends.bad("x"))
    host.settle()
    assert host.counters.lost_tails == 1
    assert made[1][0] != actor
    assert made[1][0].startswith(INSTANCE)
    assert made[1][1] == 1


def test_an_actor_of_an_earlier_instance_is_not_counted_on(host: ReplicaHost) -> None:
    earlier = (b"earlier!\x00\x00\x00\x01", 7)
    dot, _ = host.replica.next_dot(Record(container_of([], [earlier]), earlier[0]))
    assert dot[0].startswith(INSTANCE)
    assert dot[1] == 1


def test_a_record_that_was_lost_gets_a_new_actor(host: ReplicaHost, ends: Outcomes) -> None:
    made: list[Dot] = []
    host.replica.update(KEY, write(host, b"v", made=made), ends.ok("w"), ends.bad("w"))
    host.settle()
    del host.disk[KEY.record_row]
    host.boot()
    host.replica.update(KEY, write(host, b"x", made=made), ends.ok("x"), ends.bad("x"))
    host.settle()
    assert made[0][0] != made[1][0]


# Large bodies


def test_large_bodies_are_read_where_they_are_wanted(host: ReplicaHost, ends: Outcomes) -> None:
    large = b"x" * (INLINE_BYTES_MAX + 1)
    host.replica.update(KEY, write(host, large), ends.ok("w"), ends.bad("w"))
    host.settle()
    host.replica.read(KEY, ends.read("lean"), ends.bad("lean"))
    host.replica.read_whole(KEY, ends.read("whole"), ends.bad("whole"))
    host.settle()
    assert bodies(ends.records["lean"]) == [None]
    assert bodies(ends.records["whole"]) == [large]


def test_reading_a_whole_record_starts_again_when_a_large_body_was_replaced_meanwhile(
    host: ReplicaHost, ends: Outcomes
) -> None:
    size = INLINE_BYTES_MAX + 1
    host.replica.update(KEY, write(host, b"x" * size), None, ends.bad("x"))
    host.settle()
    host.replica.read_whole(KEY, ends.read("whole"), ends.bad("whole"))
    host.perform()
    host.answer_load()
    ticket, _ = host.loads.popleft()
    host.replica.update(KEY, write(host, b"y" * size, seen=None), None, ends.bad("y"))
    host.settle()
    host.outbox.loaded(ticket, [None])  # by then the row of the body was gone
    host.settle()
    assert bodies(ends.records["whole"]) == [b"y" * (INLINE_BYTES_MAX + 1)]


def test_a_damaged_large_body_is_never_served(host: ReplicaHost, ends: Outcomes) -> None:
    made: list[Dot] = []
    large = b"x" * (INLINE_BYTES_MAX + 1)
    host.replica.update(KEY, write(host, large, made=made), ends.ok("w"), ends.bad("w"))
    host.settle()
    row = KEY.value_row(made[0])
    host.disk[row] = host.disk[row][:-1] + b"y"
    host.replica.read_whole(KEY, ends.read("r"), ends.bad("r"))
    host.settle()
    assert ends.failed == [("r", FailureReason.DAMAGED)]
    assert host.counters.damaged_records == 1


# Any schedule


class Schedule:
    """Random operations under a random host, and what must hold after each of its steps."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.host = ReplicaHost()
        self.ends = Outcomes()
        self.keys = [Key("b", bytes([n])) for n in range(2)]
        self.expected: dict[str, tuple[Key, Dot]] = {}
        self.made: list[Dot] = []
        self.count = 0
        self.foreign = 0
        self.reads = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            self.host.perform()
        self.host.settle()
        assert self.host.replica.keys_pending == 0
        assert not self.host.outbox.stores_pending
        failed = dict(self.ends.failed)
        for name, (key, dot) in self.expected.items():
            held = self.host.on_disk(key).container
            if name in self.ends.done:
                assert held.context.covers(dot), "what was reported stored is on disk"
            elif name in failed:
                # The dot itself may name a later write: nothing of the failed one ever left.
                assert name.encode() not in bodies(Record(held)), "what failed is not on disk"

    def step(self) -> None:
        host, source = self.host, self.source
        self.count += 1
        name, key = str(self.count), source.choice(self.keys)
        match source.randrange(12):
            case 0 | 1:
                seen = None if source.randrange(2) else EMPTY
                host.replica.update(
                    key, self._noting(name, key, seen), self.ends.ok(name), self.ends.bad(name)
                )
            case 2:
                self.foreign += 1
                dot = (b"foreign", self.foreign)
                self.expected[name] = (key, dot)
                incoming = container_of([], [dot])
                host.replica.merge(
                    key, incoming, no_rows, (), self.ends.ok(name), self.ends.bad(name)
                )
            case 3 | 4:
                host.replica.read(key, self._durable(key), self.ends.bad(name))
            case 5 | 6 | 7 if host.loads:
                host.answer_load()
            case 8 | 9 | 10 if host.stores:
                host.sync(source.randrange(1, 4))
            case 11 if source.randrange(4) == 0:
                host.fail_stores()
            case 11 if source.randrange(20) == 0:
                for lost in [n for n in self.expected if n not in self.ends.done]:
                    del self.expected[lost]  # a crash: nobody can tell
                host.boot()

    def _noting(self, name: str, key: Key, seen: Context | None) -> MakeChange:
        def make(before: Record) -> Change | None:
            change = write(self.host, name.encode(), seen=seen, made=self.made)(before)
            assert change is not None
            assert same(before.container, self._pending(key)), "the pending state is built on"
            self.expected[name] = (key, self.made[-1])
            return change

        return make

    def _pending(self, key: Key) -> Container[Version]:
        """What is stored or about to be: the last row that was written for the key."""
        row = self.host.disk.get(key.record_row)
        effects = [*self.host.stores, *self.host.outbox._effects]
        for effect in effects:
            row = dict(getattr(effect, "batch", ())).get(key.record_row, row)
        return Record.decode(row).container

    def _durable(self, key: Key) -> Callable[[Record], None]:
        def done(record: Record) -> None:
            self.reads += 1
            on_disk = self.host.on_disk(key).container
            assert on_disk.context.dominates(record.container.context), "shown before it was kept"
            for dot, version in record.container.versions.items():
                if dot in on_disk.versions:
                    assert on_disk.versions[dot].head == version.head

        return done


def test_under_any_schedule_nothing_is_shown_early_lost_or_made_twice() -> None:
    reads = dots = failures = 0
    for seed in range(250):
        schedule = Schedule(seed)
        schedule.run(80)
        expected = schedule.expected
        kept = [expected[name][1] for name in schedule.ends.done if name in expected]
        assert len(dict.fromkeys(kept)) == len(kept), "no dot that was kept is made twice"
        reads += schedule.reads
        dots += len(schedule.made)
        failures += len(schedule.ends.failed)
    assert reads > 1000
    assert dots > 1000
    assert failures > 100
