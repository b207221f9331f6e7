"""A batch: all of it or nothing, entries in order, every entry checked first."""

from __future__ import annotations

import threading

import pytest

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import all_rows, walk
from sadik_storage.trait import Store, StoreKeyError, StoreValueError

__all__ = ["Batches"]


class Batches(Suite):
    """What `commit` does with what it is given."""

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert store.get(b"k") is None
        assert store.get_many([b"k", b"l"]) == [None, None]
        assert all_rows(store) == []
        assert store.scan_keys(b"", None, limit=9) == []
        assert store.size().keys == 0

    def test_a_commit_is_seen_when_it_returns(self, store: Store) -> None:
        store.commit([(b"b", b"2"), (b"a", b"1")])
        assert store.get(b"a") == b"1"
        assert store.get_many([b"b", b"absent", b"a"]) == [b"2", None, b"1"]
        store.commit([(b"a", b"new"), (b"b", None)])
        assert all_rows(store) == [(b"a", b"new")]

    def test_a_later_entry_for_a_key_wins(self, store: Store) -> None:
        store.commit([(b"a", b"1"), (b"a", None), (b"a", b"3"), (b"b", b"1"), (b"b", None)])
        assert all_rows(store) == [(b"a", b"3")]
        store.commit([(b"a", None), (b"a", b"4"), (b"c", None)])
        assert all_rows(store) == [(b"a", b"4")]

    def test_an_empty_batch_and_absent_deletes_do_nothing(self, store: Store) -> None:
        store.commit([])
        store.commit([(b"absent", None)])
        store.commit([(b"a", b"1")])
        store.commit([(b"absent", None)])
        assert all_rows(store) == [(b"a", b"1")]

    def test_commits_may_come_from_one_thread_after_another(self, store: Store) -> None:
        for number in range(5):
            worker = threading.Thread(target=store.commit, args=([(b"%d" % number, b"x")],))
            worker.start()
            worker.join()
        assert store.size().keys == 5
        assert len(all_rows(store)) == 5

    def test_a_batch_may_be_long(self, store: Store) -> None:
        rows = [(b"%05d" % number, b"v%d" % number) for number in range(5_000)]
        store.commit(rows[::-1])
        assert all_rows(store) == rows
        store.commit([(key, None) for key, _ in rows[1:-1]])
        assert all_rows(store) == [rows[0], rows[-1]]

    def test_keys_have_at_least_one_byte(self, store: Store) -> None:
        with pytest.raises(StoreKeyError):
            store.get(b"")
        with pytest.raises(StoreKeyError):
            store.get_many([b"a", b""])
        with pytest.raises(StoreKeyError), store.snapshot() as view:
            view.get(b"")
        with pytest.raises(StoreKeyError):
            store.commit([(b"a", b"1"), (b"", b"2")])
        assert all_rows(store) == []

    def test_keys_of_the_greatest_length_and_one_more(self, store: Store) -> None:
        longest = b"\xff" * store.key_bytes_max
        with pytest.raises(StoreKeyError):
            store.get(longest + b"x")
        with pytest.raises(StoreKeyError):
            store.commit([(b"a", b"1"), (longest + b"x", b"2")])
        with pytest.raises(StoreKeyError):
            store.commit([(b"a", b"1"), (longest + b"x", None)])
        assert all_rows(store) == []
        store.commit([(longest, b"1"), (longest[:-1], b"0")])
        assert store.get(longest) == b"1"
        # To go on from the longest key takes a start that is longer than any key.
        assert walk(store, limit=1) == [(longest[:-1], b"0"), (longest, b"1")]

    def test_a_value_that_is_too_long_is_refused_with_its_batch(self, store: Store) -> None:
        if store.value_bytes_max >= 2**30:
            pytest.skip("a value of the greatest length would not fit into memory here")
        with pytest.raises(StoreValueError):
            store.commit([(b"a", b"1"), (b"b", bytes(store.value_bytes_max + 1))])
        assert all_rows(store) == []

    def test_a_batch_of_anything_but_bytes_is_a_fault(self, store: Store) -> None:
        wrong: list[tuple[object, object]] = [("a", b""), (b"a", "1"), (b"a", 1)]
        for pair in wrong:
            with pytest.raises((TypeError, AssertionError)):
                store.commit([(b"ok", b"1"), pair])  # type: ignore[list-item]
        assert all_rows(store) == []
