"""A store that a newer version wrote is refused by every backend, and left as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sadik_storage import StoreFormatError, registry
from sadik_storage.directory import FORMAT_FILE


def files_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


@pytest.mark.parametrize("name", ["lmdb", "sqlite", "rocksdb"])
def test_a_newer_format_is_refused_and_nothing_is_changed(name: str, tmp_path: Path) -> None:
    if name == "rocksdb":
        pytest.importorskip("rocksdict", reason="needs the extra sadik-storage[rocksdb]")
    backend = registry.load(name)
    path = tmp_path / "store"
    with backend.open(path, {}, durable=True) as store:
        store.commit([(b"k", b"v")])
    mark = json.loads((path / FORMAT_FILE).read_text())
    (path / FORMAT_FILE).write_text(json.dumps({**mark, "version": mark["version"] + 9}))
    before = files_of(path)
    with pytest.raises(StoreFormatError, match="use a newer program"):
        backend.open(path, {}, durable=True)
    assert files_of(path) == before
    (path / FORMAT_FILE).write_text(json.dumps(mark))
    with backend.open(path, {}, durable=True) as store:
        assert store.get(b"k") == b"v"
