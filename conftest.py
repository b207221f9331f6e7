"""What every test of the workspace may rely on: hypothesis profiles and needed programs.

``SADIK_REQUIRE_ALL=1`` (set by ``.ci/run``) turns a skip for something missing on the machine
into a failure, so that CI cannot pass by leaving out what it was meant to test.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

# What is tested is the sources, in this process and in those that tests start: tests look into
# classes and exchange their methods. tests/workspace/test_compiled.py is about compiled code.
os.environ["PURE_PYTHON"] = "1"
sys.path[:] = [path for path in sys.path if Path(path).parts[-2:] != ("build", "compiled")]

# No deadlines: the machine is shared, and a slow moment is not a fault of the code.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _COMMON, max_examples=20)
settings.register_profile("thorough", _COMMON, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# All that crosses packages is a test of the system, and not only what says so itself.
_CROSSING = Path(__file__).parent / "tests"

# Parts of the suite for storage backends that run processes of their own, on disks of their own.
_OF_CHILDREN = ("sadik_storage.conformance.durability", "sadik_storage.conformance.failures")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in ``tests/``, and what states a property, before ``-m`` chooses."""
    for item in items:
        if item.path.is_relative_to(_CROSSING):
            item.add_marker(pytest.mark.system)
        if getattr(getattr(item, "function", None), "__module__", "") in _OF_CHILDREN:
            item.add_marker(pytest.mark.system)
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.property)


@pytest.fixture(scope="session")
def skip_or_fail() -> Callable[[str], None]:
    """Skip the test for a reason that lies in the machine; under SADIK_REQUIRE_ALL fail it."""

    def skip_or_fail(reason: str) -> None:
        if os.environ.get("SADIK_REQUIRE_ALL") == "1":
            pytest.fail(f"{reason} (SADIK_REQUIRE_ALL=1 allows no skip)", pytrace=False)
        pytest.skip(reason)

    return skip_or_fail


@pytest.fixture(scope="session")
def require_program(skip_or_fail: Callable[[str], None]) -> Callable[..., str]:
    """Find a program that the test runs: ``require_program("promtool", package="prometheus")``.

    Returns its path. Where it is missing the test is skipped, with the system package to install
    for it in the reason; ``.ci/run`` installs that package, so add it there.
    """

    def require_program(name: str, *, package: str) -> str:
        path = shutil.which(name)
        if path is None:
            skip_or_fail(f"needs the program {name}: install {package}")
            raise AssertionError("not reached: the test was skipped or failed")
        return path

    return require_program
