"""One view: within a call, within a snapshot, on any number of threads, beside a writer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import PLENTY, Writer, all_rows, walk
from sadik_storage.trait import Store, StoreClosed

__all__ = ["Isolation"]


class Isolation(Suite):
    """No read sees half of a batch, and a snapshot does not move."""

    def test_a_snapshot_does_not_move(self, store: Store) -> None:
        store.commit([(b"a", b"1"), (b"b", b"1")])
        with store.snapshot() as view:
            store.commit([(b"a", b"2"), (b"b", None), (b"c", b"2")])
            assert (view.get(b"a"), view.get(b"b"), view.get(b"c")) == (b"1", b"1", None)
            assert view.scan(b"", None, limit=9, limit_bytes=PLENTY) == [
                (b"a", b"1"),
                (b"b", b"1"),
            ]
            with store.snapshot() as later:
                assert later.get(b"a") == b"2"
            assert store.get(b"a") == b"2"
            assert view.get(b"a") == b"1"
        assert all_rows(store) == [(b"a", b"2"), (b"c", b"2")]

    def test_a_snapshot_ends_with_its_block(self, store: Store) -> None:
        store.commit([(b"a", b"1")])
        with store.snapshot() as view:
            assert view.get(b"a") == b"1"
        view.close()
        with pytest.raises(StoreClosed):
            view.get(b"a")
        with pytest.raises(StoreClosed):
            view.scan(b"", None, limit=1, limit_bytes=1)

    def test_readers_on_threads_see_whole_batches(self, store: Store) -> None:
        """Every batch sets all keys alike, so a view with two values is a torn one."""
        keys = [b"k%03d" % number for number in range(100)]
        store.commit([(key, b"0") for key in keys])

        def get_many() -> object:
            return set(store.get_many(keys))

        def scan() -> object:
            return {value for _, value in store.scan(b"", None, limit=999, limit_bytes=PLENTY)}

        def snapshot() -> object:
            with store.snapshot() as view:
                return {view.get(key) for key in reversed(keys)}

        torn: list[object] = []
        rounds = 60

        def read(look: Callable[[], object]) -> None:
            for _ in range(rounds):
                seen = look()
                if not isinstance(seen, set) or len(seen) != 1 or None in seen:
                    torn.append(seen)

        with Writer(lambda number: store.commit([(key, b"%d" % number) for key in keys])) as writer:
            readers = [threading.Thread(target=read, args=(f,)) for f in (get_many, scan, snapshot)]
            for reader in readers:
                reader.start()
            writer.wait_for_another()
            for reader in readers:
                reader.join()
        assert torn == []

    def test_a_walk_under_writes_sees_all_that_stays(self, store: Store) -> None:
        fixed = [(b"fixed/%04d" % number, b"v" * 40) for number in range(600)]
        store.commit(fixed)

        def passing(number: int) -> bytes:
            return b"fixed/%04d/%d" % (number * 7 % 600, number)

        def write(number: int) -> None:
            store.commit([(passing(number), b"x" * 300), (passing(number - 1), None)])

        with Writer(write) as writer:
            for _ in range(5):
                writer.wait_for_another()
                rows = walk(store, limit=50)
                keys = [key for key, _ in rows]
                assert all(low < high for low, high in pairwise(keys))
                assert [row for row in rows if len(row[0]) == 10] == fixed
