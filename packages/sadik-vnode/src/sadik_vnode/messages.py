"""What nodes say to each other about data.

Every message that touches a key bears the epoch of the key's partition register as its sender
knows it. ``request`` is the sender's request id; an answer carries it back. A version travels as
`sadik_vnode.version.PlainVersion`, a context in its plain form.

A `ReplicaWrite` is always a merge: a client's new version, a hint, or a read repair. A ``trace`` is
the id of a client's request that every node which it touches shall log; mostly it is empty.

What carries versions bears the reap generation that its sender was in when it read them, the least
of several: `sadik_vnode.reaping` says who refuses it. A message of an older version of the software
is of generation 0.
"""

from __future__ import annotations

import enum
from typing import Final

from attrs import define

from sadik_machine import MessageRange, NodeId
from sadik_vnode.version import PlainVersion

__all__ = [
    "ANSWERS",
    "MANY_KEYS_MAX",
    "MESSAGES",
    "Body",
    "FetchBody",
    "ForwardMany",
    "ForwardWrite",
    "ForwardWriteAnswer",
    "GoingAway",
    "HintCounts",
    "HintCountsAsked",
    "Inspect",
    "Inspection",
    "KeyState",
    "KeysScanned",
    "KnowsMany",
    "ManyAcks",
    "ManyAnswers",
    "ManyStates",
    "Newer",
    "ReadMany",
    "ReplicaAck",
    "ReplicaRead",
    "ReplicaState",
    "ReplicaWrite",
    "ScanKeys",
    "Status",
    "WriteMany",
    "WriteRows",
]

MESSAGES: Final = MessageRange("vnode", 100, 199)

MANY_KEYS_MAX: Final = 128
"""Of so many keys one message may be. Of a `ReadMany` the longest names take some 64 KiB."""

KeyState = tuple[int, tuple[PlainVersion, ...], object]
"""A status, and with `Status.OK` the versions and the context."""

Newer = tuple[object, ...]
"""The plain form of a register, of one who knows a newer one."""


class Status(enum.IntEnum):
    """How a replica answers. Unknown values of later versions are treated as FAILED."""

    OK = 0
    NEWER_EPOCH = 1
    """The replica knows a newer register, which the answer carries; nothing was done."""
    FULL = 2
    """The replica's disk is full; nothing was stored."""
    FAILED = 3
    """The replica could not read or store; nothing was acknowledged."""
    HINTS_FULL = 4
    """A fallback is at its bound for hint notes; nothing was stored."""
    NOT_READY = 5
    """The replica has no ring yet, or is sealed, or is catching up; nothing was done."""
    OLD_GENERATION = 6
    """What came was read in too old a reap generation: nothing was stored."""
    SAME = 7
    """The replica holds what the question has the sum of, and does not repeat it."""


@MESSAGES.message(100)
@define(slots=True)
class ReplicaWrite:
    """Merge these versions and this context into the key's record, durably, for owner ``slot``.

    Where ``slot`` is not the receiver, the receiver stands in for it and keeps a hint note.

    Who has said that it knows `WriteRows` may be sent two things more. ``row`` is the record at the
    sender, whole, as `Record.row_for_others` gives it: then there are no versions, and None stands
    for the context. ``answer`` is for who forwarded the write: see `early_answer` in
    `sadik_vnode.forwarding`.
    """

    request: int
    epoch: int
    bucket: str
    key: bytes
    slot: NodeId
    versions: tuple[PlainVersion, ...]
    context: object
    timestamp: int
    trace: str = ""
    is_put: bool = False
    """Whether a client waits for it who brings a value: a replica whose disk is short of room
    refuses that, and takes deletes and what repairs."""
    generation: int = 0
    row: bytes = b""
    answer: tuple[object, ...] = ()


@MESSAGES.message(101)
@define(slots=True)
class ReplicaAck:
    """The outcome of a `ReplicaWrite`. ``newer`` comes with `Status.NEWER_EPOCH`; ``answered``:
    the sender has told its client of the write, as the ``answer`` that came with it allowed.
    """

    request: int
    slot: bytes
    status: int
    durable: bool
    newer: tuple[object, ...] | None = None
    generation: int = 0
    answered: bool = False


@MESSAGES.message(102)
@define(slots=True)
class ReplicaRead:
    """What do you hold of this key? Bodies are left out where they are not wanted.

    ``known`` is `sadik_vnode.sums.sum_of` what the asker holds, or empty: who holds the same
    answers with `Status.SAME`, and who does not know the field with all of it.
    """

    request: int
    epoch: int
    bucket: str
    key: bytes
    bodies: bool
    trace: str = ""
    known: bytes = b""


@MESSAGES.message(103)
@define(slots=True)
class ReplicaState:
    """What the replica holds, from disk. Large bodies are left out: `FetchBody` asks for one."""

    request: int
    status: int
    versions: tuple[PlainVersion, ...]
    context: object
    newer: tuple[object, ...] | None = None
    generation: int = 0


@MESSAGES.message(104)
@define(slots=True)
class FetchBody:
    """Send the body of this one version."""

    request: int
    bucket: str
    key: bytes
    actor: bytes
    counter: int
    trace: str = ""


@MESSAGES.message(105)
@define(slots=True)
class Body:
    """The body asked for, or None where the version is not (or no longer) held."""

    request: int
    actor: bytes
    counter: int
    body: bytes | None


@MESSAGES.message(106)
@define(slots=True)
class ForwardWrite:
    """Coordinate this client's write. ``value`` None is a delete.

    ``quorums`` are r, w, pw, dw as the client gave them, and so is what follows the trace.
    """

    request: int
    bucket: str
    key: bytes
    value: bytes | None
    content_type: str | None
    meta: tuple[tuple[str, str], ...]
    context: str | None
    quorums: tuple[int | str | None, ...]
    sloppy: bool
    timeout_ns: int
    trace: str = ""
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    ttl_s: int | None = None


@MESSAGES.message(107)
@define(slots=True)
class ForwardWriteAnswer:
    """What the coordinator made of it: ``kind`` and ``fields`` as `sadik_vnode.forwarding` has."""

    request: int
    kind: int
    fields: tuple[object, ...]


@MESSAGES.message(108)
@define(slots=True)
class ScanKeys:
    """A chunk of the keys that you own in a bucket, with their live dots and contexts.

    You are counted on for ``partitions``, ``(partition, epoch)`` each. Under a newer register by
    which you are no reader of one any more, the answer is ``NEWER_EPOCH``.
    """

    request: int
    bucket: str
    prefix: bytes
    after: bytes | None
    limit: int
    trace: str = ""
    partitions: tuple[tuple[int, int], ...] = ()


@MESSAGES.message(109)
@define(slots=True)
class KeysScanned:
    """Entries ``(key, context, ((actor, counter, gone, timestamp), …))`` in key order.

    ``gone`` is whether the version is a delete or has expired by the sender's wall clock. The
    timestamp is left out where the bucket's rule does not look at it.

    ``upto`` is None at the end of the bucket; else all keys up to and including it are covered.
    ``newer`` are registers in plain form, where the asker lacks them.
    """

    request: int
    status: int
    entries: tuple[
        tuple[bytes, object, tuple[tuple[bytes, int, bool] | tuple[bytes, int, bool, int], ...]],
        ...,
    ]
    upto: bytes | None
    newer: tuple[Newer, ...] = ()


@MESSAGES.message(110)
@define(slots=True)
class Inspect:
    """For people: what do you hold of this key, and for whom do hints of it wait with you?"""

    request: int
    bucket: str
    key: bytes
    trace: str = ""


@MESSAGES.message(111)
@define(slots=True)
class Inspection:
    """Versions without bodies, the context, and the owner slots that hints wait for."""

    request: int
    status: int
    versions: tuple[PlainVersion, ...]
    context: object
    hints: tuple[bytes, ...]


@MESSAGES.message(112)
@define(slots=True)
class HintCountsAsked:
    """How many hint notes wait with you, and for whom?"""

    request: int


@MESSAGES.message(113)
@define(slots=True)
class HintCounts:
    """Per owner slot: notes and their bytes."""

    request: int
    slots: tuple[tuple[bytes, int, int], ...]


@MESSAGES.message(114)
@define(slots=True)
class GoingAway:
    """This node is about to stop: ask it nothing new. It still answers what it was asked."""


@MESSAGES.message(115)
@define(slots=True)
class ReadMany:
    """What do you hold of these keys? They are ``(epoch, bucket, key, sum)``, each once.

    The sum is `sadik_vnode.sums.sum_of` what the asker holds, or empty where it holds nothing. A
    node of an older version of the software does not know this question and does not answer.
    """

    request: int
    keys: tuple[tuple[int, str, bytes, bytes], ...]
    trace: str = ""


@MESSAGES.message(116)
@define(slots=True)
class ManyStates:
    """What the replica holds, from disk, key by key in the order of the question.

    None: what has the sum that came with the question. `Status.FAILED` of a key: ask for it alone.
    Where ``status`` is not OK there are no states.
    """

    request: int
    status: int
    states: tuple[tuple[int, tuple[PlainVersion, ...], object] | None, ...]
    generation: int = 0


@MESSAGES.message(117)
@define(slots=True)
class KnowsMany:
    """The sender knows the messages that follow here, each of which is several others in one.

    ``asks``: whether the receiver is to say so too, if it does. A node of an older version of the
    software knows neither this nor them, so they are sent only to those who have said that they do
    since their streams came up. ``level`` says which: 1 is `WriteMany`, `ManyAcks`, `ForwardMany`
    and `ManyAnswers`, and 2 `WriteRows` too.
    """

    asks: bool
    level: int = 1


@MESSAGES.message(118)
@define(slots=True)
class WriteMany:
    """Several `ReplicaWrite`, all for the receiver's own slot.

    They are ``(request, epoch, bucket, key, versions, context)``; the rest is the same of all.
    """

    writes: tuple[tuple[int, int, str, bytes, tuple[PlainVersion, ...], object], ...]
    timestamp: int
    trace: str
    is_put: bool
    generation: int


@MESSAGES.message(119)
@define(slots=True)
class ManyAcks:
    """Several `ReplicaAck` with `Status.OK`, all of the sender for its own slot, by request; and
    which of them are ``answered``.
    """

    requests: tuple[int, ...]
    durable: bool
    answered: tuple[int, ...] = ()


@MESSAGES.message(120)
@define(slots=True)
class ForwardMany:
    """Several `ForwardWrite` without a condition.

    They are ``(request, bucket, key, value, content_type, meta, context, ttl_s, timeout_ns)``; the
    rest is the same of all.
    """

    writes: tuple[
        tuple[
            int, str, bytes, bytes | None, str | None, tuple[tuple[str, str], ...], str | None,
            int | None, int,
        ],
        ...,
    ]  # fmt: skip
    quorums: tuple[int | str | None, ...]
    sloppy: bool
    trace: str


@MESSAGES.message(121)
@define(slots=True)
class ManyAnswers:
    """Several `ForwardWriteAnswer`: ``(request, kind, fields)`` each."""

    answers: tuple[tuple[int, int, tuple[object, ...]], ...]


@MESSAGES.message(122)
@define(slots=True)
class WriteRows:
    """Several `ReplicaWrite` with a row, all for the receiver's own slot.

    They are ``(request, epoch, bucket, key, row, answer)``; the rest is the same of all.
    """

    writes: tuple[tuple[int, int, str, bytes, bytes, tuple[object, ...]], ...]
    timestamp: int
    trace: str
    is_put: bool
    generation: int


ANSWERS: Final = frozenset((ReplicaAck, ReplicaState, ManyStates, Body, ForwardWriteAnswer))
"""The frequent ones that are for nobody but the conversation whose id they bear."""
