"""Explaining a key: where it lives, what each replica holds, and why one is behind.

Every member that may be reached is asked, for fallbacks may hold records and notes too. The truth
that replicas are measured against is everything found, merged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from sadik_causality import Container, Dot
from sadik_machine import SECOND, FailureReason, GetRows, NodeId
from sadik_members import Liveness
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key, hint_row
from sadik_vnode.messages import Inspect, Inspection, Status
from sadik_vnode.parts import container_from_plain, container_to_plain
from sadik_vnode.record import Record
from sadik_vnode.requests import (
    Explain,
    ExplainReplica,
    ExplainResult,
    ExplainVersion,
    Result,
)
from sadik_vnode.version import MalformedVersion, Version

__all__ = ["Explaining", "inspect"]

_TIMEOUT_NS: Final = SECOND

Held = tuple[Container[Version], list[NodeId]]
"""What a node holds of a key, and the owner slots that its hint notes wait for."""


def inspect(
    desk: Desk,
    key: Key,
    done: Callable[[Held], None],
    failed: Callable[[FailureReason], None],
) -> None:
    """What this node holds of ``key``, and for whom notes wait here."""
    slots = sorted(node for node in desk.placement.members if node != desk.self_id)

    def read(record: Record) -> None:
        def noted(rows: list[bytes | None]) -> None:
            waiting = [slot for slot, row in zip(slots, rows, strict=True) if row is not None]
            done((record.container, waiting))

        desk.outbox.load(GetRows([hint_row(slot, key) for slot in slots]), noted, failed)

    desk.replica.read(key, read, failed)


def inspection(request: int, held: Held) -> Inspection:
    """The message that tells what this node holds."""
    container, waiting = held
    return Inspection(
        request,
        Status.OK,
        container_to_plain(container, bodies=False),
        container.context.to_plain(),
        tuple(waiting),
    )


class Explaining(Conversation):
    """One explanation, on the node that a client asked."""

    __slots__ = ("_asked", "_done", "_held", "_key", "_trace", "_unread")

    def __init__(self, desk: Desk, request: Explain, done: Callable[[Result], None]) -> None:
        super().__init__(desk)
        self._key = Key.of(request.bucket, request.key)
        self._trace = request.trace
        self._done = done
        self._held: dict[NodeId, Held] = {}
        self._asked: dict[NodeId, None] = {}
        self._unread: dict[NodeId, str] = {}
        self.wake("deadline", desk.now + min(request.timeout_ns, _TIMEOUT_NS))

    def start(self) -> None:
        """Ask every member that may be reached."""
        placement = self.desk.placement
        nodes = [n for n in sorted(placement.members) if placement.is_member(n)]
        live = [node for node in nodes if placement.is_routable(node)]
        self._asked = dict.fromkeys(live)
        for node in live:
            if node == self.desk.self_id:
                inspect(self.desk, self._key, self._inspected, self._failed_here)
            else:
                bucket, key = self._key.bucket, self._key.key
                self.desk.outbox.send(node, Inspect(self.id, bucket, key, self._trace))

    def received(self, sender: NodeId, message: object) -> None:
        """What a peer holds."""
        if not isinstance(message, Inspection) or sender not in self._asked:
            return
        if message.status != Status.OK:
            self._gone(sender, "could not read its store")
            return
        try:
            container = container_from_plain(message.versions, message.context)
        except ValueError:
            self.desk.counters.malformed_messages += 1
            self._gone(sender, "answered with what could not be read")
            return
        self._took(sender, (container, [NodeId(slot) for slot in message.hints]))

    def unsent(self, to: NodeId, message: object) -> None:
        """Not reached."""
        self._gone(to, "could not be asked")

    def peer_lost(self, peer: NodeId) -> None:
        """Not reached any more."""
        self._gone(peer, "was lost while it was asked")

    def due(self, what: str) -> None:
        """Answer with what there is."""
        for node in list(self._asked):
            self._unread.setdefault(node, "did not answer in time")
        self._answer()

    def _inspected(self, held: Held) -> None:
        self._took(self.desk.self_id, held)

    def _failed_here(self, _reason: FailureReason) -> None:
        self._gone(self.desk.self_id, "could not read its store")

    def _took(self, node: NodeId, held: Held) -> None:
        if node in self._asked:
            del self._asked[node]
            self._held[node] = held
            if not self._asked:
                self._answer()

    def _gone(self, node: NodeId, why: str) -> None:
        if node in self._asked:
            del self._asked[node]
            self._unread[node] = why
            if not self._asked:
                self._answer()

    def _answer(self) -> None:
        self.close("deadline")
        self._asked.clear()  # this node's own look at its store may end later
        placement = self.desk.placement
        partition = placement.partition(self._key)
        register = placement.register(partition)
        truth: Container[Version] = Container.empty()
        for container, _ in self._held.values():
            truth = truth.merge(container)
        hints = [
            (holder, slot) for holder, (_, slots) in sorted(self._held.items()) for slot in slots
        ]
        fallbacks = placement.fallbacks(partition)
        # A fallback that is not shown has answered that it holds nothing.
        shown = [*register.owners, *(n for n in fallbacks if self._may_hold(n))]
        replicas = [self._replica(node, register.owners, truth, hints) for node in shown]
        self._done(
            ExplainResult(
                partition,
                register.epoch,
                list(register.owners),
                fallbacks,
                replicas,
                hints,
                sum(last - first + 1 for _, first, last in truth.context.spans()),
            )
        )

    def _may_hold(self, node: NodeId) -> bool:
        return node not in self._held or bool(self._held[node][0])

    def _replica(
        self,
        node: NodeId,
        owners: tuple[NodeId, ...],
        truth: Container[Version],
        hints: list[tuple[NodeId, NodeId]],
    ) -> ExplainReplica:
        is_owner = node in owners
        waiting = sum(slot == node for _, slot in hints)
        if node not in self._held:
            liveness = self.desk.placement.liveness(node)
            why = self._unread.get(node, "")
            if not why:
                why = f"it is {liveness.value}" if liveness is not Liveness.UP else "not asked"
            if waiting:
                why += f"; {waiting} hints of this key wait for it"
            return ExplainReplica(node, is_owner, "unreachable", [], False, why)
        container = self._held[node][0]
        versions = [
            _version(dot, version, is_replaced=dot not in truth.versions)
            for dot, version in sorted(container.versions.items())
        ]
        if container.same_live(truth):
            return ExplainReplica(node, is_owner, "ok", versions, False, "")
        state = "behind" if container else "missing"
        if not is_owner:
            why = "a fallback: it keeps what it was given until the owners have it"
        elif waiting:
            why = f"it missed a write; {waiting} hints of this key wait to be delivered to it"
        else:
            why = "it missed a write and no hint waits; the next read that asks it repairs it"
        return ExplainReplica(node, is_owner, state, versions, is_owner, why)


def _version(dot: Dot, version: Version, *, is_replaced: bool) -> ExplainVersion:
    actor, counter = dot
    timestamp, expires_ms = 0, None
    with contextlib.suppress(MalformedVersion):
        head = version.parsed()
        timestamp, expires_ms = head.timestamp, head.expires_ms
    printed = f"{actor[:8].hex()}:{int.from_bytes(actor[8:], 'big')}:{counter}"
    return ExplainVersion(
        printed, version.size, version.is_deleted, timestamp, expires_ms, is_replaced
    )
