"""The vnode-to-node map: reading a `Ring` from the side of nodes.

A vnode is one node's replica of one partition. Owner slots are ordered, the first owner first.
"""

from __future__ import annotations

from collections.abc import Mapping

from sadik_hashing import Claimant
from sadik_machine import NodeId
from sadik_members.view import Member, MemberState, Ring

__all__ = ["claimants", "first_owned_by", "slot_of", "vnodes_by_node"]


def vnodes_by_node(ring: Ring) -> dict[NodeId, list[int]]:
    """The partitions that each owner has a replica of, ascending; nodes in ascending order of id.

    Made in one pass; for a single node `Ring.owned_by` says the same.
    """
    vnodes: dict[NodeId, list[int]] = {}
    for partition, register in enumerate(ring.registers):
        for owner in register.owners:
            vnodes.setdefault(owner, []).append(partition)
    return {node: vnodes[node] for node in sorted(vnodes)}


def first_owned_by(ring: Ring, node: NodeId) -> list[int]:
    """The partitions whose first owner is ``node``, ascending."""
    return [p for p, register in enumerate(ring.registers) if register.owners[:1] == (node,)]


def slot_of(ring: Ring, partition: int, node: NodeId) -> int | None:
    """Which owner slot of ``partition`` is ``node``'s: 0 for the first owner, None for none."""
    owners = ring.registers[partition].owners
    return owners.index(node) if node in owners else None


def claimants(members: Mapping[NodeId, Member]) -> list[Claimant]:
    """The members that may own partitions, in ascending order of id: those that are up.

    One that was taken in and has not said so itself yet may never come.
    """
    return [
        Claimant(member.id, member.zone, member.weight)
        for _, member in sorted(members.items())
        if member.state is MemberState.UP
    ]
