"""Wheels of the workspace's packages, and bare environments to install them into."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "PACKAGES",
    "ROOT",
    "build_wheel",
    "extras_of",
    "install",
    "make_environment",
    "project_of",
    "run",
    "try_run",
]

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))


def try_run(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this process's Python around it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Run a command that must succeed; return what it printed."""
    result = try_run(command, cwd)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def project_of(package: Path) -> dict[str, Any]:
    tables = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))
    project: dict[str, Any] = tables["project"]
    return project


def extras_of(package: Path) -> dict[str, list[str]]:
    extras: dict[str, list[str]] = project_of(package).get("optional-dependencies", {})
    return extras


def build_wheel(package: Path, into: Path) -> None:
    """Build the wheel of a distribution, without the network."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)], cwd=package)


def make_environment(path: Path) -> Path:
    """Make an environment with nothing in it; return its interpreter."""
    run([sys.executable, "-m", "venv", "--without-pip", path], cwd=path.parent)
    return path / "bin" / "python"


def install(requirement: str, wheels: Path, environment: Path) -> None:
    """Install into the environment, from the wheels alone."""
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    source = ["--no-index", "--only-binary", ":all:", "--find-links", str(wheels)]
    run([*pip, "install", "--quiet", *source, requirement], cwd=environment)
    run([*pip, "check"], cwd=environment)
