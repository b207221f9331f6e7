"""What a put and a get cost as values and siblings grow: engines, messages, and the store.

Three nodes in the simulator's world take every write of a kind; then every key is read. What the
engines asked to be written is written again, a store at a time, to an LMDB of its own with a sync
each, and read from there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs
from attrs import asdict, define
from request_cost import QUIET, load
from tape import ENGINE, TapedWorld, codec_us

from sadik_machine import SECOND
from sadik_storage.lmdb import LmdbStore
from sadik_vnode.requests import BucketResult, BucketSet, Get, Put

__all__ = ["SIBLINGS", "VALUE_BYTES", "ValuesFigures", "measure_siblings", "measure_values"]

SIBLINGS = (1, 2, 5, 10, 25, 50, 100)
VALUE_BYTES = (100, 1024, 10_240, 102_400, 2**20, 4 * 2**20, 16 * 2**20)
_SIBLING_BYTES = 100
_PARTITIONS = 16
_ROUNDS = 5
_TIMEOUT_NS = 60 * SECOND
_DRAIN_NS = 3 * SECOND
_BUCKET = "bench"
_LARGEST = 64 * 2**20
_AT_ONCE_BYTES = 8 * 2**20
"""Values under way at once, as a node bounds those of a batch."""

Rows = list[tuple[bytes, bytes | None]]


@define(slots=True)
class ValuesFigures:
    """Of one request of each kind, with so many siblings of so many bytes. Times are microseconds
    of the processor; engines', codec's and store's are of all nodes together, but ``store`` of a
    get, which is one node's.
    """

    siblings: int
    value_bytes: int
    put: dict[str, float]
    get: dict[str, float]


def measure_values(
    place: Path, sizes: Sequence[int], tell: Callable[[str], None]
) -> list[dict[str, object]]:
    """Keys with one version of each size in turn."""
    found = []
    for size in sizes:
        keys = max(3, min(300, 24 * 2**20 // size))
        found.append(_measure(place / f"value-{size}", 1, size, keys))
        tell(str(found[-1]))
    return [asdict(figures) for figures in found]


def measure_siblings(
    place: Path, counts: Sequence[int], tell: Callable[[str], None]
) -> list[dict[str, object]]:
    """Keys with so many siblings in turn; the put is the one that makes the last of them."""
    found = []
    for count in counts:
        found.append(_measure(place / f"siblings-{count}", count, _SIBLING_BYTES, 30))
        tell(str(found[-1]))
    return [asdict(figures) for figures in found]


def _measure(place: Path, siblings: int, value_bytes: int, count: int) -> ValuesFigures:
    world = _world(siblings)
    keys = [b"key-%07d" % number for number in range(count)]
    names = [node.name for node in world.nodes.values()]
    value = bytes(value_bytes)
    window = max(1, min(64, _AT_ONCE_BYTES // (value_bytes * siblings)))

    def put(key: bytes) -> object:
        return Put(_BUCKET, key, value, _TIMEOUT_NS, w="all")

    def get(key: bytes) -> object:
        return Get(_BUCKET, key, _TIMEOUT_NS, r=2)

    # A key whose first version it is has nothing to replace: that is not measured.
    for _ in range(max(siblings - 1, 1)):
        load(world, put, keys, names, window)
    _mark(world, "before")
    for name, make in (("put", put), ("get", get)):
        load(world, make, keys, names, window)
        _mark(world, name)
    before = [rows for rows, _ in world.stored["before"]]
    store = _stored(place, before, world.stored["put"])
    figures = _figures(world, count)
    figures["put"]["store"] = store["put_us"] / count
    figures["put"]["stored_bytes"] = store["bytes"] / count
    figures["get"]["store"] = store["get_us"]
    return ValuesFigures(siblings, value_bytes, figures["put"], figures["get"])


def _world(siblings: int) -> TapedWorld:
    config = attrs.evolve(QUIET, value_bytes_max=_LARGEST)
    world = TapedWorld(3, config=config, partitions=_PARTITIONS)
    world.form()
    if siblings > 1:
        change = BucketSet(_BUCKET, {"blind_writes": "sibling"})
        assert isinstance(world.answer(world.node("n1"), change), BucketResult)
        world.run(_DRAIN_NS)
    world.mark("formed")
    return world


def _mark(world: TapedWorld, name: str) -> None:
    world.run(_DRAIN_NS)
    world.mark(name)


def _figures(world: TapedWorld, count: int) -> dict[str, dict[str, float]]:
    # Others on the machine can only add to it.
    rounds = [world.seconds(ENGINE) for _ in range(_ROUNDS)]
    found = {}
    for name in ("put", "get"):
        sent = world.sent[name][ENGINE]
        found[name] = {
            "engine": min(spent[name] for spent in rounds) / count * 1e6,
            "codec": min(codec_us(sent.messages) for _ in range(_ROUNDS)) / count,
            "messages": len(sent.messages) / count,
            "bytes": sent.bytes / count,
        }
    return found


def _stored(
    place: Path, before: Sequence[Rows], puts: Sequence[tuple[Rows, str]]
) -> dict[str, float]:
    """Microseconds to commit what the puts stored, and to read a record with its values."""
    with LmdbStore.open(place, {}, durable=True) as store:
        for rows in before:
            store.commit(rows)
        spent = [_seconds(partial(store.commit, rows)) for rows, _ in puts]
        # What other programs do to one commit shall not count for all of them.
        put_us = statistics.median(spent) * len(spent) * 1e6
        wanted = [
            [row for row, value in rows if value is not None and row[:1] in b"OV"]
            for rows, node in puts
            if node == "n1"
        ]
        began = time.process_time()
        for rows_of_key in wanted:
            store.get_many(rows_of_key)
        get_us = (time.process_time() - began) * 1e6 / len(wanted)
    written = sum(len(row) + len(value or b"") for rows, _ in puts for row, value in rows)
    return {"put_us": put_us, "get_us": get_us, "bytes": written}


def _seconds(what: Callable[[], None]) -> float:
    began = time.process_time()
    what()
    return time.process_time() - began
