"""What a store says of itself, and what its `open` refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sadik_storage.conformance.base import Suite
from sadik_storage.trait import (
    KEY_BYTES_FLOOR,
    VALUE_BYTES_FLOOR,
    StoreClosed,
    StoreLocked,
    StoreOptionsError,
)

__all__ = ["Description"]


class Description(Suite):
    """Class variables, options, the directory, the end."""

    def test_it_states_its_limits(self) -> None:
        assert isinstance(self.backend.name, str)
        assert isinstance(self.backend.reads_are_cheap, bool)
        assert self.backend.key_bytes_max >= KEY_BYTES_FLOOR
        assert self.backend.value_bytes_max >= VALUE_BYTES_FLOOR

    def test_durable_is_what_was_asked_for(self, path: Path) -> None:
        for durable in (True, False):
            with self.open_store(path, durable=durable) as store:
                assert store.durable == (durable and self.persistent)

    def test_an_unknown_option_is_refused_by_name(self, path: Path) -> None:
        options = {**self.options, "no_such_option": 1}
        with pytest.raises(StoreOptionsError, match="no_such_option"):
            self.backend.open(path, options, durable=True)
        assert not path.exists()

    def test_a_store_on_disk_needs_a_path(self) -> None:
        if not self.persistent:
            self.backend.open(None, dict(self.options), durable=True).close()
            return
        with pytest.raises(StoreOptionsError, match="path"):
            self.backend.open(None, dict(self.options), durable=True)

    def test_its_directory_is_private(self, path: Path) -> None:
        self._needs_disk()
        self.open_store(path).close()
        assert path.stat().st_mode & 0o077 == 0

    def test_it_can_be_open_only_once(self, path: Path) -> None:
        self._needs_disk()
        with self.open_store(path) as store:
            store.commit([(b"a", b"1")])
            with pytest.raises(StoreLocked):
                self.open_store(path)
            store.commit([(b"b", b"1")])
            assert store.size().keys == 2
        with self.open_store(path) as store:
            assert store.size().keys == 2

    def test_a_closed_store_says_so(self, path: Path) -> None:
        store = self.open_store(path)
        store.commit([(b"a", b"1")])
        store.close()
        store.close()
        calls: list[Callable[[], object]] = [
            lambda: store.get(b"a"),
            lambda: store.get_many([b"a"]),
            lambda: store.scan(b"", None, limit=1, limit_bytes=1),
            lambda: store.scan_keys(b"", None, limit=1),
            store.snapshot,
            lambda: store.commit([(b"a", b"2")]),
            store.sync,
            store.size,
        ]
        for call in calls:
            with pytest.raises(StoreClosed):
                call()
