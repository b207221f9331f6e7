"""What a planted bug is, and how it is planted: attributes exchanged while a run lasts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import Factory, frozen

import sadik_vnode

__all__ = ["Patch", "PlantedBug", "exchanged", "run_sources"]

Patch = tuple[object, str, Any]
"""An object (a class, a module), the name of an attribute, and what stands there instead."""


@frozen
class PlantedBug:
    """One fault that the code could have. ``plant`` gives the patches that give it that fault.

    ``row`` is its line in the list of faults that such stores had (docs/simulator.md), 0 for one
    that has no line of its own; ``what`` is one sentence. ``options`` are fields of
    `sadik_sim.plan.Options` that suit it.
    ``found_by`` names the unit test that finds it, where no seed does.
    """

    name: str
    row: int
    what: str
    plant: Callable[[], list[Patch]]
    options: Mapping[str, Any] = Factory(dict)
    found_by: str = ""


@contextmanager
def exchanged(patches: list[Patch]) -> Iterator[None]:
    """Exchange attributes, and put back what was there.

    Raises:
        RuntimeError: the code is compiled, so that calls would not find what was exchanged.
    """
    if _is_compiled():
        raise RuntimeError("bugs cannot be planted in compiled code: set PURE_PYTHON=1")
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def run_sources() -> None:
    """Have this program begin anew with interpreted code, if that under test is compiled: calls
    between compiled functions do not look up what they call, so nothing can be exchanged there.
    """
    if _is_compiled():
        again = [sys.executable, "-m", "sadik_sim", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PURE_PYTHON": "1"})  # noqa: S606


def _is_compiled() -> bool:
    return not str(sadik_vnode.__file__).endswith(".py")
