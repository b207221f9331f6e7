"""What waits to be repaired, and having it repaired now."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, frozen

from sadik_machine import NodeId

__all__ = ["Hints", "HintsResult", "Repair", "RepairResult", "Scrub", "ScrubResult"]


@define(slots=True)
class Hints:
    """How many hints wait on this node, and for whom."""


@define(slots=True)
class Repair:
    """Compare a partition, or all, among its owners now, and exchange what differs."""

    partition: int | None
    timeout_ns: int
    """When to answer, though it may not be finished: it goes on."""


@frozen
class Scrub:
    """Read all that this node holds, and look for damage."""

    timeout_ns: int
    """When to answer, though it may not be finished: it goes on."""


@define(slots=True)
class HintsResult:
    """Hint notes that wait on this node: in all, their bytes, and by owner slot."""

    total: int
    bytes: int
    by_node: dict[NodeId, int]


@frozen
class RepairResult:
    """What a repair came to. ``compared`` counts pairs of (partition, other owner), ``differing``
    those of them whose roots differed, ``differences`` the records that did, and ``repaired`` the
    records that went from one owner to another.
    """

    partitions: int
    partitions_done: int
    compared: int
    differing: int
    differences: int
    repaired: int
    unreachable: Sequence[NodeId]
    """Owners that were down, busy for too long, or of another opinion about the ring."""
    is_finished: bool


@frozen
class ScrubResult:
    """What a pass over this node's records has found. What it found is being mended."""

    records: int
    """Records read."""
    values: int
    """Large values read."""
    damaged: int
    """Records and large values that did not match their checksums."""
    misplaced: int
    """Rows whose keys were damaged."""
    sums_wrong: int
    """Leaves of the hash tree that were not the sums of their records."""
    unlisted: int
    """Records without a row in the index of their bucket."""
    is_finished: bool
