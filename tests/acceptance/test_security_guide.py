"""docs/security.md: its commands make a cluster and protect it, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from console_tour import Step, console_steps
from real_cluster import free_base_port

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
FENCE = re.compile(r"^```(sh|console)\n.*?^```$", re.DOTALL | re.MULTILINE)
OFFSETS = [0, 1, 2, 10, 11, 12, 20, 21, 22]


def in_ten_minutes() -> str:
    """The sections of the guide that are to be followed step by step."""
    parts = re.split(r"^(?=## )", GUIDE.read_text("utf-8"), flags=re.MULTILINE)
    chosen = [part for part in parts if part.startswith("## In ten minutes")]
    assert len(chosen) == 2
    return "".join(chosen)


def as_script(document: str) -> tuple[str, list[Step]]:
    """Its commands in one script, and those whose output is shown.

    The *i*-th of these writes it to the file ``told-<i>``, and may fail: that is what is shown.
    """
    script: list[str] = []
    shown: list[Step] = []
    for fence in FENCE.finditer(document):
        block = fence[0]
        if fence[1] == "sh":
            script.append(block.removeprefix("```sh\n").removesuffix("```"))
            continue
        for step in console_steps(f"{block}\n"):
            assert step.printed, f"nothing is shown of {step.command!r}"
            script.append(f"{{ {step.command}\n}} > told-{len(shown)} 2>&1 || true\n")
            shown.append(step)
    return "".join(script), shown


def is_like(printed: str, shown: str) -> bool:
    """Whether it is what is shown, where ``…`` stands for the rest of a line."""
    pattern = "[^\n]*".join(map(re.escape, shown.strip().split("…")))
    return re.fullmatch(pattern, printed.replace("\r", "").strip()) is not None


def test_what_the_guide_shows_works(tmp_path: Path) -> None:
    base = free_base_port(OFFSETS)
    document = in_ten_minutes()
    for offset in OFFSETS:
        document = document.replace(str(7070 + offset), str(base + offset))
    script, shown = as_script(document)
    assert len(shown) >= 6
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
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    logs = "".join(file.read_text("utf-8")[-2000:] for file in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    for number, step in enumerate(shown):
        printed = (tmp_path / f"told-{number}").read_text("utf-8")
        assert is_like(printed, step.printed), (step.command, printed)
    assert "world" in done.stdout
    assert "milk" in done.stdout
    # While the ring is being formed a key may have fewer owners than it is going to have.
    told = [line.rpartition(" ") for line in done.stderr.splitlines() if line.startswith("stored ")]
    assert [what for what, _, _ in told] == [
        "stored notes/hello, acknowledged by",
        "stored notes/hello, acknowledged by",
        "stored shop-carts/ada, acknowledged by",
    ]
    assert {by for _, _, by in told} <= {"1", "2"}
    for listener in ("http", "admin", "peer"):
        said = re.search(rf'timestamp_seconds{{listener="{listener}"}} (\S+)', done.stdout)
        assert said is not None, done.stdout
        assert float(said[1]) > 0, f"the certificate at listen.{listener} has an end"
    assert "insecure" not in logs
    for name in ("shop.token", "operator.token"):
        token = (tmp_path / name).read_text("utf-8").strip()
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
        assert all(token not in file.read_text("utf-8") for file in tmp_path.glob("*.log"))
        assert token not in (tmp_path / "tokens.toml").read_text("utf-8")
