"""News between the machines of one node, and between them and the host.

Announced by the members machine: `MembersChanged`, `RingChanged`, `LivenessChanged`,
`DocumentsChanged`, `RemovalDone`, `ClusterJoined`, `JoinRefused`, `Readiness`, `DialTargets`,
`NewInstanceNeeded`. Observed by it: `Publish`, `Leave`, `Left`, `Remove`, `HandshakeRefused`,
`Heard`, `NewerRegister`, and `sadik_machine.WallTime`.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from sadik_machine import NodeId
from sadik_members.view import Liveness, Member, Register, Ring

__all__ = [
    "ClusterJoined",
    "DialTargets",
    "Document",
    "DocumentRefused",
    "DocumentsChanged",
    "FarewellEnded",
    "HandshakeRefused",
    "Heard",
    "JoinRefused",
    "Leave",
    "Left",
    "LivenessChanged",
    "MembersChanged",
    "NewInstanceNeeded",
    "NewerRegister",
    "NothingHeld",
    "Publish",
    "Readiness",
    "RemovalDone",
    "Remove",
    "RingChanged",
]


@frozen
class MembersChanged:
    """The whole member table, LEFT members included, by id in ascending order of id."""

    members: Mapping[NodeId, Member]


@frozen
class RingChanged:
    """The ring as this node now knows it, durably."""

    ring: Ring


@frozen
class LivenessChanged:
    """This node's belief about a peer changed."""

    peer: NodeId
    liveness: Liveness


@frozen
class Document:
    """A small named value that spreads by gossip; the greatest (stamp, body) of a name wins.

    ``stamp`` is a hybrid timestamp; ``body`` at most 4 KiB.
    """

    name: str
    stamp: int
    body: bytes


@frozen
class Publish:
    """Another machine of this node wants a document spread (and kept on disk by every node)."""

    document: Document


@frozen
class DocumentRefused:
    """What was published here is not taken: the table of documents is full, or it is too large."""

    name: str
    reason: str


@frozen
class DocumentsChanged:
    """These documents are new or newer than what was announced before, and are on disk here."""

    documents: tuple[Document, ...]


@frozen
class Leave:
    """An operator wants a node to leave: it owns nothing from the next plan on.

    ``node`` None is this node; another one is asked to, for only a node itself can say so.
    """

    node: NodeId | None = None


@frozen
class NothingHeld:
    """From the data machine of a node that leaves: it owns nothing and holds nothing any more."""


@frozen
class Left:
    """From the host: this node has finished what it took, and is about to stop for good."""


@frozen
class FarewellEnded:
    """This node has left and may end: ``heard`` of its ``others`` have that on disk.

    Not ``is_enough`` where it was given up: if nobody has heard, it is leaving for ever to the
    others, until an operator removes it.
    """

    heard: int
    others: int
    is_enough: bool


@frozen
class Remove:
    """An operator removes a dead node; `RemovalDone` with the same ``ticket`` is the answer."""

    ticket: int
    node: NodeId
    is_forced: bool


@frozen
class RemovalDone:
    """A removal is on disk here, or was not agreed to: then ``refusal`` is a sentence."""

    ticket: int
    refusal: str


@frozen
class ClusterJoined:
    """This node is, durably, a member of this cluster: at a start, a founding or a join."""

    cluster_id: bytes
    cluster_key: bytes
    """32 secret bytes that every member shares; context tokens are authenticated with it."""


@frozen
class JoinRefused:
    """The cluster answered and does not take this node; ``reason`` is for people."""

    reason: str


@frozen
class Readiness:
    """Whether this node may serve; ``reason`` says what it waits for, empty when ready."""

    ready: bool
    reason: str


@frozen
class DialTargets:
    """Whom the messenger keeps streams to: members by id, and seeds whose id is not known yet."""

    members: Mapping[NodeId, str]
    seeds: tuple[str, ...]


@frozen
class HandshakeRefused:
    """From the messenger: a handshake failed, here or there, for one of the stable ``reason`` words
    of `sadik_members.hello`. ``outgoing`` tells who dialled.
    """

    address: str
    reason: str
    detail: str
    outgoing: bool
    cluster_id: bytes
    """The other side's, as it said; empty where it did not get so far, or has none."""
    cluster_name: str
    by_peer: bool = False
    """The other side refused us, rather than we it."""
    boot_number: int = 0
    """For ``stale_boot``: the boot number that the refusing side remembers."""
    is_proven: bool = True
    """The other side has proven that it belongs here, or nobody has to: its word counts."""


@frozen
class Heard:
    """From the messenger: something came from these peers since it last said so.

    Proof of life for peers that are busy with data, whose answers to probes may queue. Leaving it
    out costs no correctness: probes alone find the dead.
    """

    peers: tuple[NodeId, ...]


@frozen
class NewInstanceNeeded:
    """A peer remembers a later life of this node than this one: its store was rolled back.

    The host takes a new storage instance and a boot number above ``boot_number``, then starts anew.
    """

    boot_number: int


@frozen
class NewerRegister:
    """From the data machine: a newer decided register of a partition.

    ``is_own``: it was decided on this node, which sends it to all; else a peer's answer bore it.
    """

    partition: int
    register: Register
    is_own: bool = False
