"""What a planted bug is, and how it is planted: attributes exchanged while a run lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import Factory, frozen

__all__ = ["Patch", "PlantedBug", "exchanged"]

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
    """Exchange attributes, and put back what was there."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
