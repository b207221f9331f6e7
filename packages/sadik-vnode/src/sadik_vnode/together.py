"""Messages of one kind to one peer in one step, as one message.

The writes of a batch are conversations of their own, and what is said of each is too; only what
the wire, the disks and the hosts have to do is shared. Where a block of the outbox ends
(`Outbox.together`), or a store that several share, messages of one kind to one peer become one,
within a bound in bytes and in number. The receiver takes that one apart again, and what it stores
and answers for its parts is together in the same way. Nothing but the number of messages and of
stores depends on it.

A node of an older version of the software does not know the messages of many. So a peer is asked
whether it does, when there would be something for it, and is sent single ones until it has said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sadik_machine import Effect, NodeId, Send
from sadik_vnode.messages import (
    MANY_KEYS_MAX,
    ForwardMany,
    ForwardWrite,
    ForwardWriteAnswer,
    KnowsMany,
    ManyAcks,
    ManyAnswers,
    ReplicaAck,
    ReplicaWrite,
    Status,
    WriteMany,
    WriteRows,
)
from sadik_vnode.outbox import Outbox
from sadik_vnode.versed import Versed

__all__ = ["MANY", "Together", "singles"]

MANY: Final = frozenset((WriteMany, WriteRows, ManyAcks, ForwardMany, ManyAnswers))
"""The messages that are several others."""

_ROWS_LEVEL: Final = 2
"""From this level of `KnowsMany` on a peer takes rows, and may answer for a coordinator."""

_OVERHEAD_BYTES: Final = 128
"""What a part takes in a message beside its key and its values, about."""

_Name = tuple[object, ...]
"""The peer, the class of the parts, and whatever has to be the same of all of them."""


class Together:
    """Joins what one node sends. A message is joined up to about ``bytes_max``."""

    def __init__(self, self_id: NodeId, outbox: Outbox, bytes_max: int) -> None:
        self._self_id = self_id
        self._outbox = outbox
        self._bytes_max = bytes_max
        self._versed = Versed()
        self._takes_rows = Versed()
        outbox.join = self.join

    # Who knows of it

    def heard(self, peer: NodeId, message: object) -> None:
        """``peer`` has sent a message of many, or has said that it knows them."""
        self._versed.answered(peer)
        if type(message) is WriteRows:
            self._takes_rows.answered(peer)
        elif type(message) is KnowsMany:
            if message.level >= _ROWS_LEVEL:
                self._takes_rows.answered(peer)
            if message.asks:
                self._outbox.send(peer, KnowsMany(asks=False, level=_ROWS_LEVEL))

    def forget(self, peer: NodeId) -> None:
        """The streams to ``peer`` are gone; what runs there next may be of another version."""
        self._versed.forget(peer)
        self._takes_rows.forget(peer)

    def takes_rows(self, peer: NodeId) -> bool:
        """Whether ``peer`` is certain to know `WriteRows`, and what a `ReplicaWrite` may have
        besides. Where it was not asked yet, it is.
        """
        now = self._outbox.now
        if self._takes_rows.knows(peer):
            return True
        if self._takes_rows.may_ask(peer, now):
            self._outbox.send(peer, self._question(peer))
        return False

    def _question(self, peer: NodeId) -> KnowsMany:
        """It is one for both, and not to be put again soon."""
        for each in (self._versed, self._takes_rows):
            each.silent(peer, self._outbox.now)
        return KnowsMany(asks=True, level=_ROWS_LEVEL)

    def _knows(self, peer: NodeId, asking: list[Effect]) -> bool:
        """Whether ``peer`` is certain to know them; where not, it may be asked by ``asking``."""
        now = self._outbox.now
        if self._versed.knows(peer):
            return True
        if self._versed.may_ask(peer, now):
            asking.append(Send(peer, self._question(peer)))
        return False

    # Joining

    def join(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        """The same effects with fewer messages."""
        if not _has_peer_twice(effects):
            return effects
        groups: dict[_Name, list[int]] = {}
        for at, effect in enumerate(effects):
            if type(effect) is Send:
                name = self._name_of(effect.to, effect.message)
                if name is not None:
                    groups.setdefault(name, []).append(at)
        joined: list[Effect | None] | None = None
        asking: list[Effect] = []
        for (to, *_), places in groups.items():
            assert isinstance(to, bytes), "a name begins with the peer"
            if len(places) < 2 or not self._knows(NodeId(to), asking):
                continue
            if joined is None:
                joined = list(effects)
            self._join(NodeId(to), places, joined)
        if joined is None:
            return [*effects, *asking] if asking else effects
        return [effect for effect in joined if effect is not None] + asking

    def _name_of(self, to: NodeId, message: object) -> _Name | None:
        """What a message may be joined with; None: nothing."""
        kind = type(message)
        if kind is ReplicaWrite:
            return _name_of_write(to, message)  # type: ignore[arg-type]
        if kind is ReplicaAck:
            if message.status != Status.OK or message.slot != self._self_id:  # type: ignore[attr-defined]
                return None
            return (to, kind, message.durable)  # type: ignore[attr-defined]
        if kind is ForwardWrite:
            return _name_of_forward(to, message)  # type: ignore[arg-type]
        return (to, kind) if kind is ForwardWriteAnswer else None

    def _join(self, to: NodeId, places: list[int], joined: list[Effect | None]) -> None:
        """Put one message, or as many as the bounds want, in the places of several."""
        parts: list[object] = []
        first, size = places[0], 0

        def end() -> None:
            if len(parts) > 1:
                joined[first] = Send(to, _many_of(parts))

        for at in places:
            send = joined[at]
            assert isinstance(send, Send), "they are in the places of messages"
            grows = _size_of(send.message)
            if parts and (len(parts) == MANY_KEYS_MAX or size + grows > self._bytes_max):
                end()
                parts, first, size = [], at, 0
            if parts:
                joined[at] = None
            parts.append(send.message)
            size += grows
        end()


def _has_peer_twice(effects: Sequence[Effect]) -> bool:
    """Whether several messages go to one peer, which is seldom and soon told."""
    peers: list[NodeId] = []
    for effect in effects:
        if type(effect) is Send:
            if effect.to in peers:
                return True
            peers.append(effect.to)
    return False


def _name_of_write(to: NodeId, message: ReplicaWrite) -> _Name | None:
    if message.slot != to or (message.answer and not message.row):
        return None
    kind = WriteRows if message.row else WriteMany
    return to, kind, message.generation, message.trace, message.is_put


def _name_of_forward(to: NodeId, message: ForwardWrite) -> _Name | None:
    if message.if_match is not None or message.if_none_match is not None:
        return None
    return to, ForwardWrite, message.quorums, message.sloppy, message.trace


def _size_of(message: object) -> int:
    """About how many bytes a part takes."""
    if isinstance(message, ReplicaWrite):
        size = len(message.key) + len(message.row)
        for version in message.versions:
            size += version[4] + len(version[2])
        return size + _OVERHEAD_BYTES
    if isinstance(message, ForwardWrite):
        size = len(message.key) + len(message.value or b"") + len(message.context or "")
        for name, value in message.meta:
            size += len(name) + len(value)
        return size + _OVERHEAD_BYTES
    return _OVERHEAD_BYTES


def _many_of(parts: list[object]) -> object:
    """One message of parts of one name."""
    first = parts[0]
    if isinstance(first, ReplicaWrite):
        writes: list[ReplicaWrite] = parts  # type: ignore[assignment]
        timestamp = max([m.timestamp for m in writes])
        shared = (timestamp, first.trace, first.is_put, first.generation)
        if first.row:
            return WriteRows(
                tuple([(m.request, m.epoch, m.bucket, m.key, m.row, m.answer) for m in writes]),
                *shared,
            )
        return WriteMany(
            tuple([(m.request, m.epoch, m.bucket, m.key, m.versions, m.context) for m in writes]),
            *shared,
        )
    if isinstance(first, ReplicaAck):
        acks: list[ReplicaAck] = parts  # type: ignore[assignment]
        return ManyAcks(
            tuple([m.request for m in acks]),
            first.durable,
            tuple([m.request for m in acks if m.answered]),
        )
    if isinstance(first, ForwardWrite):
        forwards: list[ForwardWrite] = parts  # type: ignore[assignment]
        return ForwardMany(
            tuple([
                (
                    m.request, m.bucket, m.key, m.value, m.content_type, m.meta, m.context,
                    m.ttl_s, m.timeout_ns,
                )
                for m in forwards
            ]),
            first.quorums,
            first.sloppy,
            first.trace,
        )  # fmt: skip
    answers: list[ForwardWriteAnswer] = parts  # type: ignore[assignment]
    return ManyAnswers(tuple([(m.request, m.kind, m.fields) for m in answers]))


def singles(message: object, sender: NodeId, receiver: NodeId) -> Sequence[object]:
    """The messages that ``message`` is, in their order; nearly always itself."""
    kind = type(message)
    if kind not in MANY:
        return (message,)
    if isinstance(message, WriteMany):
        shared = (message.timestamp, message.trace, message.is_put, message.generation)
        return [
            ReplicaWrite(request, epoch, bucket, key, receiver, versions, context, *shared)
            for request, epoch, bucket, key, versions, context in message.writes
        ]
    if isinstance(message, WriteRows):
        shared = (message.timestamp, message.trace, message.is_put, message.generation)
        return [
            ReplicaWrite(request, epoch, bucket, key, receiver, (), None, *shared, row, answer)
            for request, epoch, bucket, key, row, answer in message.writes
        ]
    if isinstance(message, ManyAcks):
        ok, durable, answered = Status.OK, message.durable, dict.fromkeys(message.answered)
        return [
            ReplicaAck(request, sender, ok, durable, None, 0, request in answered)
            for request in message.requests
        ]
    if isinstance(message, ForwardMany):
        return _forwards(message)
    assert isinstance(message, ManyAnswers), "there are no others"
    return [ForwardWriteAnswer(*answer) for answer in message.answers]


def _forwards(message: ForwardMany) -> list[object]:
    return [
        ForwardWrite(
            request, bucket, key, value, content_type, meta, context, message.quorums,
            message.sloppy, timeout_ns, message.trace, None, None, ttl_s,
        )
        for (
            request, bucket, key, value, content_type, meta, context, ttl_s, timeout_ns
        ) in message.writes
    ]  # fmt: skip
