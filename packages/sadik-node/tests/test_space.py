"""The reserve on the disk: who is told, and what counts as free."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sadik_machine import DiskShort
from sadik_node.log import Log
from sadik_node.space import SpaceWatch
from sadik_storage import StoreSize
from sadik_storage.memory import MemoryStore

PAGE = 4096


class Holding(MemoryStore):
    """A store that holds room of its own to use again."""

    inside = 0

    def size(self) -> StoreSize:
        return StoreSize(keys=0, bytes_used=0, bytes_free_inside=self.inside, bytes_limit=None)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes every file system have so many pages free, of a thousand."""

    def have(pages: int) -> None:
        found = SimpleNamespace(f_bavail=pages, f_blocks=1000, f_frsize=PAGE)
        monkeypatch.setattr(os, "statvfs", lambda _path: found)

    return have


def test_the_machines_are_told_when_room_gets_short_and_when_there_is_some_again(
    disk: Callable[[int], None], tmp_path: Path
) -> None:
    told: list[DiskShort] = []
    disk(60)
    watch = SpaceWatch(Holding(), tmp_path, None, told.append, Log("n", "console"))
    assert (watch.is_short, told) == (False, [])
    disk(49)  # less than one in twenty
    watch.look()
    watch.look()
    assert (watch.is_short, told) == (True, [DiskShort(True)])
    disk(50)
    watch.look()
    assert told == [DiskShort(True), DiskShort(False)]


def test_a_node_that_starts_on_a_full_disk_is_told_at_once(
    disk: Callable[[int], None], tmp_path: Path
) -> None:
    told: list[DiskShort] = []
    disk(0)
    SpaceWatch(Holding(), tmp_path, 1, told.append, Log("n", "console"))
    assert told == [DiskShort(True)]


def test_room_inside_the_store_counts_as_free(disk: Callable[[int], None], tmp_path: Path) -> None:
    told: list[DiskShort] = []
    disk(10)
    store = Holding()
    watch = SpaceWatch(store, tmp_path, 100 * PAGE, told.append, Log("n", "console"))
    assert watch.is_short
    store.inside = 90 * PAGE
    watch.look()
    assert not watch.is_short


def test_it_looks_again_when_much_was_written(disk: Callable[[int], None], tmp_path: Path) -> None:
    told: list[DiskShort] = []
    disk(60)
    watch = SpaceWatch(Holding(), tmp_path, None, told.append, Log("n", "console"))
    disk(0)
    watch.grown(10_000)
    assert told == []
    for _ in range(30):
        watch.grown(10_000)
    assert told == [DiskShort(True)]
