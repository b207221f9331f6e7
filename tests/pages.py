"""The blocks of a page, and what the comment above one says about running it.

A comment of Markdown's own (``<!-- … -->``) directly above a block, which no reader sees, says how
a test runs it, or why none does:

- ``not run: REASON``: a reader can run it, a test cannot;
- ``first: COMMAND``: what the reader is taken to have done; run before the block;
- ``new cluster``: run beside another, empty cluster;
- ``in the background``: the command goes on until the page ends;
- ``until it succeeds``: the reader would try again;
- ``exit code: N``: the commands fail, and are meant to;
- ``output differs: REASON``: what is shown below the commands is an example;
- ``prints``: not commands, but what the block before prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from attrs import Factory, define

__all__ = ["COMMANDS", "ROOT", "Block", "blocks_of", "is_as_printed", "pages"]

ROOT: Final = Path(__file__).resolve().parents[1]
COMMANDS: Final = frozenset({"console", "sh", "python", "py"})
"""Languages that somebody can run."""
NOTES: Final = ("not run", "first", "new cluster", "in the background", "until it succeeds",
                "exit code", "output differs", "prints")  # fmt: skip
_WITH_TEXT: Final = ("not run", "first", "exit code", "output differs")
_NOTE: Final = re.compile(r"<!-- (.*) -->")
_FENCE: Final = re.compile(r"( *)```(\S*)")
_PAGES: Final = ("*.md", "docs/**/*.md", "packages/*/README.md", "deploy/**/*.md",
                 "tests/*/README.md", "benchmarks/*.md")  # fmt: skip


@define
class Block:
    """One fenced block, where it begins, and its notes by kind."""

    page: str
    line: int
    language: str
    text: str
    notes: dict[str, str] = Factory(dict)

    def __str__(self) -> str:
        """Where it is, as an editor takes it."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that the manual is made of, and those beside it."""
    return sorted({page for pattern in _PAGES for page in ROOT.glob(pattern)})


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order. ValueError where a note is none of the above."""
    blocks: list[Block] = []
    name = str(page.relative_to(ROOT))
    notes: dict[str, str] = {}
    inside: Block | None = None
    indent = ""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is not None:
            if line.strip() == "```":
                blocks.append(inside)
                inside, notes = None, {}
            else:
                inside.text += line.removeprefix(indent) + "\n"
        elif fence is not None:
            indent = fence[1]
            inside = Block(name, number, fence[2], "", notes)
        elif note := _NOTE.fullmatch(line.strip()):
            kind, _, text = note[1].partition(": ")
            if kind not in NOTES or bool(text) != (kind in _WITH_TEXT):
                raise ValueError(f"{name}:{number}: no such note: {note[1]}")
            notes[kind] = text
        elif notes:
            raise ValueError(f"{name}:{number}: a note stands directly above its block")
    return blocks


def is_as_printed(printed: str, output: str) -> bool:
    """Whether an output is what a page shows. There ``…`` stands for whatever may be left out: in a
    line for a part of it, alone for any lines."""
    pattern = ""
    for line in printed.rstrip("\n").splitlines():
        if line.strip() in ("…", "..."):
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split("…"))) + r"[ ]*\n"
    return re.fullmatch(pattern, output.rstrip("\n") + "\n") is not None
