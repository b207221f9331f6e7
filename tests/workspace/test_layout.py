"""Every package stands in every place that lists packages, and the lock file tells no address."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import purity

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]


def project_of(package: Path) -> dict[str, Any]:
    tables = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))
    project: dict[str, Any] = tables["project"]
    return project


def requirements_of(package: Path) -> list[Requirement]:
    project = project_of(package)
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(text) for text in sum(extras, project.get("dependencies", []))]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_package_is_laid_out_like_the_others(package: Path) -> None:
    project = project_of(package)
    module = package.name.replace("-", "_")
    assert project["name"] == package.name
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"
    assert (package / "src" / module / "__init__.py").is_file(), "a namespace has no home"
    assert (package / "src" / module / "py.typed").is_file()
    assert (package / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    assert list(package.glob("tests/test_*.py")), "a package comes with its tests"
    assert not list(package.glob("tests/**/__init__.py")), "tests are modules, not packages"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_package_is_listed_wherever_packages_are(package: Path) -> None:
    module = package.name.replace("-", "_")
    source, tests = f"packages/{package.name}/src", f"packages/{package.name}/tests"
    assert SETTINGS["uv"]["sources"][package.name] == {"workspace": True}
    assert source in SETTINGS["mypy"]["mypy_path"]
    assert tests in SETTINGS["mypy"]["mypy_path"]
    assert tests in SETTINGS["pytest"]["ini_options"]["pythonpath"]
    linter = SETTINGS["importlinter"]
    assert module in linter["root_packages"]
    layers = next(c for c in linter["contracts"] if c["id"] == "floors")["layers"]
    assert module in [room for layer in layers for room in re.split(r"\s*\|\s*", layer)]
    pure = next(c for c in linter["contracts"] if c["id"] == "pure")["source_modules"]
    assert (module in pure) == (package.name in purity.PURE_PACKAGES)


def test_versions_move_in_lockstep() -> None:
    versions = {package.name: project_of(package)["version"] for package in PACKAGES}
    [version] = set(versions.values())
    for package in PACKAGES:
        for requirement in requirements_of(package):
            if requirement.name in versions:
                assert str(requirement.specifier) == f"=={version}", (
                    f"{package.name}: {requirement}"
                )
            else:
                assert requirement.specifier, f"{package.name}: {requirement.name} has no bound"


def test_helper_modules_have_names_of_their_own() -> None:
    """Modules beside the tests are imported by bare name, so no two may share one."""
    owners: dict[str, Path] = {}
    helpers = [*ROOT.glob("packages/*/tests/*.py"), *ROOT.glob("scripts/*.py")]
    for path in sorted(helpers):
        if path.name == "conftest.py" or path.name.startswith("test_"):
            continue
        assert path.name not in owners, f"{path} and {owners[path.name]}"
        owners[path.name] = path


def test_lock_file_is_hashed_complete_and_tells_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    entries = re.split(r"\n(?=[A-Za-z])", text)
    pins: dict[str, str] = {}
    for entry in entries[1:]:
        assert "--hash=sha256:" in entry, entry
        pin = Requirement(entry.partition("\\")[0].partition("--hash")[0].strip())
        pins[pin.name] = str(pin.specifier).removeprefix("==")
    inputs = [
        Requirement(line)
        for line in (ROOT / "requirements.in").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    wanted = inputs + [r for package in PACKAGES for r in requirements_of(package)]
    names = {package.name for package in PACKAGES}
    for requirement in wanted:
        if requirement.name not in names:
            assert requirement.name in pins, f"{requirement.name}: run `make lock`"
            assert requirement.specifier.contains(pins[requirement.name]), str(requirement)
