"""What the host's group commit makes of a store: durable commits a second, and who waits for them.

Run with the package installed: ``python benchmarks/group_commit.py [--backend NAME]``. Each writer
has one commit of one object in flight: a store effect whose ``then`` answers it, as a put's does.
The baseline, measured before and after in the same run, is the same backend without a host:
synchronous commits of 100 rows each, one after another. The ratio is what to watch; absolute
figures belong to a disk and a machine. The loop's longest stop is by its own clock: a task that
wants to run every millisecond tells how late it was.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from sadik_machine import Effect, Input, Reply, Requested, Store, Ticket
from sadik_node.clock import SystemClock
from sadik_node.host import Host
from sadik_node.serve import SWITCH_INTERVAL_SECONDS
from sadik_storage import Store as StoreBackend
from sadik_storage.registry import load as load_backend

VALUE = b"x" * 100
KEYS = 100_000
BATCH = 100
TICK_SECONDS = 0.001


class OneRow:
    """A machine that stores one object for each request, and answers when it is on disk."""

    deadline = None

    def __init__(self) -> None:
        self._tickets = 0

    def step(self, _now: int, event: Input) -> list[Effect]:
        """See `Machine.step`."""
        if not isinstance(event, Requested):
            return []
        self._tickets += 1
        key = event.request
        assert isinstance(key, bytes)
        return [Store(Ticket(self._tickets), ((key, VALUE),), (Reply(event.request_id, None),))]


class Writers:
    """Keeps ``count`` commits in flight until told to stop; notes how long each took."""

    def __init__(self, host: Host, count: int) -> None:
        self._host = host
        self._random = random.Random(2)
        self.is_over = False
        self.waits: list[float] = []
        for _ in range(count):
            self._write()

    def _write(self) -> None:
        key = b"%016x" % (self._random.randrange(KEYS) * 0x9E3779B97F4A7C15 % 2**64)
        self._host.request(key, partial(self._written, time.perf_counter()))

    def _written(self, begun: float, _: object) -> None:
        self.waits.append(time.perf_counter() - begun)
        if not self.is_over:
            self._write()


def batches_per_second(store: StoreBackend, seconds: float) -> float:
    """Rows a second of synchronous commits of `BATCH` rows, with nothing else going on."""
    source = random.Random(3)
    rows = 0
    begun = time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        keys = [source.randrange(KEYS) * 0x9E3779B97F4A7C15 % 2**64 for _ in range(BATCH)]
        store.commit([(b"%016x" % key, VALUE) for key in keys])
        rows += BATCH
    return rows / spent


async def through_the_host(
    store: StoreBackend, writers: int, seconds: float
) -> tuple[float, list[float], list[float]]:
    """Commits a second, each one's wait in seconds, and by how much the loop was late."""
    host = Host(store, SystemClock(), source=random.Random(1), send=lambda _to, _message: False)
    host.take_requests(host.add(OneRow()))
    late: list[float] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            load = Writers(host, writers)
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                wanted = trio.current_time() + TICK_SECONDS
                await trio.sleep_until(wanted)
                late.append(trio.current_time() - wanted)
            spent = time.perf_counter() - begun
            done = len(load.waits)
            load.is_over = True
            await host.settle()
            nursery.cancel_scope.cancel()
    finally:
        host.close()
    return done / spent, sorted(load.waits), sorted(late)


def main() -> None:
    """Print the baseline, the rate through the host, the ratio, and the waits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="lmdb")
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--directory", type=Path, help="where the store lies; a temporary one")
    given = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        store = load_backend(given.backend).open(Path(directory) / "store", {}, durable=True)
        try:
            batches_per_second(store, 1.0)
            before = batches_per_second(store, given.seconds / 2)
            rate, waits, late = trio.run(through_the_host, store, given.writers, given.seconds)
            plain = (before + batches_per_second(store, given.seconds / 2)) / 2
        finally:
            store.close()
    print(f"{given.backend}, {given.writers} writers in flight, values of {len(VALUE)} bytes")
    print(f"plain synchronous batches of {BATCH}: {plain:9,.0f} rows/s")
    print(f"durable commits through the host: {rate:9,.0f} /s, ratio {rate / plain:.2f}")
    print(f"a commit's wait: {_milliseconds(waits)}")
    print(f"the loop was late by: {_milliseconds(late)}")


def _milliseconds(values: list[float]) -> str:
    picks = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    parts = [
        f"{name} {values[int(len(values) * part)] * 1e3:.1f} ms" for name, part in picks.items()
    ]
    return ", ".join([*parts, f"most {values[-1] * 1e3:.1f} ms"])


if __name__ == "__main__":
    main()
