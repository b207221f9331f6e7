"""Sending another owner what it lacks of some records: a window at a time, each acknowledged.

Of a record only the versions go that the other has not seen. Each travels under a request id of its
own, in one part or several, and counts when all of it is on the other's disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define

from sadik_causality import Container
from sadik_machine import SECOND, FailureReason, NodeId, RequestId
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ReplicaAck, ReplicaWrite, Status
from sadik_vnode.parts import parts_of, replica_write
from sadik_vnode.record import Record
from sadik_vnode.spread import newest
from sadik_vnode.version import Version

__all__ = ["Lack", "Sending"]

_ACK_TIMEOUT_NS: Final = 10 * SECOND

Lack = tuple[Key, Container[None]]
"""A key, and what the other side knows of it."""


@define(slots=True)
class _Travelling:
    parts: int
    size: int
    written_ns: int
    """The wall time of its newest version."""


class Sending(Conversation):
    """Calls ``done`` once, with the records that arrived, and whether all did.

    ``is_repair``: whether it counts as a repair, and leaves out what is just being reaped.
    """

    __slots__ = (
        "_done", "_is_repair", "_left", "_loading", "_ok", "_peer", "_sent", "_size", "_travelling",
    )  # fmt: skip

    is_background = True

    def __init__(
        self,
        desk: Desk,
        peer: NodeId,
        lacks: Sequence[Lack],
        done: Callable[[int, bool], None],
        *,
        is_repair: bool = True,
    ) -> None:
        super().__init__(desk)
        self._peer = peer
        self._is_repair = is_repair
        self._left = deque(lacks)
        self._done = done
        self._loading = False
        self._travelling: dict[RequestId, _Travelling] = {}
        self._size = 0
        self._sent = 0
        self._ok = True

    def start(self) -> None:
        """Send the first window."""
        self._next()

    def received(self, sender: NodeId, message: object) -> None:
        """A part is on the other's disk, or is not."""
        if not isinstance(message, ReplicaAck) or sender != self._peer:
            return
        request = RequestId(message.request)
        travelling = self._travelling.get(request)
        if travelling is None:
            return
        if message.status != Status.OK:
            self.desk.generations.heard(message.generation)
            self._end(ok=False)
            return
        travelling.parts -= 1
        if not travelling.parts:
            self._size -= travelling.size
            self._sent += 1
            self.desk.counters.anti_entropy_repaired += self._is_repair
            if self._is_repair and travelling.written_ns:
                age_ns = self.desk.wall_ns - travelling.written_ns
                self.desk.spread.anti_entropy.add(age_ns)
            self._arrived(request)
        self._next()

    def unsent(self, to: NodeId, message: object) -> None:
        """The other's queue is full, or its stream broke."""
        if isinstance(message, ReplicaWrite):
            self._end(ok=False)

    def peer_lost(self, peer: NodeId) -> None:
        """The other is down."""
        if peer == self._peer:
            self._end(ok=False)

    def due(self, what: str) -> None:
        """No acknowledgement for too long."""
        self._end(ok=False)

    def _next(self) -> None:
        """Fill the window: one record is read at a time, for it may be large."""
        config = self.desk.config
        if self._loading or not self._ok:
            return
        if not self._left:
            if not self._travelling:
                self._end(ok=True)
            return
        if len(self._travelling) < config.hint_window and self._size < config.hint_window_bytes:
            self._loading = True
            self.wake("ack", self.desk.now + _ACK_TIMEOUT_NS)
            key, theirs = self._left.popleft()
            generation = self.desk.generations.generation
            self.desk.replica.read_whole(
                key, lambda record: self._send(key, theirs, record, generation), self._failed
            )

    def _failed(self, _reason: FailureReason) -> None:
        """A damaged record is counted where it was found, and mended from the others."""
        self._loading = False
        self._next()

    def _send(self, key: Key, theirs: Container[None], record: Record, generation: int) -> None:
        self._loading = False
        if not self._ok:
            return
        missing = record.container.missing_in(theirs)
        is_reaped = self._is_repair and self.desk.reaper.is_reaping(key)
        if missing is not None and not is_reaped:
            self._send_missing(key, missing, generation)
        self._next()

    def _send_missing(self, key: Key, missing: Container[Version], generation: int) -> None:
        desk = self.desk
        epoch = desk.placement.register(desk.placement.partition(key)).epoch
        parts = parts_of(missing, desk.config.message_bytes_max)
        size = sum(len(v.head) + v.size for v in missing.versions.values())
        size += len(key.name) + missing.context.encoded_size()
        request = desk.open(self)
        self._travelling[request] = _Travelling(len(parts), size, newest(missing.versions.values()))
        self._size += size
        if self._is_repair:
            desk.counters.anti_entropy_bytes += size
        timestamp = desk.clock.tick(desk.now)
        for part in parts:
            desk.outbox.send(
                self._peer,
                replica_write(request, epoch, key, self._peer, part, timestamp, generation),
            )

    def _arrived(self, request: RequestId) -> None:
        del self._travelling[request]
        self.desk.conversations.pop(request, None)

    def _end(self, *, ok: bool) -> None:
        if self.id not in self.desk.conversations:
            return
        self._ok = ok
        for request in list(self._travelling):
            self._arrived(request)
        self.close("ack")
        self._done(self._sent, ok)
