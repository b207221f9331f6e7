"""Properties of buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, frozen

__all__ = [
    "BucketList",
    "BucketProperties",
    "BucketReset",
    "BucketResult",
    "BucketSet",
    "BucketShow",
    "BucketsResult",
]


@define(slots=True)
class BucketShow:
    """The properties of one bucket."""

    bucket: str


@define(slots=True)
class BucketSet:
    """Merge ``changes`` (validated names and values) into a bucket's properties."""

    bucket: str
    changes: Mapping[str, object]


@define(slots=True)
class BucketReset:
    """Give a bucket the default properties again; its data stay."""

    bucket: str


@define(slots=True)
class BucketList:
    """The buckets that have properties of their own."""


@frozen
class BucketProperties:
    """What a bucket's requests use where they say nothing themselves.

    ``conflict`` is ``siblings`` or ``lww`` (`sadik_vnode.view`); ``blind_writes`` one of
    ``replace``, ``sibling``, ``refuse``. ``ttl_seconds`` None: versions do not expire unless their
    write says so. ``value_bytes`` None means the node's ``limits.value_bytes``.
    """

    r: int | str = "quorum"
    w: int | str = "quorum"
    pr: int | str = 0
    pw: int | str = 0
    dw: int | str = 0
    conflict: str = "siblings"
    blind_writes: str = "replace"
    ttl_seconds: int | None = None
    value_bytes: int | None = None


@define(slots=True)
class BucketResult:
    """A bucket's properties, and ``n``, the cluster's replicas."""

    bucket: str
    properties: BucketProperties
    n: int


@define(slots=True)
class BucketsResult:
    """All buckets that have properties of their own, by name."""

    buckets: Sequence[BucketResult]
