"""A copy of the engine with one line broken: a campaign finds it, and says where to look."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sadik_vnode

pytestmark = pytest.mark.system

SOUND = "self._desk.replica.take(key, incoming, no_rows, [Send(sender, ack)], None, failed)"
BROKEN = (
    "self._desk.outbox.send(sender, ack); "
    "self._desk.replica.take(key, incoming, no_rows, [], None, failed)"
)


def test_an_acknowledgement_before_the_store_is_found_and_its_line_is_told(tmp_path: Path) -> None:
    engine = tmp_path / "sadik_vnode"
    shutil.copytree(Path(sadik_vnode.__file__).parent, engine)
    path = engine / "serving.py"
    text = path.read_text("utf-8")
    assert text.count(SOUND) == 1
    path.write_text(text.replace(SOUND, BROKEN), "utf-8")
    line = 1 + text[: text.index(SOUND)].count("\n")
    search_path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": search_path}

    def sim(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sadik_sim", *words],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip

    found = sim("run", "--seeds", "200", "--failures", "1", "--jobs", "1")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "nothing leaves before it is on disk" in found.stdout
    [replay, *_] = [t for t in found.stdout.splitlines() if t.startswith("  replay:  sadik-sim ")]
    told = sim(*replay.split()[2:])
    assert told.returncode == 1
    assert f"sadik_vnode/serving.py:{line} in Serving._merge" in told.stdout
