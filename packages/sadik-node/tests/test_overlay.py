"""The overlay against a plain dictionary, over random histories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sadik_node.overlay import Overlay, scan_store_over
from sadik_storage.memory import MemoryStore

KEYS = st.binary(min_size=1, max_size=2)
BATCHES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=8)


@given(
    on_disk=BATCHES,
    pending=st.lists(BATCHES, max_size=4),
    committed=st.integers(0, 4),
    start=st.binary(max_size=2),
    stop=st.none() | st.binary(max_size=2),
    rows=st.integers(1, 6),
    size=st.integers(1, 40),
    keys_only=st.booleans(),
)
def test_reads_are_of_the_newest_state_in_whole_chunks(
    on_disk: list[tuple[bytes, bytes | None]],
    pending: list[list[tuple[bytes, bytes | None]]],
    committed: int,
    start: bytes,
    stop: bytes | None,
    rows: int,
    size: int,
    *,
    keys_only: bool,
) -> None:
    store = MemoryStore.open(None, {}, durable=True)
    store.commit(on_disk)
    overlay = Overlay(store)
    model = dict(on_disk)
    for group, batch in enumerate(pending):
        overlay.add(batch, group)
        model.update(batch)
    for group, batch in enumerate(pending[:committed]):
        store.commit(batch)
        overlay.committed(batch, group)
    if committed >= len(pending):
        assert len(overlay) == 0, "what is on disk is forgotten"

    found, absent = overlay.get(sorted(model))
    for position in absent:
        found[position] = store.get(sorted(model)[position])
    assert found == [model[key] for key in sorted(model)]

    wanted = [
        (key, b"" if keys_only else value)
        for key, value in sorted(model.items())
        if value is not None and key >= start and (stop is None or key < stop)
    ]
    seen: list[tuple[bytes, bytes]] = []
    at = start
    while True:
        chunk = scan_store_over(
            store, overlay.between(at, stop), at, stop, rows, size, keys_only=keys_only
        )
        if not chunk:
            break
        assert len(chunk) <= rows
        assert keys_only or len(chunk) == 1 or sum(len(k) + len(v) for k, v in chunk) <= size
        seen += chunk
        at = chunk[-1][0] + b"\0"
    assert seen == wanted
    store.close()


def test_a_failed_group_takes_back_everything() -> None:
    store = MemoryStore.open(None, {}, durable=True)
    store.commit([(b"a", b"old")])
    overlay = Overlay(store)
    overlay.add([(b"a", b"1")], 1)
    overlay.add([(b"a", b"2"), (b"b", None)], 2)
    overlay.committed([(b"a", b"1")], 1)
    assert overlay.between(b"", None) == [(b"a", b"2"), (b"b", None)], "group 2 is still pending"
    overlay.clear()
    assert overlay.get([b"a"]) == ([None], [0])
    store.close()
