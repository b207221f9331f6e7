"""``sadik-node storage convert``: the same rows in another backend, or the store as it was."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sadik_node.cli.root import cli
from sadik_node.converting import convert
from sadik_node.errors import NodeError
from sadik_node.identity import DataDirectory, begin_life, end_life
from sadik_storage import Store, registry
from sadik_storage.sqlite import SqliteStore

ROWS = {b"O" + i.to_bytes(4, "big"): bytes([i % 251]) * (i % 5000) for i in range(3000)}


def make(path: Path, backend: str = "lmdb") -> Path:
    """The data directory of a node that has run and was stopped."""
    directory = DataDirectory.take(path, name="n1", cluster="sadik", source=random.Random(1))
    with registry.load(backend).open(directory.store_path, {}, durable=False) as store:
        begin_life(store, source=random.Random(2))
        store.commit(list(ROWS.items()))
        end_life(store)
    directory.close()
    return path


def rows_in(path: Path, backend: str) -> dict[bytes, bytes]:
    """Everything in a store."""
    with registry.load(backend).open(path, {}, durable=True) as store:
        return dict(store.scan(b"", None, limit=100_000, limit_bytes=1 << 30))


def run(path: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["storage", "convert", "--data-dir", str(path), *options])


def test_every_row_is_in_the_new_store_and_the_node_is_who_it_was(tmp_path: Path) -> None:
    make(tmp_path)
    before = rows_in(tmp_path / "store", "lmdb")
    result = run(tmp_path, "--from", "lmdb", "--to", "sqlite", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["from"], told["to"], told["rows"]) == ("lmdb", "sqlite", len(before))
    assert 'storage.backend = "sqlite"' in result.stderr, "or the node would not start"
    assert rows_in(tmp_path / "store", "sqlite") == before
    assert rows_in(tmp_path / "store.lmdb", "lmdb") == before, "the old store is left"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "identity.json", "lock", "store", "store.lmdb",
    ]  # fmt: skip
    directory = DataDirectory.take(tmp_path, name="n1", cluster="sadik", source=random.Random(3))
    with SqliteStore.open(directory.store_path, {}, durable=True) as store:
        life = begin_life(store, source=random.Random(3))
    directory.close()
    assert life.boot_number == 2
    assert life.was_clean
    assert not life.is_new_instance


def test_there_and_back_with_the_old_stores_discarded(tmp_path: Path) -> None:
    make(tmp_path)
    before = rows_in(tmp_path / "store", "lmdb")
    assert run(tmp_path, "--to", "sqlite", "--discard").exit_code == 0
    assert run(tmp_path, "--to", "lmdb", "--discard").exit_code == 0
    assert rows_in(tmp_path / "store", "lmdb") == before
    assert not (tmp_path / "store.lmdb").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "lmdb"], "'lmdb' already"),
        (["--to", "memory"], "keeps nothing on disk"),
        (["--to", "nothing"], "no storage backend 'nothing' is installed"),
        (["--to", "lmdb", "--from", "sqlite"], "written by 'lmdb', not by 'sqlite'"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    tmp_path: Path, options: list[str], words: str
) -> None:
    make(tmp_path)
    result = run(tmp_path, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["identity.json", "lock", "store"]


def test_a_running_nodes_store_and_a_strange_directory_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "d")
    held = DataDirectory.hold(tmp_path / "d")
    result = run(tmp_path / "d", "--to", "sqlite")
    held.close()
    assert (result.exit_code, "another node" in result.stderr) == (1, True)
    result = run(tmp_path, "--to", "sqlite")
    assert (result.exit_code, "no data directory of a node" in result.stderr) == (2, True)
    assert not (tmp_path / "identity.json").exists(), "nothing was made"


class _InterruptedError(Exception):
    """In place of a power cut."""


def interrupted_at(path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """A conversion to sqlite that ends as this many directories have changed their names."""
    done = 0
    rename = Path.rename

    def counted(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise _InterruptedError
        done += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted)
        # What an interruption leaves is what is there at that instant: nothing tidies up.
        patch.setattr("sadik_node.converting.shutil.rmtree", lambda *_args, **_options: None)
        with pytest.raises(_InterruptedError):
            convert(path, source=None, target="sqlite", options={}, told=lambda _r, _b: None)


@pytest.mark.parametrize("renames", [0, 1])
def test_interrupted_between_two_names_no_node_starts_and_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    make(tmp_path)
    before = rows_in(tmp_path / "store", "lmdb")
    interrupted_at(tmp_path, monkeypatch, renames)
    with pytest.raises(NodeError, match="storage convert"):
        DataDirectory.take(tmp_path, name="n1", cluster="sadik", source=random.Random(1))
    other = run(tmp_path, "--to", "rocksdb")
    assert (other.exit_code, "--to sqlite" in other.stderr) == (2, True)
    result = run(tmp_path, "--to", "sqlite")
    assert result.exit_code == 0, result.stderr
    assert "finished an interrupted conversion" in result.stdout
    assert rows_in(tmp_path / "store", "sqlite") == before
    DataDirectory.take(tmp_path, name="n1", cluster="sadik", source=random.Random(1)).close()


def test_a_copy_that_differs_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    before = rows_in(tmp_path / "store", "lmdb")
    commit = SqliteStore.commit

    def forgetful(self: SqliteStore, batch: list[tuple[bytes, bytes | None]]) -> None:
        commit(self, batch[:-1])

    monkeypatch.setattr(SqliteStore, "commit", forgetful)
    result = run(tmp_path, "--to", "sqlite")
    assert (result.exit_code, "differs" in result.stderr) == (1, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["identity.json", "lock", "store"]
    assert rows_in(tmp_path / "store", "lmdb") == before


def test_a_full_disk_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    opened = SqliteStore.open

    def small(path: Path | None, options: Mapping[str, object], *, durable: bool) -> Store:
        return opened(path, {**options, "bytes_max": 1 << 20}, durable=durable)

    monkeypatch.setattr(SqliteStore, "open", small)
    result = run(tmp_path, "--to", "sqlite")
    assert (result.exit_code, "is as it was" in result.stderr) == (1, True)
    assert not (tmp_path / "store.new").exists()


def test_the_old_stores_options_come_from_the_configuration(tmp_path: Path) -> None:
    make(tmp_path / "d", "sqlite")
    file = tmp_path / "sadik.toml"
    file.write_text(
        f'[node]\ndata_dir = "{os.fspath(tmp_path / "d")}"\n[storage]\nbackend = "sqlite"\n'
        "[storage.options]\ncache_bytes = 1048576\n"
    )
    arguments = ["storage", "convert", "--config", str(file), "--to", "lmdb"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.stderr
    assert "storage.backend" in result.stderr
