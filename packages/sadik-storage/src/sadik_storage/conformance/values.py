"""Values: empty ones, large ones, and that what was read is the reader's."""

from __future__ import annotations

import random

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import all_rows
from sadik_storage.trait import Store

__all__ = ["Values"]


class Values(Suite):
    """Bytes in, the same bytes out."""

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
