"""What the conversations of one engine share, and how a conversation is spoken to.

A conversation is one small machine for one request: it is told of answers, of lost peers and
of deadlines, and it asks the desk for everything else. The desk routes; it decides nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from sadik_causality import ContextSealer
from sadik_machine import Deadlines, HybridClock, NodeId, RequestId, RequestIds
from sadik_vnode.admission import Admission
from sadik_vnode.births import Births
from sadik_vnode.buckets import Buckets
from sadik_vnode.config import EngineConfig
from sadik_vnode.counters import Counters
from sadik_vnode.latency import Latencies
from sadik_vnode.outbox import Outbox
from sadik_vnode.placement import Placement
from sadik_vnode.replica import Replica
from sadik_vnode.requests import Refusal, Refused
from sadik_vnode.spread import Spread
from sadik_vnode.together import Together
from sadik_vnode.versed import Versed

if TYPE_CHECKING:
    from sadik_vnode.coordinator.repairing import Repairs
    from sadik_vnode.foreign import ForeignRecords
    from sadik_vnode.hints import HintNotes
    from sadik_vnode.reaping import Generations, Reaper

__all__ = ["Conversation", "Desk", "overloaded"]


def overloaded() -> Refused:
    """What a request is told where `Desk.is_overloaded`."""
    return Refused(Refusal.OVERLOADED, "this node has too many requests in flight")


def _nobody(_partition: int, _sender: NodeId, _size: int) -> None:
    """Nobody counts."""


class Conversation:
    """One request under way. The default of every event is to ignore it."""

    __slots__ = ("desk", "id")

    is_background: ClassVar[bool] = False
    """Whether no client and no other node's client waits for it."""

    def __init__(self, desk: Desk, takes_over: Conversation | None = None) -> None:
        """A new conversation, or one that goes on in the place of another, under its id."""
        self.desk = desk
        self.id: RequestId
        if takes_over is None:
            self.id = desk.open(self)
        else:
            self.id = takes_over.id
            desk.conversations[self.id] = self

    def received(self, sender: NodeId, message: object) -> None:
        """A peer's answer that bears this conversation's id."""

    def unsent(self, to: NodeId, message: object) -> None:
        """A message of this conversation was provably never written."""

    def peer_lost(self, peer: NodeId) -> None:
        """A peer is routed around from now on."""

    def due(self, what: str) -> None:
        """A deadline that was set with `wake` has come."""

    @property
    def is_open(self) -> bool:
        """Whether it takes part still."""
        return self.desk.conversations.get(self.id) is self

    def wake(self, what: str, at: int) -> None:
        """Be told `due` at instant ``at``; replaces an earlier one of the same name."""
        self.desk.deadlines.set((self, what), at)

    def close(self, *names: str) -> None:
        """Take part no more: ``names`` are the deadlines that may still be set."""
        self.desk.conversations.pop(self.id, None)
        for name in names:
            self.desk.deadlines.drop((self, name))


class Desk:
    """The shared state of one engine; every attribute is what its type says."""

    def __init__(
        self,
        node_id: NodeId,
        config: EngineConfig,
        births: Births,
        source: random.Random,
    ) -> None:
        self.self_id = node_id
        self.config = config
        self.counters = Counters()
        self.spread = Spread()
        self.outbox = Outbox()
        self.together = Together(node_id, self.outbox, config.message_bytes_max)
        self.placement = Placement(node_id)
        self.replica = Replica(self.outbox, births, self.counters)
        self.buckets = Buckets()
        self.clock = HybridClock()
        self.latencies = Latencies()
        self.latencies_of_many = Latencies()
        """The same of questions of many keys."""
        self.admission = Admission()
        self.deadlines: Deadlines[tuple[Conversation, str]] = Deadlines()
        self.conversations: dict[RequestId, Conversation] = {}
        self.sealer: ContextSealer | None = None
        self.request_bytes = 0
        self.keys_beyond = 0
        """Keys under way beyond one a conversation: of reads of many keys."""
        self.versed = Versed()
        """Who knows the question of many keys."""
        self.is_disk_short = False
        self.arrived: Callable[[int, NodeId, int], None] = _nobody
        """Told of versions that a replica is sent: partition, sender, bytes."""
        self.hints: HintNotes
        self.repairs: Repairs
        self.foreign: ForeignRecords
        self.generations: Generations
        self.reaper: Reaper
        self._request_ids = RequestIds(source)

    def open(self, conversation: Conversation) -> RequestId:
        """Give a conversation its id and route to it what bears that id."""
        request_id = self._request_ids.next()
        self.conversations[request_id] = conversation
        return request_id

    @property
    def now(self) -> int:
        """The time of the present step."""
        return self.outbox.now

    @property
    def wall_ns(self) -> int:
        """This node's own wall clock, in nanoseconds since the epoch: by it versions expire."""
        return self.clock.wall_ns(self.outbox.now)

    @property
    def is_overloaded(self) -> bool:
        """Whether a further request would exceed a bound."""
        return (
            len(self.conversations) + self.keys_beyond >= self.config.requests_max
            or self.request_bytes >= self.config.request_bytes_max
        )
