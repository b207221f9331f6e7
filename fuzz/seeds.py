"""Good inputs to begin from: one of everything that a node says. Run it to renew the corpus."""

from __future__ import annotations

import hashlib
import sys
import types
import typing
from pathlib import Path
from typing import Any

import attrs
from http_seeds import http_seeds
from targets import CODEC, HANDSHAKE_CODEC, SECRETS, hello, machine

from sadik_causality import Context, ContextSealer
from sadik_machine import NodeId, frame
from sadik_members import HANDSHAKE_MESSAGES, MAGIC, Handshake, Role
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members.messages import Delta, Digest, JoinRequest
from sadik_members.table import member_to_plain
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_vnode import MESSAGES as ENGINE_MESSAGES
from sadik_vnode.record import Record
from sadik_vnode.version import version_of

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Write the corpus. What is there and is not among the seeds (findings) stays."""
    for target, inputs in seeds().items():
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        sys.stdout.write(f"{target}: {len(inputs)}\n")


def seeds() -> dict[str, list[bytes]]:
    """Inputs by target."""
    plain = [CODEC.encode(message) for message in _messages()]
    return {
        "frames": [b"\x03" + frame(b"a") + frame(b"bc" * 40), b"\0" + frame(b"x" * 200)],
        "messages": plain,
        "membership": [b"\1" + data for data in plain[: len(MEMBERS_MESSAGES.classes) + 3]],
        "engine": [b"\0" + data for data in plain[len(MEMBERS_MESSAGES.classes) + 3 :]],
        "handshake": _handshakes(),
        "records": _records(),
        "contexts": _tokens(),
        "http": http_seeds(),
    }


def _messages() -> list[object]:
    """One of each class, its fields filled in by their types, then some that mean something."""
    made = [
        cls(**{name: _value(hint) for name, hint in _hints(cls)})
        for messages in (MEMBERS_MESSAGES, ENGINE_MESSAGES, REGISTER_MESSAGES)
        for cls in messages.classes.values()
    ]
    member = machine()
    cluster = member.snapshot().cluster_id
    [own] = member.members.values()
    other = attrs.evolve(own, id=NodeId(bytes(7) + b"\3"), name="n3")
    entries = (member_to_plain(own), member_to_plain(other), member_to_plain(own)[:4])
    meaning: list[object] = [
        Delta(cluster, entries, ((0, 2, (bytes(8),)),), (("b.x", 1, b"{}"),), (own.id,), (0,), ()),
        Digest(cluster, ((own.id, 1, 2, bytes(8)),), (1,) * 16, (("b.x", 1, bytes(8)),)),
        JoinRequest("fuzz", "n3", "h3:1", "h3:2", "", 1.0, 1, 7, None, None),
    ]
    members = len(MEMBERS_MESSAGES.classes)
    return [*made[:members], *meaning, *made[members:]]


def _hints(cls: type) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(cls)
    return [(field.name, hints[field.name]) for field in attrs.fields(cls)]


def _value(hint: Any) -> Any:
    """Some value of a message's field."""
    if hint is NodeId:
        return NodeId(bytes(7) + b"\2")
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    simple = {int: 7, bytes: b"0123456789abcdef", str: "text", bool: True, float: 1.5,
              type(None): None, object: (1, "x", b"y")}  # fmt: skip
    if hint in simple:
        return simple[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(arguments[0])
    if arguments[1:] == (Ellipsis,):
        return (_value(arguments[0]),) * 2
    return tuple(map(_value, arguments))


def _handshakes() -> list[bytes]:
    """What either side hears, with a secret and without, as good as it comes."""
    heard = []
    for secrets in (None, SECRETS):
        left = Handshake(Role.DIALLER, hello(1), 0, secrets=secrets)
        right = Handshake(Role.ACCEPTOR, hello(9), 0, secrets=secrets)
        to_left, to_right = b"", b""
        for _ in range(4):
            to_right += (data := left.data_to_send())
            if right.outcome is None and data:
                right.receive(data)
            to_left += (data := right.data_to_send())
            if left.outcome is None and data:
                left.receive(data)
        flags = 2 if secrets else 0
        heard += [bytes([0xF8 | flags]) + to_right, bytes([0xF9 | flags]) + to_left]
    every = [
        cls(**{name: _value(hint) for name, hint in _hints(cls)})
        for cls in HANDSHAKE_MESSAGES.classes.values()
    ]
    return heard + [b"\xfa" + MAGIC + frame(HANDSHAKE_CODEC.encode(each)) for each in every]


def _records() -> list[bytes]:
    record = Record.decode(None)
    dot = (b"actor-of-12b", 1)
    first = version_of(b"value", timestamp=1, content_type="text/plain", meta=(("a", "b"),))
    written = Record(record.container.write(record.container.context, dot, first))
    return [record.encode(), written.encode()]


def _tokens() -> list[bytes]:
    sealer = ContextSealer(b"k" * 32, b"c" * 16)
    contexts = (Context.from_dots([(b"actor-of-12b", 1)]), Context.from_dots([(b"a" * 12, 9)]))
    return [sealer.seal("bucket", b"key", context).encode() for context in contexts]


if __name__ == "__main__":
    main()
