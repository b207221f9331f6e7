"""What this node alone holds, for backups, and records put into it, for restores."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from sadik_causality import Dot
from sadik_vnode.version import PlainVersion

__all__ = [
    "BodyResult",
    "CopyBody",
    "CopyRecords",
    "CopySums",
    "PlainRecord",
    "RecordsResult",
    "SumsResult",
    "TakeRecords",
    "TakenResult",
]

PlainRecord = tuple[str, bytes, Sequence[PlainVersion], object]
"""A record as it leaves a cluster and comes into another: bucket, key, versions, context."""


@define(slots=True)
class CopySums:
    """The sums of this node's own hash tree, as they are on disk."""

    partition: int | None
    """Only those of this partition; None: of all."""


@define(slots=True)
class CopyRecords:
    """A page of this node's own records below one middle of the hash tree, in row order.

    Bodies that lie in rows of their own are left out: `CopyBody` gives one.
    """

    middle: int
    after: bytes | None = None
    """The row after which to go on: a page's ``next``."""


@define(slots=True)
class CopyBody:
    """One version's body, as this node holds it."""

    bucket: str
    key: bytes
    dot: Dot


@define(slots=True)
class TakeRecords:
    """Merge these records into this node's own, dots and contexts as they are, durably.

    For a cluster that is made anew from a copy of another. They count at this node alone, so every
    owner is asked.
    """

    records: Sequence[PlainRecord]


@define(slots=True)
class SumsResult:
    """The sums by the number of their middle; those that are left out are 0."""

    partitions: int
    sums: dict[int, int]


@define(slots=True)
class RecordsResult:
    """A page of records, and the row after which the next one begins; None: it was the last."""

    records: list[PlainRecord]
    next: bytes | None


@define(slots=True)
class BodyResult:
    """The body, or None where this node holds no such version (any more)."""

    body: bytes | None


@define(slots=True)
class TakenResult:
    """So many records are on this node's disk."""

    count: int
