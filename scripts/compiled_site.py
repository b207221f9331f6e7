"""Which code this environment runs: compiled, if there is any of the sources as they are.

``scripts/compile_engine.py`` copies this file into the environment, with a ``.pth`` file that has
Python call `use` whenever it starts, before the packages themselves are on the path. Sources that
have changed since are run as they are, so an edit takes effect at once; so is everything with
``PURE_PYTHON=1``. No more than the standard library is imported, and of that little, for every
program of the environment starts with it.
"""

import os
import sys

__all__ = ["is_current", "line_of", "sources", "use"]


def use(checkout: str) -> None:
    """Put the compiled packages on the path, if they are what the sources are."""
    compiled = os.path.join(checkout, "build", "compiled")
    if not os.environ.get("PURE_PYTHON") and is_current(checkout, compiled):
        sys.path.append(compiled)


def is_current(checkout: str, compiled: str) -> bool:
    """Whether the compiled packages are of this interpreter, and of the sources in ``checkout``."""
    try:
        with open(os.path.join(compiled, "sources"), encoding="utf-8") as file:
            interpreter, *known = file.read().splitlines()
    except OSError:
        return False
    if interpreter != sys.implementation.cache_tag:
        return False
    names = {line.split(" ", 3)[3] for line in known}
    if names != set(sources(checkout, {name.split("/")[1] for name in names})):
        return False
    return all(_is_same(checkout, line) for line in known)


def sources(checkout: str, packages: "set[str]") -> "list[str]":
    """The source files of these packages, by their paths in the checkout."""
    found = []
    for package in sorted(packages):
        waiting = [f"packages/{package}/src"]
        while waiting:
            directory = waiting.pop()
            with os.scandir(os.path.join(checkout, directory)) as entries:
                for entry in entries:
                    if entry.name.endswith(".py"):
                        found.append(f"{directory}/{entry.name}")
                    elif entry.name != "__pycache__" and entry.is_dir():
                        waiting.append(f"{directory}/{entry.name}")
    return found


def line_of(checkout: str, name: str) -> str:
    """What is remembered of a source: its length, when it was written, its hash and its path."""
    path = os.path.join(checkout, name)
    state = os.stat(path)
    return f"{state.st_size} {state.st_mtime_ns} {_hash(path)} {name}"


def _is_same(checkout: str, line: str) -> bool:
    size, written_ns, known_hash, name = line.split(" ", 3)
    path = os.path.join(checkout, name)
    state = os.stat(path)
    if state.st_size != int(size):
        return False
    return state.st_mtime_ns == int(written_ns) or _hash(path) == known_hash


def _hash(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()
