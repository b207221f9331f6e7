"""The names of events are an interface: one list, in the code and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from sadik_node.events import EVENTS

ROOT = Path(__file__).parents[3]
SOURCES = [
    *(ROOT / "packages/sadik-node/src").rglob("*.py"),
    *(ROOT / "packages/sadik-members/src/sadik_members/messenger").rglob("*.py"),
]


def test_whatever_is_logged_is_in_the_list_and_the_list_has_nothing_else() -> None:
    named: set[str] = set()
    for source in SOURCES:
        text = source.read_text("utf-8")
        for call in re.findall(r"(?:\.event|\.on_log|self\._write)\(\s*([^)]*)", text):
            head = call.split(",")[0] if "if" not in call else call
            named.update(re.findall(r'"([a-z_]+)"(?= if|,|$| else)', head.split("=")[0]))
            named.update(re.findall(r'else "([a-z_]+)"', head))
        named.update(re.findall(r'_write\(self\._wall\(\), "([a-z_]+)"', text))
    assert named == EVENTS.keys()


def test_the_documentation_shows_every_event_with_its_meaning_and_fields() -> None:
    rows = {}
    for line in (ROOT / "docs/logs.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`"):
            rows[cells[0].strip("`")] = cells[1:]
    shown = {
        name: [kind.meaning, " ".join(f"`{field}`" for field in kind.fields.split()),
               str(kind.limit or "")]
        for name, kind in EVENTS.items()
    }  # fmt: skip
    assert rows == shown
