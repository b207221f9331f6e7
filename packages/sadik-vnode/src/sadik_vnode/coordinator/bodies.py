"""Fetching large bodies, which do not travel with the replicas' states.

Each is fetched once, from a replica that answered with its version, oneself first.
"""

from __future__ import annotations

from collections.abc import Callable

from sadik_causality import Dot
from sadik_machine import FailureReason, NodeId
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.messages import Body, FetchBody

__all__ = ["Bodies"]


class Bodies(Conversation):
    """Fetches the bodies of versions that a reading found; calls ``done`` with those it got."""

    __slots__ = (
        "_asked", "_deadline", "_done", "_got", "_pending", "_reading", "_sources", "_trace",
    )  # fmt: skip

    def __init__(
        self,
        desk: Desk,
        reading: Reading,
        wanted: list[Dot],
        deadline: int,
        trace: str,
        done: Callable[[dict[Dot, bytes]], None],
    ) -> None:
        super().__init__(desk)
        self._reading = reading
        self._trace = trace
        self._deadline = deadline
        self._done = done
        self._got: dict[Dot, bytes] = {}
        self._sources = {dot: iter(reading.holders_of(dot)) for dot in wanted}
        self._pending = dict.fromkeys(wanted)
        self._asked: dict[Dot, NodeId] = {}

    def start(self) -> None:
        """Ask the first holder of each."""
        self.wake("deadline", self._deadline)
        for dot in list(self._pending):
            self._ask(dot)

    def received(self, sender: NodeId, message: object) -> None:
        """A body, or that the holder has it no more."""
        if isinstance(message, Body):
            dot = (message.actor, message.counter)
            if dot in self._pending and self._asked[dot] == sender:
                self._took(dot, message.body)

    def unsent(self, to: NodeId, message: object) -> None:
        """Ask the next holder."""
        if isinstance(message, FetchBody):
            self._ask((message.actor, message.counter))

    def peer_lost(self, peer: NodeId) -> None:
        """Ask the next holder of whatever that peer was asked for."""
        for dot in [dot for dot in self._pending if self._asked[dot] == peer]:
            self._ask(dot)

    def due(self, what: str) -> None:
        """Time is up: answer with what there is."""
        self._pending.clear()
        self._finish_if_done()

    def _ask(self, dot: Dot) -> None:
        desk, key = self.desk, self._reading.key
        node = next(filter(desk.placement.is_routable, self._sources[dot]), None)
        if node is None:
            self._pending.pop(dot, None)
            self._finish_if_done()
            return
        self._asked[dot] = node
        if node == desk.self_id:

            def read(bodies: dict[Dot, bytes]) -> None:
                self._took(dot, bodies.get(dot))

            def failed(_reason: FailureReason) -> None:
                self._took(dot, None)

            desk.replica.read_bodies(key, [dot], read, failed)
        else:
            desk.outbox.send(
                node, FetchBody(self.id, key.bucket, key.key, dot[0], dot[1], self._trace)
            )

    def _took(self, dot: Dot, body: bytes | None) -> None:
        if dot not in self._pending:
            return
        if body is None or len(body) != self._reading.merged.versions[dot].size:
            self._ask(dot)
            return
        self._got[dot] = body
        del self._pending[dot]
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._pending:
            self.close("deadline")
            self._done(self._got)
