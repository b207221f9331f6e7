"""The registry: backends are found by name, and what is missing is said in words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest

from sadik_storage import Store, registry
from sadik_storage.journaled import JournaledLmdbStore
from sadik_storage.memory import MemoryStore
from sadik_storage.rocksdb import RocksStore
from sadik_storage.sqlite import SqliteStore


def register(monkeypatch: pytest.MonkeyPatch, points: Sequence[tuple[str, str]]) -> None:
    made = [EntryPoint(name, value, registry.GROUP) for name, value in points]
    monkeypatch.setattr(registry, "entry_points", lambda group: made)


def test_the_built_in_backends_are_found() -> None:
    names = list(registry.available())
    assert names == sorted(names)
    assert {"memory", "lmdb", "rocksdb", "sqlite"} <= set(names)
    assert registry.load("memory") is MemoryStore
    assert registry.load("lmdb") is JournaledLmdbStore
    assert registry.load("sqlite") is SqliteStore
    assert registry.load("rocksdb") is RocksStore


def test_every_backend_bears_the_name_it_is_registered_under() -> None:
    for name in registry.available():
        backend = registry.load(name)
        assert issubclass(backend, Store)
        assert backend.name == name


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(registry.StoreBackendError, match=r"'nosuch'.*lmdb.*memory"):
        registry.load("nosuch")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, [("slow", "no_such_package.store:SlowStore")])
    with pytest.raises(registry.StoreBackendError, match=r"no_such_package.*pip install"):
        registry.load("slow")


def test_only_a_store_can_be_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, [("odd", "sadik_storage.trait:StoreSize")])
    with pytest.raises(registry.StoreBackendError, match="not a Store"):
        registry.load("odd")


def test_two_classes_under_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, [("mine", "a:Store"), ("mine", "b:Store")])
    with pytest.raises(registry.StoreBackendError, match=r"a:Store and b:Store"):
        registry.available()
    register(monkeypatch, [("mine", "a:Store"), ("mine", "a:Store")])
    assert list(registry.available()) == ["mine"]


def test_the_top_level_imports_no_backend_and_no_library() -> None:
    program = (
        "import sys, sadik_storage, sadik_storage.registry\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'lmdb', 'pytest', 'rocksdict', 'sqlite3', 'trio'}, loaded\n"
        "assert not {n for n in sys.modules if n.startswith('sadik_') and '.' in n} & "
        "{'sadik_storage.' + n for n in ('memory', 'lmdb', 'sqlite', 'rocksdb', 'conformance')}\n"
        "assert {n for n in loaded if n.startswith('sadik_')} == {'sadik_storage'}, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
