"""Simulated links: streams between nodes with delays, cuts and everything that TCP hides or not.

Between two nodes there is at most one session at a time, as with real streams: it comes up when
both run and each can reach the other, and ends when one crashes or the stream is broken. What is
sent through a session that ends is gone; what is sent into a cut waits in the stream, and arrives
late when the cut heals, unless the session ended meanwhile. Within a session order is kept,
except where reordering is drawn; duplicates are drawn too and taken out by the messenger's own
`SequenceFilter`, as on a real node.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import Factory, define

from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_members import SequenceFilter
from sadik_sim.events import Events
from sadik_sim.streams import below, chance

__all__ = ["Delay", "Network", "NetworkFaults"]


@define(slots=True)
class Delay:
    """One-way delays: a table of nanoseconds to draw from evenly, so any distribution fits."""

    table: list[int]

    @classmethod
    def uniform(cls, low_ns: int, high_ns: int, steps: int = 64) -> Delay:
        """Evenly between two bounds."""
        return cls([low_ns + (high_ns - low_ns) * step // steps for step in range(steps)])


@define(slots=True)
class NetworkFaults:
    """How links misbehave; chances in thousandths of a message."""

    loss: int = 0
    duplication: int = 0
    reordering: int = 0
    breaks: int = 0
    """The session breaks instead of carrying the message."""


@define(slots=True, eq=False)
class _Stream:
    """One direction of a session: what was sent, and what has arrived."""

    sender: NodeId
    receiver: NodeId
    is_open: bool = True
    sent: int = 0
    """The number of the last message."""
    filter: SequenceFilter = Factory(SequenceFilter)
    arrives: int = 0
    """When the last one arrives of those that keep their order."""


class Network:
    """All links. Who is to get messages puts itself into ``receivers``.

    ``alive`` tells whether a node runs; ``admit`` whether a receiver takes a session with
    a sender, as a handshake decides; ``linked`` is called at both ends when a session comes up or
    ends, each when it can know.
    """

    def __init__(
        self,
        events: Events,
        source: random.Random,
        *,
        alive: Callable[[NodeId], bool],
        admit: Callable[[NodeId, NodeId], bool],
        linked: Callable[[NodeId, NodeId, bool], None],
    ) -> None:
        self._events = events
        self._source = source
        self._alive = alive
        self._admit = admit
        self._linked = linked
        self.receivers: dict[NodeId, Callable[[NodeId, object], None]] = {}
        """By node, what is called with (sender, message) when a message arrives there."""
        self.faults = NetworkFaults()
        self.default_delay = Delay.uniform(MILLISECOND // 5, 2 * MILLISECOND)
        self.delays: dict[tuple[NodeId, NodeId], Delay] = {}
        self.clogged_ns: dict[tuple[NodeId, NodeId], int] = {}
        """Extra delay of a direction, while it is clogged."""
        self._cut: dict[tuple[NodeId, NodeId], None] = {}
        self._healed_at: dict[tuple[NodeId, NodeId], int] = {}
        self._held: dict[tuple[NodeId, NodeId], list[tuple[_Stream, int, object]]] = {}
        self._streams: dict[tuple[NodeId, NodeId], _Stream] = {}
        """By sender and receiver; the two of a session are made and end together."""
        self._dialling: dict[tuple[NodeId, NodeId], None] = {}
        self.sent = 0
        """Messages handed to the network."""

    # Streams

    def want(self, one: NodeId, other: NodeId) -> None:
        """``one`` keeps dialling ``other`` until there is a session."""
        pair = _pair(one, other)
        if one == other or pair in self._dialling or self.has_session(one, other):
            return
        self._dialling[pair] = None
        self._events.after(self._delay(one, other), self._dial, one, other)

    def _dial(self, one: NodeId, other: NodeId) -> None:
        pair = _pair(one, other)
        self._dialling.pop(pair, None)
        if not self._alive(one):
            return
        reachable = (one, other) not in self._cut and (other, one) not in self._cut
        if not (reachable and self._alive(other)) or not self._admit(one, other):
            self._dialling[pair] = None
            backoff_ns = self._source.randrange(50 * MILLISECOND, SECOND)
            self._events.after(backoff_ns, self._dial, one, other)
            return
        for ends in ((one, other), (other, one)):
            self._streams[ends] = _Stream(*ends)
        self._linked(one, other, True)
        self._linked(other, one, True)

    def has_session(self, one: NodeId, other: NodeId) -> bool:
        """Whether streams between two nodes are up."""
        stream = self._streams.get((one, other))
        return stream is not None and stream.is_open

    def end_session(self, one: NodeId, other: NodeId, *, notice: tuple[NodeId, ...]) -> None:
        """The streams of a pair break; those in ``notice`` learn of it after a while."""
        if not self.has_session(one, other):
            return
        for ends in ((one, other), (other, one)):
            self._streams[ends].is_open = False
        for node in notice:
            peer = other if node == one else one
            delay_ns = self._delay(peer, node)
            self._events.after(delay_ns, self._linked, node, peer, False)

    def crashed(self, node: NodeId, peers: list[NodeId]) -> None:
        """A process died: its kernel resets all its streams."""
        for peer in peers:
            self.end_session(node, peer, notice=(peer,))

    # Messages

    def send(self, sender: NodeId, receiver: NodeId, message: object) -> bool:
        """Hand a message to the streams; False where it was provably never written."""
        stream = self._streams.get((sender, receiver))
        if stream is None or not stream.is_open:
            return False
        self.sent += 1
        faults, source, events = self.faults, self._source, self._events
        if faults.breaks and chance(source, faults.breaks):
            self.end_session(sender, receiver, notice=(sender, receiver))
            return True
        if faults.loss and chance(source, faults.loss):
            return True
        stream.sent = number = stream.sent + 1
        arrives = events.now + self._delay(sender, receiver)
        if not (faults.reordering and chance(source, faults.reordering)):
            if arrives <= stream.arrives:
                arrives = stream.arrives + 1
            stream.arrives = arrives
        events.at(arrives, self._arrive, stream, number, message)
        if faults.duplication and chance(source, faults.duplication):
            late_ns = self._delay(sender, receiver) * below(source, 32)
            events.at(arrives + 1 + late_ns, self._arrive, stream, number, message)
        return True

    def _arrive(self, stream: _Stream, number: int, message: object) -> None:
        if not stream.is_open:
            return
        if self._cut:
            direction = (stream.sender, stream.receiver)
            if direction in self._cut:
                self._held.setdefault(direction, []).append((stream, number, message))
                return
        if stream.filter.accept(number):
            self.receivers[stream.receiver](stream.sender, message)

    # Cuts

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """Nothing passes from ``sender`` to ``receiver``; the other direction is left alone."""
        self._cut[sender, receiver] = None

    def heal(self, sender: NodeId, receiver: NodeId) -> None:
        """It passes again, and what waited in a stream that still stands arrives, late."""
        if (sender, receiver) in self._cut:
            del self._cut[sender, receiver]
            self._healed_at[sender, receiver] = self._events.now
        for held in self._held.pop((sender, receiver), []):
            self._events.after(self._delay(sender, receiver), self._arrive, *held)

    def heal_all(self) -> None:
        """Every link works again, at its usual speed."""
        self.clogged_ns.clear()
        for sender, receiver in list(self._cut):
            self.heal(sender, receiver)

    def is_cut(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether nothing passes in this direction."""
        return (sender, receiver) in self._cut

    def was_cut(self, one: NodeId, other: NodeId, since: int) -> bool:
        """Whether one of the two directions was cut at ``since`` or has been at some time after."""
        return any(
            direction in self._cut or self._healed_at.get(direction, -1) >= since
            for direction in ((one, other), (other, one))
        )

    def _delay(self, sender: NodeId, receiver: NodeId) -> int:
        delay = self.default_delay
        if self.delays:
            delay = self.delays.get((sender, receiver), delay)
        table = delay.table
        delay_ns = table[self._source.getrandbits(48) * len(table) >> 48]
        if self.clogged_ns:
            delay_ns += self.clogged_ns.get((sender, receiver), 0)
        return delay_ns


def _pair(one: NodeId, other: NodeId) -> tuple[NodeId, NodeId]:
    return (one, other) if one < other else (other, one)
