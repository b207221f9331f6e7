"""Who this node is and which cluster it is meant for: what a `Membership` is made with."""

from __future__ import annotations

import math
from typing import Final

from attrs import field, frozen

from sadik_machine import NODE_ID_BYTES, NodeId

__all__ = [
    "PARTITIONS_DEFAULT",
    "REPLICAS_DEFAULT",
    "ClusterSettings",
    "Identity",
    "SavedStateError",
    "SettingsError",
]

PARTITIONS_DEFAULT: Final = 256
REPLICAS_DEFAULT: Final = 3
PARTITIONS_MIN, PARTITIONS_MAX = 8, 4096
REPLICAS_MAX: Final = 16
NAME_CHARS_MAX: Final = 64
TEXT_CHARS_MAX: Final = 255
BOOT_MAX: Final = (1 << 63) - 1


class SettingsError(ValueError):
    """What this node was told does not fit the cluster that its directory belongs to.

    The message is a sentence for the operator that names both values.
    """


class SavedStateError(ValueError):
    """The saved rows are damaged, or of a format that this version does not know."""


@frozen
class Identity:
    """This node, in this life.

    ``boot_nonce`` is a random number below 2**63 drawn at this start; ``boot_number`` counts
    starts, from 1, and is on disk before anything is sent. ``peer`` and ``http`` are the addresses
    at which others reach it, as ``host:port``.
    """

    node_id: NodeId
    name: str
    peer: str
    http: str
    zone: str
    weight: float
    boot_number: int
    boot_nonce: int = field(repr=False)

    def __attrs_post_init__(self) -> None:
        wrong = identity_fault(self.name, self.peer, self.http, self.zone, self.weight)
        if len(self.node_id) != NODE_ID_BYTES:
            wrong = f"a node id has {NODE_ID_BYTES} bytes, not {len(self.node_id)}"
        if not (1 <= self.boot_number <= BOOT_MAX and 0 <= self.boot_nonce <= BOOT_MAX):
            wrong = "a boot number is 1 to 2**63 - 1, and a boot nonce 0 to 2**63 - 1"
        if wrong:
            raise ValueError(wrong)


@frozen
class ClusterSettings:
    """The cluster that this node is meant for.

    ``partitions`` and ``replicas`` are None where the operator named none: then the cluster's own
    count is taken, or the default when one is formed. A different explicit number is refused.
    ``seeds`` are peer addresses; none, on an empty directory, forms a new cluster.
    """

    name: str
    partitions: int | None = None
    replicas: int | None = None
    seeds: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not 1 <= len(self.name) <= NAME_CHARS_MAX:
            raise ValueError(f"a cluster name has 1 to {NAME_CHARS_MAX} characters")
        if self.partitions is not None and not is_partition_count(self.partitions):
            raise ValueError(
                f"partitions must be a power of two from {PARTITIONS_MIN} to {PARTITIONS_MAX}, "
                f"not {self.partitions}"
            )
        if self.replicas is not None and not 1 <= self.replicas <= REPLICAS_MAX:
            raise ValueError(f"replicas must be 1 to {REPLICAS_MAX}, not {self.replicas}")


def is_partition_count(count: int) -> bool:
    """Whether a cluster can have ``count`` partitions."""
    return PARTITIONS_MIN <= count <= PARTITIONS_MAX and count & (count - 1) == 0


def identity_fault(name: str, peer: str, http: str, zone: str, weight: float) -> str:
    """What is wrong with these values of a member, or an empty text."""
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        return f"a node name has 1 to {NAME_CHARS_MAX} printable characters"
    for what, text in (("peer address", peer), ("http address", http), ("zone", zone)):
        if len(text) > TEXT_CHARS_MAX or not text.isprintable():
            return f"a {what} has at most {TEXT_CHARS_MAX} printable characters"
    if not (math.isfinite(weight) and 0 < weight <= 1e6):
        return f"a weight is a number above 0 and at most a million, not {weight}"
    return ""
