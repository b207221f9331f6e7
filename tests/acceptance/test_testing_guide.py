"""docs/testing.md from a stranger's point of view: its files are written down and pytest is run.

The fixtures, too, are tested so: in a pytest of their own, where a test may fail.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


def files_of_the_guide() -> dict[str, str]:
    """Its Python blocks by the name in their first line."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    named = {}
    for block in blocks:
        first, _, rest = block.partition("\n")
        found = re.fullmatch(r"# (\w+\.py)", first)
        assert found, f"a block begins with the name of its file, not with {first!r}"
        named[found[1]] = rest
    return named


def run_pytest(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest there, with the plug-ins that a stranger has."""
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *("--rootdir", str(directory), "-W", "error", "-q", *options, str(directory)),
    ]
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=100, check=False
    )


def test_what_the_guide_shows_works(tmp_path: Path) -> None:
    files = files_of_the_guide()
    assert "conftest.py" in files
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    tests = sum(text.count("\ndef test_") for text in files.values())
    assert tests >= 6
    run = run_pytest(tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{tests} passed" in run.stdout


def test_what_the_readme_shows_works(tmp_path: Path) -> None:
    readme = GUIDE.parents[1] / "packages" / "sadik-node" / "README.md"
    text = readme.read_text("utf-8").partition("## In your tests")[2]
    found = re.search(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    (tmp_path / "example.py").write_text(found[1], "utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error", tmp_path / "example.py"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("http://127.0.0.1:") == 3


def test_the_first_test_is_short(tmp_path: Path) -> None:
    lines = files_of_the_guide()["test_notes.py"].strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 10


def test_a_cluster_that_failed_is_shown_with_its_logs(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        """
import pytest

pytest_plugins = ["sadik_node.testing.pytest"]

def test_a_crash(sadik_cluster):
    class Broken:
        deadline = 0
        def step(self, now, event):
            raise LookupError("planted")
    sadik_cluster._made._nodes["n2"].node.life.host._machines[1] = Broken()
    with pytest.raises(Exception):
        while True:
            sadik_cluster.wait_until_ready()

def test_after_it(sadik_cluster, sadik_cluster_factory):
    assert len(set(sadik_cluster.urls + sadik_cluster_factory(nodes=2).urls)) == 5
""",
        "utf-8",
    )
    run = run_pytest(tmp_path)
    assert run.returncode == 1
    assert "2 passed, 1 error" in run.stdout, run.stdout + run.stderr
    assert "ERROR at teardown of test_a_crash" in run.stdout
    assert "ClusterError: n2 ended by itself: LookupError: planted" in run.stdout
    assert "n3 ready" in run.stdout, "the logs of all nodes are shown"
