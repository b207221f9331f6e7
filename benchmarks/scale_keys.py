"""What a node's store costs as keys grow: LMDB with the rows that a node writes.

A key has a record, a row of the index of its bucket, and a share of a leaf of the hash tree; an
update writes the record and the leaf. The store is filled in portions of two fifths of what it has,
each in the order of tokens, so that its pages are about as full as after random writes; portions
that double it would leave all of them half empty. It grows from one number of keys to the next.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import asdict, define

from sadik_causality import EMPTY, Container
from sadik_storage import Store
from sadik_storage.lmdb import LmdbStore
from sadik_vnode.keyspace import Key, index_row, leaf_row
from sadik_vnode.record import Record
from sadik_vnode.version import version_of

__all__ = ["KeysFigures", "bytes_wanted", "measure_keys"]

VALUE_BYTES = 100
BATCHES = (1, 10, 100, 1000)
_BYTES_A_KEY = 500
"""More than a key takes, with what commits leave free for a while."""
_BUCKET = "bench"
_ACTOR = b"instance" + b"\0\0\0\1"
_COMMIT_KEYS = 20_000
_PORTION_LEAST = 2000
_COMMITS = {1: 100, 10: 100, 100: 60, 1000: 12}
_GETS = 20_000
_WARM_COMMITS, _WARM_KEYS = 2, 100
_LEAF = b"s" * 8


@define(slots=True)
class KeysFigures:
    """A store with so many keys. Times are microseconds of the processor for a key but where named
    otherwise; ``put`` is by keys in a commit.
    """

    keys: int
    disk_bytes_a_key: float
    put_us: dict[str, float]
    commit_ms: dict[str, float]
    """How long a commit takes on the clock, with its syncs."""
    written_bytes: dict[str, float]
    """What a key in such a commit makes the system write."""
    get_us: float
    open_ms: float
    """Of the processor, after a clean stop."""
    cached_mib: float
    """Memory that the system had spent on the file's pages by then, for this process."""


def bytes_wanted(keys: int) -> int:
    """How much room on disk a store of so many keys needs while it is filled."""
    return keys * _BYTES_A_KEY


def measure_keys(
    place: Path, sizes: Sequence[int], tell: Callable[[str], None]
) -> list[dict[str, object]]:
    """Fill a store in ``place`` to each size in turn, and measure it."""
    found = []
    filled = 0
    for keys in sizes:
        with LmdbStore.open(place, {}, durable=False) as store:
            for first, last in _portions(filled, keys):
                _fill(store, first, last)
            store.sync()
        filled = keys
        figures = _measure(place, keys)
        tell(str(figures))
        found.append(asdict(figures))
    return found


def _portions(filled: int, keys: int) -> Iterator[tuple[int, int]]:
    while filled < keys:
        last = min(keys, filled + max(filled * 2 // 5, _PORTION_LEAST))
        yield filled, last
        filled = last


def _key(number: int) -> Key:
    return Key(_BUCKET, b"key-%09d" % number)


def _record(counter: int) -> bytes:
    """A record as a node keeps it after ``counter`` writes of its coordinator."""
    version = version_of(bytes(VALUE_BYTES), 1_700_000_000_000 << 16, None, ())
    context = EMPTY.with_dots((_ACTOR, n) for n in range(1, counter + 1))
    return Record(Container({(_ACTOR, counter): version}, context), _ACTOR).encode()


def _fill(store: Store, first: int, last: int) -> None:
    record = _record(1)
    keys = [_key(number) for number in range(first, last)]
    leaves = sorted({key.leaf for key in keys})
    rows = sorted((key.record_row, record) for key in keys)
    rows += [(index_row(key), b"") for key in keys]
    rows += [(leaf_row(leaf), _LEAF) for leaf in leaves]
    for at in range(0, len(rows), _COMMIT_KEYS):
        store.commit(rows[at : at + _COMMIT_KEYS])


def _measure(place: Path, keys: int) -> KeysFigures:
    source = random.Random(keys)
    began = time.process_time()
    with LmdbStore.open(place, {}, durable=True) as store:
        open_ms = (time.process_time() - began) * 1e3
        used = store.size().bytes_used
        for _ in range(_WARM_COMMITS):  # what filling left to be cleared up
            _puts(store, keys, _WARM_KEYS, source)
        puts = {str(size): _puts(store, keys, size, source) for size in BATCHES}
        get_us = _gets(store, keys, source)
        cached_mib = _cached_mib()
    return KeysFigures(
        keys,
        used / keys,
        {size: put[0] for size, put in puts.items()},
        {size: put[1] for size, put in puts.items()},
        {size: put[2] for size, put in puts.items()},
        get_us,
        open_ms,
        cached_mib,
    )


def _puts(store: Store, keys: int, size: int, source: random.Random) -> tuple[float, float, float]:
    """Update random keys: microseconds a key, milliseconds a commit, bytes written a key."""
    record = _record(2)
    batches = []
    for _ in range(_COMMITS[size]):
        chosen = [_key(source.randrange(keys)) for _ in range(size)]
        batches.append(
            [(key.record_row, record) for key in chosen]
            + [(leaf_row(key.leaf), _LEAF) for key in chosen]
        )
    written, clock, began = _written_bytes(), time.perf_counter(), time.process_time()
    for batch in batches:
        store.commit(batch)
    spent = time.process_time() - began
    waited = time.perf_counter() - clock
    count = size * len(batches)
    return (
        spent / count * 1e6,
        waited / len(batches) * 1e3,
        (_written_bytes() - written) / count,
    )


def _gets(store: Store, keys: int, source: random.Random) -> float:
    rows = [_key(source.randrange(keys)).record_row for _ in range(_GETS)]
    began = time.process_time()
    for row in rows:
        store.get(row)
    return (time.process_time() - began) / _GETS * 1e6


def _written_bytes() -> int:
    text = Path(f"/proc/{os.getpid()}/io").read_text("ascii")
    return int(text.split("wchar: ")[1].split()[0])


def _cached_mib() -> float:
    text = Path(f"/proc/{os.getpid()}/status").read_text("ascii", "replace")
    found = re.search(r"^RssFile:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None, f"no RssFile in {text}"
    return int(found[1]) / 1024
