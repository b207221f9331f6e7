"""Set-up from nothing but a Python: what a newcomer meets on a fresh clone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Makefile", "LICENSE", "pyproject.toml", "requirements.in", "requirements.lock")


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        # Also what the make that runs these tests hands down.
        if name not in ("PYTHON", "UPGRADE", "VIRTUAL_ENV") and not name.startswith("MAKE")
    }
    return subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def fake_python(directory: Path, body: str) -> Path:
    """Write a stand-in for an interpreter that the machine does not have."""
    path = directory / "python"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of the workspace that set-up needs, as a clone has them."""
    clone = tmp_path / "a clone"  # the space is meant
    clone.mkdir()
    for name in COPIED:
        shutil.copy(ROOT / name, clone)
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("packages", "scripts"):
        shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=ignored)
    return clone


def test_an_old_python_is_refused_with_what_is_needed(clone: Path, tmp_path: Path) -> None:
    old = fake_python(tmp_path, 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    result = run(["make", "setup"], clone, PYTHON=str(old))
    assert result.returncode != 0
    assert "needs Python 3.11 or later" in result.stderr
    assert "Python 3.9.2" in result.stderr
    assert not (clone / ".venv").exists()


def test_a_python_without_ensurepip_names_the_package_to_install(
    clone: Path, tmp_path: Path
) -> None:
    bare = fake_python(tmp_path, 'case "$2" in *ensurepip*) exit 1;; *version*) exit 0;; esac')
    result = run(["make", "setup"], clone, PYTHON=str(bare))
    assert result.returncode != 0
    assert "install python3-venv" in result.stderr


def test_a_python_that_is_not_there_is_named(clone: Path) -> None:
    result = run(["make", "setup"], clone, PYTHON="no-such-python")
    assert result.returncode != 0
    assert "no-such-python" in result.stderr


def test_help_lists_the_targets(clone: Path) -> None:
    lines = run(["make"], clone).stdout.splitlines()
    targets = {line.split()[1] for line in lines}
    assert {"setup", "run", "check", "test", "test-unit", "ci-slow", "wheels", "lock"} <= targets


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fresh_clone_sets_itself_up_once(clone: Path) -> None:
    first = run(["make", "setup"], clone)
    assert first.returncode == 0, first.stdout + first.stderr
    python = clone / ".venv" / "bin" / "python"
    assert (clone / ".venv" / "bin" / "sadik-node").exists()
    for package in sorted(path.parent for path in clone.glob("packages/*/pyproject.toml")):
        module = package.name.replace("-", "_")
        code = f"import {module}; print({module}.__file__)"
        where = run([str(python), "-I", "-c", code], clone)
        assert where.stdout.startswith(f"{package}{os.sep}"), where.stdout + where.stderr

    again = run(["make", "setup"], clone)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    with (clone / "packages/sadik-node/pyproject.toml").open("a", encoding="utf-8") as project:
        project.write("# changed\n")
    changed = run(["make", "setup"], clone)
    assert "installing" in changed.stdout, changed.stdout + changed.stderr

    built = run(["make", "wheels"], clone)
    assert built.returncode == 0, built.stdout + built.stderr
    wheels = {path.name: path.read_bytes() for path in clone.glob("dist/*.whl")}
    assert len(wheels) == len(list(clone.glob("packages/*/pyproject.toml")))
    run(["make", "wheels"], clone)
    rebuilt = {path.name: path.read_bytes() for path in clone.glob("dist/*.whl")}
    assert rebuilt == wheels, "wheels are the same byte for byte when built again"
