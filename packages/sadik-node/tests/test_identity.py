"""The data directory: one node at a time, of one cluster, and every life counted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sadik_node.errors import NodeError
from sadik_node.identity import DataDirectory, begin_life, end_life, renew_instance
from sadik_storage import Store
from sadik_storage.lmdb import LmdbStore
from sadik_storage.memory import MemoryStore
from sadik_vnode import VOICE_ROW

SOURCE = random.Random(1)


def take(path: Path, *, name: str = "n1", cluster: str = "sadik") -> DataDirectory:
    """The directory, with a test's defaults."""
    return DataDirectory.take(path, name=name, cluster=cluster, source=SOURCE)


def refused(path: Path, exit_code: int, *words: str, cluster: str = "sadik") -> None:
    """Taking it is refused with this code and a sentence with these words."""
    with pytest.raises(NodeError) as caught:
        take(path, cluster=cluster)
    assert caught.value.exit_code == exit_code
    for word in (*words, str(path)):
        assert word in str(caught.value)


def test_the_directory_is_private_and_its_identity_lasts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    first = take(path)
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "identity.json").stat().st_mode & 0o777 == 0o600
    first.close()
    again = take(path, name="renamed")
    assert again.node_id == first.node_id, "a name is not an identity"
    assert json.loads((path / "identity.json").read_text())["name"] == "renamed"
    again.close()


def test_a_directory_that_others_could_look_into_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(0o755)
    with closing(take(path)) as directory:
        assert path.stat().st_mode & 0o777 == 0o700
        assert not directory.is_open_to_others
        path.chmod(0o705)
        assert directory.is_open_to_others


def test_a_second_node_on_the_directory_is_refused_with_a_sentence(tmp_path: Path) -> None:
    held = take(tmp_path / "d")
    refused(tmp_path / "d", 1, "another node", str(os.getpid()))
    held.close()
    take(tmp_path / "d").close()


def test_a_killed_node_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, random, sys\n"
        "from sadik_node.identity import DataDirectory\n"
        "DataDirectory.take(pathlib.Path(sys.argv[1]), name='n', cluster='sadik',"
        " source=random.Random(2))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = tmp_path / "d"
    child = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"held\n"
    refused(path, 1, str(child.pid))
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    take(path).close()


def test_another_clusters_directory_is_refused(tmp_path: Path) -> None:
    take(tmp_path / "d").close()
    refused(tmp_path / "d", 2, "'sadik'", "'other'", cluster="other")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "node_id": "zz", "cluster": "sadik"}',
     '{"format": "1", "node_id": "0011223344556677", "cluster": "sadik"}',
     '{"format": 1, "node_id": "0011223344556677", "cluster": 3}'],
)  # fmt: skip
def test_a_damaged_identity_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    take(tmp_path / "d").close()
    (tmp_path / "d" / "identity.json").write_text(text)
    refused(tmp_path / "d", 2, "damaged", "backup")


def test_a_newer_format_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    take(tmp_path / "d").close()
    file = tmp_path / "d" / "identity.json"
    text = '{"format": 2, "something": "else"}'
    file.write_text(text)
    refused(tmp_path / "d", 2, "format 2", "newer program")
    assert file.read_text() == text


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    refused(tmp_path, 2, "holiday.jpg")
    assert not (tmp_path / "identity.json").exists()


def test_the_root_of_a_fresh_file_system_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    take(tmp_path).close()


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("x")
    refused(tmp_path / "d", 2, "node.data_dir")


def test_a_place_where_nobody_may_write_is_refused() -> None:
    refused(Path("/proc/sadik"), 2, "node.data_dir")


def _open(path: Path, *, durable: bool = True) -> Store:
    return LmdbStore.open(path, {}, durable=durable)


def test_every_start_is_counted_before_anything_is_served(tmp_path: Path) -> None:
    instances = []
    for boot in (1, 2, 3):
        with _open(tmp_path / "s") as store:
            life = begin_life(store, source=SOURCE)
            assert life.boot_number == boot
            assert life.is_new_instance
            assert not life.was_clean
            instances.append(life.instance)
    assert len(set(instances)) == 3, "no stop was clean: each store may be an old copy"
    assert len(instances[0]) == 8


def test_only_a_clean_stop_keeps_the_instance(tmp_path: Path) -> None:
    instances = []
    for is_clean in (True, False, True, True):
        with _open(tmp_path / "s", durable=False) as store:
            life = begin_life(store, source=SOURCE)
            instances.append(life.instance)
            assert (life.spare_instance is None) is life.is_new_instance
            if is_clean:
                end_life(store)
    first, second, third, fourth = instances
    assert first == second, "after a clean stop"
    assert second != third, "after one that was not"
    assert third == fourth


def test_a_mark_of_a_clean_stop_counts_once(tmp_path: Path) -> None:
    with _open(tmp_path / "s") as store:
        begin_life(store, source=SOURCE)
        end_life(store)
    with _open(tmp_path / "s") as store:
        assert begin_life(store, source=SOURCE).was_clean
    with _open(tmp_path / "s") as store:
        life = begin_life(store, source=SOURCE)
        assert (life.was_clean, life.is_new_instance) == (False, True)


@pytest.mark.parametrize("remembered", [1, 7])
def test_a_renewed_instance_lives_above_what_peers_remember(remembered: int) -> None:
    store = MemoryStore.open(None, {}, durable=True)
    lives = [begin_life(store, source=SOURCE) for _ in range(3)]
    old = lives[-1]
    renew_instance(store, remembered, SOURCE)
    life = begin_life(store, source=SOURCE)
    assert life.boot_number == max(remembered, old.boot_number) + 1
    assert life.instance != old.instance
    assert life.boot_nonce != old.boot_nonce
    # And has no voice in the ring's registers: what it had promised may be lost.
    assert store.get(VOICE_ROW) == b""
    store.close()


def test_the_data_of_a_removed_node_are_moved_aside_and_no_node_starts_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "d"
    held = take(path)
    held.store_path.mkdir()
    (held.store_path / "rows").write_text("data")
    assert held.retire("a member says so") == path / "removed-store"
    held.close()
    refused(path, 2, "was removed from the cluster (a member says so)", "removed-store")
    assert (path / "removed-store" / "rows").read_text() == "data"
    assert not (path / "store").exists()


def test_a_move_that_a_crash_prevented_is_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "d"
    held = take(path)
    held.store_path.mkdir()
    held.retire("a member says so")
    held.close()
    (path / "removed-store").rename(path / "store")
    refused(path, 2, "was removed")
    assert (path / "removed-store").is_dir()
