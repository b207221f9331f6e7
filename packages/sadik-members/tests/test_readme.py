"""The example of the README runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs() -> None:
    found = re.search(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", found[1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "16 partitions" in done.stdout
