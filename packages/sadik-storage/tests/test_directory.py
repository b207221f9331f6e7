"""A store's directory: private, held by one, and marked; refusals change nothing."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from sadik_storage import (
    StoreError,
    StoreFormatError,
    StoreFull,
    StoreIOError,
    StoreLocked,
    StoreOptionsError,
    StoreReadOnly,
)
from sadik_storage.directory import FORMAT_FILE, LOCK_FILE, StoreDirectory, translate_os_error


def hold(path: Path | None, *, backend: str = "mine", version: int = 2) -> StoreDirectory:
    return StoreDirectory(path, backend=backend, version=version)


def test_it_is_made_private_with_its_parents_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    hold(path).close()
    assert path.stat().st_mode & 0o777 == 0o700
    assert json.loads((path / FORMAT_FILE).read_text()) == {"backend": "mine", "version": 2}


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    held = hold(tmp_path)
    with pytest.raises(StoreLocked, match="open already"):
        hold(tmp_path)
    held.close()
    held.close()
    hold(tmp_path).close()


def test_an_open_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f"{FORMAT_FILE}.new").write_text('{"back')
    hold(tmp_path).close()
    assert json.loads((tmp_path / FORMAT_FILE).read_text())["backend"] == "mine"


def test_an_older_version_is_accepted_and_left_as_it_is(tmp_path: Path) -> None:
    hold(tmp_path, version=1).close()
    (tmp_path / "data").touch()
    hold(tmp_path, version=2).close()
    assert json.loads((tmp_path / FORMAT_FILE).read_text())["version"] == 1


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ('{"backend": "mine", "version": 3}', "use a newer program"),
        ('{"backend": "mine", "version": "x"}', "version 'x'"),
        ('{"backend": "other", "version": 1}', 'storage.backend = "other"'),
        ("{", "not a mark"),
        ("[]", "not a mark"),
        ("{}", "not a mark"),
    ],
)
def test_a_foreign_mark_is_refused_with_a_sentence(tmp_path: Path, mark: str, message: str) -> None:
    (tmp_path / "data").write_text("precious")
    (tmp_path / FORMAT_FILE).write_text(mark)
    with pytest.raises(StoreFormatError, match=message):
        hold(tmp_path)
    assert (tmp_path / FORMAT_FILE).read_text() == mark
    assert (tmp_path / "data").read_text() == "precious"


def test_a_directory_of_other_files_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("precious")
    with pytest.raises(StoreFormatError, match="not a store of Sadik"):
        hold(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_refusal_lets_go_of_the_lock(tmp_path: Path) -> None:
    hold(tmp_path, backend="other").close()
    with pytest.raises(StoreFormatError):
        hold(tmp_path)
    hold(tmp_path, backend="other").close()


def test_a_path_must_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreOptionsError, match="needs a path"):
        hold(None)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreOptionsError, match="not a directory"):
        hold(file)
    with pytest.raises(StoreError):
        hold(file / "below")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreReadOnly),
        (errno.EACCES, StoreReadOnly),
        (errno.EIO, StoreIOError),
        (errno.EMFILE, StoreIOError),
    ],
)
def test_the_systems_errors_have_a_kind(code: int, kind: type[StoreError]) -> None:
    assert type(translate_os_error(code, "opening x")) is kind


def test_a_store_that_was_not_closed_leaves_a_mark(tmp_path: Path) -> None:
    first = StoreDirectory(tmp_path / "s", backend="mine", version=1)
    assert first.deaths == 0
    first.mark_open()
    first.close(failed=True)
    second = StoreDirectory(tmp_path / "s", backend="mine", version=1)
    assert second.deaths == 1
    second.close()
    third = StoreDirectory(tmp_path / "s", backend="mine", version=1)
    assert third.deaths == 1  # the second was never marked open
    third.mark_open()
    third.close(failed=True)
    again = StoreDirectory(tmp_path / "s", backend="mine", version=1)
    assert again.deaths == 2
    again.mark_open()
    again.close()
    fourth = StoreDirectory(tmp_path / "s", backend="mine", version=1)
    assert fourth.deaths == 0
    fourth.close()
