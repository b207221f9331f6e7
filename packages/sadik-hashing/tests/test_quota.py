"""Quotas: load by weight, within what distinct owners and zones allow."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadik_hashing import Claimant
from sadik_hashing.quota import quotas_of


def nodes_of(*nodes: tuple[str, float]) -> list[Claimant]:
    return [Claimant(b"%d" % i, zone, weight) for i, (zone, weight) in enumerate(nodes)]


@pytest.mark.parametrize(
    ("nodes", "replicas", "due"),
    [
        ([("", 1), ("", 1), ("", 1), ("", 1)], 3, [48, 48, 48, 48]),
        ([("", 3), ("", 1), ("", 1), ("", 1)], 2, [64, 64 / 3, 64 / 3, 64 / 3]),
        ([("", 3), ("", 1), ("", 1), ("", 1)], 1, [32, 32 / 3, 32 / 3, 32 / 3]),
        # Three zones, three owners: one of every partition in each, whatever the weights.
        ([("a", 1), ("a", 3), ("b", 1), ("c", 9)], 3, [16, 48, 64, 64]),
        # Two zones: at least one owner in each.
        ([("a", 1), ("a", 1), ("a", 1), ("b", 1)], 3, [128 / 3, 128 / 3, 128 / 3, 64]),
        # Four zones, three owners: a heavy zone takes one of each at most.
        ([("a", 9), ("a", 9), ("b", 1), ("c", 1), ("d", 2)], 3, [32, 32, 32, 32, 64]),
        ([("a", 1)], 3, [64]),
    ],
)
def test_examples(nodes: list[tuple[str, float]], replicas: int, due: list[float]) -> None:
    assert quotas_of(nodes_of(*nodes), 64, replicas).slots == pytest.approx(due)


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0.01, 100)), min_size=1, max_size=12),
    st.integers(1, 6),
)
@settings(deadline=None)
def test_quotas_add_up_within_their_limits(nodes: list[tuple[str, float]], replicas: int) -> None:
    quotas = quotas_of(nodes_of(*nodes), 64, replicas)
    assert math.isclose(sum(quotas.slots), 64 * quotas.width, abs_tol=1e-4)
    assert sum(quotas.slots_min) <= 64 * quotas.width <= sum(quotas.slots_max)
    assert sum(quotas.firsts_min) <= 64 <= sum(quotas.firsts_max)
    zones = sorted({zone for zone, _ in nodes})
    for zone in zones:
        due = sum(s for s, (z, _) in zip(quotas.slots, nodes, strict=True) if z == zone)
        if len(zones) >= quotas.width:
            assert due <= 64 + 1e-4
        if len(zones) <= quotas.width:
            assert due >= 64 - 1e-4
    for (zone, weight), due in zip(nodes, quotas.slots, strict=True):
        assert 0 <= due <= 64
        for (other_zone, other_weight), other_due in zip(nodes, quotas.slots, strict=True):
            if zone == other_zone and weight >= other_weight:
                assert due >= other_due - 1e-4, "within a zone more weight is not due less"
                if due < 64:
                    assert due * other_weight == pytest.approx(other_due * weight, abs=1e-3)
