"""Counting the hint notes that wait, on every node that may be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_machine import SECOND, NodeId
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.messages import HintCounts, HintCountsAsked
from sadik_vnode.requests import HintsResult, Result

__all__ = ["CountingHints"]

_TIMEOUT_NS: Final = SECOND


class CountingHints(Conversation):
    """One count, on the node that a client asked; who does not answer is left out."""

    __slots__ = ("_asked", "_by_slot", "_bytes", "_done")

    def __init__(self, desk: Desk, done: Callable[[Result], None]) -> None:
        super().__init__(desk)
        self._done = done
        self._by_slot: dict[NodeId, int] = {}
        self._bytes = 0
        self._asked: dict[NodeId, None] = {}
        self.wake("deadline", desk.now + _TIMEOUT_NS)

    def start(self) -> None:
        """Count here and ask the others."""
        placement = self.desk.placement
        for slot, notes, size in self.desk.hints.by_slot():
            self._add(slot, notes, size)
        self._asked = {
            node: None
            for node in sorted(placement.members)
            if node != self.desk.self_id
            and placement.is_member(node)
            and placement.is_routable(node)
        }
        for node in self._asked:
            self.desk.outbox.send(node, HintCountsAsked(self.id))
        self._end_if_complete()

    def received(self, sender: NodeId, message: object) -> None:
        """A peer's counts."""
        if isinstance(message, HintCounts) and sender in self._asked:
            for slot, notes, size in message.slots:
                self._add(NodeId(slot), notes, size)
            self._answered(sender)

    def unsent(self, to: NodeId, message: object) -> None:
        """Not reached."""
        self._answered(to)

    def peer_lost(self, peer: NodeId) -> None:
        """Not reached any more."""
        self._answered(peer)

    def due(self, what: str) -> None:
        """Answer with what there is."""
        self._asked.clear()
        self._end_if_complete()

    def _add(self, slot: NodeId, notes: int, size: int) -> None:
        self._by_slot[slot] = self._by_slot.get(slot, 0) + notes
        self._bytes += size

    def _answered(self, node: NodeId) -> None:
        if node in self._asked:
            del self._asked[node]
            self._end_if_complete()

    def _end_if_complete(self) -> None:
        if not self._asked:
            self.close("deadline")
            self._done(HintsResult(sum(self._by_slot.values()), self._bytes, self._by_slot))
