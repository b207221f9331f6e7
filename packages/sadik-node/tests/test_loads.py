"""Which thread reads: the loop's own, until a read has waited for the disk for long."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sadik_machine import MILLISECOND, SECOND, GetRows, Input, Load, Loaded, Ticket
from sadik_node import loads as loads_module
from sadik_node.loads import LateLoad, Loads
from sadik_node.overlay import Overlay
from sadik_storage.memory import MemoryStore


class AtOnce:
    """A worker whose thread is this one."""

    def submit(
        self,
        job: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        done(job())


class SlowStore(MemoryStore):
    """Each read takes a while, by the clock of the test, and may have the disk read."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 5 * SECOND
        self.reads = 0
        self.takes_ns = 0
        self.reads_disk = False

    def get(self, key: bytes) -> bytes | None:
        self.now += self.takes_ns
        self.reads += self.reads_disk
        return super().get(key)


class Bench:
    """Loads over such a store; ``late`` is what its thread was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = SlowStore()
        self.store.commit([(b"k", b"v")])
        self.late: list[LateLoad] = []
        clock = SimpleNamespace(monotonic_ns=lambda: self.store.now)
        monkeypatch.setattr(loads_module, "time", clock)
        monkeypatch.setattr(loads_module, "_disk_reads", lambda: self.store.reads)
        worker = cast("Any", AtOnce())

        def broken(error: BaseException) -> None:
            raise error

        self.loads = Loads(
            self.store, Overlay(self.store), worker, self.late.append, broken, inline=True
        )

    def read(self) -> Input | None:
        return self.loads.load(0, Load(Ticket(1), GetRows([b"k"])))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


FOUND = Loaded(Ticket(1), [b"v"])


def test_quick_reads_stay_on_the_loop_though_the_disk_is_read(bench: Bench) -> None:
    bench.store.takes_ns, bench.store.reads_disk = MILLISECOND, True
    assert [bench.read() for _ in range(3)] == [FOUND] * 3


def test_after_a_read_that_waited_long_for_the_disk_the_thread_reads_for_a_second(
    bench: Bench,
) -> None:
    bench.store.takes_ns, bench.store.reads_disk = 30 * MILLISECOND, True
    assert bench.read() == FOUND
    bench.store.takes_ns = 0
    assert bench.read() is None
    assert [late.event for late in bench.late] == [FOUND]
    bench.store.now += SECOND
    assert bench.read() == FOUND


def test_a_loop_that_had_to_wait_for_the_processor_goes_on_reading(bench: Bench) -> None:
    bench.store.takes_ns = 30 * MILLISECOND
    assert [bench.read() for _ in range(3)] == [FOUND] * 3
    assert not bench.late


def test_what_the_disk_did_long_before_is_not_held_against_a_read(bench: Bench) -> None:
    assert bench.read() == FOUND
    bench.store.reads += 7  # a start reads much
    bench.store.now += 2 * SECOND
    bench.store.takes_ns = 30 * MILLISECOND
    assert [bench.read() for _ in range(2)] == [FOUND] * 2
