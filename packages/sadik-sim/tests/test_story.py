"""Reports: what a stranger is told of a failing run."""

import pytest

from sadik_sim.plan import Options, draw_plan
from sadik_sim.report import failure_lines, options_words, replay_lines
from sadik_sim.run import execute

pytestmark = pytest.mark.system

QUICK = Options(seconds=6, operations=200)


def test_a_broken_run_is_told_with_rule_place_and_story() -> None:
    lines, result = replay_lines(draw_plan(3, QUICK, "ack-before-store"))
    text = "\n".join(lines)
    assert result.invariant == "nothing leaves before it is on disk"
    assert "BROKEN after" in text
    assert "rule:  4:" in text
    assert "when n" in text
    assert "was about to: Send(" in text
    assert "ReplicaAck" in text
    # The acknowledgement was made where a replica serves a write: that is where to look.
    assert "sadik_vnode/serving.py:" in text
    assert "in Serving.write" in text
    assert result.key.decode() in text
    # Who sent what to whom, and what was stored, by names and short dots.
    assert "takes from n" in text
    assert "is asked #" in text
    assert ":1:1=" in text
    assert lines[-1] == f"trace {result.trace}"


def test_a_run_that_breaks_nothing_says_so() -> None:
    lines, result = replay_lines(draw_plan(3, QUICK))
    assert result.invariant == ""
    assert any("no invariant broken" in line for line in lines)
    assert lines[-1] == f"trace {result.trace}"


def test_a_replay_comes_to_the_same_as_the_campaign() -> None:
    plan = draw_plan(3, QUICK, "siblings-explode")
    _, replayed = replay_lines(plan)
    first = execute(plan)
    assert (replayed.invariant, replayed.detail, replayed.at_ns) == (
        first.invariant, first.detail, first.at_ns,
    )  # fmt: skip


def test_a_failure_of_a_campaign_says_how_to_see_it_again() -> None:
    result = execute(draw_plan(3, QUICK, "ack-before-store"))
    lines = failure_lines(result, QUICK, "ack-before-store")
    words = "--seconds 6 --operations 200 --bug ack-before-store"
    assert lines[0] == "seed 3 FAILED: nothing leaves before it is on disk"
    assert f"  replay:  sadik-sim replay 3 {words}" in lines
    assert f"  shrink:  sadik-sim shrink 3 {words}" in lines
    assert any(line.startswith("  commit:  ") for line in lines)


def test_default_options_need_no_words() -> None:
    assert options_words(Options()) == ""
    assert options_words(Options(nodes=3, profile="quiet")) == "--nodes 3 --profile quiet"
