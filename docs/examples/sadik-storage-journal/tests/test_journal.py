"""The journal passes the suite of all backends, and tells damage from what a crash leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from sadik_storage import StoreCorrupted
from sadik_storage.conformance import StoreConformance
from sadik_storage_journal.journal import JournalStore


class TestJournalStore(StoreConformance):
    backend = JournalStore


class TestJournalStoreThatIsOftenRewritten(StoreConformance):
    """The same with so little room for garbage that the journal is written anew on the way."""

    backend = JournalStore
    options: ClassVar[Mapping[str, object]] = {"garbage_bytes": 4096}


def write_three(path: Path) -> list[int]:
    """Commit three batches; return how long the journal was before and after each."""
    ends = []
    with JournalStore.open(path, {}, durable=True) as store:
        for number in range(3):
            ends.append((path / "journal").stat().st_size)
            store.commit([(b"%d" % number, b"value")])
    return [*ends, (path / "journal").stat().st_size]


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    ends = write_three(tmp_path / "s")
    file = tmp_path / "s" / "journal"
    whole = file.read_bytes()
    for length in range(ends[2], ends[3]):
        file.write_bytes(whole[:length])
        with JournalStore.open(tmp_path / "s", {}, durable=True) as store:
            assert store.scan_keys(b"", None, limit=9) == [b"0", b"1"]
        assert file.stat().st_size == ends[2]


def test_damage_before_the_end_is_refused(tmp_path: Path) -> None:
    ends = write_three(tmp_path / "s")
    file = tmp_path / "s" / "journal"
    whole = file.read_bytes()
    for at in range(ends[2]):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        with pytest.raises(StoreCorrupted, match="its peers have the data"):
            JournalStore.open(tmp_path / "s", {}, durable=True)


def test_overwriting_does_not_make_the_journal_grow(tmp_path: Path) -> None:
    with JournalStore.open(tmp_path / "s", {"garbage_bytes": 10_000}, durable=False) as store:
        for number in range(200):
            store.commit([(b"k", b"%d" % number * 500)])
        assert (tmp_path / "s" / "journal").stat().st_size < 15_000
    with JournalStore.open(tmp_path / "s", {}, durable=True) as store:
        assert store.get(b"k") == b"199" * 500
