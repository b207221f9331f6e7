"""LMDB's own ways: growth, full and failing disks, damaged files, old readers."""

from __future__ import annotations

import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from lmdb import verify

from sadik_storage import (
    StoreCorrupted,
    StoreError,
    StoreFormatError,
    StoreFull,
    StoreLocked,
    StoreOptionsError,
)
from sadik_storage.lmdb import LmdbStore


def open_store(path: Path, *, durable: bool = True, **options: object) -> LmdbStore:
    return LmdbStore.open(path, options, durable=durable)


def keys_of(store: LmdbStore) -> list[bytes]:
    return store.scan_keys(b"", None, limit=1_000_000)


# Formats.


def test_the_files_are_private_and_of_the_pinned_engine(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"a", b"1")])
    for file in (tmp_path / "s").iterdir():
        assert file.stat().st_mode & 0o077 == 0
    with lmdb.open(str(tmp_path / "s"), readonly=True, lib_version=0) as env:
        assert env.lib_version()[:2] == (0, 9)


def test_a_file_of_the_other_engine_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "s").close()
    for name in ("data.mdb", "lock.mdb"):
        (tmp_path / "s" / name).unlink()
    with lmdb.open(str(tmp_path / "s"), lib_version=1) as env, env.begin(write=True) as txn:
        txn.put(b"a", b"1")
    with pytest.raises((StoreFormatError, StoreCorrupted)):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
def test_a_damaged_file_is_said_to_be_one_and_what_to_do(tmp_path: Path, damage: str) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"a", b"1")])
    file = tmp_path / "s" / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(
        {"cut": whole[:100], "zeros": bytes(len(whole)), "noise": b"x" * 9_000}[damage]
    )
    with pytest.raises(StoreCorrupted, match="let the node start with an empty directory"):
        open_store(tmp_path / "s")
    file.write_bytes(whole)
    with open_store(tmp_path / "s") as store:
        assert store.get(b"a") == b"1"


def test_an_environment_that_others_opened_in_this_process_is_in_use(tmp_path: Path) -> None:
    open_store(tmp_path / "s").close()
    with (
        lmdb.open(str(tmp_path / "s"), lib_version=0),
        pytest.raises(StoreLocked),
    ):
        open_store(tmp_path / "s")
    open_store(tmp_path / "s").close()


def test_a_reader_that_was_killed_pins_nothing(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from sadik_storage.lmdb import LmdbStore\n"
        "store = LmdbStore.open(pathlib.Path(sys.argv[1]), {}, durable=False)\n"
        "store.commit([(b'a', b'1')])\n"
        "view = store.snapshot()\n"
        "view.get(b'a')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s")], check=False)
    assert ran.returncode == -signal.SIGKILL
    with open_store(tmp_path / "s", durable=False) as store:
        for _ in range(300):
            store.commit([(b"a", b"v" * 2_000)])
        size = store.size()
        assert size.bytes_used + size.bytes_free_inside < 100_000


# Options.


@pytest.mark.parametrize(
    "options", [{"map_bytes": 1}, {"map_bytes": "1 TB"}, {"readahead": 1}, {"max_readers": 0}]
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(StoreOptionsError, match=name):
        LmdbStore.open(tmp_path / "s", options, durable=True)
    assert not (tmp_path / "s").exists()


def test_the_bound_on_bytes_refuses_puts_and_permits_deletes(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", bytes_max=200_000) as store:
        rows = [(b"%d" % number, b"v" * 1_500) for number in range(100)]
        store.commit(rows)
        assert store.size().bytes_limit == 200_000
        with pytest.raises(StoreFull, match="bytes_max"):
            store.commit([(b"more", b"v" * 90_000)])
        assert store.get(b"more") is None
        store.commit([(key, None) for key, _ in rows])
        store.commit([(b"more", b"v" * 90_000)])


def test_too_many_readers_are_told_the_option(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", max_readers=8) as store:
        views = [store.snapshot() for _ in range(8)]
        with pytest.raises(StoreError, match="max_readers"):
            store.snapshot()
        for view in views:
            view.close()
        assert store.get(b"a") is None


# Space.


def test_pages_of_overwritten_rows_are_used_again(tmp_path: Path) -> None:
    """Short reads beside writes: the file stays small."""
    with open_store(tmp_path / "s", durable=False) as store:
        for number in range(400):
            store.commit([(b"k%d" % (number % 10), b"v" * 2_000)])
            store.scan(b"", None, limit=3, limit_bytes=10_000)
        size = store.size()
        assert size.keys == 10
        file_bytes = (tmp_path / "s" / "data.mdb").stat().st_size
        assert file_bytes < 300_000
        assert size.bytes_used + size.bytes_free_inside == file_bytes


def test_the_map_grows_beside_a_reader(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", map_bytes=2**20) as store:
        store.commit([(b"fixed", b"v" * 100)])
        stop = threading.Event()
        wrong: list[object] = []

        def read() -> None:
            while not stop.is_set():
                if store.get(b"fixed") != b"v" * 100 or not store.scan_keys(b"f", None, limit=9):
                    wrong.append("a read beside growth went wrong")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(60):
                store.commit([(b"k%02d" % number, b"x" * 100_000)])
        finally:
            stop.set()
            reader.join()
        assert wrong == []
        assert len(keys_of(store)) == 61
        assert (tmp_path / "s" / "data.mdb").stat().st_size > 5 * 2**20
    with open_store(tmp_path / "s", map_bytes=2**20) as store:
        assert len(keys_of(store)) == 61
        store.commit([(b"more", b"x" * 100_000)])


def test_growth_waits_for_no_snapshot_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sadik_storage.lmdb.GROWTH_WAIT_SECONDS", 0.0)
    batch = [(b"k%d" % number, b"x" * 100_000) for number in range(20)]
    with open_store(tmp_path / "s", map_bytes=2**20) as store:
        store.commit([(b"a", b"1")])
        with store.snapshot() as view:
            with pytest.raises(StoreFull, match="map_bytes"):
                store.commit(batch)
            assert view.get(b"a") == b"1"
        assert keys_of(store) == [b"a"]
        store.commit(batch)
        assert len(keys_of(store)) == 21


def test_a_small_address_space_gets_a_small_map(tmp_path: Path) -> None:
    """Run in a child, since the limit is the process's."""
    program = (
        "import pathlib, sys\n"
        "from sadik_storage.lmdb import LmdbStore\n"
        "store = LmdbStore.open(pathlib.Path(sys.argv[1]), {}, durable=True)\n"
        "store.commit([(b'a', b'1')])\n"
        "assert store.get(b'a') == b'1'\n"
        "size = store._env.info()['map_size']\n"
        "assert 2**26 <= size < 2**32, size\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))

    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "s")],
        check=True,
        preexec_fn=limit,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if mount is None:
        pytest.skip("there is no mount command")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here (needs root): {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(store: LmdbStore) -> int:
    """Commit until the disk is full; return how many batches went in."""
    for number in range(200):
        try:
            store.commit([(b"k%03d" % number, b"v" * 9_000), (b"last", b"%d" % number)])
        except StoreFull as error:
            assert "free some space" in str(error)  # noqa: PT017 - how many is wanted too
            return number
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
@pytest.mark.parametrize("preflight", [True, False], ids=["foreseen", "found"])
def test_a_full_disk_is_an_error_that_passes(
    small_disk: Path, durable: bool, preflight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not preflight:
        monkeypatch.setattr(LmdbStore, "_check_room", lambda store, news: None)
    with open_store(small_disk / "s", durable=durable, max_readers=64) as store:
        done = fill(store)
        assert done >= 20
        for _ in range(3):
            with pytest.raises(StoreFull):
                store.commit([(b"more", b"v" * 300_000)])
        assert store.get(b"last") == b"%d" % (done - 1)
        assert len(keys_of(store)) == done + 1
    with open_store(small_disk / "s", durable=durable, max_readers=64) as store:
        assert len(keys_of(store)) == done + 1
        assert store.get(b"more") is None


def test_a_full_disk_takes_writes_again_once_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with open_store(small_disk / "s", max_readers=64) as store:
        filler.write_bytes(bytes(700_000))
        with pytest.raises(StoreFull):
            store.commit([(b"a", b"v" * 400_000)])
        filler.unlink()
        store.commit([(b"a", b"v" * 400_000)])
        assert store.get(b"a") == b"v" * 400_000


# Failing disks, by faults injected into the system calls of a child.

_FAULTY = """
import pathlib, sys
from sadik_storage.lmdb import LmdbStore
store = LmdbStore.open(pathlib.Path(sys.argv[1]), {}, durable=True)
for number in range(int(sys.argv[2])):
    try:
        store.commit([(b"k%d" % number, b"v" * 5000)])
        print("done", store.size().keys)
    except Exception as error:
        print(type(error).__name__)
"""


def run_with_fault(path: Path, fault: str, commits: int) -> list[str]:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace to inject faults with")
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    ran = subprocess.run(
        [*command, sys.executable, "-c", _FAULTY, str(path), str(commits)],
        check=False,
        capture_output=True,
        text=True,
    )
    if "ptrace" in ran.stderr:
        pytest.skip(f"strace may not trace here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split("\n")[:-1]


def test_after_a_failed_fsync_no_write_is_taken_any_more(tmp_path: Path) -> None:
    lines = run_with_fault(tmp_path / "s", "fdatasync:error=EIO:when=3", 6)
    good = lines.index("StoreIOError")
    assert good >= 1
    assert all(line.startswith("done") for line in lines[:good])
    assert lines[good:] == ["StoreIOError"] * (6 - good)
    with open_store(tmp_path / "s") as store:
        assert good <= len(keys_of(store)) <= good + 1


def test_every_durable_commit_is_flushed(tmp_path: Path) -> None:
    """With every flush failing there is no commit that succeeds."""
    open_store(tmp_path / "s").close()
    lines = run_with_fault(tmp_path / "s", "fdatasync,fsync,msync:error=EIO", 2)
    assert lines == ["StoreIOError"] * 2


def test_a_write_that_a_disk_with_room_refuses_has_an_unknown_outcome(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"before", b"v")])
    # LMDB writes the pages of these batches with writev, and the page above them all with pwrite.
    lines = run_with_fault(tmp_path / "s", "writev:error=ENOSPC:when=1", 3)
    assert lines == ["StoreIOError"] * 3
    with open_store(tmp_path / "s") as store:
        assert keys_of(store) == [b"before"]


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_commit_that_fails_at_its_last_write_has_an_unknown_outcome(
    tmp_path: Path, error: str
) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"before", b"v")])
    lines = run_with_fault(tmp_path / "s", f"pwrite64:error={error}:when=1", 3)
    assert lines == ["StoreIOError"] * 3
    with open_store(tmp_path / "s") as store:
        assert keys_of(store) in ([b"before"], [b"before", b"k0"])
        store.commit([(b"after", b"v")])


# Files that would take the process down.


def find_leaf(data: bytes | bytearray) -> int:
    """Where the first leaf with rows of the test below begins."""
    return next(
        at
        for at in range(2 * 4096, len(data), 4096)
        if struct.unpack_from("=QHH", data, at)[2] == 2 and b"row-" in data[at : at + 4096]
    )


def shrink_a_value(data: bytearray) -> None:
    leaf = find_leaf(data)
    (node,) = struct.unpack_from("=H", data, leaf + 16)
    data[leaf + node] ^= 4


def flag_a_node(data: bytearray) -> None:
    leaf = find_leaf(data)
    (node,) = struct.unpack_from("=H", data, leaf + 16)
    data[leaf + node + 4] ^= 8


def move_a_separator(data: bytearray) -> None:
    # "row-..." between two nodes of a branch is the key with which its child begins.
    branch = next(
        at
        for at in range(2 * 4096, len(data), 4096)
        if struct.unpack_from("=QHH", data, at)[2] == 1 and b"row-" in data[at : at + 4096]
    )
    (node,) = struct.unpack_from("=H", data, branch + 16 + 2)
    (key_bytes,) = struct.unpack_from("=H", data, branch + node + 6)
    data[branch + node + 8 + key_bytes - 1] ^= 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shrink_a_value, "overlap, or leave a gap"),
        (flag_a_node, "flags 0x8"),
        (move_a_separator, "lead elsewhere"),
    ],
)
def test_damage_that_only_a_later_write_would_show_is_found_before(
    tmp_path: Path, damage: Callable[[bytearray], None], words: str
) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"row-%04d" % number, b"v" * 102) for number in range(200)])
    open_store(tmp_path / "s").close()
    file = tmp_path / "s" / "data.mdb"
    data = bytearray(file.read_bytes())
    damage(data)
    file.write_bytes(data)
    assert verify.verify(file) == []  # type: ignore[no-untyped-call]
    with pytest.raises(StoreCorrupted, match=words):
        open_store(tmp_path / "s")


def fill_and_cut(path: Path) -> None:
    with open_store(path) as store:
        store.commit([(b"%04d" % number, b"v" * 100) for number in range(2_000)])
    file = path / "data.mdb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_file_that_was_cut_short_is_refused_whatever_its_size(tmp_path: Path) -> None:
    fill_and_cut(tmp_path / "s")
    with pytest.raises(StoreCorrupted, match="is damaged"):
        open_store(tmp_path / "s", verify_bytes=0)


def test_a_large_file_is_verified_after_a_crash(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        store.commit([(b"%04d" % number, b"v" * 100) for number in range(2_000)])
    file = tmp_path / "s" / "data.mdb"
    pages = bytearray(file.read_bytes())
    for page in range(2, len(pages) // 4096):
        pages[page * 4096] ^= 1  # a page's own number
    file.write_bytes(pages)
    for verify_bytes, deaths in ((len(pages) // 3, "1"), (0, "3")):
        open_store(tmp_path / "s", verify_bytes=verify_bytes).close()
        (tmp_path / "s" / "OPEN").write_text(deaths)
        with pytest.raises(StoreCorrupted, match="is damaged"):
            open_store(tmp_path / "s", verify_bytes=verify_bytes)
        (tmp_path / "s" / "OPEN").unlink()
