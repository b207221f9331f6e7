"""Records: what was stored comes back, what was damaged is told apart, large bodies lie outside."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import EMPTY, Container, Context
from sadik_machine import encode_plain
from sadik_vnode.keyspace import Key
from sadik_vnode.record import (
    ABSENT,
    INLINE_BYTES_MAX,
    DamagedRecord,
    Record,
    bytes_outside,
    open_value,
    seal_value,
)
from sadik_vnode.version import Version, version_of
from vnode_values import CONTAINERS, contents, same

KEY = Key("bucket", b"key")
OWN_ACTORS = st.just(b"") | st.binary(min_size=12, max_size=12)
RECORDS = st.builds(Record, CONTAINERS, OWN_ACTORS)


def large(letter: bytes, size: int = INLINE_BYTES_MAX + 1) -> Version:
    return version_of(letter * size, 1, None, ())


def store(disk: dict[bytes, bytes], record: Record, before: Record) -> None:
    for row, value in record.rows(KEY, before):
        if value is None:
            disk.pop(row)
        else:
            disk[row] = value


@given(RECORDS)
def test_a_record_comes_back_from_its_row(record: Record) -> None:
    decoded = Record.decode(record.encode())
    assert same(decoded.container, record.container)
    assert decoded.own_actor == record.own_actor
    assert decoded.encode() == record.encode()


@given(RECORDS)
def test_equal_records_have_equal_rows_whatever_the_order_of_their_versions(record: Record) -> None:
    backwards = dict(reversed(record.container.versions.items()))
    other = Record(Container(backwards, record.container.context), record.own_actor)
    assert other.encode() == record.encode()


@given(RECORDS, st.sampled_from([0, 300, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1]))
def test_a_row_is_the_plain_form_behind_its_checksum(record: Record, size: int) -> None:
    container = record.container
    if size:
        dot = (b"a", 1 << 40)
        head = version_of(b"", 1, "t" * size if size == 300 else None, ()).head
        versions = {**container.versions, dot: Version(head, b"x" * size, size)}
        container = Container(versions, container.context.with_dot(dot))
    versions_plain = [
        (
            *dot,
            version.head,
            version.body if version.size <= INLINE_BYTES_MAX else None,
            version.size,
        )
        for dot, version in sorted(container.versions.items())
    ]
    plain = (1, record.own_actor, container.context.to_plain(), versions_plain)
    assert Record(container, record.own_actor).encode() == seal_value(encode_plain(plain))


@given(RECORDS, st.data())
def test_a_flipped_bit_anywhere_is_detected(record: Record, data: st.DataObject) -> None:
    row = bytearray(record.encode())
    bit = data.draw(st.integers(0, 8 * len(row) - 1))
    row[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedRecord):
        Record.decode(bytes(row))


def test_every_flipped_bit_of_one_record_is_detected() -> None:
    record = Record(Container({(b"a", 1): large(b"x", 20)}, Context.from_dots([(b"a", 1)])), b"me")
    row = record.encode()
    for bit in range(8 * len(row)):
        damaged = bytearray(row)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedRecord):
            Record.decode(bytes(damaged))


@given(RECORDS, st.data())
def test_a_row_that_is_cut_or_longer_is_detected(record: Record, data: st.DataObject) -> None:
    row = record.encode()
    for damaged in (row[: data.draw(st.integers(0, len(row) - 1))], row + b"\x00"):
        with pytest.raises(DamagedRecord):
            Record.decode(damaged)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_record(row: bytes) -> None:
    with pytest.raises(DamagedRecord):
        Record.decode(row)


@pytest.mark.parametrize(
    "fields",
    [
        [2, b"", [], []],  # a later format
        [1, b"", []],
        [1, 5, [], []],
        [1, bytes(13), [], []],  # longer than any actor
        [1, b"", 5, []],
        [1, b"", [], [[b"a", 1]]],
        [1, b"", [], [[b"a", 1, version_of(b"x", 1, None, ()).head, b"x", 1]]],  # not covered
    ],
)
def test_what_has_a_right_sum_but_is_no_record_is_told_apart(fields: list[object]) -> None:
    with pytest.raises(DamagedRecord):
        Record.decode(seal_value(encode_plain(fields)))


def test_a_missing_row_is_the_absent_record() -> None:
    assert Record.decode(None) is ABSENT
    assert ABSENT.is_absent
    assert not Record(Container({}, Context.from_dots([(b"a", 1)]))).is_absent


@given(st.binary(max_size=100), st.data())
def test_a_large_value_comes_back_or_its_damage_is_detected(
    body: bytes, data: st.DataObject
) -> None:
    row = seal_value(body)
    assert open_value(row) == body
    damaged = bytearray(row)
    bit = data.draw(st.integers(0, 8 * len(row) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    for wrong in (bytes(damaged), row[:-1], b"", None):
        with pytest.raises(DamagedRecord):
            open_value(wrong)


@pytest.mark.parametrize(("size", "rows"), [(INLINE_BYTES_MAX, 1), (INLINE_BYTES_MAX + 1, 2)])
def test_only_a_longer_body_gets_a_row_of_its_own(size: int, rows: int) -> None:
    record = Record(ABSENT.container.write(EMPTY, (b"a", 1), large(b"x", size)))
    written = record.rows(KEY, ABSENT)
    assert [row for row, _ in written] == [KEY.record_row, KEY.value_row((b"a", 1))][:rows]
    assert (len(written[0][1] or b"") > INLINE_BYTES_MAX) == (rows == 1)


def test_a_new_sibling_does_not_rewrite_the_large_body_of_another() -> None:
    one = Record(ABSENT.container.write(EMPTY, (b"a", 1), large(b"x")))
    stored = one.without_large_bodies()
    two = Record(stored.container.write(EMPTY, (b"b", 1), large(b"y")))
    assert [row for row, _ in two.rows(KEY, stored)] == [KEY.record_row, KEY.value_row((b"b", 1))]


def test_the_row_of_a_replaced_large_body_goes_with_it() -> None:
    one = Record(ABSENT.container.write(EMPTY, (b"a", 1), large(b"x"))).without_large_bodies()
    two = Record(one.container.write(one.container.context, (b"a", 2), version_of(b"s", 1, "", ())))
    assert two.rows(KEY, one)[1:] == [(KEY.value_row((b"a", 1)), None)]


def test_large_bodies_come_back_from_their_rows() -> None:
    one = Record(ABSENT.container.write(EMPTY, (b"a", 1), large(b"x")))
    disk: dict[bytes, bytes] = {}
    store(disk, one, ABSENT)
    read = Record.decode(disk[KEY.record_row])
    outside = [dot for dot, _ in read.bodies_outside()]
    assert outside == [(b"a", 1)]
    bodies = {dot: open_value(disk[KEY.value_row(dot)]) for dot in outside}
    assert same(read.with_bodies(bodies).container, one.container)


@pytest.mark.parametrize("size", [INLINE_BYTES_MAX + 1, (1 << 16) - 1, 1 << 16, 1 << 33])
@pytest.mark.parametrize("beside", [b"", bytes(1000)], ids=["short", "long"])
def test_bytes_outside_are_those_of_bodies_in_rows_of_their_own(size: int, beside: bytes) -> None:
    inline = version_of(b"\xf6\x1a\xf6\x19" + beside, 1, None, ())
    alone = ABSENT.container.write(EMPTY, (b"a", 1), inline)
    assert bytes_outside(Record(alone).encode()) == 0
    both = alone.write(EMPTY, (b"b", 1), Version(inline.head, None, size))
    row = Record(both).encode()
    assert bytes_outside(row) == size
    assert bytes_outside(row[:-1]) == 0, "damaged, and not ours to report"


def test_a_pending_state_is_what_would_come_back_from_disk() -> None:
    small = version_of(b"s", 1, None, ())
    versions = {(b"a", 1): large(b"x"), (b"b", 1): small}
    record = Record(Container(versions, Context.from_dots(versions)), b"own")
    lean = record.without_large_bodies()
    assert contents(lean.container) == contents(Record.decode(record.encode()).container)
    assert lean.own_actor == b"own"
    assert lean.without_large_bodies() is lean


def test_over_any_history_the_disk_holds_the_record_and_its_large_bodies_and_nothing_else() -> None:
    source = random.Random(6)
    for _ in range(60):
        disk: dict[bytes, bytes] = {}
        record = ABSENT
        for counter in range(1, source.randrange(2, 12)):
            held = record.container
            seen = held.context if source.randrange(2) else EMPTY
            size = source.choice([0, 10, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 50_000])
            after = Record(held.write(seen, (b"a", counter), large(bytes([counter]), size)))
            store(disk, after, record)
            record = after.without_large_bodies()
        read = Record.decode(disk[KEY.record_row])
        assert contents(read.container) == contents(record.container)
        rows = [KEY.value_row(dot) for dot, _ in read.bodies_outside()]
        assert sorted(disk) == sorted([KEY.record_row, *rows])
        for dot, version in read.bodies_outside():
            assert open_value(disk[KEY.value_row(dot)]) == bytes([dot[1]]) * version.size


def test_a_lost_tail_shows_when_ones_own_actor_is_seen_beyond_ones_record() -> None:
    record = Record(Container({}, Context.from_dots([(b"me", 1), (b"me", 2), (b"b", 9)])), b"me")
    assert not record.lost_tail(Context.from_dots([(b"me", 2), (b"b", 99)]))
    assert record.lost_tail(Context.from_dots([(b"me", 3)]))
    assert record.lost_tail(Context.from_dots([(b"me", 7)]))
    assert not Record(record.container).lost_tail(Context.from_dots([(b"me", 7)]))
