"""The configuration that operators copy is accepted as it stands, and leaves out no key."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sadik_node.settings import rules_by_key

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy" / "sadik.example.toml"


def keys_of(table: dict[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_shown_and_no_other() -> None:
    # A key that is switched off follows its # at once; a comment has a space there.
    text = re.sub(r"^#(?=[\[a-z])", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(keys_of(tomllib.loads(text))) == sorted(rules_by_key())


def test_the_example_is_accepted() -> None:
    program = Path(sys.executable).parent / "sadik-node"
    command = [str(program), "config", "check", str(EXAMPLE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
