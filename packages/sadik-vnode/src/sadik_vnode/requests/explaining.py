"""Where one key lives, what each replica holds, and why one is behind."""

from __future__ import annotations

from attrs import Factory, define

from sadik_machine import NodeId

__all__ = ["Explain", "ExplainReplica", "ExplainResult", "ExplainVersion"]


@define(slots=True)
class Explain:
    """Where a key lives, what each replica holds, and why one is behind."""

    bucket: str
    key: bytes
    timeout_ns: int
    trace: str = ""


@define(slots=True)
class ExplainVersion:
    """A version on one replica. ``dot`` is printed as ``<instance>:<birth>:<counter>``."""

    dot: str
    size_bytes: int
    deleted: bool
    timestamp: int
    expires_ms: int | None = None
    is_replaced: bool = False
    """Whether somebody knows what replaced it: a node that still holds it is behind."""


@define(slots=True)
class ExplainReplica:
    """What one node holds of a key; ``state`` is ok, behind, missing or unreachable."""

    node: NodeId
    is_owner: bool
    state: str
    versions: list[ExplainVersion]
    behind: bool
    why: str


@define(slots=True)
class ExplainResult:
    """Ids are node ids; the front end names them. ``hints`` maps owner slot to waiting nodes."""

    partition: int
    epoch: int
    owners: list[NodeId]
    fallbacks: list[NodeId]
    replicas: list[ExplainReplica]
    hints: list[tuple[NodeId, NodeId]] = Factory(list)
    """Pairs (holder, owner slot) of hint notes that wait for this key."""
    writes: int = 0
    """Versions that were ever made of it, as far as those who answered know."""
