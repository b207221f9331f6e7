"""Which peers know a question that older versions of the software do not.

A node drops a message that it does not know, so who asks learns of it only by waiting in vain. A
peer that has answered once since its streams came up knows the question, however slow it may be
later. One that never has, and did not answer in time, is not asked again for a while.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import SECOND, NodeId

__all__ = ["Versed"]

_SILENT_NS: Final = 10 * SECOND


class Versed:
    """What is known of the peers about one question."""

    __slots__ = ("_answered", "_silent")

    def __init__(self) -> None:
        self._answered: dict[NodeId, None] = {}
        self._silent: dict[NodeId, int] = {}

    def may_ask(self, peer: NodeId, now: int) -> bool:
        """Whether to put the question to ``peer``."""
        return not self._silent or self._silent.get(peer, now) <= now

    def knows(self, peer: NodeId) -> bool:
        """Whether it is certain that ``peer`` knows the question."""
        return peer in self._answered

    def answered(self, peer: NodeId) -> None:
        """``peer`` has answered the question."""
        self._answered[peer] = None
        self._silent.pop(peer, None)

    def silent(self, peer: NodeId, now: int) -> None:
        """``peer`` has not answered for longer than one waits."""
        if peer not in self._answered:
            self._silent[peer] = now + _SILENT_NS

    def forget(self, peer: NodeId) -> None:
        """The streams to ``peer`` are new, and so may be what runs there."""
        self._answered.pop(peer, None)
        self._silent.pop(peer, None)
