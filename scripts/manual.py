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

_PAGES = ("*.md", "docs/**/*.md", "packages/*/README.md", "deploy/**/*.md")
_ASSETS = ("docs/**/*.png", "docs/**/*.svg", "deploy/**/*.toml", "deploy/**/*.yml",
           "deploy/**/*.json", "LICENSE")  # fmt: skip
_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def gather(target: Path) -> None:
    """Make the tree that Sphinx reads."""
    shutil.rmtree(target, ignore_errors=True)
    for pattern in (*_PAGES, *_ASSETS):
        for file in sorted(ROOT.glob(pattern)):
            place = target / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".md":
                place.write_text(_linked(file), "utf-8")
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


def _linked(file: Path) -> str:
    """The page's text. A link to a directory leads to its README; where none is, it is a name."""

    def linked(found: re.Match[str]) -> str:
        mark, text, path, anchor = found[1], found[2], found[3], found[4] or ""
        if ":" in path:
            return found[0]
        place = (file.parent / path).resolve()
        if place.is_dir():
            readme = place / "README.md"
            in_manual = any(readme in ROOT.glob(pattern) for pattern in _PAGES)
            return f"[{text}]({path}/README.md)" if in_manual else f"{text} (`{_name(place)}`)"
        if not place.exists() and "docs/reference" in str(place):
            return found[0]
        return f"{mark}[{text}]({path}{anchor})"

    return _LINK.sub(linked, file.read_text("utf-8"))


def _name(place: Path) -> str:
    return str(place.relative_to(ROOT)) if place.is_relative_to(ROOT) else place.name


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "manual"))
