"""Plans: drawn from a seed, kept in files."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadik_machine import SECOND
from sadik_sim.faults import KINDS, LOSING_KINDS, over_at, spares_notes
from sadik_sim.plan import LIMITS, PROFILES, Options, draw_plan, plan_from_json, plan_to_json
from sadik_vnode import EngineConfig

SMALL = Options(seconds=5, operations=40)


@given(st.integers(0, 1 << 40), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=25)
def test_a_plan_comes_back_from_its_file(seed: int, profile: str) -> None:
    plan = draw_plan(seed, attrs.evolve(SMALL, profile=profile), "ack-before-store")
    assert plan_from_json(plan_to_json(plan)) == plan


@given(st.integers(0, 1 << 40))
@settings(max_examples=25)
def test_a_seed_draws_one_plan_within_its_options(seed: int) -> None:
    plan = draw_plan(seed, SMALL)
    assert plan == draw_plan(seed, SMALL)
    assert len(plan.operations) == SMALL.operations
    names = {f"n{number + 1}" for number in range(SMALL.nodes)}
    for fault in plan.faults:
        assert fault.kind in KINDS
        assert set(fault.nodes) <= names
        assert 0 <= fault.at_ns < SMALL.seconds * SECOND
    losing = [fault for fault in plan.faults if fault.kind in LOSING_KINDS]
    assert len({fault.nodes for fault in losing}) <= 1, "one node a run may lose what it had"
    assert [fault.kind for fault in losing].count("old_copy") <= 1
    assert all(o.at_ns < SMALL.seconds * SECOND for o in plan.operations)


def test_writes_ask_for_more_than_one_copy_beside_a_fault_that_loses_one() -> None:
    plans = [draw_plan(seed, SMALL) for seed in range(200)]
    losing = [p for p in plans if any(f.kind in LOSING_KINDS for f in p.faults)]
    others = [p for p in plans if p not in losing]
    assert losing
    assert others
    assert not any(("w", 1) in o.options for p in losing for o in p.operations)
    assert any(("w", 1) in o.options for p in others for o in p.operations)


def test_the_quiet_profile_has_no_faults() -> None:
    plan = draw_plan(3, attrs.evolve(SMALL, profile="quiet"))
    assert plan.faults == ()
    assert plan.limits == ()
    assert not any(attrs.astuple(plan.network))


def test_limits_are_fields_of_the_engine_or_of_the_world() -> None:
    fields = {field.name for field in attrs.fields(EngineConfig)}
    assert set(LIMITS) - fields == {"delay_ns", "load_ns"}


def test_faults_are_over_when_their_aftermath_is() -> None:
    plans = [draw_plan(seed, SMALL) for seed in range(20)]
    for plan in plans:
        losing = [fault for fault in plan.faults if fault.kind == "old_copy"]
        assert over_at(plan.faults) >= max((f.at_ns + f.duration_ns for f in losing), default=0)
    assert over_at(()) == 0
    assert spares_notes(())
    assert any(not spares_notes(plan.faults) for plan in plans)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99, "seed": 1}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"plan|format|Expecting"):
        plan_from_json(text)
