"""docs/security.md: its commands make a cluster, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from real_cluster import free_base_port

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def commands() -> str:
    """The shell blocks of the guide, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    return "".join(blocks)


def test_what_the_guide_shows_works(tmp_path: Path) -> None:
    base = free_base_port([0, 1, 10, 11, 20, 21])
    script = commands()
    for offset in (0, 1, 10, 20):
        script = script.replace(str(7070 + offset), str(base + offset))
    # The nodes end with the shell, however it ends.
    script = f"set -eu\ntrap 'kill $(jobs -p); wait' EXIT\n{script}"
    programs = Path(sys.executable).parent
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SADIK_NODE": f"http://127.0.0.1:{base}",
    }
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    logs = "".join(file.read_text("utf-8")[-2000:] for file in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "world" in done.stdout
    # While the ring is being formed a key may have fewer owners than it is going to have.
    told = [line.rpartition(" ") for line in done.stderr.splitlines()]
    assert [what for what, _, _ in told] == ["stored notes/hello, acknowledged by"] * 2
    assert {by for _, _, by in told} <= {"1", "2"}
    assert "insecure" not in logs
