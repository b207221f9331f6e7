"""What is fuzzed: for each target, a function of bytes that raises where a promise is broken.

A refusal that the code under test promises (`RemoteProtocolError` and the like) is no finding. All
else that comes out is one, and so is an assertion here. Targets keep no state, or start anew every
so often, so that a finding is made again by its one input.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

from engine_host import EngineHost
from http_target import http

from sadik_causality import ContextSealer, TokenError
from sadik_machine import Codec, FrameReader, NodeId, Received, RemoteProtocolError, Woke, frame
from sadik_members import (
    HANDSHAKE_MESSAGES,
    MAGIC,
    ClusterSecrets,
    ClusterSettings,
    Established,
    Handshake,
    Hello,
    Identity,
    Membership,
    Role,
    StreamKind,
)
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members.documents import document_from_plain
from sadik_members.messages import Delta, JoinAccepted
from sadik_members.registers import register_from_plain
from sadik_members.table import member_from_plain, member_to_plain
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_vnode import MESSAGES as ENGINE_MESSAGES
from sadik_vnode import DamagedRecord
from sadik_vnode.record import Record, _sum
from sadik_vnode.version import MalformedVersion, version_from_plain

__all__ = ["CODEC", "HANDSHAKE_CODEC", "SECRETS", "TARGETS", "hello", "machine"]

CODEC = Codec(MEMBERS_MESSAGES, REGISTER_MESSAGES, ENGINE_MESSAGES)
HANDSHAKE_CODEC = Codec(HANDSHAKE_MESSAGES)
SECRETS = ClusterSecrets((b"the secret of the fuzzed cluster".replace(b" ", b"-"),))
FRAME_BYTES_MAX = 4096
_MACHINE_INPUTS = 500


def frames(data: bytes) -> None:
    """Frames cut in any way give the same payloads, which frame to the same bytes again."""
    if not data:
        return
    size = data[0] or 256
    data = data[1:]
    at_once, in_parts = FrameReader(FRAME_BYTES_MAX), FrameReader(FRAME_BYTES_MAX)
    whole, why = _fed(at_once, [data])
    parts, why_parts = _fed(in_parts, [data[i : i + size] for i in range(0, len(data), size)])
    assert why == why_parts
    assert why or whole == parts
    assert b"".join(map(frame, parts)) == data[: sum(4 + len(part) for part in parts)]
    assert why or in_parts.buffered_bytes <= FRAME_BYTES_MAX + 4


def _fed(reader: FrameReader, parts: list[bytes]) -> tuple[list[bytes], str]:
    payloads: list[bytes] = []
    try:
        for part in parts:
            payloads += reader.feed(part)
    except RemoteProtocolError as error:
        return payloads, error.reason
    return payloads, ""


def messages(data: bytes) -> None:
    """What decodes encodes to what decodes to the same; what is inside is parsed or refused."""
    try:
        message = CODEC.decode(data)
    except RemoteProtocolError:
        return
    again = CODEC.encode(message)
    assert CODEC.encode(CODEC.decode(again)) == again
    if isinstance(message, Delta | JoinAccepted):
        for plain in message.members:
            _parsed(member_from_plain, plain)
        for plain in message.registers:
            _parsed(register_from_plain, plain)
        for plain in message.documents:
            _parsed(document_from_plain, plain)
    for plain in getattr(message, "versions", ()):
        try:
            _, version = version_from_plain(plain)
            version.parsed()
        except MalformedVersion:
            pass


def _parsed(parse: Callable[[object], object], plain: object) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse(plain)


class _Machine:
    """A member of a cluster, made anew after so many inputs."""

    def __init__(self) -> None:
        self.left = 0
        self.membership = machine()

    def take(self, data: bytes) -> None:
        """One message, from a peer that the first byte chooses."""
        if not self.left:
            self.left, self.membership = _MACHINE_INPUTS, machine()
        self.left -= 1
        if len(data) < 2:
            return
        try:
            message = CODEC.decode(data[1:])
        except RemoteProtocolError:
            return
        sender = NodeId(bytes(7) + bytes([data[0] % 4 + 2]))
        me = NodeId(bytes(7) + b"\1")
        before = self.membership.members[me]
        self.membership.step(1_000_000_000 + self.left, Received(sender, message))
        own = self.membership.members[me]
        # Nobody but the node itself says who it is; only that it has left may be said of it.
        assert (own.name, own.peer, own.boot_number) == (before.name, before.peer, 1)
        assert own.incarnation >= before.incarnation


def machine() -> Membership:
    """A member that founded its cluster and took nobody in yet."""
    me = NodeId(bytes(7) + b"\1")
    identity = Identity(me, "n1", "h1:7071", "h1:7070", "", 1.0, 1, 1)
    made = Membership(identity, ClusterSettings("fuzz", 16), {}, random.Random(1))
    made.step(0, Woke())
    assert member_to_plain(made.members[me])
    return made


_machine = _Machine()


def membership(data: bytes) -> None:
    """No message of a peer breaks the membership machine, nor changes who this node is."""
    _machine.take(data)


class _Engine:
    """An engine, made anew after so many inputs."""

    def __init__(self) -> None:
        self.left = 0
        self.host = EngineHost()

    def take(self, data: bytes) -> None:
        """One message, from a member that the first byte chooses."""
        if not self.left:
            self.left, self.host = _MACHINE_INPUTS, EngineHost()
        self.left -= 1
        if len(data) < 2:
            return
        try:
            message = CODEC.decode(data[1:])
        except RemoteProtocolError:
            return
        if type(message) in _OF_THE_ENGINE:
            self.host.take(NodeId(bytes(7) + bytes([data[0] % 3 + 2])), message)


_engine = _Engine()
_OF_THE_ENGINE = frozenset((*ENGINE_MESSAGES.classes.values(), *REGISTER_MESSAGES.classes.values()))


def engine(data: bytes) -> None:
    """No message of a member breaks the engine, or has it store what no store takes."""
    _engine.take(data)


def hello(number: int, **changes: object) -> Hello:
    """A good hello."""
    values: dict[str, object] = {
        "version_min": 1,
        "version_max": 1,
        "cluster_id": b"c" * 16,
        "cluster_name": "fuzz",
        "node_id": bytes(7) + bytes([number]),
        "boot_number": 1,
        "boot_nonce": number,
        "kind": int(StreamKind.SMALL),
        "peer": f"h{number}:1",
        "nonce": bytes([number]) * 16,
        "attempt": 1,
        "expected": b"",
        "link": b"",
        "name": f"n{number}",
    }
    return Hello(**{**values, **changes})  # type: ignore[arg-type]


def handshake(data: bytes) -> None:
    """No bytes break a handshake, convince one that wants a proof, or have it say who it is."""
    if not data:
        return
    role = Role.DIALLER if data[0] & 1 else Role.ACCEPTOR
    secrets = SECRETS if data[0] & 2 else None
    names = frozenset({"n1"}) if data[0] & 4 else None
    size = 1 + (data[0] >> 3) * 16
    # Not the nonces of the corpus: what was heard there is a replay here.
    side = Handshake(role, hello(9, nonce=b"f" * 16), 0, secrets=secrets, names=names)
    said = side.data_to_send()
    for start in range(1, len(data), size):
        if side.outcome is None:
            side.receive(data[start : start + size])
            said += side.data_to_send()
    if isinstance(side.outcome, Established):
        assert secrets is None, "convinced without the secret"
        assert names is None or side.outcome.peer.name in names
    if secrets is not None and role is Role.ACCEPTOR:
        assert hello(9).node_id not in said
        assert b"c" * 16 not in said or b"c" * 16 in data
    assert said.startswith(MAGIC) or not said
    assert len(said) < 16384


def records(data: bytes) -> None:
    """A row is a record or is damaged; a record encodes to the row that it was."""
    for row in (data, _sum(data) + data):
        try:
            record = Record.decode(row)
        except DamagedRecord:
            continue
        assert Record.decode(record.encode()).encode() == record.encode()
        again = Record.decode(Record.received(row).encode())
        assert (again.own_actor, again.container.live_dots()) == (b"", record.container.live_dots())


_sealer = ContextSealer(b"k" * 32, b"c" * 16)


def contexts(data: bytes) -> None:
    """A context token is this cluster's own or is refused."""
    try:
        context = _sealer.open("bucket", b"key", data.decode("latin-1"))
    except TokenError:
        return
    assert _sealer.open("bucket", b"key", _sealer.seal("bucket", b"key", context)) == context


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "messages": messages,
    "membership": membership,
    "engine": engine,
    "handshake": handshake,
    "records": records,
    "contexts": contexts,
    "http": http,
}
