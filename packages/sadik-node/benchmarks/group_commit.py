"""What the host's group commit makes of a store: durable commits a second, and who waits for them.

Run with the package installed: ``python benchmarks/group_commit.py [--backend NAME]``. Each writer
has one commit of one object in flight: a store effect whose ``then`` answers it, as a put's does.
The baseline, measured before and after in the same run, is the same backend without a host:
synchronous commits of 100 rows each, one after another. The ratio is what to watch; absolute
figures belong to a disk and a machine. The loop's longest stop is by its own clock: a task that
wants to run every millisecond tells how late it was. Part of that is the machine's doing: while
others have the processors, the loop or the thread that has the interpreter lock waits for one.
Linux counts that for each thread, so it is told once more without it. What others do to the disk
shows in how long the plain commits took.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio
from attrs import define

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

AIMS = {"ratio": 0.26, "p99 of a wait": 0.020, "longest stop of the loop": 0.005}
"""At least, and at most: in seconds where it is a time."""


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


def plain_commits(store: StoreBackend, seconds: float) -> list[float]:
    """How long synchronous commits of `BATCH` rows take, with nothing else going on."""
    source = random.Random(3)
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        keys = [source.randrange(KEYS) * 0x9E3779B97F4A7C15 % 2**64 for _ in range(BATCH)]
        store.commit([(b"%016x" % key, VALUE) for key in keys])
        took.append(time.perf_counter() - begun)
    return took


def queued_seconds() -> float:
    """How long this process's threads have waited for a processor; 0 where nobody counts that."""
    total = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(file.read_text().split()[1])
        except OSError:
            continue  # the thread has ended
    return total / 1e9


class Lateness(NamedTuple):
    """By how much a task was late at each tick, and without the waits for a processor."""

    all: list[float]
    own: list[float]


@define
class Measured:
    """What came of the writers: commits a second, waits for one, and the loop's stops."""

    rate: float
    waits: list[float]
    late: Lateness


async def through_the_host(store: StoreBackend, writers: int, seconds: float) -> Measured:
    """Keep so many commits in flight for a time."""
    host = Host(store, SystemClock(), source=random.Random(1), send=lambda _to, _message: False)
    host.take_requests(host.add(OneRow()))
    late = Lateness([], [])
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            load = Writers(host, writers)
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                queued = queued_seconds()
                wanted = trio.current_time() + TICK_SECONDS
                await trio.sleep_until(wanted)
                by = trio.current_time() - wanted
                late.all.append(by)
                late.own.append(max(0.0, by - (queued_seconds() - queued)))
            spent = time.perf_counter() - begun
            done = len(load.waits)
            load.is_over = True
            await host.settle()
            nursery.cancel_scope.cancel()
    finally:
        host.close()
    return Measured(done / spent, load.waits, late)


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
            plain_commits(store, 1.0)
            took = plain_commits(store, given.seconds / 2)
            found = trio.run(through_the_host, store, given.writers, given.seconds)
            took += plain_commits(store, given.seconds / 2)
        finally:
            store.close()
    print(f"{given.backend}, {given.writers} writers in flight, values of {len(VALUE)} bytes")
    plain = BATCH * len(took) / sum(took)
    print(f"plain synchronous batches of {BATCH}: {plain:9,.0f} rows/s")
    print(f"  each took: {_milliseconds(took)}")
    ratio = found.rate / plain
    print(f"durable commits through the host: {found.rate:9,.0f} /s, ratio {ratio:.2f}")
    print(f"a commit's wait: {_milliseconds(found.waits)}")
    print(f"the loop was late by: {_milliseconds(found.late.all)}")
    print(f"  without waits for a processor: {_milliseconds(found.late.own)}")
    is_met = {
        "ratio": ratio >= AIMS["ratio"],
        "p99 of a wait": _part(found.waits, 0.99) < AIMS["p99 of a wait"],
        "longest stop of the loop": max(found.late.own) <= AIMS["longest stop of the loop"],
    }
    for name, aim in AIMS.items():
        print(f"{name}, aim {aim if name == 'ratio' else f'{aim * 1e3:.0f} ms'}: "
              f"{'met' if is_met[name] else 'missed'}")  # fmt: skip


def _part(values: list[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)]


def _milliseconds(values: list[float]) -> str:
    picks = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    parts = [f"{name} {_part(values, part) * 1e3:.1f} ms" for name, part in picks.items()]
    return ", ".join([*parts, f"most {max(values) * 1e3:.1f} ms"])


if __name__ == "__main__":
    main()
