"""Any program of calls does what it would do to a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import PLENTY, all_rows, walk
from sadik_storage.trait import Row, Snapshot, Store

__all__ = ["Model"]

_STEPS = 40

_short_keys = st.lists(st.sampled_from(b"\0\x01a\xfe\xff"), min_size=1, max_size=3).map(bytes)
# Few, so that they meet; now and then as long as any backend takes.
_keys = st.one_of(_short_keys, _short_keys.map(lambda key: key * (511 // len(key))))
_values = st.one_of(
    st.binary(max_size=12),
    st.builds(lambda text, times: text * times, st.binary(min_size=1, max_size=8),
              st.sampled_from([100, 500, 5_000])),
)  # fmt: skip
_batches = st.lists(st.tuples(_keys, st.one_of(st.none(), _values)), max_size=12)
_ranges = st.tuples(st.one_of(st.just(b""), _keys), st.one_of(st.none(), _keys))
_limits = st.tuples(st.sampled_from([1, 2, 5, 999]), st.sampled_from([0, 600, 5_000, PLENTY]))

_View = tuple[Snapshot, dict[bytes, bytes]]


class Model(Suite):
    """A stateful property test; a failing program is shrunk to its least calls."""

    def model_settings(self) -> settings:
        """The settings of the search."""
        return settings(
            max_examples=self.examples,
            stateful_step_count=_STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )

    def test_it_agrees_with_a_dictionary(self, tmp_path: Path) -> None:
        run_state_machine_as_test(
            lambda: _Program(self, tmp_path),  # type: ignore[arg-type] # any factory will do
            settings=self.model_settings(),
        )


class _Program(RuleBasedStateMachine):
    """Calls to a store, beside the same done to a dictionary."""

    views: Bundle[_View] = Bundle("views")

    def __init__(self, suite: Suite, root: Path) -> None:
        super().__init__()
        self._suite = suite
        self._path = Path(tempfile.mkdtemp(dir=root)) / "store"
        self._durable = True
        self._store: Store | None = None
        self._model: dict[bytes, bytes] = {}
        self._open_views: list[Snapshot] = []

    @initialize(durable=st.booleans())
    def open(self, durable: bool) -> None:
        self._durable = durable
        self._store = self._suite.open_store(self._path, durable=durable)

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    @rule(batch=_batches)
    def commit(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        self.store.commit(batch)
        for key, value in batch:
            if value is None:
                self._model.pop(key, None)
            else:
                self._model[key] = value

    @rule(key=_keys, keys=st.lists(_keys, max_size=4), pick=st.integers(0, 100))
    def get(self, key: bytes, keys: list[bytes], pick: int) -> None:
        present = sorted(self._model)
        for each in (key, *present[pick : pick + 1], *present[-1:]):
            assert self.store.get(each) == self._model.get(each)
        assert self.store.get_many(keys) == [self._model.get(each) for each in keys]

    @rule(between=_ranges, limits=_limits)
    def scan(self, between: tuple[bytes, bytes | None], limits: tuple[int, int]) -> None:
        start, stop = between
        limit, limit_bytes = limits
        rows = self.store.scan(start, stop, limit=limit, limit_bytes=limit_bytes)
        assert rows == _expected(self._model, start, stop, limit, limit_bytes)
        keys = self.store.scan_keys(start, stop, limit=limit)
        assert keys == [key for key, _ in _expected(self._model, start, stop, limit, PLENTY)]

    @rule(target=views)
    @precondition(lambda self: len(self._open_views) < 4)
    def snapshot(self) -> _View:
        view = self.store.snapshot()
        self._open_views.append(view)
        return view, dict(self._model)

    @rule(held=views, key=_keys, between=_ranges, limits=_limits)
    def look_back(
        self,
        held: _View,
        key: bytes,
        between: tuple[bytes, bytes | None],
        limits: tuple[int, int],
    ) -> None:
        view, then = held
        if view in self._open_views:
            assert view.get(key) == then.get(key)
            rows = view.scan(*between, limit=limits[0], limit_bytes=limits[1])
            assert rows == _expected(then, *between, *limits)

    @rule(held=consumes(views))
    def end_snapshot(self, held: _View) -> None:
        self._end_view(held[0])

    @rule()
    def sync(self) -> None:
        self.store.sync()

    @rule(durable=st.booleans())
    @precondition(lambda self: self._suite.persistent)
    def reopen(self, durable: bool) -> None:
        self._end_views()
        self.store.close()
        self._store = self._suite.open_store(self._path, durable=durable)

    @invariant()
    def counts(self) -> None:
        if self._store is not None:
            assert self._store.size().keys == len(self._model)

    def teardown(self) -> None:
        try:
            if self._store is not None:
                self._end_views()
                assert all_rows(self._store) == sorted(self._model.items())
                assert walk(self._store, limit=3) == sorted(self._model.items())
        finally:
            if self._store is not None:
                self._store.close()
            shutil.rmtree(self._path.parent)

    def _end_view(self, view: Snapshot) -> None:
        if view in self._open_views:
            self._open_views.remove(view)
            view.close()

    def _end_views(self) -> None:
        for view in self._open_views.copy():
            self._end_view(view)


def _expected(
    model: dict[bytes, bytes], start: bytes, stop: bytes | None, limit: int, limit_bytes: int
) -> list[Row]:
    """What `Store.scan` says it returns."""
    rows: list[Row] = []
    size = 0
    for row in sorted(model.items()):
        if row[0] < start or (stop is not None and row[0] >= stop):
            continue
        size += len(row[0]) + len(row[1])
        if len(rows) == limit or (rows and size > limit_bytes):
            break
        rows.append(row)
    return rows
