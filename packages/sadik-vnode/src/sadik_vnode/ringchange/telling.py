"""What moves, told from the member that drives it to one who was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat

from sadik_machine import SECOND, NodeId
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.requests import Result, Transfer, TransfersResult
from sadik_vnode.ringchange.messages import TransfersAsked, TransfersTold

__all__ = ["AskingTransfers", "transfers_told"]


def transfers_told(request: int, transfers: Sequence[Transfer]) -> TransfersTold:
    """The answer of the member that drives."""
    rows = tuple(
        (each.partition, each.giver, each.receiver, each.bytes, each.state, each.reason)
        for each in transfers
    )
    return TransfersTold(request, rows, tuple(each.total for each in transfers))


def _transfers(message: TransfersTold) -> list[Transfer]:
    totals = chain(message.totals, repeat(0))
    return [
        Transfer(
            partition,
            None if giver is None else NodeId(giver),
            None if receiver is None else NodeId(receiver),
            size,
            state,
            reason,
            max(size, total),
        )
        for (partition, giver, receiver, size, state, reason), total in zip(
            message.rows, totals, strict=False
        )
    ]


class AskingTransfers(Conversation):
    """One look at what moves, on a node that does not drive it. ``here`` is what can be told where
    the driver does not answer.
    """

    __slots__ = ("_done", "_driver", "_here")

    def __init__(
        self,
        desk: Desk,
        driver: NodeId,
        here: Callable[[], list[Transfer]],
        done: Callable[[Result], None],
    ) -> None:
        super().__init__(desk)
        self._driver = driver
        self._here = here
        self._done = done

    def start(self) -> None:
        """Ask the driver."""
        self.wake("deadline", self.desk.now + SECOND)
        self.desk.outbox.send(self._driver, TransfersAsked(self.id))

    def received(self, sender: NodeId, message: object) -> None:
        """Its answer."""
        if isinstance(message, TransfersTold) and sender == self._driver:
            self._end(TransfersResult(_transfers(message), self._driver))

    def unsent(self, to: NodeId, message: object) -> None:
        """It cannot be asked."""
        self._give_up()

    def peer_lost(self, peer: NodeId) -> None:
        """A peer is down."""
        if peer == self._driver:
            self._give_up()

    def due(self, what: str) -> None:
        """It takes too long."""
        self._give_up()

    def _give_up(self) -> None:
        self._end(TransfersResult(self._here(), None))

    def _end(self, result: TransfersResult) -> None:
        self.close("deadline")
        self._done(result)
