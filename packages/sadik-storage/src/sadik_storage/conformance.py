"""The conformance suite: what every backend must do, as tests that its author runs.

The idea: one class whose tests say, one by one, what `sadik_storage.trait` promises. A backend's
author subclasses it and names the backend, in a test module of their own:

```python
from my_package import MyStore
from sadik_storage.conformance import StoreConformance


class TestMyStore(StoreConformance):
    backend = MyStore
    options = {"cache_bytes": 2**20}
```

It needs pytest and nothing else (no plug-in), draws from seeded generators, takes some seconds and
leaves nothing behind. The tests of durability kill a real child process. What no test here can
show is that a commit survives a power cut: see what your backend does with fsync under `strace`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from sadik_storage.conformance_tools import (
    PLENTY,
    Writer,
    all_rows,
    commit_and_kill,
    compare,
    model_commit,
    random_batch,
    random_key,
    walk,
)
from sadik_storage.trait import (
    KEY_BYTES_FLOOR,
    VALUE_BYTES_FLOOR,
    Store,
    StoreClosed,
    StoreKeyError,
    StoreLocked,
    StoreOptionsError,
    StoreSize,
)

__all__ = ["StoreConformance"]


class StoreConformance:
    """Subclass it in a test module, and set `backend`; the name must begin with `Test`."""

    backend: ClassVar[type[Store]]
    """The class under test. It must be importable by its module and name."""
    options: ClassVar[Mapping[str, object]] = {}
    """Options that it is opened with."""
    persistent: ClassVar[bool] = True
    """Whether what is committed survives the process; false for a store in memory."""

    def open_store(self, path: Path, *, durable: bool = True) -> Store:
        """Open the store under test; override it if that takes more than `backend.open`."""
        return self.backend.open(path, dict(self.options), durable=durable)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A path at which nothing is yet."""
        return tmp_path / "store"

    @pytest.fixture(params=[True, False], ids=["durable", "interval"])
    def store(self, path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
        """A new store, opened either way."""
        with self.open_store(path, durable=request.param) as store:
            yield store

    # What a store says of itself.

    def test_it_states_its_limits(self) -> None:
        assert isinstance(self.backend.name, str)
        assert isinstance(self.backend.reads_are_cheap, bool)
        assert self.backend.key_bytes_max >= KEY_BYTES_FLOOR
        assert self.backend.value_bytes_max >= VALUE_BYTES_FLOOR

    def test_durable_is_what_was_asked_for(self, path: Path) -> None:
        for durable in (True, False):
            with self.open_store(path, durable=durable) as store:
                assert store.durable == (durable and self.persistent)

    def test_an_unknown_option_is_refused_by_name(self, path: Path) -> None:
        options = {**self.options, "no_such_option": 1}
        with pytest.raises(StoreOptionsError, match="no_such_option"):
            self.backend.open(path, options, durable=True)
        assert not path.exists()

    def test_a_store_on_disk_needs_a_path(self) -> None:
        if not self.persistent:
            self.backend.open(None, dict(self.options), durable=True).close()
            return
        with pytest.raises(StoreOptionsError, match="path"):
            self.backend.open(None, dict(self.options), durable=True)

    def test_its_directory_is_private(self, path: Path) -> None:
        self._needs_disk()
        self.open_store(path).close()
        assert path.stat().st_mode & 0o077 == 0

    # Reads and writes.

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

    def test_an_empty_value_is_a_value(self, store: Store) -> None:
        store.commit([(b"a", b"")])
        assert store.get(b"a") == b""
        assert all_rows(store) == [(b"a", b"")]
        assert store.size().keys == 1

    def test_large_values_come_back_whole(self, store: Store) -> None:
        rng = random.Random(1)
        for size in (1, 2_000, 4_095, 4_096, 65_537, 3 * 2**20, 8 * 2**20 + 1):
            value = rng.randbytes(size)
            store.commit([(b"before", b"1"), (b"large", value), (b"later", b"2")])
            assert store.get(b"large") == value
            assert store.scan(b"large", b"later", limit=2, limit_bytes=1) == [(b"large", value)]
        store.commit([(b"large", b"small")])
        assert store.get(b"large") == b"small"

    def test_what_was_read_stays_valid(self, store: Store) -> None:
        store.commit([(b"a", b"old" * 50)])
        value, rows = store.get(b"a"), all_rows(store)
        for number in range(50):
            store.commit([(b"a", b"%d" % number * 100), (b"b%d" % number, b"x" * 500)])
        assert type(value) is bytes
        assert type(rows[0][0]) is bytes
        assert type(rows[0][1]) is bytes
        assert value == rows[0][1] == b"old" * 50

    # The bounds of keys and values.

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

    def test_a_batch_of_anything_but_bytes_is_a_fault(self, store: Store) -> None:
        wrong: list[tuple[object, object]] = [("a", b""), (b"a", "1"), (b"a", 1)]
        for pair in wrong:
            with pytest.raises((TypeError, AssertionError)):
                store.commit([(b"ok", b"1"), pair])  # type: ignore[list-item]
        assert all_rows(store) == []

    # Order and scans.

    def test_keys_are_in_the_order_of_their_bytes(self, store: Store) -> None:
        rng = random.Random(2)
        keys = {rng.randbytes(rng.randint(1, 6)) for _ in range(500)}
        keys |= {bytes([number]) for number in range(256)}
        keys |= {b"\0" * size for size in range(1, 9)} | {b"\xff" * size for size in range(1, 9)}
        order = sorted(keys)
        mixed = order.copy()
        rng.shuffle(mixed)
        store.commit([(key, key[::-1]) for key in mixed])
        assert store.scan_keys(b"", None, limit=len(order) + 1) == order
        assert all_rows(store) == [(key, key[::-1]) for key in order]

    def test_a_scan_includes_its_start_and_excludes_its_stop(self, store: Store) -> None:
        store.commit([(key, b"") for key in (b"a", b"b", b"ba", b"c")])
        ranges: list[tuple[bytes, bytes | None, list[bytes]]] = [
            (b"", None, [b"a", b"b", b"ba", b"c"]),
            (b"b", b"c", [b"b", b"ba"]),
            (b"b", b"b\0", [b"b"]),
            (b"b\0", b"c\0", [b"ba", b"c"]),
            (b"", b"a", []),
            (b"b", b"b", []),
            (b"c", b"a", []),
            (b"d", None, []),
            (b"", b"", []),
        ]
        for start, stop, keys in ranges:
            rows = store.scan(start, stop, limit=9, limit_bytes=PLENTY)
            assert [key for key, _ in rows] == keys
            assert store.scan_keys(start, stop, limit=9) == keys

    def test_a_scan_keeps_its_limits_and_gives_at_least_one_row(self, store: Store) -> None:
        store.commit([(b"%d" % number, b"v" * 9) for number in range(10)])
        for limit in (1, 3, 10, 11):
            assert len(store.scan(b"", None, limit=limit, limit_bytes=PLENTY)) == min(limit, 10)
            assert len(store.scan_keys(b"", None, limit=limit)) == min(limit, 10)
        for limit_bytes, rows in ((0, 1), (1, 1), (10, 1), (19, 1), (20, 2), (99, 9), (100, 10)):
            assert len(store.scan(b"", None, limit=99, limit_bytes=limit_bytes)) == rows
            with store.snapshot() as view:
                assert len(view.scan(b"", None, limit=99, limit_bytes=limit_bytes)) == rows

    def test_a_walk_in_chunks_sees_every_row_once(self, store: Store) -> None:
        rows = [(b"%05d" % number, b"v" * (number % 97)) for number in range(3_000)]
        store.commit(rows)
        assert walk(store, limit=7) == rows
        assert walk(store, limit=10_000, limit_bytes=1_000) == rows

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

    # One view.

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

    def test_commits_may_come_from_one_thread_after_another(self, store: Store) -> None:
        for number in range(5):
            worker = threading.Thread(target=store.commit, args=([(b"%d" % number, b"x")],))
            worker.start()
            worker.join()
        assert store.size().keys == 5
        assert len(all_rows(store)) == 5

    # Figures.

    def test_sizes_follow_what_is_stored(self, store: Store) -> None:
        rng = random.Random(3)
        empty = store.size()
        assert isinstance(empty, StoreSize)
        # Random bytes: a store that compresses gains nothing on them.
        store.commit([(b"%04d" % number, rng.randbytes(1_000)) for number in range(1_000)])
        full = store.size()
        assert (empty.keys, full.keys) == (0, 1_000)
        assert full.bytes_used - empty.bytes_used >= 1_000_000
        assert full.bytes_free_inside >= 0
        assert full.bytes_limit is None or full.bytes_limit > 0
        store.commit([(b"%04d" % number, b"new") for number in range(500)])
        assert store.size().keys == 1_000
        store.commit([(b"%04d" % number, None) for number in range(900)])
        assert store.size().keys == 100
        store.sync()
        assert store.size().keys == 100

    # The end, and the next beginning.

    def test_a_closed_store_says_so(self, path: Path) -> None:
        store = self.open_store(path)
        store.commit([(b"a", b"1")])
        store.close()
        store.close()
        calls: list[Callable[[], object]] = [
            lambda: store.get(b"a"),
            lambda: store.get_many([b"a"]),
            lambda: store.scan(b"", None, limit=1, limit_bytes=1),
            lambda: store.scan_keys(b"", None, limit=1),
            store.snapshot,
            lambda: store.commit([(b"a", b"2")]),
            store.sync,
            store.size,
        ]
        for call in calls:
            with pytest.raises(StoreClosed):
                call()

    @pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
    def test_what_was_committed_is_there_when_reopened(self, path: Path, durable: bool) -> None:
        self._needs_disk()
        rows = [(b"%04d" % number, b"v" * number) for number in range(500)]
        with self.open_store(path, durable=durable) as store:
            store.commit(rows[:250])
            store.sync()
            store.commit([*rows[250:], (b"0000", None)])
        for again in (durable, not durable):
            with self.open_store(path, durable=again) as store:
                assert all_rows(store) == rows[1:]
                assert store.size().keys == 499

    def test_it_can_be_open_only_once(self, path: Path) -> None:
        self._needs_disk()
        with self.open_store(path) as store:
            store.commit([(b"a", b"1")])
            with pytest.raises(StoreLocked):
                self.open_store(path)
            store.commit([(b"b", b"1")])
            assert store.size().keys == 2
        with self.open_store(path) as store:
            assert store.size().keys == 2

    @pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
    def test_no_commit_is_lost_or_torn_when_the_process_is_killed(
        self, path: Path, durable: bool
    ) -> None:
        """Killed at an arbitrary instant, thrice on the same files: all acknowledged batches are
        there, at most one more, none in part, and the next open waits for nobody."""
        self._needs_disk()
        acknowledged = 0
        for commits in (1, 40, 90):
            acknowledged = commit_and_kill(
                self.backend, self.options, path, commits, durable=durable
            )
            with self.open_store(path, durable=durable) as store:
                last = int(store.get(b"last") or 0)
                assert acknowledged <= last <= acknowledged + 1
                lefts = store.scan_keys(b"left/", b"left0", limit=9_999)
                assert sorted(lefts) == sorted(b"left/%d" % each for each in range(1, last + 1))
                rights = store.scan(b"right/", b"right0", limit=9_999, limit_bytes=PLENTY)
                assert len(rights) == last
                assert all(value == key[6:] * 200 for key, value in rights)
                assert store.size().keys == 2 * last + 1
        assert acknowledged >= 131

    # Everything at once.

    @pytest.mark.parametrize("seed", range(6))
    def test_it_agrees_with_a_dictionary(self, path: Path, seed: int) -> None:
        rng = random.Random(seed)
        durable = bool(seed % 2)
        model: dict[bytes, bytes] = {}
        store = self.open_store(path, durable=durable)
        try:
            for _ in range(250):
                choice = rng.random()
                if choice < 0.5:
                    batch = random_batch(rng)
                    with store.snapshot() as before:
                        store.commit(batch)
                        compare(rng, before, model)
                    model_commit(model, batch)
                elif choice < 0.95:
                    compare(rng, store, model)
                    keys = [random_key(rng) for _ in range(5)]
                    assert store.get_many(keys) == [model.get(key) for key in keys]
                elif choice < 0.98:
                    store.sync()
                elif self.persistent:
                    store.close()
                    store = self.open_store(path, durable=durable)
                assert store.size().keys == len(model)
            assert all_rows(store) == sorted(model.items())
            assert walk(store, limit=3) == sorted(model.items())
        finally:
            store.close()

    # Helpers.

    def _needs_disk(self) -> None:
        if not self.persistent:
            pytest.skip("this backend keeps nothing")
