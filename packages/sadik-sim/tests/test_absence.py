"""A node that was away for a day, or comes back with the disk of a day ago, brings nothing back."""

import attrs
import pytest

from sadik_machine import SECOND
from sadik_sim.faults import Fault
from sadik_sim.plan import Options, Plan, draw_plan
from sadik_sim.run import execute
from sadik_sim.streams import Streams
from sadik_sim.workload import draw_operations

DAY_S = 86_400
MINUTE_S = 60


def plan_of(seed: int, kind: str, seconds: int, operations: int) -> Plan:
    """Deletes and values that expire all the time, and one node that is not there."""
    options = Options(seconds=seconds + 20, operations=operations, profile="quiet")
    drawn = draw_operations(
        Streams(seed).workload,
        count=operations,
        clients=options.clients,
        keys=options.keys,
        nodes=options.nodes,
        length_ns=options.seconds * SECOND,
        may_ask_one=False,
    )
    away = Fault(10 * SECOND, kind, ("n3",), seconds * SECOND)
    plan = draw_plan(seed, attrs.evolve(options, operations=0))
    return attrs.evolve(plan, operations=tuple(drawn), faults=(away,))


@pytest.mark.parametrize("kind", ["away", "old_copy"])
def test_a_minute(kind: str) -> None:
    result = execute(plan_of(1, kind, MINUTE_S, 1500))
    assert result.invariant == "", result.detail
    assert result.happened["record reaped"] > 0


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["away", "old_copy"])
def test_a_day(kind: str) -> None:
    # Nearly the times of a real node: a run's own, which are short, would be most of what happens.
    limits = (("tombstone_ns", 10 * SECOND), ("reap_pace_ns", SECOND))
    result = execute(attrs.evolve(plan_of(2, kind, DAY_S, 6000), limits=limits))
    assert result.invariant == "", result.detail
    assert result.happened["record reaped"] > 0
    if kind == "old_copy":
        assert result.happened["engine: rollbacks"] == 1
