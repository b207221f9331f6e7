"""Schedules that once failed, shrunk: they pass, and those of planted bugs fail with the bug.

Each file of ``regressions/`` is a plan. One without a bug is of a defect that was in the code once.
One with a bug shows that its invariant is still watched: planted, it breaks; not planted, it holds.
"""

from functools import cache
from pathlib import Path

import attrs
import pytest

from sadik_sim.plan import plan_from_json
from sadik_sim.run import execute
from sadik_sim.violation import INVARIANTS

pytestmark = pytest.mark.system

DIRECTORY = Path(__file__).resolve().parents[1] / "regressions"
FILES = sorted(DIRECTORY.glob("*.json"))
PLANS = {path.stem: plan_from_json(path.read_text("utf-8")) for path in FILES}
PLANTED = {name: plan for name, plan in PLANS.items() if plan.bug}

WATCHED_ELSEWHERE = {"a register has one value", "no departed node in a list"}
"""Invariants that no bug can break in a run of a cluster: test_registers.py and test_checks.py show
that they are watched."""

WITHOUT_A_SCHEDULE = {
    "everybody answers when faults stop",
    "members and ring converge",
    "no node twice in a list",
}
"""Invariants whose schedules went with the faults that they were made of, when owners came to
decide the ring: no planted bug breaks them in a run yet."""


@pytest.mark.parametrize("name", PLANS)
def test_the_schedule_passes(name: str) -> None:
    result = execute(attrs.evolve(PLANS[name], bug=""))
    assert result.invariant == "", result.detail


@cache
def broken_with_its_bug(name: str) -> str:
    return execute(PLANTED[name]).invariant


@pytest.mark.parametrize("name", PLANTED)
def test_the_schedule_fails_with_its_bug(name: str) -> None:
    assert name == f"planted-{PLANTED[name].bug}"
    assert broken_with_its_bug(name) in INVARIANTS


def test_every_invariant_has_a_schedule_that_breaks_it() -> None:
    watched = {broken_with_its_bug(name) for name in PLANTED}
    assert sorted(set(INVARIANTS) - watched - WATCHED_ELSEWHERE) == sorted(WITHOUT_A_SCHEDULE)
