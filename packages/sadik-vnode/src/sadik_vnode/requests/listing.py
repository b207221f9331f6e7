"""The keys of a bucket, a page at a time."""

from __future__ import annotations

from attrs import define

__all__ = ["ListKeys", "ListResult"]


@define(slots=True)
class ListKeys:
    """One page of the live keys of a bucket in byte order, after ``after`` (exclusive)."""

    bucket: str
    prefix: bytes
    after: bytes | None
    limit: int
    timeout_ns: int
    trace: str = ""


@define(slots=True)
class ListResult:
    """Keys in byte order; ``next`` is what to pass as ``after`` for the next page, or None."""

    keys: list[bytes]
    next: bytes | None
