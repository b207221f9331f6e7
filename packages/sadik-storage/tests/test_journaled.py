"""The journal before LMDB: what a crash leaves, at any instant and torn at any page."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sadik_storage import Row, StoreCorrupted, StoreFormatError, StoreFull, journal
from sadik_storage.directory import FORMAT_FILE
from sadik_storage.journal import FILE_NAMES
from sadik_storage.journaled import JournaledLmdbStore
from sadik_storage.lmdb import LmdbStore

PAGE = 4096
SECTOR = 512
_numbers = itertools.count()

SEEDS = 4
SMALL = 2**16
"""The least size of a journal's file: 15 frames of a page."""


def open_store(path: Path, *, durable: bool = True, **options: object) -> JournaledLmdbStore:
    return JournaledLmdbStore.open(path, {"verify_bytes": 0, **options}, durable=durable)


def rows_of(store: JournaledLmdbStore | LmdbStore) -> list[Row]:
    return store.scan(b"", None, limit=1_000_000, limit_bytes=2**40)


def killed(path: Path) -> Path:
    """The files as they are now, as a kill would leave them."""
    return Path(shutil.copytree(path, path.with_name(f"killed{next(_numbers)}")))


def after_a_kill(path: Path) -> list[Row]:
    with open_store(killed(path)) as store:
        return rows_of(store)


def version_of(path: Path) -> int:
    version = json.loads((path / FORMAT_FILE).read_bytes())["version"]
    assert isinstance(version, int)
    return version


def some_rows(rng: random.Random) -> list[tuple[bytes, bytes | None]]:
    """A batch: mostly small, now and then one that goes to the tree at once."""
    size = 6_000 if rng.random() < 0.01 else rng.randrange(900)
    return [
        (b"k%02d" % rng.randrange(60), None if rng.random() < 0.2 else rng.randbytes(size))
        for _ in range(rng.randrange(1, 5))
    ]


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
@pytest.mark.parametrize("seed", range(4))
def test_a_kill_at_any_time_loses_nothing(tmp_path: Path, seed: int, durable: bool) -> None:
    """Killed again and again, it goes on from what was there; in between it works at leisure."""
    rng = random.Random(seed)
    model: dict[bytes, bytes] = {}
    path = tmp_path / "s"
    for _ in range(5):
        store = open_store(path, durable=durable, journal_bytes=SMALL)
        assert rows_of(store) == sorted(model.items())
        for number in range(60):
            batch = some_rows(rng)
            store.commit(batch)
            for key, value in batch:
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
            store.tend(at_leisure=rng.random() < 0.2)
            if number % 9 == 0:
                assert rows_of(store) == sorted(model.items())
                assert after_a_kill(path) == sorted(model.items())
        left = killed(path)
        store.close()
        shutil.rmtree(path)
        left.rename(path)


def test_what_is_closed_has_no_journal_to_speak_of(tmp_path: Path) -> None:
    """So that an older program reads it; while there may be rows in it, one refuses it."""
    store = open_store(tmp_path / "s")
    assert version_of(tmp_path / "s") == 1, "nothing was written"
    store.commit([(b"a", b"1")])
    assert version_of(tmp_path / "s") == 2
    with pytest.raises(StoreFormatError, match="use a newer program"):
        LmdbStore.open(killed(tmp_path / "s"), {}, durable=True)
    store.close()
    assert version_of(tmp_path / "s") == 1
    for name in FILE_NAMES:
        (tmp_path / "s" / name).write_bytes(b"means nothing")
    with LmdbStore.open(tmp_path / "s", {}, durable=True) as plain:
        assert rows_of(plain) == [(b"a", b"1")]
        plain.commit([(b"a", b"2")])
    with open_store(tmp_path / "s") as store:
        assert store.get(b"a") == b"2", "nothing old comes back out of the journal"
        store.commit([(b"b", b"1")])
        assert after_a_kill(tmp_path / "s") == [(b"a", b"2"), (b"b", b"1")]


def frames_in(path: Path) -> Iterator[tuple[Path, int]]:
    """Where frames begin, in the order of their numbers; of whichever generation."""
    found = [
        (int.from_bytes(data[at + 16 : at + 24], "little"), path / name, at)
        for name in FILE_NAMES
        for data in [(path / name).read_bytes()]
        for at in range(PAGE, len(data), PAGE)
        if data[at : at + 4] == b"SdkJ"
    ]
    for _, file, at in sorted(found):
        yield file, at


def overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


@pytest.fixture
def three_batches(tmp_path: Path) -> Iterator[tuple[Path, list[list[Row]]]]:
    """A killed store with three batches in its journal, each of three pages."""
    batches = [[(b"%d.%d" % (batch, row), b"v" * 5_000) for row in (0, 1)] for batch in range(3)]
    with open_store(tmp_path / "s") as store:
        for batch in batches:
            store.commit(batch)
        yield killed(tmp_path / "s"), batches


@pytest.mark.parametrize("torn", [0, 1, 2, "all"])
def test_the_last_batch_may_be_torn_by_a_power_cut(
    three_batches: tuple[Path, list[list[Row]]], torn: int | str
) -> None:
    """Nobody was promised it: its commit had not returned."""
    path, batches = three_batches
    *_, (file, at) = frames_in(path)
    if torn == "all":
        overwrite(file, at, bytes(3 * PAGE))
    else:
        assert isinstance(torn, int)
        overwrite(file, at + torn * PAGE, bytes(PAGE))
    with open_store(path) as store:
        assert rows_of(store) == batches[0] + batches[1]
        store.commit([(b"more", b"1")])
        assert after_a_kill(path) == [*batches[0], *batches[1], (b"more", b"1")]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("byte", [0, 20, 60, 5_000])
def test_an_earlier_batch_that_is_damaged_is_told(
    three_batches: tuple[Path, list[list[Row]]], which: int, byte: int
) -> None:
    path, batches = three_batches
    file, at = list(frames_in(path))[which]
    was = file.read_bytes()[at + byte]
    overwrite(file, at + byte, bytes([was ^ 1]))
    before = file.read_bytes()
    with pytest.raises(StoreCorrupted, match=f"had batch {which} on disk before batch 2"):
        open_store(path)
    assert file.read_bytes() == before, "nothing is changed"
    overwrite(file, at + byte, bytes([was]))
    with open_store(path) as store:
        assert rows_of(store) == [row for batch in batches for row in batch]


@pytest.mark.parametrize("harm", ["gone", "short", "key", "title", "others"])
def test_a_journal_that_is_not_whole_is_told(
    three_batches: tuple[Path, list[list[Row]]], tmp_path: Path, harm: str
) -> None:
    path, _ = three_batches
    file = path / FILE_NAMES[1]
    if harm == "gone":
        file.unlink()
    elif harm == "short":
        file.write_bytes(file.read_bytes()[:-PAGE])
    elif harm == "others":
        with open_store(tmp_path / "other") as other:
            other.commit([(b"a", b"1")])
        shutil.copy(tmp_path / "other" / FILE_NAMES[1], file)
    else:
        overwrite(file, 0 if harm == "title" else 20, b"?")
    with pytest.raises(StoreCorrupted, match="let the node start with an empty directory"):
        open_store(path)


def test_a_value_cannot_pass_for_a_batch(tmp_path: Path) -> None:
    """A client stores a page that looks like a frame, at every place where a page may begin."""
    with open_store(tmp_path / "s") as store:
        store.commit([(b"forged", b"forged")])
        file, at = next(frames_in(tmp_path / "s"))
        frame = bytearray(file.read_bytes()[at : at + PAGE])
    frame[16:24] = (1).to_bytes(8, "little")
    for shift in range(0, 256, 8):
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        with open_store(tmp_path / "s") as store:
            store.commit([(b"k", bytes(PAGE - 64 - shift) + bytes(frame) * 2)])
            path = killed(tmp_path / "s")
            # Its own frame is torn, so that what lies in it stands alone.
            overwrite(path / file.name, PAGE, bytes(8))
            with open_store(path) as again:
                assert rows_of(again) == []


def test_batches_after_one_that_never_reached_the_disk_are_not_used(tmp_path: Path) -> None:
    """Without a flush a power cut may leave any of them: those before the first gap count."""
    with open_store(tmp_path / "s", durable=False) as store:
        for number in range(6):
            store.commit([(b"%d" % number, b"v")])
            if number == 1:
                store.sync()
        path = killed(tmp_path / "s")
    file, at = list(frames_in(path))[3]
    overwrite(file, at, bytes(PAGE))
    for more in (b"x", b"y"):
        # Opened, written and killed: what was cut off never comes back.
        store = open_store(path, durable=False)
        assert store.get(b"2") == b"v"
        assert store.get(b"3") is store.get(b"4") is store.get(b"5") is None
        store.commit([(more, b"v")])
        store.sync()
        left = path.with_name("left")
        shutil.copytree(path, left)
        store.close()
        shutil.rmtree(path)
        left.rename(path)
    with open_store(path) as store:
        assert [key for key, _ in rows_of(store)] == [b"0", b"1", b"2", b"x", b"y"]


def test_what_was_flushed_without_each_commit_is_told_when_it_is_gone(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", durable=False) as store:
        store.commit([(b"0", b"v")])
        store.sync()
        store.commit([(b"1", b"v")])
        path = killed(tmp_path / "s")
    file, at = next(frames_in(path))
    overwrite(file, at, bytes(PAGE))
    with pytest.raises(StoreCorrupted, match="batch 0"):
        open_store(path)


@pytest.mark.parametrize("frames", range(10, 16))
def test_a_file_may_be_full_when_it_is_replayed(tmp_path: Path, frames: int) -> None:
    """So that the next commit has nothing to close, and goes to the other file."""
    with open_store(tmp_path / "s", journal_bytes=SMALL) as store:
        for number in range(frames):
            store.commit([(b"%02d" % number, b"v")])
        path = killed(tmp_path / "s")
    for more in range(5):
        store = open_store(path, journal_bytes=SMALL)
        for number in range(more):
            store.commit([(b"more %d" % number, b"v")])
            store.tend()
        assert len(rows_of(store)) == frames + more
        assert store.size().keys == frames + more
        left = killed(path)
        store.close()
        path = left


def test_a_large_batch_keeps_its_place_among_small_ones(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", journal_bytes=SMALL) as store:
        store.commit([(b"k", b"old"), (b"gone", b"old")])
        store.commit([(b"k", b"large" * 2_000), (b"gone", None)])
        assert after_a_kill(tmp_path / "s") == [(b"k", b"large" * 2_000)]
        store.commit([(b"k", b"new")])
        assert after_a_kill(tmp_path / "s") == [(b"k", b"new")]


def test_a_disk_that_is_full_at_the_start_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tree cannot take yet is read from memory, and goes on standing in the journal."""
    with open_store(tmp_path / "s") as store:
        store.commit([(b"a", b"1")])
        path = killed(tmp_path / "s")

    def full(*_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(LmdbStore, "commit", full)
        store = open_store(path)
        assert rows_of(store) == [(b"a", b"1")]
        for _ in range(2):
            with pytest.raises(StoreFull):
                store.commit([(b"b", b"1")])
        assert store.get(b"b") is None
        assert not store.tend(at_leisure=True)
        with pytest.raises(StoreFull):
            store.close()
    assert version_of(path) == 2
    with open_store(path) as store:
        assert rows_of(store) == [(b"a", b"1")]
        store.commit([(b"b", b"1")])


def test_a_disk_without_room_for_the_journal_is_written_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sadik_storage.journaled.room_bytes", lambda _: 20 * SMALL)
    with open_store(tmp_path / "s", journal_bytes=4 * SMALL) as store:
        store.commit([(b"a", b"1")])
        assert not (tmp_path / "s" / FILE_NAMES[0]).exists()
        assert version_of(tmp_path / "s") == 1
        assert after_a_kill(tmp_path / "s") == [(b"a", b"1")]
    with open_store(tmp_path / "s", journal_bytes=SMALL) as store:
        store.commit([(b"b", b"1")])
        assert (tmp_path / "s" / FILE_NAMES[0]).stat().st_size == SMALL


def test_a_journal_that_is_wanted_no_more_is_emptied(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"a", b"1")])
        path = killed(tmp_path / "s")
    with open_store(path, journal_bytes=0) as store:
        store.commit([(b"b", b"1")])
        assert version_of(path) == 1
    with open_store(tmp_path / "s", journal_bytes=0) as store:
        store.commit([(b"c", b"1")])
        assert version_of(tmp_path / "s") == 1


def test_work_at_leisure_ends_with_all_in_the_tree(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        rows = [(b"%05d" % number, b"v") for number in range(2_000)]
        for at in range(0, len(rows), 10):
            store.commit(rows[at : at + 10])
        assert store.tend(), "there is more to do"
        steps = 0
        while store.tend(at_leisure=True):
            assert rows_of(store) == rows
            assert store.size().keys == len(rows)
            steps += 1
        assert steps >= 5, "each does a part"
        assert not store.tend(at_leisure=True)
        assert store.size().keys == len(rows)


def test_keys_in_a_long_journal_are_counted_by_a_sample(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        for at in range(0, 6_000, 50):
            store.commit([(b"%05d" % number, b"v") for number in range(at, at + 50)])
        assert 5_900 <= store.size().keys <= 6_100
        for at in range(0, 6_000, 50):
            store.commit([(b"%05d" % number, b"w") for number in range(at, at + 50)])
        assert 5_900 <= store.size().keys <= 6_100


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_to_the_journal_gives_a_wrong_row(
    three_batches: tuple[Path, list[list[Row]]], seed: int
) -> None:
    """It is told, or does no harm, or nothing is left of the last batch."""
    rng = random.Random(seed)
    path, batches = three_batches
    without_last = batches[0] + batches[1]
    whole = {name: (path / name).read_bytes() for name in FILE_NAMES}
    told = 0
    for _ in range(60):
        name = rng.choice(FILE_NAMES)
        data = bytearray(whole[name])
        first = rng.choice([0, PAGE, 2 * PAGE])
        for _ in range(rng.choice([1, 1, 30])):
            data[first + rng.randrange(4 * PAGE)] = rng.randrange(256)
        copy = killed(path)
        (copy / name).write_bytes(data)
        try:
            with open_store(copy) as store:
                assert rows_of(store) in (without_last, without_last + batches[2])
        except StoreCorrupted:
            told += 1
        shutil.rmtree(copy)
    assert told >= 10


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_power_cut_may_tear_any_write(
    tmp_path: Path, seed: int, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sectors of a write to the journal may be missing: the batch is there, or it is not."""
    rng = random.Random(seed)
    path = tmp_path / "s"
    torn: list[Path] = []
    write = journal._write

    def tear(file: int, data: bytes, at: int) -> None:
        if rng.random() < 0.5 and at:
            copy = killed(path)
            name = Path(f"/proc/self/fd/{file}").readlink().name
            for sector in range(0, len(data), SECTOR):
                if rng.random() < 0.5:
                    overwrite(copy / name, at + sector, data[sector : sector + SECTOR])
            torn.append(copy)
        write(file, data, at)

    model: dict[bytes, bytes] = {}
    store = open_store(path, durable=durable, journal_bytes=SMALL)
    store.commit([(b"first", b"v")])
    model[b"first"] = b"v"
    monkeypatch.setattr(journal, "_write", tear)
    for _ in range(150):
        before = sorted(model.items())
        batch = some_rows(rng)
        if rng.random() < 0.01:
            store.tend(at_leisure=True)
        store.commit(batch)
        for key, value in batch:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        with monkeypatch.context() as whole:
            whole.setattr(journal, "_write", write)
            for copy in torn:
                with open_store(copy, durable=durable) as again:
                    assert rows_of(again) in (before, sorted(model.items()))
                    again.commit([(b"more", b"v")])
                    again.tend()
                    assert (b"more", b"v") in after_a_kill(copy)
                shutil.rmtree(copy)
        torn.clear()
    store.close()
