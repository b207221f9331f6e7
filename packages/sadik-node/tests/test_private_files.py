"""Secrets that others can read are refused, and files that change are read anew."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sadik_node.log import Log
from sadik_node.private_files import FileWatch, check_private, read_private


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_what_everybody_may_read_or_change_is_no_secret(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text("hush")
    file.chmod(mode)
    with pytest.raises(ValueError, match=r"everybody.*chmod 600") as refusal:
        read_private(file)
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_what_its_owner_or_group_may_read_is_read(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text("hush")
    file.chmod(mode)
    assert read_private(file) == b"hush"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        check_private(tmp_path / "none")


def test_a_change_is_loaded_once_and_a_bad_one_is_told_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    loaded: list[str] = []

    def load() -> None:
        if one.read_text() == "bad":
            raise ValueError("it is bad")
        loaded.append(one.read_text())

    stream = io.StringIO()
    watch = FileWatch(Log("n1", stream=stream))
    watch.add("thing", [one, other], load)
    watch.look()
    assert not loaded
    assert not stream.getvalue()

    one.write_text("22")
    watch.look()
    watch.look()
    assert loaded == ["22"]
    assert stream.getvalue().count("reloaded what=thing") == 1

    one.write_text("bad")
    watch.look()
    watch.look()
    assert loaded == ["22"]
    assert stream.getvalue().count("reload_failed what=thing - it is bad; what was loaded") == 1

    # The other file comes, and the first is replaced by one of the same length.
    new = tmp_path / "new"
    new.write_text("333")
    new.replace(one)
    other.write_text("")
    watch.look()
    assert loaded == ["22", "333"]
