"""The order of keys, and what a scan gives of it."""

from __future__ import annotations

import random

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import PLENTY, all_rows, walk
from sadik_storage.trait import Store

__all__ = ["Ordering"]


class Ordering(Suite):
    """Keys are unsigned bytes, a prefix before what extends it."""

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
