"""When a record is gone: from which moment on all that it holds is a delete or has expired.

Such a record tells only that there was something. It has a row in the order of when it is due
(`sadik_vnode.keyspace`), which `sadik_vnode.replica` writes and removes with it, so whoever reaps
finds it without looking at any other record.
"""

from __future__ import annotations

from sadik_causality import Container
from sadik_vnode.version import EXPIRES, MalformedVersion, Version

__all__ = ["due_ms", "is_gone"]


def due_ms(container: Container[Version]) -> int | None:
    """Wall time in milliseconds from which the record is gone: 0 where all is deleted, None where
    something stays, or where nothing is live.
    """
    due = None
    for version in container.versions.values():
        if version.is_deleted:
            due = due or 0
            continue
        if len(version.head) < 2 or not version.head[1] & EXPIRES:
            return None
        try:
            expires_ms = version.parsed().expires_ms
        except MalformedVersion:
            return None
        if expires_ms is None:
            return None
        due = max(due or 0, expires_ms, 1)
    return due


def is_gone(container: Container[Version], wall_ns: int) -> bool:
    """Whether something is live, and all of it is a delete or has expired by this wall clock."""
    return bool(container.versions) and all(
        version.is_gone(wall_ns) for version in container.versions.values()
    )
