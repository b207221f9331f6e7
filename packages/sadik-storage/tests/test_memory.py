"""The store in memory: blocks are cut, joined and shared, and none of it shows."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from sadik_storage import StoreFull
from sadik_storage.memory import BLOCK_ROWS, MemoryStore


def check_blocks(store: MemoryStore) -> None:
    """The invariants of the blocks, which reads rely on."""
    view = store._view
    assert view is not None
    assert view.firsts == [keys[0] for keys, _ in view.blocks]
    everything = [key for keys, _ in view.blocks for key in keys]
    assert all(low < high for low, high in pairwise(everything))
    assert view.keys == len(everything)
    for keys, values in view.blocks:
        assert 0 < len(keys) == len(values) <= 2 * BLOCK_ROWS
    # Two neighbours that fit into one block are joined when one is touched, so blocks stay few.
    assert len(view.blocks) <= 2 + 4 * len(everything) // BLOCK_ROWS


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("batch_rows", [1, 100, 5_000])
def test_it_grows_and_shrinks_in_any_order(order: str, batch_rows: int) -> None:
    keys = [b"%06d" % number for number in range(5_000)]
    store = MemoryStore()
    rng = random.Random(batch_rows)
    for value in (b"value", None):
        if order == "descending":
            keys.sort(reverse=True)
        elif order == "shuffled":
            rng.shuffle(keys)
        for low in range(0, len(keys), batch_rows):
            store.commit([(key, value) for key in keys[low : low + batch_rows]])
        if value is not None:
            check_blocks(store)
            assert store.scan_keys(b"", None, limit=9_999) == sorted(keys)
    assert store.scan_keys(b"", None, limit=1) == []
    size = store.size()
    assert (size.keys, size.bytes_used) == (0, 0)


def test_bytes_used_is_a_sum_over_the_rows_whatever_the_history() -> None:
    rng = random.Random(3)
    store, fresh = MemoryStore(), MemoryStore()
    for _ in range(300):
        key = b"%d" % rng.randrange(40)
        store.commit([(key, rng.choice((None, b"", rng.randbytes(rng.randrange(500)))))])
    fresh.commit(store.scan(b"", None, limit=99, limit_bytes=10**6))
    assert store.size() == fresh.size()


def test_a_bound_refuses_growth_and_permits_the_rest() -> None:
    store = MemoryStore.open(None, {"bytes_max": 10_000}, durable=False)
    store.commit([(b"a", b"v" * 9_000)])
    with pytest.raises(StoreFull, match="bytes_max") as caught:
        store.commit([(b"b", b"small"), (b"c", b"v" * 5_000)])
    assert caught.value.retryable
    assert store.scan_keys(b"", None, limit=9) == [b"a"]
    assert store.size().bytes_limit == 10_000
    store.commit([(b"a", b"v" * 8_000)])
    store.commit([(b"a", None)])
    store.commit([(b"b", b"small"), (b"c", b"v" * 5_000)])


def test_a_snapshot_shares_the_blocks_that_nobody_touched() -> None:
    store = MemoryStore()
    store.commit([(b"%06d" % number, b"v") for number in range(20 * BLOCK_ROWS)])
    before = store._view
    store.commit([(b"000000", b"new")])
    after = store._view
    assert before is not None
    assert after is not None
    shared = {id(block) for block in before.blocks} & {id(block) for block in after.blocks}
    assert len(shared) == len(before.blocks) - 1
