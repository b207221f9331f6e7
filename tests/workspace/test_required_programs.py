"""A missing program skips a test on a developer's machine and fails it in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS = """
def test_needs(require_program):
    assert require_program({name!r}, package="coreutils").endswith("/" + {name!r})
"""


def outcome(directory: Path, program: str, required: str) -> str:
    """Run a test that needs ``program``; return pytest's closing line."""
    shutil.copy(ROOT / "conftest.py", directory)
    (directory / "test_needs.py").write_text(NEEDS.format(name=program), encoding="utf-8")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            *("--rootdir=.", "-c", os.devnull),  # no settings of a directory above
        ],
        cwd=directory,
        env={**os.environ, "SADIK_REQUIRE_ALL": required},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


@pytest.mark.parametrize("required", ["", "1"])
def test_a_program_that_is_there_is_found(tmp_path: Path, required: str) -> None:
    assert "1 passed" in outcome(tmp_path, "cat", required)


def test_a_missing_program_skips_and_says_what_to_install(tmp_path: Path) -> None:
    output = outcome(tmp_path, "no-such-program", "")
    assert "1 skipped" in output
    assert "needs the program no-such-program: install coreutils" in output


def test_a_missing_program_fails_where_everything_is_required(tmp_path: Path) -> None:
    assert "1 failed" in outcome(tmp_path, "no-such-program", "1")
