"""The handshake that opens every stream between nodes, without I/O.

The dialler sends a `Hello`; the acceptor answers with its own and a proof; the dialler ends with
its proof. Either side may say instead why it refuses, so that the other knows, and the acceptor has
not taken the stream before the dialler's proof (both sides may dial at once; see
`sadik_members.messenger`). Each side sends eight magic bytes first, by which anything that is
no such node is told apart at once.

::

    dialler   AWAIT_HELLO -- hello: check ----------> AWAIT_PROOF
              AWAIT_PROOF -- proof: check, admit ---> sends its proof, OVER: Established
    acceptor  AWAIT_HELLO -- hello: check, admit ---> sends hello and proof, AWAIT_PROOF
              AWAIT_PROOF -- proof: check, admit ---> OVER: Established
    any state -- a refusal, or something wrong -----> OVER: Refused

A `Handshake` is fed what was received and asked what to send; its outcome is a value. It checks
what a stream alone can tell; ``admit`` lets the caller refuse for what it knows besides (a stale
boot, a member that was removed, a second stream). Authentication has its seam in `Prover`: a proof
covers the transcript of both hellos; until there is one, proofs are empty, and no other is taken.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from attrs import define, evolve, frozen

from sadik_machine import (
    FRAME_HEADER_BYTES,
    NODE_ID_BYTES,
    SECOND,
    Codec,
    LocalProtocolError,
    MessageRange,
    NodeId,
    RemoteProtocolError,
    frame,
)
from sadik_members.settings import BOOT_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX

__all__ = [
    "CLUSTER_ID_BYTES",
    "HANDSHAKE_BYTES_MAX",
    "HANDSHAKE_TIMEOUT_NS",
    "MAGIC",
    "VERSION_MAX",
    "VERSION_MIN",
    "Established",
    "Handshake",
    "Hello",
    "NoProver",
    "Prover",
    "Refusal",
    "RefusalReason",
    "Refused",
    "Role",
    "StreamKind",
]

MAGIC = b"sadik\r\n\x00"
VERSION_MIN = 1
VERSION_MAX = 1
HANDSHAKE_BYTES_MAX = 4096
"""What one side may send in all, the magic included."""
HANDSHAKE_TIMEOUT_NS = 5 * SECOND
CLUSTER_ID_BYTES = 16
NONCE_BYTES = 16
DETAIL_CHARS_MAX = 512
PROOF_BYTES_MAX = 1024


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


_RANGE = MessageRange("handshake", 1, 9)


@_RANGE.message(1)
@define
class Hello:
    """Who one side is.

    ``cluster_id`` is empty for a node that is about to join. ``attempt`` counts the dials of this
    boot, the one under way included: an acceptor tells an old dial from a new one by it.
    ``expected`` is the id that the dialler means to reach, empty where it does not know.
    ``link`` joins a bulk stream to a small one: the nonce of the small one's dialler.
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


@_RANGE.message(2)
@define
class _Proof:
    proof: bytes


@_RANGE.message(3)
@define
class _Refuse:
    reason: str
    detail: str
    boot_number: int
    node_id: bytes
    cluster_id: bytes
    cluster_name: str


_CODEC = Codec(_RANGE)


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


class Prover(Protocol):
    """Proves, and checks, that a node belongs to its cluster.

    A transcript is both hellos as they were sent, the dialler's first; it holds both nonces.
    """

    def prove(self, transcript: bytes, role: Role) -> bytes:
        """The proof that ``role`` sends, at most 1 KiB."""
        ...

    def is_proof(self, proof: bytes, transcript: bytes, role: Role) -> bool:
        """Whether ``proof``, sent by ``role``, is good. Compares in constant time."""
        ...


class NoProver:
    """No authentication: proofs are empty."""

    def prove(self, transcript: bytes, role: Role) -> bytes:
        """An empty proof."""
        return b""

    def is_proof(
        self,
        proof: bytes,
        transcript: bytes,
        role: Role,
    ) -> bool:
        """Whether it is empty."""
        return not proof


Admit = Callable[[Hello], Refusal | None]


def _admit_all(_hello: Hello) -> Refusal | None:
    return None


class _State(enum.Enum):
    AWAIT_HELLO = "await_hello"
    AWAIT_PROOF = "await_proof"
    OVER = "over"


class Handshake:
    """One side of one handshake.

    ``local`` is this side's hello; for an acceptor its ``kind``, ``link`` and ``expected`` do not
    matter. ``admit`` is asked with the peer's hello after all that is checked here: by an acceptor
    before it answers, and by both sides at the very end.
    """

    def __init__(
        self,
        role: Role,
        local: Hello,
        now: int,
        admit: Admit = _admit_all,
        prover: Prover | None = None,
    ) -> None:
        self._role = role
        self._local = local
        self._admit = admit
        self._prover: Prover = prover or NoProver()
        self._deadline = now + HANDSHAKE_TIMEOUT_NS
        self._buffer = bytearray()
        self._taken_bytes = 0
        self._to_send = bytearray(MAGIC)
        self._transcript = b""
        self._peer: Hello | None = None
        self._version = 0
        self._state = _State.AWAIT_HELLO
        self._outcome: Established | Refused | None = None
        if role is Role.DIALLER:
            self._send_hello(local)

    @property
    def outcome(self) -> Established | Refused | None:
        """How it ended, or None while it has not."""
        return self._outcome

    @property
    def leftover(self) -> bytes:
        """What was received after the handshake's last message: the stream's first bytes."""
        return bytes(self._buffer) if self._outcome is not None else b""

    @property
    def deadline(self) -> int | None:
        """When `time_out` is to be called; None when it is over."""
        return None if self._outcome else self._deadline

    def data_to_send(self) -> bytes:
        """Take what is to be sent now, possibly nothing. To be sent also when it is over."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    def time_out(self, now: int) -> None:
        """Give up if the deadline has come; otherwise harmless."""
        if self._outcome is None and now >= self._deadline:
            self._refuse(Refusal(RefusalReason.TIMEOUT, "no handshake within 5 seconds"))

    def refuse(self, refusal: Refusal) -> None:
        """End it from this side. Harmless when it is over."""
        if self._outcome is None:
            self._refuse(refusal)

    def receive(self, data: bytes) -> None:
        """Take bytes; b"" is the end of the stream.

        Raises:
            LocalProtocolError: it was over already.
        """
        if self._outcome is not None:
            raise LocalProtocolError("the handshake is over")
        if not data:
            detail = "the other side closed the stream in the middle of the handshake"
            self._end(Refusal(RefusalReason.CLOSED, detail), by_peer=True)
            return
        self._buffer += data
        try:
            if self._taken_bytes or self._take_magic():
                while self._take_message():
                    pass
        except RemoteProtocolError as error:
            self._refuse(Refusal(RefusalReason.MALFORMED, str(error)))

    def _take_magic(self) -> bool:
        """Whether the magic is complete and right; ends the handshake where it is wrong."""
        head = bytes(self._buffer[: len(MAGIC)])
        if not MAGIC.startswith(head):
            # Whoever it is would not understand a reason.
            self._to_send.clear()
            detail = "what is at the other end does not speak this protocol"
            self._end(Refusal(RefusalReason.NOT_SADIK, detail), by_peer=False)
            return False
        if len(head) < len(MAGIC):
            return False
        self._advance(len(MAGIC))
        return True

    def _take_message(self) -> bool:
        """Handle the next message if it is whole."""
        if self._state is _State.OVER or len(self._buffer) < FRAME_HEADER_BYTES:
            return False
        size = int.from_bytes(self._buffer[:FRAME_HEADER_BYTES], "big")
        end = FRAME_HEADER_BYTES + size
        if size == 0 or self._taken_bytes + end > HANDSHAKE_BYTES_MAX:
            detail = f"a handshake takes at most {HANDSHAKE_BYTES_MAX} bytes"
            raise RemoteProtocolError("malformed", detail)
        if len(self._buffer) < end:
            return False
        payload = bytes(self._buffer[FRAME_HEADER_BYTES:end])
        self._advance(end)
        match _CODEC.decode(payload):
            case _Refuse() as refuse:
                self._refused_by_peer(refuse)
            case Hello() as hello if self._state is _State.AWAIT_HELLO:
                self._handle_hello(hello, payload)
            case _Proof() as proof if self._state is _State.AWAIT_PROOF:
                self._handle_proof(proof)
            case _:
                raise RemoteProtocolError("malformed", "a handshake message out of turn")
        return True

    def _advance(self, size: int) -> None:
        del self._buffer[:size]
        self._taken_bytes += size

    def _handle_hello(self, hello: Hello, payload: bytes) -> None:
        _check_hello(hello)
        self._peer = hello
        refusal = self._check_peer(hello)
        if self._role is Role.ACCEPTOR and refusal is None:
            refusal = self._admit(hello)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._transcript += payload
        self._state = _State.AWAIT_PROOF
        if self._role is Role.ACCEPTOR:
            self._send_hello(evolve(self._local, kind=hello.kind, link=hello.link, expected=b""))
            self._send_proof()

    def _handle_proof(self, message: _Proof) -> None:
        assert self._peer is not None
        other = Role.ACCEPTOR if self._role is Role.DIALLER else Role.DIALLER
        if len(message.proof) > PROOF_BYTES_MAX or not self._prover.is_proof(
            message.proof, self._transcript, other
        ):
            detail = "the other side's proof is not accepted"
            self._refuse(Refusal(RefusalReason.PROOF, detail))
            return
        refusal = self._admit(self._peer)
        if refusal is not None and self._role is Role.DIALLER:
            self._refuse(refusal)
            return
        if refusal is not None:
            # The dialler takes the stream as open already: what it reads now are messages.
            self._end(refusal, by_peer=False)
            return
        if self._role is Role.DIALLER:
            self._send_proof()
        kind = self._local.kind if self._role is Role.DIALLER else self._peer.kind
        self._state = _State.OVER
        self._outcome = Established(self._peer, self._version, StreamKind(kind))

    def _check_peer(self, hello: Hello) -> Refusal | None:
        """What the two hellos alone can tell."""
        local = self._local
        self._version = min(local.version_max, hello.version_max)
        if self._version < max(local.version_min, hello.version_min):
            detail = (
                f"protocol versions {hello.version_min} to {hello.version_max} there, "
                f"{local.version_min} to {local.version_max} here"
            )
            return Refusal(RefusalReason.PROTOCOL_VERSION, detail)
        if hello.node_id == local.node_id:
            return Refusal(RefusalReason.SELF, "a node dialled itself")
        if hello.cluster_name != local.cluster_name:
            detail = f"the cluster {hello.cluster_name!r} there, {local.cluster_name!r} here"
            return Refusal(RefusalReason.OTHER_CLUSTER, detail)
        if hello.cluster_id and local.cluster_id and hello.cluster_id != local.cluster_id:
            detail = (
                f"two clusters are called {local.cluster_name!r}: id {hello.cluster_id.hex()} "
                f"there, {local.cluster_id.hex()} here"
            )
            return Refusal(RefusalReason.OTHER_CLUSTER, detail)
        expected = hello.expected if self._role is Role.ACCEPTOR else local.expected
        meant = local.node_id if self._role is Role.ACCEPTOR else hello.node_id
        if expected and expected != meant:
            detail = f"node {meant.hex()} is at this address, not {expected.hex()}"
            return Refusal(RefusalReason.WRONG_NODE, detail)
        return None

    def _send_hello(self, hello: Hello) -> None:
        payload = _CODEC.encode(hello)
        self._transcript += payload
        self._to_send += frame(payload)

    def _send_proof(self) -> None:
        proof = self._prover.prove(self._transcript, self._role)
        self._to_send += frame(_CODEC.encode(_Proof(proof)))

    def _refuse(self, refusal: Refusal) -> None:
        local = self._local
        message = _Refuse(
            str(refusal.reason),
            refusal.detail[:DETAIL_CHARS_MAX],
            refusal.boot_number,
            local.node_id,
            local.cluster_id,
            local.cluster_name,
        )
        self._to_send += frame(_CODEC.encode(message))
        self._end(refusal, by_peer=False)

    def _end(self, refusal: Refusal, *, by_peer: bool) -> None:
        peer = self._peer
        self._state = _State.OVER
        self._outcome = Refused(
            str(refusal.reason),
            refusal.detail,
            by_peer=by_peer,
            boot_number=refusal.boot_number,
            node_id=peer.node_id if peer else b"",
            cluster_id=peer.cluster_id if peer else b"",
            cluster_name=peer.cluster_name if peer else "",
        )

    def _refused_by_peer(self, message: _Refuse) -> None:
        reason = message.reason
        if not (0 < len(reason) <= NAME_CHARS_MAX and reason.isidentifier() and reason.isascii()):
            raise RemoteProtocolError("malformed", "a refusal without a reason word")
        if len(message.node_id) not in (0, NODE_ID_BYTES):
            raise RemoteProtocolError("malformed", "a refusal with a node id of the wrong length")
        self._state = _State.OVER
        self._outcome = Refused(
            reason,
            message.detail[:DETAIL_CHARS_MAX],
            by_peer=True,
            boot_number=max(0, min(message.boot_number, BOOT_MAX)),
            node_id=message.node_id,
            cluster_id=message.cluster_id[:CLUSTER_ID_BYTES],
            cluster_name=message.cluster_name[:NAME_CHARS_MAX],
        )


def _check_hello(hello: Hello) -> None:
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
