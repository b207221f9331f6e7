"""What a change of members would move, without moving it."""

from __future__ import annotations

from sadik_hashing import Claimant, claim, minimum_moves, moves
from sadik_machine import NodeId
from sadik_members import claimants
from sadik_vnode.placement import Placement
from sadik_vnode.requests import Plan, PlanResult

__all__ = ["what_if"]


def what_if(placement: Placement, plan: Plan) -> PlanResult:
    """The moves from the present map to that of the members that there would be."""
    ring = placement.ring
    assert ring is not None, "a node without a ring takes no requests"
    nodes = [node for node in claimants(placement.members) if NodeId(node.id) not in plan.going]
    nodes += [Claimant(name.encode(), zone, weight) for name, zone, weight in plan.joining]
    present = tuple(register.settled for register in ring.registers)
    if not nodes:
        return PlanResult((), 0, {}, "no member would be left")
    if len({node.id for node in nodes}) < len(nodes):
        return PlanResult((), 0, {}, "two nodes would be called the same")
    target = claim(nodes, ring.partitions, ring.replicas, present)
    found = [(move.partition, move.giver, move.receiver) for move in moves(present, target)]
    slots: dict[bytes, tuple[int, int]] = {}
    everyone = dict.fromkeys([*(o for row in present for o in row), *(n.id for n in nodes)])
    for node in everyone:
        slots[node] = (sum(node in row for row in present), sum(node in row for row in target))
    least = minimum_moves(nodes, ring.partitions, ring.replicas, present)
    return PlanResult(found, least, slots)
