"""Builds the manual: ``manual.py [TARGET]``, by default build/manual. Warnings are errors.

The pages lie where one finds them in a checkout: in docs/, beside each package, under deploy/. They
are gathered in a tree of the same shape, with the reference made from the code, and Sphinx works on
that; so every link that works in the checkout works in the manual.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from manual_reference import reference_pages

__all__ = ["build", "gather"]

ROOT = Path(__file__).resolve().parents[1]

_PAGES = ("*.md", "docs/**/*.md", "packages/*/README.md", "deploy/**/*.md", "tests/*/README.md")
_ASSETS = ("docs/**/*.png", "docs/**/*.svg", "deploy/**/*.toml", "deploy/**/*.yml",
           "deploy/**/*.json", "LICENSE")  # fmt: skip
_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def gather(target: Path) -> None:
    """Make the tree that Sphinx reads."""
    shutil.rmtree(target, ignore_errors=True)
    gathered = {file for pattern in (*_PAGES, *_ASSETS) for file in ROOT.glob(pattern)}
    for file in sorted(gathered):
        place = target / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            place.write_text(_linked(file, gathered), "utf-8")
        else:
            shutil.copyfile(file, place)
    reference = target / "docs" / "reference"
    reference.mkdir()
    for name, text in reference_pages().items():
        (reference / f"{name}.md").write_text(text + "\n", "utf-8")


def build(target: Path) -> int:
    """Gather and build; Sphinx's exit code."""
    source = target.with_name(target.name + "-source")
    gather(source)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
               "-c", str(ROOT / "docs"), str(source), str(target)]  # fmt: skip
    return subprocess.run(command, check=False).returncode  # noqa: S603 - its own command


def _linked(file: Path, gathered: set[Path]) -> str:
    """The page's text. A link to a directory leads to its README; what is not gathered is named."""

    def linked(found: re.Match[str]) -> str:
        mark, text, path, anchor = found[1], found[2], found[3], found[4] or ""
        if ":" in path:
            return found[0]
        place = (file.parent / path).resolve()
        if place.is_dir() and place / "README.md" in gathered:
            return f"[{text}]({path}/README.md)"
        if place.exists() and place not in gathered:
            return f"{text} (`{place.relative_to(ROOT)}`)"
        return f"{mark}[{text}]({path}{anchor})"

    return _LINK.sub(linked, file.read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "manual"))
