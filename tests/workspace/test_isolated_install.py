"""Each package alone: its wheel in an environment of its own, its README's example run there.

What the workspace has installed side by side could hide a dependency that a package forgot to
declare. So each one goes into a fresh environment, from wheels built here and, for what is not
ours, fetched from the index that pip is configured for, at the lock file's versions. There every
module of it must import (a module that an extra is for may miss just that extra), its commands
must answer ``--help``, and the first Python block of its README must run as a user would run it.
"""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
IDS = [package.name for package in PACKAGES]

# The first test waits for every wheel to be built and fetched.
pytestmark = pytest.mark.timeout(300)

# Prints the name of each module that fails to import, with the module that it missed.
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if found.name.endswith(".__main__"):
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        print(found.name, error.name.partition(".")[0])
"""


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


def example_of(package: Path) -> str:
    """Return the first Python block of the package's README, as written."""
    readme = (package / "README.md").read_text("utf-8")
    found = re.search(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found, f"{package.name}/README.md has no ```python block"
    return found[1]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, skip_or_fail: Callable[[str], None]) -> Path:
    """A directory with the wheel of every package and of all that any of them needs."""
    directory = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d"]
        run([*build, str(directory)], cwd=package)
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


def install(requirement: str, wheels: Path, environment: Path) -> None:
    """Install into the environment, from the wheels alone."""
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    source = ["--no-index", "--only-binary", ":all:", "--find-links", str(wheels)]
    run([*pip, "install", "--quiet", *source, requirement], cwd=environment)
    run([*pip, "check"], cwd=environment)


def import_failures(module: str, environment: Path) -> dict[str, str]:
    """Import every module of the package; return the failed ones with what they missed."""
    lines = run([environment / "bin" / "python", "-I", "-c", IMPORT_ALL, module], cwd=environment)
    return dict(line.split() for line in lines.splitlines())


@pytest.mark.parametrize("package", PACKAGES, ids=IDS)
def test_wheel_carries_code_types_and_licence(package: Path, wheels: Path) -> None:
    project = project_of(package)
    module = package.name.replace("-", "_")
    [wheel] = wheels.glob(f"{module}-{project['version']}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"{module}-{project['version']}.dist-info"
    assert f"{module}/py.typed" in names
    assert f"{info}/licenses/LICENSE" in names
    source = package / "src"
    code = [str(path.relative_to(source)) for path in source.rglob("*.py")]
    assert sorted(name for name in names if name.endswith(".py")) == sorted(code)


@pytest.mark.parametrize("package", PACKAGES, ids=IDS)
def test_package_works_alone(package: Path, wheels: Path, tmp_path: Path) -> None:
    project = project_of(package)
    module = package.name.replace("-", "_")
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment], cwd=tmp_path)
    install(f"{package.name}=={project['version']}", wheels, environment)

    extras = extras_of(package)
    of_extras = {
        Requirement(text).name.replace("-", "_") for texts in extras.values() for text in texts
    }
    failures = import_failures(module, environment)
    undeclared = {name: missed for name, missed in failures.items() if missed not in of_extras}
    assert undeclared == {}

    for script in project.get("scripts", {}):
        assert run([environment / "bin" / script, "--help"], cwd=tmp_path).strip()

    example = example_of(package)
    assert "assert " in example, "the example shows a result that it checks"
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    python = environment / "bin" / "python"
    assert run([python, "-W", "error", tmp_path / "example.py"], cwd=tmp_path).strip()

    if extras:
        everything = f"{package.name}[{','.join(extras)}]=={project['version']}"
        install(everything, wheels, environment)
        assert import_failures(module, environment) == {}
