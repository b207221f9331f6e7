"""Shrinking: on predicates whose least plan is known."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import SECOND
from sadik_sim.plan import Options, Plan, draw_plan
from sadik_sim.run import RunResult
from sadik_sim.shrink import Shrinker, reduce_list

BROKEN = "replicas converge"


def result(plan: Plan, *, is_broken: bool) -> RunResult:
    invariant = BROKEN if is_broken else ""
    return RunResult(plan.seed, invariant, "", 10**12, 0, 0, 0, {}, {}, "")


@given(st.lists(st.integers(0, 50), max_size=40), st.sets(st.integers(0, 50), max_size=4))
def test_a_list_is_reduced_to_exactly_what_is_needed(items: list[int], needed: set[int]) -> None:
    needed &= set(items)
    asked: list[list[int]] = []

    def keeps(shorter: list[int]) -> bool:
        asked.append(shorter)
        return needed <= set(shorter)

    kept = reduce_list(items, keeps)
    assert sorted(kept) == sorted(needed)
    assert len(asked) <= 40 + 8 * len(items)


def test_a_plan_is_reduced_to_the_fault_and_the_operations_that_break_it() -> None:
    plan = next(
        plan
        for seed in range(50)
        if len((plan := draw_plan(seed, Options(operations=100))).faults) > 5
    )
    fault = plan.faults[len(plan.faults) // 2]
    one, other = plan.operations[3], plan.operations[5]

    def run(tried: Plan) -> RunResult:
        kinds = [(f.kind, f.at_ns) for f in tried.faults]
        breaks = (
            (fault.kind, fault.at_ns) in kinds
            and one in tried.operations
            and other in tried.operations
        )
        return result(tried, is_broken=breaks)

    shrinker = Shrinker(plan, BROKEN, run=run)
    least = shrinker.shrink()
    assert [f.kind for f in least.faults] == [fault.kind]
    assert least.operations == (one, other)
    assert not any(attrs.astuple(least.network))
    assert least.limits == ()
    assert least.faults[0].duration_ns <= SECOND // 20 or fault.duration_ns < SECOND // 20
    assert least.options.nodes == 5 or f"n{least.options.nodes + 1}" not in fault.nodes
    assert shrinker.result is not None
    assert shrinker.result.invariant == BROKEN


def test_another_invariant_is_not_taken_for_the_same_failure() -> None:
    plan = draw_plan(1, Options(operations=10))
    other = "a dot names one value"
    shrinker = Shrinker(
        plan, BROKEN, run=lambda p: RunResult(p.seed, other, "", 0, 0, 0, 0, {}, {}, "")
    )
    assert shrinker.shrink() == plan


def test_the_budget_of_runs_is_kept() -> None:
    plan = draw_plan(1, Options(operations=200))
    shrinker = Shrinker(plan, BROKEN, run=lambda p: result(p, is_broken=True), runs_max=7)
    shrinker.shrink()
    assert shrinker.runs == 7
