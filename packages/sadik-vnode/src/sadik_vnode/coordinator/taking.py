"""Writes that other nodes forwarded here: each request id is carried out at most once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_machine import SECOND, NodeId
from sadik_vnode.adoption import newer_of
from sadik_vnode.buckets import TTL_SECONDS_MAX
from sadik_vnode.coordinator.putting import Coordinating, route
from sadik_vnode.desk import Desk
from sadik_vnode.forwarding import answer_of, not_taken
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ForwardWrite
from sadik_vnode.requests import Condition, Delete, Put, Result

__all__ = ["TakenForwards"]

_FORWARD_MEMORY_NS: Final = 10 * SECOND
"""How long past its own timeout a forwarded write is remembered, so that it is carried out once."""
_FORWARDS_MAX: Final = 200_000
_TIMEOUT_MAX_NS: Final = 60 * SECOND


class TakenForwards:
    """Takes writes to coordinate. ``may_take`` tells whether this node takes any just now."""

    def __init__(self, desk: Desk, may_take: Callable[[], bool]) -> None:
        self._desk = desk
        self._may_take = may_take
        self._taken: dict[tuple[NodeId, int], None] = {}
        self._until: dict[int, list[tuple[NodeId, int]]] = {}
        """What of that is to be forgotten, by the second after which."""
        self._forgotten_at = 0

    def discard(self) -> None:
        """Let go of what was taken; nothing is any more."""
        self._taken.clear()
        self._until.clear()

    def take(self, sender: NodeId, message: ForwardWrite) -> None:
        """Coordinate for another node: each request id at most once."""
        desk = self._desk
        identity = (sender, message.request)
        if desk.now >= self._forgotten_at + SECOND:
            self._forget_old(desk.now)
        if identity in self._taken:
            desk.counters.duplicate_forwards += 1
            return
        if not self._takes(message):
            partition = desk.placement.partition(Key.of(message.bucket, message.key))
            desk.outbox.send(sender, not_taken(message.request, newer_of(desk, partition)))
            return
        timeout_ns = min(max(message.timeout_ns, 1), _TIMEOUT_MAX_NS)
        self._remember(identity, desk.now + timeout_ns + _FORWARD_MEMORY_NS)
        r, w, pw, dw = message.quorums[:4]
        request: Put | Delete
        condition = None
        if message.if_match is not None or message.if_none_match is not None:
            condition = Condition(message.if_match, message.if_none_match)
        if message.value is None:
            request = Delete(
                message.bucket, message.key, message.timeout_ns, message.context,
                r, w, pw, dw, message.sloppy, message.trace, condition,
            )  # fmt: skip
        else:
            request = Put(
                message.bucket, message.key, message.value, message.timeout_ns,
                message.content_type, message.meta, message.context,
                w, pw, dw, message.sloppy, message.trace, condition, message.ttl_s,
            )  # fmt: skip

        def done(result: Result) -> None:
            desk.outbox.send(sender, answer_of(message.request, result))

        Coordinating(desk, request, desk.now + timeout_ns, done, identity).start()

    def _remember(self, identity: tuple[NodeId, int], until: int) -> None:
        self._taken[identity] = None
        second = until // SECOND
        together = self._until.get(second)
        if together is None:
            self._until[second] = [identity]
        else:
            together.append(identity)

    def _forget_old(self, now: int) -> None:
        """Once a second, forget what was to be remembered until now."""
        self._forgotten_at = now
        for second in [second for second in self._until if (second + 1) * SECOND <= now]:
            for identity in self._until.pop(second):
                self._taken.pop(identity, None)

    def _takes(self, message: ForwardWrite) -> bool:
        """Whether this node coordinates a write for another; if not it is tried elsewhere."""
        desk = self._desk
        return (
            self._may_take()
            and len(self._taken) < _FORWARDS_MAX
            and len(message.quorums) >= 4
            and (message.ttl_s is None or 0 < message.ttl_s <= TTL_SECONDS_MAX)
            # Believed down by the sender and up here, an owner coordinates, not a fallback.
            and desk.self_id
            in route(desk, Key.of(message.bucket, message.key), blind=True, sloppy=message.sloppy)
        )
