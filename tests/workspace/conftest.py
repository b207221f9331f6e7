"""What the tests of the workspace's packages share."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheelhouse import PACKAGES, ROOT, build_wheel, extras_of, try_run


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, skip_or_fail: Callable[[str], None]) -> Path:
    """A directory with the wheel of every package and of all that any of them needs."""
    directory = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        build_wheel(package, directory)
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pins = re.findall(r"^([A-Za-z][^\\\n]*?)\s*\\$", lock, re.MULTILINE)
    assert pins
    (directory / "pins.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")

    wanted = [
        f"{p.name}[{','.join(extras)}]" if (extras := extras_of(p)) else p.name for p in PACKAGES
    ]
    download = ["-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--find-links", "."]
    result = try_run(
        [sys.executable, *download, "--constraint", "pins.txt", *wanted], cwd=directory
    )
    if result.returncode != 0 and "connection broken by" in result.stderr:
        skip_or_fail("needs the package index that pip is configured for")
    assert result.returncode == 0, result.stderr
    return directory
