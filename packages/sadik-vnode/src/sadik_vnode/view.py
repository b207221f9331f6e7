"""What clients are shown of an object: which of its live versions count now, by the bucket's rule.

Replicas hold, compare and repair all live versions, whatever the rule; it is applied where
a client looks. So it may change at any time, and a clock never decides what is kept but where the
bucket says so.

``siblings``
    every live version counts that has not expired.
``lww``
    the last writer wins: the version of the greatest timestamp counts, a delete as much as
    a value, and nothing does once it has expired. Equal timestamps are told apart by their dots, so
    all nodes agree.

Expiry is judged by the wall clock of the node that looks, never by the hybrid one, which other
nodes' clocks may have put forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sadik_causality import Dot
from sadik_vnode.version import MalformedVersion, Version

__all__ = ["LWW", "counting", "last_written", "timestamp_of"]

LWW: Final = "lww"


def counting(versions: Mapping[Dot, Version], conflict: str, wall_ns: int) -> Mapping[Dot, Version]:
    """The versions that count at wall time ``wall_ns``, deletes included, by dot in order.

    The entity tag of an object is made of these dots; what is shown are those with a value.
    """
    if len(versions) == 1:
        (version,) = versions.values()
        return versions if version.is_deleted or not version.is_gone(wall_ns) else {}
    if len(versions) > 1 and conflict == LWW:
        dot = last_written(versions)
        versions = {dot: versions[dot]}
    return {
        dot: version
        for dot, version in sorted(versions.items())
        if version.is_deleted or not version.is_gone(wall_ns)
    }


def last_written(versions: Mapping[Dot, Version]) -> Dot:
    """The dot of the version with the greatest timestamp; of equal ones the greatest dot."""
    if len(versions) == 1:
        return next(iter(versions))
    return max(versions, key=lambda dot: (timestamp_of(versions[dot]), dot))


def timestamp_of(version: Version) -> int:
    """The hybrid timestamp of a version; -1 where its head is damaged."""
    try:
        return version.parsed().timestamp
    except MalformedVersion:
        return -1
