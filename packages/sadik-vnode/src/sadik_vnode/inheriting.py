"""Hint notes for a node that has left the cluster: they pass to the owners that there are now.

A note that is dropped and not yet passed on when this node dies is made up for by anti-entropy, or
by the hand-off of what this node does not own: the record that it lay beside stays.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import MILLISECOND, FailureReason, NodeId, ScanRows
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import hint_slot_range, parse_hint_row

__all__ = ["Inheriting"]

_ROWS: Final = 64
_BYTES: Final = 64 * 1024
_AGAIN_NS: Final = 200 * MILLISECOND


class Inheriting(Conversation):
    """Passes on the notes for one departed node; `HintNotes.inherited` knows when that is all."""

    __slots__ = ("_began", "_node")

    is_background = True

    def __init__(self, desk: Desk, node: NodeId) -> None:
        super().__init__(desk)
        self._node = node
        self._began = desk.now

    def start(self) -> None:
        """Read the first of the notes that are left."""
        self._began = self.desk.now
        self.desk.outbox.load(
            ScanRows(*hint_slot_range(self._node), _ROWS, _BYTES, keys_only=True),
            self._scanned,
            self._failed,
        )

    def due(self, what: str) -> None:
        """The next ones."""
        self.start()

    def _scanned(self, rows: list[tuple[bytes, bytes]]) -> None:
        desk = self.desk
        if not rows:
            if desk.hints.inherited(self._node):
                self.close("next")
            else:
                self.wake("next", desk.now + _AGAIN_NS)
            return
        for row, _ in rows:
            _, key = parse_hint_row(row)
            for owner in desk.placement.register(desk.placement.partition(key)).owners:
                if owner != desk.self_id and desk.placement.is_member(owner):
                    desk.hints.note(owner, key)
            desk.hints.delivered(self._node, key)
        pause_ns = desk.admission.pause_ns(desk.now, desk.now - self._began)
        self.wake("next", desk.now + pause_ns)

    def _failed(self, _reason: FailureReason) -> None:
        self.wake("next", self.desk.now + _AGAIN_NS)
