"""Claimants and assignments: what placement is decided from, and what it decides."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias

Assignment: TypeAlias = tuple[tuple[bytes, ...], ...]
"""Per partition the ids of its owners in order; the first is the partition's first owner."""


class Placed(Protocol):
    """Anything that has a node's id and its zone, such as a ``Claimant`` or a member entry."""

    @property
    def id(self) -> bytes:
        """The node's permanent id."""
        ...

    @property
    def zone(self) -> str:
        """The failure domain that the node is in."""
        ...


@dataclass(frozen=True, slots=True)
class Claimant:
    """A node that may own partitions.

    ``weight`` is its capacity relative to the others: a node of weight 2 is to own twice as much
    as one of weight 1. Raises ``ValueError`` unless it is a finite number above 0, and for an
    empty id.
    """

    id: bytes
    zone: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a claimant's id must not be empty")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"a weight must be a finite number above 0, not {self.weight}")


def in_order(claimants: Iterable[Claimant]) -> list[Claimant]:
    """Return the claimants sorted by id, so that no plan depends on the order they came in.

    Raises ``ValueError`` if there are none, or two of one id.
    """
    nodes = sorted(claimants, key=lambda claimant: claimant.id)
    if not nodes:
        raise ValueError("partitions need at least one claimant")
    for left, right in pairwise(nodes):
        if left.id == right.id:
            raise ValueError(f"two claimants have the id {left.id!r}")
    return nodes
