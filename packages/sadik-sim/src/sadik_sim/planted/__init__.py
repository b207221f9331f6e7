"""Planted bugs: faults that such stores had, switchable, to show that the checks still see them.

The code under test has no switches: planting exchanges methods of its classes while a run lasts.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from sadik_sim.planted import (
    dots,
    durability,
    hints,
    membership,
    merging,
    outcomes,
    quorums,
    reaping,
    ring,
    trees,
    views,
)
from sadik_sim.planted.bug import PlantedBug, exchanged, run_sources

__all__ = ["BUGS", "PlantedBug", "planted", "run_sources"]

_MODULES = (
    durability, dots, merging, quorums, hints, outcomes, membership, trees, views, reaping, ring,
)  # fmt: skip

BUGS: dict[str, PlantedBug] = {bug.name: bug for module in _MODULES for bug in module.BUGS}
"""All planted bugs, by name."""


def planted(name: str) -> AbstractContextManager[None]:
    """Give the code the bug ``name`` for as long as the context lasts.

    Raises:
        KeyError: there is no such bug.
    """
    return exchanged(BUGS[name].plant())
