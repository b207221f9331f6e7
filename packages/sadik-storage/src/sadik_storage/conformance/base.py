"""What all parts of the suite share: the backend under test, and stores of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from sadik_storage.trait import Store

__all__ = ["Suite"]


class Suite:
    """The class variables that an author sets, and the fixtures of the tests."""

    backend: ClassVar[type[Store]]
    """The class under test. It must be importable by its module and name."""
    options: ClassVar[Mapping[str, object]] = {}
    """Options that it is opened with."""
    persistent: ClassVar[bool] = True
    """Whether what is committed survives the process; false for a store in memory."""
    examples: ClassVar[int] = 10
    """Programs of the stateful test against a dictionary. A nightly run may want thousands."""
    garbage_bytes_max: ClassVar[int] = 2**20
    """How much a store may hold beyond a few times what is live: what its logs and buffers take."""
    disk_bytes: ClassVar[int] = 12 * 2**20
    """The size of the disk that is filled: a new store must fit on it well."""

    def open_store(self, path: Path, *, durable: bool = True) -> Store:
        """Open the store under test; override it if that takes more than `backend.open`.

        Children that are killed, or that fill a disk, call `backend.open` themselves.
        """
        return self.backend.open(path, dict(self.options), durable=durable)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A path at which nothing is yet."""
        return tmp_path / "store"

    @pytest.fixture(params=[True, False], ids=["durable", "interval"])
    def store(self, path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
        """A new store, opened either way."""
        with self.open_store(path, durable=request.param) as store:
            yield store

    def _needs_disk(self) -> None:
        if not self.persistent:
            pytest.skip("this backend keeps nothing")
