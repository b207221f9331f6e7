"""A record that is known only by its row is what decoding the row gives."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sadik_causality import EMPTY, Container, Context
from sadik_machine import encode_plain
from sadik_vnode import record as record_module
from sadik_vnode.due import due_ms
from sadik_vnode.keyspace import Key
from sadik_vnode.one_version import is_within_one_version, one_version_in
from sadik_vnode.record import ABSENT, DamagedRecord, Record, seal_value
from sadik_vnode.sums import sum_of
from sadik_vnode.version import HEAD_BYTES_MAX, Version, tombstone, version_of
from vnode_values import STATES, contents, one_version, same

KEY = Key("bucket", b"key")
OWN_ACTORS = st.sampled_from([b"", b"x", b"other-actor1"])


def decoded(row: bytes) -> Record:
    """The record of a row, by the way that any record takes."""
    with patch.object(record_module, "one_version_in", lambda _row: None):
        return Record.decode(row)


def check_same(quick: Record, whole: Record) -> None:
    assert quick.own_actor == whole.own_actor
    assert quick.is_absent == whole.is_absent
    assert quick.context == whole.context
    assert quick.live_dots() == whole.live_dots() == whole.container.live_dots()
    assert quick.due_ms() == whole.due_ms() == due_ms(whole.container)
    assert quick.sum() == sum_of(whole.context, whole.container.live_dots())
    assert quick.is_one_row == whole.is_one_row
    assert quick.is_whole == whole.is_whole
    assert quick.same_live(whole)
    assert whole.same_live(quick)
    assert quick.encode() == whole.encode()
    assert same(quick.container, whole.container)
    assert dict(quick.bodies_outside()).keys() == dict(whole.bodies_outside()).keys()


@given(STATES, OWN_ACTORS)
@example(one_version((b"a", 1), 100, None, known=True), b"other-actor1")
def test_a_row_says_the_same_however_it_is_read(container: Container[Version], own: bytes) -> None:
    row = Record(container, own).encode()
    check_same(Record.decode(row), decoded(row))


@given(STATES, OWN_ACTORS)
@example(one_version((b"a", 1), 100, None, known=True), b"other-actor1")
def test_a_row_of_another_node_says_the_same_without_its_actor(
    container: Container[Version], own: bytes
) -> None:
    received = Record.received(Record(container, own).encode())
    assert not received.own_actor
    if received.is_whole:
        check_same(received, Record(container))
        assert received.encode() == Record(container, own).row_for_others()


@given(STATES, OWN_ACTORS, st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_what_is_no_record_is_refused_however_it_is_read(
    container: Container[Version], own: bytes, at: int, byte: int, is_sealed: bool
) -> None:
    row = Record(container, own).encode()
    changed = bytearray(row)
    # Mostly where it matters: in what comes before the bodies.
    changed[at % min(len(row), 100)] = byte
    row = seal_value(bytes(changed[8:])) if is_sealed else bytes(changed)
    try:
        expected = decoded(row)
    except DamagedRecord:
        with pytest.raises(DamagedRecord):
            Record.decode(row)
        return
    quick = Record.decode(row)
    assert quick.own_actor == expected.own_actor
    assert quick.live_dots() == expected.live_dots()
    assert quick.due_ms() == expected.due_ms()
    assert same(quick.container, expected.container)


COUNTERS = st.sampled_from([1, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, 1 << 40])
WRITTEN = st.sampled_from(
    [
        version_of(b"value", 7, "text/plain", (("a", "b"),)),
        version_of(b"", 7, None, ()),
        version_of(b"v" * (1 << 15), 7, None, ()),
        version_of(b"v" * ((1 << 15) + 1), 7, None, ()),
        version_of(b"value", 7, None, (), 5_000),
        version_of(b"value", 7, None, (("name", "v" * 20_000),)),
        tombstone(9),
    ]
)


@given(STATES, COUNTERS, WRITTEN, st.booleans())
def test_a_write_is_kept_as_what_its_row_says(
    held: Container[Version], counter: int, version: Version, replaces: bool
) -> None:
    dot = (b"writer", counter)
    seen = held.context if replaces else EMPTY
    if counter > 1:
        held = held.merge(Container({}, Context.from_plain([[b"writer", counter - 1]])))
    written = held.write(seen, dot, version)
    record = Record.of_write(written, dot)
    before = Record(held, b"writer")
    assert record.rows(KEY, before) == Record(written, b"writer").rows(KEY, before)
    assert contents(record.container) == contents(written)
    assert record.own_actor == b"writer"
    assert record.live_dots() == written.live_dots()
    assert record.due_ms() == due_ms(written)
    if len(version.head) <= HEAD_BYTES_MAX:
        assert Record.received(record.row_for_others()).live_dots() == record.live_dots()
    assert (record.only is not None) == (one_version_in(record.encode()) is not None)


@given(STATES, STATES)
def test_what_replaces_another_is_what_merging_it_gives(
    one: Container[Version], other: Container[Version]
) -> None:
    newer = Record.received(Record(one).encode())
    older = Record.received(Record(other).encode())
    if newer.replaces(older):
        assert contents(older.container.merge(newer.container)) == contents(newer.container)
        assert older.container.merge(newer.container).context == newer.context
        assert newer.only is not None


def test_a_newer_version_of_the_same_actor_replaces_the_one_before() -> None:
    first, second = (
        Record.received(Record(one_version((b"a", n), 9, None, known=True)).encode())
        for n in (1, 2)
    )
    assert second.replaces(first)
    assert second.replaces(ABSENT)
    assert not first.replaces(second)
    assert not second.replaces(second), "it comes again"
    aside = Record(one_version((b"a", 2), 9, None, [(b"b", 1)], known=True))
    assert not second.replaces(aside), "it has not met b's"


def test_a_context_that_is_read_back_has_no_gaps_few_actors_and_counts_of_four_bytes() -> None:
    assert is_within_one_version(Context.from_plain([[b"a", (1 << 32) - 1]]))
    assert not is_within_one_version(Context.from_plain([[b"a", 1 << 32]]))
    assert not is_within_one_version(Context.from_dots([(b"a", 2)]))
    assert not is_within_one_version(EMPTY)
    many = [[b"%02d" % number, 1] for number in range(24)]
    assert is_within_one_version(Context.from_plain(many[:23]))
    assert not is_within_one_version(Context.from_plain(many))


def test_extra_fields_of_a_newer_version_are_stored_as_they_came() -> None:
    context = Context.from_plain([[b"a", 1]])
    version = version_of(b"x" * 40, 1, None, ())
    plain = (1, b"own", context.to_plain(), [version.to_plain((b"a", 1))], "more")
    row = seal_value(encode_plain(plain))
    received = Record.received(row)
    assert received.encode() == seal_value(encode_plain((1, b"", *plain[2:])))
    assert received.live_dots() == [(b"a", 1)]
