"""Stored baselines: what the benchmark measured at a commit, to compare later commits with.

``make bench ARGS="--json"`` writes one, named after day and commit, into ``benchmarks/baselines``;
``make bench-compare`` takes the newest of the same kind of machine, for figures of different ones
say nothing about the code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["BASELINES", "file_of", "newest"]

BASELINES = Path(__file__).resolve().parent / "baselines"


def file_of(about: dict[str, Any], directory: Path = BASELINES) -> Path:
    """Where the baseline of a run lies. ``about`` is what `machine` told.

    Raises:
        ValueError: the checkout has changes, so that no commit is what was measured.
    """
    commit = str(about["commit"])
    if not commit or commit.endswith("-dirty"):
        raise ValueError(
            f"a baseline belongs to a commit, and this checkout ({commit or 'of no commit'}) "
            "has changes: commit them, or name a file"
        )
    return directory / f"{str(about['at'])[:10]}-{commit}.json"


def newest(after: dict[str, Any], directory: Path = BASELINES) -> Path | None:
    """The newest baseline of the kind of machine and of engine, compiled or not, that ``after`` is
    of, made at another commit.
    """
    about = after["about"]
    found: list[tuple[str, Path]] = []
    for file in sorted(directory.glob("*.json")):
        known = json.loads(file.read_text("utf-8"))["about"]
        alike = all(known.get(what) == about.get(what) for what in ("kind", "engine"))
        if alike and known["commit"] != about["commit"]:
            found.append((known["at"], file))
    return max(found)[1] if found else None
