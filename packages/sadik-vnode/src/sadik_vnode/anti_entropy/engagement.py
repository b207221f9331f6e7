"""One exchange of records at a time: what two replicas both have, a third gets once.

A node that was away lacks the same records as seen by each of the other owners. Were it to
reconcile with two of them at once, each would send it all. So a node that exchanges records with
one peer lets others wait, who come again, and that very peer too, should it ask while it is asked.
Comparing roots needs no engagement. An engagement ends with a word of
the asking side, and else some time after its last question.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import SECOND, NodeId

__all__ = ["Engagement"]

_LEASE_NS: Final = 20 * SECOND


class Engagement:
    """With whom this node exchanges records now, and which of both asks."""

    __slots__ = ("_until", "_with")

    def __init__(self) -> None:
        self._with: tuple[NodeId, bool] | None = None
        self._until = 0

    def engage(self, peer: NodeId, now: int, *, asks: bool) -> bool:
        """Begin or go on with ``peer``, which ``asks`` or is asked; False if this node is busy."""
        if self._with is not None and self._with != (peer, asks) and now < self._until:
            return False
        self._with = (peer, asks)
        self._until = now + _LEASE_NS
        return True

    def release(self, peer: NodeId, *, asks: bool) -> None:
        """It is over, if it was this one."""
        if self._with == (peer, asks):
            self._with = None
