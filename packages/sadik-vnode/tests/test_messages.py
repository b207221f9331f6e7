"""Messages: every one of them survives the wire, and each has its place among the tags."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sadik_machine import Codec, RemoteProtocolError
from sadik_members.messages import MESSAGES as MEMBERS_MESSAGES
from sadik_vnode.messages import MESSAGES, ReplicaAck, ReplicaState, ScanKeys, Status
from vnode_values import drawn_message

CODEC = Codec(MESSAGES)
CLASSES = list(MESSAGES.classes.values())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_message_survives_the_wire_whatever_is_in_it(cls: type[Any]) -> None:
    source = random.Random(cls.__name__)
    for _ in range(200):
        message = drawn_message(cls, source)
        assert repr(CODEC.decode(CODEC.encode(message))) == repr(message)


def test_an_older_node_understands_an_acknowledgement_without_what_was_added_later() -> None:
    whole = ReplicaAck(1, b"12345678", Status.OK, durable=True)
    assert CODEC.decode(CODEC.encode(whole)) == whole
    state = ReplicaState(1, Status.NEWER_EPOCH, (), [], newer=(7, (b"12345678",)))
    assert CODEC.decode(CODEC.encode(state)).newer == (7, (b"12345678",))


def test_a_field_of_another_type_is_refused() -> None:
    wrong: Any = "ten"
    with pytest.raises(RemoteProtocolError):
        CODEC.decode(CODEC.encode(ScanKeys(1, "b", b"", None, wrong)))


def test_one_codec_carries_the_messages_of_members_and_engines() -> None:
    both = Codec(MEMBERS_MESSAGES, MESSAGES)
    for cls in CLASSES:
        message = drawn_message(cls, random.Random(1))
        assert type(both.decode(both.encode(message))) is cls
