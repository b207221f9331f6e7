"""The handshake that opens every stream between nodes, without I/O.

The dialler sends a `Hello`; the acceptor answers with its own and a proof; the dialler ends with
its proof. Either side may say instead why it refuses, so that the other knows, and the acceptor has
not taken the stream before the dialler's proof (both sides may dial at once; see
`sadik_members.messenger`). Each side sends eight magic bytes first, by which anything that is
no such node is told apart at once.

Where the cluster has a secret (`sadik_members.proof`), challenges come first, and the dialler
pledges with its hello that it knows the secret: before that the acceptor says nothing of itself,
and refuses without a reason that tells more. Without a secret proofs are empty.

::

    dialler   [AWAIT_CHALLENGE -- challenge --------> sends hello and pledge]
              AWAIT_HELLO -- hello -----------------> AWAIT_PROOF
              AWAIT_PROOF -- proof: check, admit ---> sends its proof, OVER: Established
    acceptor  [AWAIT_CHALLENGE -- challenge --------> sends its own]
              AWAIT_HELLO -- hello [AWAIT_PLEDGE -- pledge]: check, admit --->
                                                      sends hello and proof, AWAIT_PROOF
              AWAIT_PROOF -- proof: check, admit ---> OVER: Established
    any state -- a refusal, or something wrong -----> OVER: Refused

A `Handshake` is fed what was received and asked what to send; its outcome is a value. It checks
what a stream alone can tell; ``admit`` lets the caller refuse for what it knows besides (a stale
boot, a member that was removed, a second stream). Where the stream itself proves names (TLS), the
name in the hello must be one of them.

The transcript that a proof covers is every message before it, of both sides, as it was sent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from attrs import evolve

from sadik_machine import (
    FRAME_HEADER_BYTES,
    NODE_ID_BYTES,
    Codec,
    LocalProtocolError,
    RemoteProtocolError,
    frame,
)
from sadik_members.hello import (
    CLUSTER_ID_BYTES,
    DETAIL_CHARS_MAX,
    HANDSHAKE_BYTES_MAX,
    HANDSHAKE_MESSAGES,
    HANDSHAKE_TIMEOUT_NS,
    MAGIC,
    NONCE_BYTES,
    Challenge,
    Established,
    Hello,
    Pledge,
    Proof,
    Refusal,
    RefusalReason,
    Refuse,
    Refused,
    Role,
    StreamKind,
    check_hello,
)
from sadik_members.proof import ClusterSecrets, Purpose, is_proof, prove
from sadik_members.settings import BOOT_MAX, NAME_CHARS_MAX

__all__ = ["Admit", "Handshake"]

_CODEC: Final = Codec(HANDSHAKE_MESSAGES)

Admit = Callable[[Hello], Refusal | None]


def _admit_all(_hello: Hello) -> Refusal | None:
    return None


class _State(enum.Enum):
    AWAIT_CHALLENGE = "await_challenge"
    AWAIT_HELLO = "await_hello"
    AWAIT_PLEDGE = "await_pledge"
    AWAIT_PROOF = "await_proof"
    OVER = "over"


_NO_PROOF: Final = Refusal(
    RefusalReason.PROOF, "the other side does not prove that it knows the cluster's secret"
)
_MAY_BE_SAID = (RefusalReason.PROOF, RefusalReason.CERTIFICATE)
_REFUSES: Final = {
    Role.DIALLER: Purpose.DIALLER_REFUSES,
    Role.ACCEPTOR: Purpose.ACCEPTOR_REFUSES,
}


class Handshake:
    """One side of one handshake.

    ``local`` is this side's hello; for an acceptor its ``kind``, ``link`` and ``expected`` do not
    matter. ``admit`` is asked with the peer's hello after all that is checked here: by an acceptor
    before it answers, and by both sides at the very end. ``secrets`` are the cluster's, if it has
    any; ``names`` is what the stream has proven of the other side (`Stream.proven_names`).
    """

    def __init__(
        self,
        role: Role,
        local: Hello,
        now: int,
        admit: Admit = _admit_all,
        secrets: ClusterSecrets | None = None,
        names: frozenset[str] | None = None,
    ) -> None:
        self._role = role
        self._local = local
        self._admit = admit
        self._secrets = secrets
        self._secret: bytes | None = None
        """The one that the other side has proven to know."""
        self._names = names
        self._deadline = now + HANDSHAKE_TIMEOUT_NS
        self._buffer = bytearray()
        self._taken_bytes = 0
        self._to_send = bytearray(MAGIC)
        self._transcript = b""
        self._peer: Hello | None = None
        self._version = 0
        self._outcome: Established | Refused | None = None
        if secrets is None:
            self._state = _State.AWAIT_HELLO
            if role is Role.DIALLER:
                self._send(local)
            return
        self._state = _State.AWAIT_CHALLENGE
        if role is Role.DIALLER:
            self._send(Challenge(local.nonce))

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

    @property
    def is_peer_proven(self) -> bool:
        """Whether the other side has proven, as far as anybody must, that it belongs here."""
        has_name = self._names is None or (
            self._peer is not None and self._peer.name in self._names
        )
        return has_name and (self._secrets is None or self._secret is not None)

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
            case Refuse() as refuse:
                self._refused_by_peer(refuse)
            case Challenge() as challenge if self._state is _State.AWAIT_CHALLENGE:
                self._handle_challenge(challenge, payload)
            case Hello() as hello if self._state is _State.AWAIT_HELLO:
                self._handle_hello(hello, payload)
            case Pledge() as pledge if self._state is _State.AWAIT_PLEDGE:
                self._handle_pledge(pledge, payload)
            case Proof() as proof if self._state is _State.AWAIT_PROOF:
                self._handle_proof(proof, payload)
            case Hello() if self._state is _State.AWAIT_CHALLENGE:
                detail = "this node has a cluster secret (auth.cluster_secret_file), the other none"
                self._refuse(Refusal(RefusalReason.PROOF, detail))
            case Challenge() if self._secrets is None:
                detail = "the other node has a cluster secret (auth.cluster_secret_file), this none"
                self._refuse(Refusal(RefusalReason.PROOF, detail))
            case _:
                raise RemoteProtocolError("malformed", "a handshake message out of turn")
        return True

    def _advance(self, size: int) -> None:
        del self._buffer[:size]
        self._taken_bytes += size

    def _handle_challenge(self, challenge: Challenge, payload: bytes) -> None:
        assert self._secrets is not None
        if len(challenge.nonce) != NONCE_BYTES:
            raise RemoteProtocolError("malformed", "a challenge has the wrong length")
        self._hear(payload)
        if self._role is Role.ACCEPTOR:
            self._send(Challenge(self._local.nonce))
        else:
            self._send(self._local)
            self._send(Pledge(self._secrets.pledges(self._transcript)))
        self._state = _State.AWAIT_HELLO

    def _handle_hello(self, hello: Hello, payload: bytes) -> None:
        check_hello(hello)
        self._peer = hello
        self._hear(payload)
        if self._role is Role.DIALLER:
            self._state = _State.AWAIT_PROOF
        elif self._secrets is not None:
            self._state = _State.AWAIT_PLEDGE
        else:
            self._answer(hello)

    def _handle_pledge(self, pledge: Pledge, payload: bytes) -> None:
        assert self._secrets is not None
        assert self._peer is not None
        self._secret = self._secrets.match(Purpose.PLEDGE, pledge.proofs, self._transcript)
        if self._secret is None:
            self._refuse(_NO_PROOF)
            return
        self._hear(payload)
        self._answer(self._peer)

    def _answer(self, hello: Hello) -> None:
        """The acceptor's part, to a dialler that may hear who this is."""
        refusal = self._check_peer(hello) or self._admit(hello)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._state = _State.AWAIT_PROOF
        self._send(evolve(self._local, kind=hello.kind, link=hello.link, expected=b""))
        self._send(Proof(self._prove(Purpose.ACCEPTOR)))

    def _handle_proof(self, message: Proof, payload: bytes) -> None:
        assert self._peer is not None
        if not self._is_proven_by(message.proof):
            self._refuse(_NO_PROOF)
            return
        self._hear(payload)
        refusal = self._check_peer(self._peer) or self._admit(self._peer)
        if refusal is not None and self._role is Role.DIALLER:
            self._refuse(refusal)
            return
        if refusal is not None:
            # The dialler takes the stream as open already: what it reads now are messages.
            self._end(refusal, by_peer=False)
            return
        if self._role is Role.DIALLER:
            self._send(Proof(self._prove(Purpose.DIALLER)))
        kind = self._local.kind if self._role is Role.DIALLER else self._peer.kind
        self._state = _State.OVER
        self._outcome = Established(self._peer, self._version, StreamKind(kind))

    def _is_proven_by(self, proof: bytes) -> bool:
        """Whether the last message of the other side's is what it must be."""
        if self._secrets is None:
            return not proof
        if self._role is Role.DIALLER:
            self._secret = self._secrets.match(Purpose.ACCEPTOR, (proof,), self._transcript)
            return self._secret is not None
        assert self._secret is not None
        return is_proof(self._secret, Purpose.DIALLER, proof, self._transcript)

    def _prove(self, purpose: Purpose) -> bytes:
        return b"" if self._secret is None else prove(self._secret, purpose, self._transcript)

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
        if self._names is not None and hello.name not in self._names:
            detail = f"the certificate of the other side does not name the node {hello.name!r}"
            return Refusal(RefusalReason.CERTIFICATE, detail)
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

    def _send(self, message: Challenge | Hello | Pledge | Proof) -> None:
        data = frame(_CODEC.encode(message))
        self._transcript += data
        self._to_send += data

    def _hear(self, payload: bytes) -> None:
        self._transcript += frame(payload)

    def _refuse(self, refusal: Refusal) -> None:
        local = self._local
        message = Refuse(
            str(refusal.reason),
            refusal.detail[:DETAIL_CHARS_MAX],
            refusal.boot_number,
            local.node_id,
            local.cluster_id,
            local.cluster_name,
        )
        if not self.is_peer_proven or refusal.reason is RefusalReason.CERTIFICATE:
            # Whoever it is hears nothing of this node, and of the cluster no more than it said.
            detail = message.detail if refusal.reason in _MAY_BE_SAID else ""
            message = Refuse(str(refusal.reason), detail, 0, b"", b"", "")
        elif self._secret is not None:
            message.proof = prove(
                self._secret, _REFUSES[self._role], self._refusal_transcript(message)
            )
        self._to_send += frame(_CODEC.encode(message))
        self._end(refusal, by_peer=False)

    def _refusal_transcript(self, message: Refuse) -> bytes:
        return self._transcript + frame(_CODEC.encode(evolve(message, proof=b"")))

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
            is_proven=self.is_peer_proven,
        )

    def _refused_by_peer(self, message: Refuse) -> None:
        reason = message.reason
        if not (0 < len(reason) <= NAME_CHARS_MAX and reason.isidentifier() and reason.isascii()):
            raise RemoteProtocolError("malformed", "a refusal without a reason word")
        if len(message.node_id) not in (0, NODE_ID_BYTES):
            raise RemoteProtocolError("malformed", "a refusal with a node id of the wrong length")
        is_proven = self._secrets is None
        if self._secrets is not None:
            transcript = self._refusal_transcript(message)
            proofs = (message.proof,)
            other = Role.ACCEPTOR if self._role is Role.DIALLER else Role.DIALLER
            is_proven = self._secrets.match(_REFUSES[other], proofs, transcript) is not None
        self._state = _State.OVER
        self._outcome = Refused(
            reason,
            message.detail[:DETAIL_CHARS_MAX],
            by_peer=True,
            boot_number=max(0, min(message.boot_number, BOOT_MAX)),
            node_id=message.node_id,
            cluster_id=message.cluster_id[:CLUSTER_ID_BYTES],
            cluster_name=message.cluster_name[:NAME_CHARS_MAX],
            is_proven=is_proven and (self._names is None or bool(self._names)),
        )
