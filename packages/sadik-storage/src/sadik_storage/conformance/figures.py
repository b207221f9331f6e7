"""The figures of a store: for metrics and alarms, so roughly right and cheap."""

from __future__ import annotations

import random
import time
from typing import Final

from sadik_storage.conformance.base import Suite
from sadik_storage.trait import Store, StoreSize

__all__ = ["Figures"]

_CLEANED_UP_WITHIN_S: Final = 20


class Figures(Suite):
    """Keys are counted exactly, bytes about."""

    def test_sizes_follow_what_is_stored(self, store: Store) -> None:
        rng = random.Random(3)
        empty = store.size()
        assert isinstance(empty, StoreSize)
        # Random bytes: a store that compresses gains nothing on them.
        store.commit([(b"%04d" % number, rng.randbytes(1_000)) for number in range(1_000)])
        full = store.size()
        assert (empty.keys, full.keys) == (0, 1_000)
        assert full.bytes_used - empty.bytes_used >= 1_000_000
        assert full.bytes_free_inside == store.bytes_free_inside() >= 0
        assert full.bytes_limit is None or full.bytes_limit > 0
        store.commit([(b"%04d" % number, b"new") for number in range(500)])
        assert store.size().keys == 1_000
        store.commit([(b"%04d" % number, None) for number in range(900)])
        assert store.size().keys == 100
        store.sync()
        assert store.size().keys == 100

    def test_space_of_what_was_replaced_is_used_again(self, store: Store) -> None:
        """With no snapshot open, overwriting a little for long does not take much."""
        rng = random.Random(4)
        for _ in range(120):
            store.commit([(b"%d" % key, rng.randbytes(8_000)) for key in range(8)])
        size = store.size()
        assert size.keys == 8
        live = 8 * 8_000
        assert live <= size.bytes_used + size.bytes_free_inside
        # A store may clean up in the background.
        until = time.monotonic() + _CLEANED_UP_WITHIN_S
        while (used := store.size().bytes_used) > self.garbage_bytes_max + 4 * live:
            assert time.monotonic() < until, used
