"""Quorums that might not intersect are refused; all others really intersect."""

from itertools import combinations

import pytest

from sadik_machine import LocalProtocolError, NodeId
from sadik_register import Quorums

NODES = tuple(NodeId(bytes([number]) * 8) for number in range(5))


def test_what_is_allowed_is_what_intersects() -> None:
    for phase1 in range(1, 6):
        for phase2 in range(1, 6):
            intersect = all(
                set(one) & set(other)
                for one in combinations(NODES, phase1)
                for other in combinations(NODES, phase2)
            )
            if intersect:
                quorums = Quorums(NODES, phase1, phase2)
                assert not quorums.has_phase1(NODES[: phase1 - 1])
                assert quorums.has_phase1(NODES[:phase1])
                assert not quorums.has_phase2(NODES[: phase2 - 1])
                assert quorums.has_phase2(NODES[:phase2])
            else:
                with pytest.raises(LocalProtocolError):
                    Quorums(NODES, phase1, phase2)


@pytest.mark.parametrize(("count", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_is_more_than_half(count: int, majority: int) -> None:
    quorums = Quorums.majority(NODES[:count])
    assert (quorums.phase1, quorums.phase2) == (majority, majority)


@pytest.mark.parametrize(
    ("acceptors", "phase1", "phase2"),
    [((), 1, 1), ((NODES[0], NODES[0]), 2, 2), (NODES, 6, 6), (NODES, 0, 5), (NODES, 5, 0)],
)
def test_what_cannot_be_is_refused(acceptors: tuple[NodeId, ...], phase1: int, phase2: int) -> None:
    with pytest.raises(LocalProtocolError):
        Quorums(acceptors, phase1, phase2)
