"""What the two sides of a handshake say, and how it can end."""

from __future__ import annotations

import enum
from typing import Final

from attrs import define, frozen

from sadik_machine import (
    NODE_ID_BYTES,
    SECOND,
    MessageRange,
    NodeId,
    RemoteProtocolError,
)
from sadik_members.settings import BOOT_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX

__all__ = [
    "CLUSTER_ID_BYTES",
    "HANDSHAKE_BYTES_MAX",
    "HANDSHAKE_MESSAGES",
    "HANDSHAKE_TIMEOUT_NS",
    "MAGIC",
    "NONCE_BYTES",
    "VERSION_MAX",
    "VERSION_MIN",
    "Challenge",
    "Established",
    "Hello",
    "Pledge",
    "Proof",
    "Refusal",
    "RefusalReason",
    "Refuse",
    "Refused",
    "Role",
    "StreamKind",
    "check_hello",
]

MAGIC: Final = b"sadik\r\n\x00"
VERSION_MIN: Final = 1
VERSION_MAX: Final = 1
HANDSHAKE_BYTES_MAX: Final = 4096
"""What one side may send in all, the magic included."""
HANDSHAKE_TIMEOUT_NS: Final = 5 * SECOND
CLUSTER_ID_BYTES: Final = 16
NONCE_BYTES: Final = 16
DETAIL_CHARS_MAX: Final = 512


class RefusalReason(enum.StrEnum):
    """Stable words for logs, counters and the other side."""

    NOT_SADIK = "not_sadik"
    """No magic: something else listens or dials there."""
    PROTOCOL_VERSION = "protocol_version"
    OTHER_CLUSTER = "other_cluster"
    STALE_BOOT = "stale_boot"
    """A later life of this node is remembered than the one it shows."""
    REMOVED = "removed"
    """The node left the cluster, or was removed."""
    SELF = "self"
    """It dialled itself."""
    WRONG_NODE = "wrong_node"
    """Another node answers at this address than the one that was meant."""
    DUPLICATE = "duplicate"
    """There is, or is about to be, a stream between the two already."""
    NO_LINK = "no_link"
    """A bulk stream without the small one that it belongs to."""
    MALFORMED = "malformed"
    PROOF = "proof"
    """It does not know the cluster's secret, or only one side has one."""
    CERTIFICATE = "certificate"
    """Its certificate does not name the node that it says it is."""
    TIMEOUT = "timeout"
    CLOSED = "closed"
    """The stream ended in the middle."""
    SHUTTING_DOWN = "shutting_down"
    BUSY = "busy"


class StreamKind(enum.IntEnum):
    """What a stream is for."""

    SMALL = 1
    BULK = 2


class Role(enum.Enum):
    """Who of the two opened the stream."""

    DIALLER = "dialler"
    ACCEPTOR = "acceptor"


HANDSHAKE_MESSAGES: Final = MessageRange("handshake", 1, 9)


@HANDSHAKE_MESSAGES.message(1)
@define
class Hello:
    """Who one side is.

    ``cluster_id`` is empty for a node that is about to join. ``attempt`` counts the dials of this
    boot, the one under way included: an acceptor tells an old dial from a new one by it.
    ``expected`` is the id that the dialler means to reach, empty where it does not know.
    ``link`` joins a bulk stream to a small one: the nonce of the small one's dialler.
    ``name`` is the node's name, by which its certificate knows it.
    """

    version_min: int
    version_max: int
    cluster_id: bytes
    cluster_name: str
    node_id: bytes
    boot_number: int
    boot_nonce: int
    kind: int
    peer: str
    nonce: bytes
    attempt: int
    expected: bytes
    link: bytes
    name: str = ""


@HANDSHAKE_MESSAGES.message(2)
@define
class Proof:
    proof: bytes


@HANDSHAKE_MESSAGES.message(3)
@define
class Refuse:
    reason: str
    detail: str
    boot_number: int
    node_id: bytes
    cluster_id: bytes
    cluster_name: str
    proof: bytes = b""


@HANDSHAKE_MESSAGES.message(4)
@define
class Challenge:
    """Prove it over this, which was drawn for you. The first word where there is a secret."""

    nonce: bytes


@HANDSHAKE_MESSAGES.message(5)
@define
class Pledge:
    """The dialler's proofs, one for each secret that it accepts, the newest first."""

    proofs: tuple[bytes, ...]


@frozen
class Refusal:
    """Why a stream is not taken. ``boot_number``: with ``stale_boot``, the one remembered."""

    reason: RefusalReason
    detail: str
    boot_number: int = 0


@frozen
class Established:
    """The stream is good: who is at the other end, and what was agreed."""

    peer: Hello
    version: int
    kind: StreamKind

    @property
    def node_id(self) -> NodeId:
        """The other side's id."""
        return NodeId(self.peer.node_id)


@frozen
class Refused:
    """The stream is to be closed, once what remains to send has been sent.

    ``reason`` is a `RefusalReason`, or another word where a later version of the peer refused.
    The identity is what the peer said of itself, empty where it did not get so far.
    """

    reason: str
    detail: str
    by_peer: bool
    boot_number: int = 0
    node_id: bytes = b""
    cluster_id: bytes = b""
    cluster_name: str = ""
    is_proven: bool = True
    """What the peer said counts: it proved that it belongs here, or nobody has to."""


def check_hello(hello: Hello) -> None:
    """Raise `RemoteProtocolError` where a field is out of its range."""
    fault = ""
    if len(hello.node_id) != NODE_ID_BYTES or len(hello.nonce) != NONCE_BYTES:
        fault = "an id or a nonce has the wrong length"
    elif len(hello.cluster_id) not in (0, CLUSTER_ID_BYTES):
        fault = "a cluster id has the wrong length"
    elif len(hello.expected) not in (0, NODE_ID_BYTES) or len(hello.link) not in (0, NONCE_BYTES):
        fault = "an expected id or a link has the wrong length"
    elif not (1 <= hello.boot_number <= BOOT_MAX and 0 <= hello.boot_nonce <= BOOT_MAX):
        fault = "a boot number or nonce is out of range"
    elif not (0 <= hello.attempt <= BOOT_MAX and 0 < hello.version_min <= hello.version_max):
        fault = "an attempt or a version is out of range"
    elif hello.kind not in (StreamKind.SMALL, StreamKind.BULK):
        fault = "an unknown kind of stream"
    elif len(hello.cluster_name) > NAME_CHARS_MAX or len(hello.peer) > TEXT_CHARS_MAX:
        fault = "a name or an address is too long"
    if fault:
        raise RemoteProtocolError("malformed", fault)
