"""What membership machines say to each other. Tags 10 to 99 are this package's.

Members, registers and documents travel as plain tuples (`object` fields) that the tables check
themselves, so that one bad entry is counted and dropped without losing the rest.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from sadik_machine import MessageRange

__all__ = [
    "MESSAGES",
    "Ack",
    "AckFor",
    "Delta",
    "Digest",
    "Farewell",
    "FarewellHeard",
    "JoinAccepted",
    "JoinRefusal",
    "JoinRequest",
    "LeaveAsked",
    "Ping",
    "PingFor",
    "RemovalAgreed",
    "RemovalAsked",
    "Summary",
]

MESSAGES: Final = MessageRange("members", 10, 99)
"""To be joined with other ranges in a `sadik_machine.Codec`."""


@MESSAGES.message(10)
@define
class Summary:
    """Hashes over all that the sender knows: equal hashes, nothing to say. Opens gossip."""

    cluster_id: bytes
    members: bytes
    registers: bytes
    documents: bytes


@MESSAGES.message(11)
@define
class Digest:
    """What the sender has, entry by entry, of the parts whose hashes differ; None for the others.

    Members as (id, incarnation, state, hash), registers as epochs in the order of partitions,
    documents as (name, stamp, hash).
    """

    cluster_id: bytes
    members: tuple[tuple[bytes, int, int, bytes], ...] | None
    epochs: tuple[int, ...] | None
    documents: tuple[tuple[str, int, bytes], ...] | None


@MESSAGES.message(12)
@define
class Delta:
    """Entries that the receiver lacks, and the names of those that the sender would like."""

    cluster_id: bytes
    members: tuple[object, ...]
    registers: tuple[object, ...]
    documents: tuple[object, ...]
    want_members: tuple[bytes, ...] = ()
    want_registers: tuple[int, ...] = ()
    want_documents: tuple[str, ...] = ()


@MESSAGES.message(20)
@define
class Ping:
    """Are you there? ``suspected``: somebody suspects you at this incarnation; refute it."""

    number: int
    suspected: int | None = None


@MESSAGES.message(21)
@define
class Ack:
    """Yes, in answer to the `Ping` of this number."""

    number: int


@MESSAGES.message(22)
@define
class PingFor:
    """Ask ``target`` for me: it does not answer me. Suspected by me at this incarnation, if any."""

    number: int
    target: bytes
    suspected: int | None = None


@MESSAGES.message(23)
@define
class AckFor:
    """``target`` answered me, in answer to the `PingFor` of this number."""

    number: int
    target: bytes


@MESSAGES.message(30)
@define
class JoinRequest:
    """Take me in. ``partitions`` and ``replicas`` are what my operator insists on, or None."""

    cluster_name: str
    name: str
    peer: str
    http: str
    zone: str
    weight: float
    boot_number: int
    boot_nonce: int
    partitions: int | None
    replicas: int | None


@MESSAGES.message(32)
@define
class JoinAccepted:
    """You are a member: all that a member knows."""

    cluster_id: bytes
    cluster_key: bytes
    cluster_name: str
    partitions: int
    replicas: int
    founder: bytes
    members: tuple[object, ...]
    registers: tuple[object, ...]
    documents: tuple[object, ...]


@MESSAGES.message(33)
@define
class JoinRefusal:
    """You are not taken; the reason is a sentence for your operator."""

    reason: str


@MESSAGES.message(52)
@define
class LeaveAsked:
    """An operator wants you to leave."""

    cluster_id: bytes


@MESSAGES.message(50)
@define
class RemovalAsked:
    """An operator removes this node with me: do you agree that it is dead?"""

    cluster_id: bytes
    number: int
    node: bytes


@MESSAGES.message(51)
@define
class RemovalAgreed:
    """Yes, in answer to the `RemovalAsked` of this number."""

    number: int


@MESSAGES.message(53)
@define
class Farewell:
    """I have left the cluster: this is the last entry of mine."""

    cluster_id: bytes
    member: object


@MESSAGES.message(54)
@define
class FarewellHeard:
    """I have on disk that you have left."""
