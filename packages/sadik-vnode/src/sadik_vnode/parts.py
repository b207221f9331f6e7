"""Containers on the wire: what a message carries of a key's state, and in how many messages.

Small versions travel together. Where they would not fit one message, a container is sent version
by version, each with a context of just its dot, and the rest of the context last, so that merging
any part of it erases nothing. The last part must be acknowledged too before the whole counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sadik_causality import Container, Context
from sadik_machine import NodeId, RequestId
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ReplicaWrite
from sadik_vnode.record import Record
from sadik_vnode.version import PlainVersion, Version, version_from_plain

__all__ = [
    "container_from_plain", "container_to_plain", "parts_of", "record_in", "replica_write",
]  # fmt: skip

_VERSION_OVERHEAD_BYTES: Final = 64


def container_from_plain(versions: Sequence[PlainVersion], context: object) -> Container[Version]:
    """The container of a message; ValueError (of several kinds) where it is none."""
    if len(versions) == 1:
        dot, version = version_from_plain(versions[0])
        return Container.checked({dot: version}, Context.from_plain(context))
    return Container.checked(dict(map(version_from_plain, versions)), Context.from_plain(context))


def container_to_plain(
    container: Container[Version], *, bodies: bool = True
) -> tuple[PlainVersion, ...]:
    """The versions of a container as a message carries them, sorted by dot."""
    versions = container.versions
    if len(versions) == 1:
        ((dot, version),) = versions.items()
        return (version.to_plain(dot, body=bodies),)
    return tuple([version.to_plain(dot, body=bodies) for dot, version in sorted(versions.items())])


def record_in(message: ReplicaWrite) -> Record:
    """What a message asks to merge, as a record without an actor; ValueError (of several kinds)
    where it is none.
    """
    if message.row:
        return Record.received(message.row)
    return Record(container_from_plain(message.versions, message.context))


def parts_of(container: Container[Version], bytes_max: int) -> list[Container[Version]]:
    """The container whole, if it fits ``bytes_max``; else a part for each version, and the rest."""
    if sum(v.size + _VERSION_OVERHEAD_BYTES for v in container.versions.values()) <= bytes_max:
        return [container]
    return list(container.split())


def replica_write(
    request: RequestId,
    epoch: int,
    key: Key,
    slot: NodeId,
    part: Container[Version],
    timestamp: int,
    generation: int,
    trace: str = "",
    *,
    is_put: bool = False,
) -> ReplicaWrite:
    """The message that merges ``part`` for owner ``slot``. All bodies must be in hand.

    ``generation`` is the reap generation in which the load of what is sent was asked for.
    """
    assert None not in [v.body for v in part.versions.values()], "bodies are in hand"
    return ReplicaWrite(
        request,
        epoch,
        key.bucket,
        key.key,
        slot,
        container_to_plain(part),
        part.context.to_plain(),
        timestamp,
        trace,
        is_put,
        generation,
    )
