"""Plans: what a change of assignment would move, and how well an assignment is balanced."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sadik_hashing.claimant import Assignment, Claimant, in_order
from sadik_hashing.quota import quotas_of
from sadik_hashing.tokens import Partitions


@dataclass(frozen=True, slots=True)
class Move:
    """One owner slot that passes from one node to another.

    ``position`` is the receiver's place in the new list, or without a receiver the giver's place
    in the old one. ``giver`` is None where a list grows, ``receiver`` where it shrinks.
    """

    partition: int
    position: int
    giver: bytes | None
    receiver: bytes | None


def moves(before: Assignment, after: Assignment) -> list[Move]:
    """Return the slots that change their node, by partition and position.

    A receiver is paired with the giver that stood in its place, else with another giver of the
    partition. Owners that only change places in a list move no data and are not listed:
    ``reordered`` finds them. Raises ``ValueError`` for different numbers of partitions.
    """
    found: list[Move] = []
    for partition, (old, new) in enumerate(zip(before, after, strict=True)):
        givers = {position: node for position, node in enumerate(old) if node not in new}
        receivers = {position: node for position, node in enumerate(new) if node not in old}
        row: list[Move] = []
        unpaired: list[int] = []
        for position, receiver in receivers.items():
            giver = givers.pop(position, None)
            if giver is None:
                unpaired.append(position)
            else:
                row.append(Move(partition, position, giver, receiver))
        for position in unpaired:
            giver = givers.pop(min(givers)) if givers else None
            row.append(Move(partition, position, giver, receivers[position]))
        row.extend(Move(partition, position, giver, None) for position, giver in givers.items())
        found.extend(sorted(row, key=lambda move: (move.position, move.receiver is None)))
    return found


def reordered(before: Assignment, after: Assignment) -> list[int]:
    """Return the partitions that keep all their owners, but in another order.

    Raises ``ValueError`` for different numbers of partitions.
    """
    return [
        partition
        for partition, (old, new) in enumerate(zip(before, after, strict=True))
        if old != new and sorted(old) == sorted(new)
    ]


def minimum_moves(
    claimants: Iterable[Claimant], partitions: int, replicas: int, present: Assignment
) -> int:
    """Return a number of slots that any plan must move to new owners.

    Any plan, that is, which obeys the zone rule and gives each node its quota to within one slot.
    It is a lower bound, and mostly the least number itself: the greatest of what nodes lack, what
    they have too much, and the slots that stand empty, or must be emptied for a zone to get its
    part. Arguments and errors as for ``claim``.
    """
    count = Partitions(partitions).count
    nodes = in_order(claimants)
    if len(present) != count:
        raise ValueError(f"the present assignment has {len(present)} partitions, not {count}")
    quotas = quotas_of(nodes, count, replicas)
    zone_of = {node.id: node.zone for node in nodes}
    slots = dict.fromkeys(zone_of, 0)
    zone_lacks = dict.fromkeys(zone_of.values(), 0)
    for claimant, due in zip(nodes, quotas.slots_min, strict=True):
        zone_lacks[claimant.zone] += due
    zone_slots_max = quotas.width - quotas.spread + 1
    empty = 0
    for ids in present:
        row = dict.fromkeys(node for node in ids if node in zone_of)
        zones = [zone_of[node] for node in row]
        for node in row:
            slots[node] += 1
        kept = min(len(row), quotas.width - (quotas.spread - len(set(zones))))
        empty += quotas.width - kept
        for zone in zone_lacks:
            # What a zone has here, or could get without taking a slot that may stay.
            had = zones.count(zone)
            zone_lacks[zone] -= had + max(0, min(quotas.width - kept, zone_slots_max - had))
    loads = list(slots.values())
    lacked = sum(max(0, due - load) for load, due in zip(loads, quotas.slots_min, strict=True))
    spare = sum(max(0, load - due) for load, due in zip(loads, quotas.slots_max, strict=True))
    return max(
        lacked,
        empty + sum(max(0, lacks) for lacks in zone_lacks.values()),
        spare + count * quotas.width - sum(loads),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """How evenly something is spread: ``mean`` and ``most`` are per unit of weight.

    With equal weights the unit is one node, so they are numbers of slots.
    """

    mean: float
    most: float

    @property
    def efficiency(self) -> float:
        """Mean by maximum, Dynamo's measure (section 6.2): 1 is perfect, 1/2 is a node with
        twice its share.
        """
        return self.mean / self.most if self.most else 1.0


@dataclass(frozen=True, slots=True)
class Balance:
    """How even an assignment is: replica slots, first-owner slots, and zones.

    ``zones_min`` and ``zones_max`` are the least and the greatest number of distinct zones among
    a partition's owners.
    """

    replica: Load
    first: Load
    zones_min: int
    zones_max: int


def balance_of(assignment: Assignment, claimants: Iterable[Claimant]) -> Balance:
    """Return how even an assignment is over the claimants.

    Raises ``ValueError`` without claimants or for an assignment without partitions, and
    ``KeyError`` for an owner that is no claimant.
    """
    nodes = in_order(claimants)
    if not assignment:
        raise ValueError("an assignment needs at least one partition")
    zone_of = {node.id: node.zone for node in nodes}
    slots = dict.fromkeys(zone_of, 0)
    firsts = dict.fromkeys(zone_of, 0)
    zones: list[int] = []
    for owners in assignment:
        for node in owners:
            slots[node] += 1
        for node in owners[:1]:
            firsts[node] += 1
        zones.append(len({zone_of[node] for node in owners}))
    return Balance(
        replica=_load(nodes, [slots[node.id] for node in nodes]),
        first=_load(nodes, [firsts[node.id] for node in nodes]),
        zones_min=min(zones),
        zones_max=max(zones),
    )


def _load(nodes: Sequence[Claimant], loads: Sequence[int]) -> Load:
    return Load(
        mean=sum(loads) / math.fsum(node.weight for node in nodes),
        most=max(load / node.weight for node, load in zip(nodes, loads, strict=True)),
    )
