"""What was committed is there after a close, and after `kill -9` at any instant."""

from __future__ import annotations

from pathlib import Path

import pytest

from sadik_storage.conformance.base import Suite
from sadik_storage.conformance.tools import PLENTY, all_rows, commit_and_kill

__all__ = ["Durability"]


class Durability(Suite):
    """Reopening. A power cut is beyond what a test can do: see the suite's docs."""

    @pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
    def test_what_was_committed_is_there_when_reopened(self, path: Path, durable: bool) -> None:
        self._needs_disk()
        rows = [(b"%04d" % number, b"v" * number) for number in range(500)]
        with self.open_store(path, durable=durable) as store:
            store.commit(rows[:250])
            store.sync()
            store.commit([*rows[250:], (b"0000", None)])
        for again in (durable, not durable):
            with self.open_store(path, durable=again) as store:
                assert all_rows(store) == rows[1:]
                assert store.size().keys == 499

    @pytest.mark.parametrize("durable", [True, False], ids=["durable", "interval"])
    def test_no_commit_is_lost_or_torn_when_the_process_is_killed(
        self, path: Path, durable: bool
    ) -> None:
        """Killed at an arbitrary instant, thrice on the same files: all acknowledged batches are
        there, at most one more, none in part, and the next open waits for nobody."""
        self._needs_disk()
        acknowledged = 0
        for commits in (1, 40, 90):
            acknowledged = commit_and_kill(
                self.backend, self.options, path, commits, durable=durable
            )
            with self.open_store(path, durable=durable) as store:
                last = int(store.get(b"last") or 0)
                assert acknowledged <= last <= acknowledged + 1
                lefts = store.scan_keys(b"left/", b"left0", limit=9_999)
                assert sorted(lefts) == sorted(b"left/%d" % each for each in range(1, last + 1))
                rights = store.scan(b"right/", b"right0", limit=9_999, limit_bytes=PLENTY)
                assert len(rights) == last
                assert all(value == key[6:] * 200 for key, value in rights)
                assert store.size().keys == 2 * last + 1
        assert acknowledged >= 131

    def test_opening_and_closing_leave_everything_as_it_was(self, path: Path) -> None:
        self._needs_disk()
        with self.open_store(path) as store:
            store.commit([(b"a", b"1"), (b"b", b"")])
        for number in range(4):
            with self.open_store(path, durable=bool(number % 2)) as store:
                assert all_rows(store) == [(b"a", b"1"), (b"b", b"")]
