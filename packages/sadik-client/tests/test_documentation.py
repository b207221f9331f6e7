"""The examples of the guide, as a reader would run them, against nodes that keep the contract."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fake_cluster import serving

PACKAGE = Path(__file__).resolve().parents[1]
GUIDE = PACKAGE.parents[1] / "docs" / "client.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = BLOCK.findall(GUIDE.read_text("utf-8"))


def run_alone(script: Path) -> subprocess.CompletedProcess[str]:
    """Run a script; a warning is an error."""
    command = [sys.executable, "-W", "error", str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n", 1)[0][:40])
def test_an_example_of_the_guide_runs(example: str, tmp_path: Path) -> None:
    with serving(2) as cluster:
        script = tmp_path / "example.py"
        script.write_text(example.replace("http://127.0.0.1:7070", cluster.nodes[0].url), "utf-8")
        run = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (run.returncode, run.stderr) == (0, "")
    if "Count words" in example:
        assert "the 2\n" in run.stdout
    if "photos" in example:
        assert "b'2026/cat'" in run.stdout


def test_the_guide_has_its_examples() -> None:
    assert len(EXAMPLES) >= 10


def test_the_program_of_the_guide_is_short() -> None:
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) <= 30


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = BLOCK.findall((PACKAGE / "README.md").read_text("utf-8"))
    script = tmp_path / "example.py"
    script.write_text(example, "utf-8")
    run = run_alone(script)
    assert (run.returncode, run.stderr) == (0, "")
    assert "never written is not there" in run.stdout
