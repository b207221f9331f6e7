"""What each backend costs: puts by batch size with and without sync, gets, scans, space, open time.

    make bench-storage                               # all backends, 100 thousand and 1 million keys
    make bench-storage ARGS="--backend lmdb --keys 100000"

Keys have 24 bytes in the order of a hash, as a node's have, and values 150. A store is filled in
batches of 1,000 without sync; then what the table says is measured for a second each. *Plain* is a
bare write and fdatasync of as many bytes as a batch of 100 has, on the same disk in the same run:
what the disk allows. Absolute figures belong to a machine: compare columns, and ratios of runs.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sadik_storage import Store
from sadik_storage.registry import load

VALUE_BYTES = 150
BATCHES = (1, 10, 100, 1000)


def key_of(number: int) -> bytes:
    """Keys spread as hashes are."""
    return b"%016x%08d" % (number * 0x9E3779B97F4A7C15 % 2**64, number)


def rate(what: Callable[[], int], seconds: float) -> float:
    """How many a second; ``what`` says how many it did."""
    what()
    done = 0
    begun = time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        done += what()
    return done / spent


def plain_syncs(directory: Path, seconds: float) -> float:
    """Writes and syncs a second of one file, without any store."""
    data = random.Random(1).randbytes(100 * (24 + VALUE_BYTES))
    with (directory / "plain").open("wb", buffering=0) as file:

        def one() -> int:
            file.write(data)
            os.fdatasync(file.fileno())
            return 1

        return rate(one, seconds)


class Bench:
    """One backend with so many keys in one directory."""

    def __init__(self, backend: str, path: Path, keys: int, seconds: float) -> None:
        self._backend = load(backend)
        self._path = path
        self._keys = keys
        self._seconds = seconds
        self._random = random.Random(keys)

    def run(self) -> dict[str, float]:
        """All figures by name, in the order of the table."""
        figures: dict[str, float] = {}
        with self._open(durable=False) as store:
            figures["fill /s"] = self._fill(store)
            for size in BATCHES:
                figures[f"put {size}"] = self._puts(store, size)
        begun = time.perf_counter()
        with self._open(durable=True) as store:
            figures["open ms"] = (time.perf_counter() - begun) * 1e3
            for size in BATCHES:
                figures[f"sync {size}"] = self._puts(store, size)
            figures["get us"] = 1e6 / rate(lambda: self._get(store), self._seconds)
            figures["row us"] = 1e6 / rate(lambda: self._scan(store), self._seconds)
            used = store.size()
        data = self._keys * (24 + VALUE_BYTES)
        figures["used x"] = used.bytes_used / data
        files = (each for each in self._path.rglob("*") if each.is_file())
        figures["disk x"] = sum(each.stat().st_blocks * 512 for each in files) / data
        return figures

    def _open(self, *, durable: bool) -> Store:
        return self._backend.open(self._path, {}, durable=durable)

    def _fill(self, store: Store) -> float:
        begun = time.perf_counter()
        for first in range(0, self._keys, 1000):
            numbers = range(first, min(first + 1000, self._keys))
            store.commit([(key_of(n), self._random.randbytes(VALUE_BYTES)) for n in numbers])
        store.sync()
        return self._keys / (time.perf_counter() - begun)

    def _puts(self, store: Store, size: int) -> float:
        def put() -> int:
            numbers = (self._random.randrange(self._keys) for _ in range(size))
            store.commit([(key_of(n), self._random.randbytes(VALUE_BYTES)) for n in numbers])
            return size

        return rate(put, self._seconds)

    def _get(self, store: Store) -> int:
        for _ in range(100):
            store.get(key_of(self._random.randrange(self._keys)))
        return 100

    def _scan(self, store: Store) -> int:
        start = key_of(self._random.randrange(self._keys))
        return max(1, len(store.scan(start, None, limit=1000, limit_bytes=2**20)))


def main() -> None:
    """Print a table for each number of keys."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", help="one of them; default all on disk")
    parser.add_argument("--keys", type=int, action="append", help="default 100000 and 1000000")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--directory", type=Path, help="where the stores lie; a temporary one")
    given = parser.parse_args()
    for keys in given.keys or (100_000, 1_000_000):
        table: dict[str, dict[str, float]] = {}
        for backend in given.backend or ("lmdb", "sqlite", "rocksdb"):
            with tempfile.TemporaryDirectory(dir=given.directory) as directory:
                syncs = plain_syncs(Path(directory), given.seconds)
                bench = Bench(backend, Path(directory) / "store", keys, given.seconds)
                table[backend] = {"plain sync /s": syncs, **bench.run()}
                sys.stderr.write(f"{backend}, {keys} keys: done\n")
        show(keys, table)


def show(keys: int, table: dict[str, dict[str, float]]) -> None:
    """One column a backend."""
    print(f"{keys:,} keys of 24 bytes with values of {VALUE_BYTES}")
    print(f"{'':14}" + "".join(f"{backend:>12}" for backend in table))
    for name in next(iter(table.values())):
        cells = [figures.get(name) for figures in table.values()]
        print(f"{name:14}" + "".join(f"{_cell(value):>12}" for value in cells))
    print()


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    main()
