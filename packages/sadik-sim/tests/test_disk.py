"""Simulated disks: batches are atomic, and only what was synced survives."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import GetRows, ScanRows
from sadik_sim.disk import Disk, DiskFaults, Rows

Batches = st.lists(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=2), st.none() | st.binary(max_size=2)), max_size=5
    ),
    max_size=8,
)


def disk() -> Disk:
    return Disk(random.Random(1), DiskFaults())


@given(Batches)
def test_rows_are_a_dictionary_in_order(batches: list[list[tuple[bytes, bytes | None]]]) -> None:
    rows, model = Rows(), dict[bytes, bytes]()
    for batch in batches:
        rows.apply(batch)
        for key, value in batch:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    assert rows.scan(b"", None, 1000) == sorted(model.items())
    assert rows.copy().scan(b"", None, 1000) == sorted(model.items())


def test_a_scan_keeps_to_its_bounds() -> None:
    rows = Rows()
    rows.apply([(b"a%d" % number, b"xx") for number in range(5)])
    assert [key for key, _ in rows.scan(b"a1", b"a4", 10)] == [b"a1", b"a2", b"a3"]
    assert [key for key, _ in rows.scan(b"a1", None, 2)] == [b"a1", b"a2"]
    assert rows.scan(b"a1", None, 1, keys_only=True) == [(b"a1", b"")]
    # At least one row where there is one, whatever the bytes.
    assert [key for key, _ in rows.scan(b"", None, 9, limit_bytes=1)] == [b"a0"]
    assert [key for key, _ in rows.scan(b"", None, 9, limit_bytes=5)] == [b"a0", b"a1"]


def test_loads_see_what_is_under_way_and_a_crash_takes_it_back() -> None:
    one = disk()
    one.begin([(b"k", b"1")])
    one.finish([(b"k", b"1")])
    one.begin([(b"k", b"2"), (b"l", b"3")])
    assert one.load(GetRows([b"k", b"l", b"m"])) == [b"2", b"3", None]
    assert one.load(ScanRows(b"", None, 10, 1 << 20)) == [(b"k", b"2"), (b"l", b"3")]
    one.forget_unsynced()
    assert one.load(GetRows([b"k", b"l"])) == [b"1", None]


def test_an_old_copy_is_as_it_was() -> None:
    one = disk()
    one.begin([(b"k", b"1")])
    one.finish([(b"k", b"1")])
    copy = one.durable.copy()
    one.begin([(b"k", b"2")])
    one.finish([(b"k", b"2")])
    one.put_back(copy)
    assert one.load(GetRows([b"k"])) == [b"1"]
    assert one.durable.by_key == {b"k": b"1"}


def test_a_flipped_bit_is_one_bit() -> None:
    one = disk()
    one.begin([(b"ok", b"abc"), (b"zz", b"abc")])
    one.finish([(b"ok", b"abc"), (b"zz", b"abc")])
    for where in range(24):
        before = one.durable.by_key[b"ok"]
        assert one.flip_bit(b"o", where) == (b"ok", before)
        changed = one.durable.by_key[b"ok"]
        assert one.view.by_key[b"ok"] == changed
        assert sum((a ^ b).bit_count() for a, b in zip(changed, before, strict=True)) == 1
    assert one.durable.by_key == {b"ok": bytes(~byte & 0xFF for byte in b"abc"), b"zz": b"abc"}
    assert one.flip_bit(b"nothing", 0) is None


def test_a_flipped_bit_leaves_what_is_being_written_alone() -> None:
    one = disk()
    one.begin([(b"ok", b"old")])
    one.finish([(b"ok", b"old")])
    one.begin([(b"ok", b"new")])
    assert one.flip_bit(b"o", 5) == (b"ok", b"old")
    assert one.view.by_key[b"ok"] == b"new"
    one.finish([(b"ok", b"new")])
    assert one.durable.by_key[b"ok"] == b"new"


def test_a_slow_disk_takes_longer() -> None:
    one = disk()
    usual = max(one.sync_ns() for _ in range(100))
    one.faults.slow, one.faults.slow_ns = 1000, 1_000_000_000
    assert usual < one.faults.sync_max_ns < 1_000_000_000 <= one.sync_ns()
