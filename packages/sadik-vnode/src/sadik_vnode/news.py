"""What an engine announces to its host beyond what the machines tell each other."""

from __future__ import annotations

from attrs import frozen

from sadik_machine import NodeId

__all__ = ["Damage", "Touched"]


@frozen
class Touched:
    """This node takes part in a client's request that is to be logged wherever it goes.

    ``trace`` is the request's id, as ``sender`` gave it. ``what`` is what was asked of this node:
    ``read``, ``write``, ``fetch``, ``scan``, ``inspect`` or ``coordinate``. ``key`` is empty where
    the request has none.
    """

    trace: str
    what: str
    bucket: str
    key: bytes
    sender: NodeId


@frozen
class Damage:
    """What this node holds of a key does not match its checksum. The owners are asked for it."""

    bucket: str
    key: bytes
