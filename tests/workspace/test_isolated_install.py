"""Each package alone: its wheel in an environment of its own, its README's example run there.

What the workspace has installed side by side could hide a dependency that a package forgot to
declare. So each one goes into a fresh environment, from wheels built here and, for what is not
ours, fetched from the index that pip is configured for, at the lock file's versions. There every
module of it must import (a module that an extra is for may miss just that extra), its commands
must answer ``--help``, and the first Python block of its README must run as a user would run it.
"""

import re
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from wheelhouse import PACKAGES, extras_of, install, make_environment, project_of, run

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


def example_of(package: Path) -> str:
    """Return the first Python block of the package's README, as written."""
    readme = (package / "README.md").read_text("utf-8")
    found = re.search(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found, f"{package.name}/README.md has no ```python block"
    return found[1]


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
    python = make_environment(environment)
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
    assert run([python, "-W", "error", tmp_path / "example.py"], cwd=tmp_path).strip()

    if extras:
        everything = f"{package.name}[{','.join(extras)}]=={project['version']}"
        install(everything, wheels, environment)
        assert import_failures(module, environment) == {}
