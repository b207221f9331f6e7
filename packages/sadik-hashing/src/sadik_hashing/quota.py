"""Quotas: how many owner slots each node is due, before any partition is looked at.

Load goes by weight, like water finding its level: a node's due is the level times its weight,
until a limit stops it. The limits come from the rules of placement. A node takes at most one slot
of a partition. The owners of a partition lie in as many zones as can be, so each zone takes at
most one slot of every partition if there are more zones than owners, and at least one if there
are fewer.

The dues are fractions. Rounding each down or up can always be met exactly: spreading every
partition in the same proportions meets all limits, it is a flow, and a flow with whole limits has
a whole solution. The same holds for first owners, who are due one N-th of the slots.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sadik_hashing.claimant import Claimant

_WHOLE: Final = 1e-6
"""A due this close to a whole number is that number: the rest is rounding of floats."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """Per node, in the order given: the due, and its two roundings; slots, then first owners."""

    width: int
    """N: owners per partition, fewer than asked for if there are fewer nodes."""
    spread: int
    """Distinct zones among the owners of every partition."""
    slots: tuple[float, ...]
    slots_min: tuple[int, ...]
    slots_max: tuple[int, ...]
    firsts: tuple[float, ...]
    firsts_min: tuple[int, ...]
    firsts_max: tuple[int, ...]


def quotas_of(nodes: Sequence[Claimant], partitions: int, replicas: int) -> Quotas:
    """Return what each node is due of ``partitions`` with ``replicas`` owners each.

    Raises ``ValueError`` if ``replicas`` is less than 1.
    """
    if replicas < 1:
        raise ValueError(f"replicas must be at least 1, not {replicas}")
    width = min(replicas, len(nodes))
    zones: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        zones.setdefault(node.zone, []).append(index)
    spread = min(width, len(zones))
    slots = _slots(nodes, list(zones.values()), partitions, width, spread)
    firsts = tuple(_whole(due / width) for due in slots)
    return Quotas(
        width=width,
        spread=spread,
        slots=slots,
        slots_min=tuple(math.floor(due) for due in slots),
        slots_max=tuple(math.ceil(due) for due in slots),
        firsts=firsts,
        firsts_min=tuple(math.floor(due) for due in firsts),
        firsts_max=tuple(math.ceil(due) for due in firsts),
    )


def _slots(
    nodes: Sequence[Claimant], zones: list[list[int]], partitions: int, width: int, spread: int
) -> tuple[float, ...]:
    heaviest = max(node.weight for node in nodes)
    # Dividing by the heaviest keeps sums finite; a weight too small beside it must not become 0.
    weights = [max(node.weight / heaviest, 1e-300) for node in nodes]
    level_max = partitions / min(weights)
    zone_min = partitions if len(zones) == spread else 0
    slots = [0.0] * len(nodes)

    def zone_max(zone: list[int]) -> int:
        return partitions * min(len(zone), width - spread + 1)

    def zone_load(zone: list[int], level: float) -> float:
        return math.fsum(min(partitions, level * weights[index]) for index in zone)

    def zone_due(zone: list[int], level: float) -> float:
        return min(max(zone_load(zone, level), zone_min), zone_max(zone))

    def load(level: float) -> float:
        return math.fsum(zone_due(zone, level) for zone in zones)

    level = _level(load, partitions * width, level_max)
    for zone in zones:
        zone_level = _level(partial(zone_load, zone), zone_due(zone, level), level_max)
        for index in zone:
            slots[index] = _whole(min(partitions, zone_level * weights[index]))
    return tuple(slots)


def _level(load: Callable[[float], float], due: float, level_max: float) -> float:
    """Return the least level at which the load, which never falls with it, reaches ``due``."""
    low, high = 0.0, level_max
    while low < (middle := (low + high) / 2) < high:
        if load(middle) < due:
            low = middle
        else:
            high = middle
    return high


def _whole(due: float) -> float:
    nearest = round(due)
    return float(nearest) if abs(due - nearest) < _WHOLE else due
