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
HOUR_S = 3_600
MINUTE_S = 60


NEAR_REAL = (("tombstone_ns", 10 * SECOND), ("reap_pace_ns", SECOND))
"""Nearly the times of a real node: a run's own, which are short, would be most of what happens."""


def plan_of(seed: int, kind: str, seconds: int, operations: int, from_s: int = 10) -> Plan:
    """Deletes and values that expire all the time, and one node that is not there, or whose disk
    is copied, ``from_s`` after the beginning.
    """
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
    away = Fault(from_s * SECOND, kind, ("n3",), (10 + seconds - from_s) * SECOND)
    plan = draw_plan(seed, attrs.evolve(options, operations=0))
    return attrs.evolve(plan, operations=tuple(drawn), faults=(away,))


@pytest.mark.parametrize("kind", ["away", "old_copy"])
def test_a_minute(kind: str) -> None:
    result = execute(plan_of(1, kind, MINUTE_S, 1500))
    assert result.invariant == "", result.detail
    assert result.happened["record reaped"] > 0


@pytest.mark.parametrize(("from_s", "rollbacks"), [(10, 0), (300, 1)])
def test_an_old_copy_is_noticed_where_it_has_records(from_s: int, rollbacks: int) -> None:
    # So early the copy has no record: nothing that the owners could lack, and nothing to notice.
    plan = plan_of(2, "old_copy", 900, 63, from_s)
    result = execute(attrs.evolve(plan, limits=NEAR_REAL))
    assert result.invariant == "", result.detail
    assert result.happened["old copy put back"] == 1
    assert result.happened.get("engine: rollbacks", 0) == rollbacks


def test_what_waits_for_a_minute_is_reaped_within_two_proofs() -> None:
    limits = (("tombstone_ns", MINUTE_S * SECOND), ("reap_pace_ns", SECOND))
    result = execute(attrs.evolve(plan_of(2, "away", 900, 300, 300), limits=limits))
    assert result.invariant == "", result.detail
    assert result.happened["record reaped"] > 0


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["away", "old_copy"])
def test_a_day_in_which_nodes_join_and_one_dies_and_is_removed(kind: str) -> None:
    # A copy of the first minutes would have no record yet: one request comes in 14 s.
    plan = plan_of(2, kind, DAY_S, 6000, from_s=30 * MINUTE_S)
    changes = (
        Fault(6 * HOUR_S * SECOND, "join", ("n6",), 0),
        Fault((6 * HOUR_S + 1) * SECOND, "join", ("n7",), 0),
        Fault(15 * HOUR_S * SECOND, "remove", ("n2",), 0),
    )
    result = execute(attrs.evolve(plan, limits=NEAR_REAL, faults=(*plan.faults, *changes)))
    assert result.invariant == "", result.detail
    assert result.happened["record reaped"] > 0
    assert result.happened["node joined"] == 2
    assert result.happened["node removed"] == 1
    if kind == "old_copy":
        assert result.happened["engine: rollbacks"] == 1
