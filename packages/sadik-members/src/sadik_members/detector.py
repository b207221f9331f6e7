"""Who answers: a local belief about each peer, for routing only.

After SWIM (Das, Gupta, Motivala, DSN 2002): a member is probed in turn; one that does not answer is
asked after through others; a suspicion is refuted by the suspect with a higher incarnation. What
differs, since peers here keep streams open and every request goes straight to them:

- A broken stream is suspicion at once, and anything received proves a peer up.
- Suspicion is not gossiped. A peer that others reach and we do not stays SUSPECT, as requests sent
  its way would hang, but does not become DOWN while others vouch for it.
- A slow peer must not flap: an answer relayed by others doubles the wait for the direct one once,
  and each suspicion that proved wrong doubles that peer's timeout, up to `TIMEOUT_MAX_NS`, until it
  has been calm for `CALM_NS`.
- If this node itself was late (it was stopped, or its machine busy), the silence was its own: it
  waits a little more before it believes it (compare "local health", Dadgar et al. 2018).

Every linked peer is probed at least every 400 ms, so a stopped one is SUSPECT within 0.9 s. DOWN is
a word for people and for hints: it moves no data and removes nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Final

from attrs import define, field

from sadik_machine import MILLISECOND, SECOND, Deadlines, LinkState, NodeId
from sadik_members.messages import Ack, AckFor, Ping, PingFor
from sadik_members.news import LivenessChanged
from sadik_members.turn import Turn
from sadik_members.view import Liveness, Member

__all__ = ["Detector"]

TICK_NS: Final = 200 * MILLISECOND
TICKS_PER_ROUND: Final = 2
TIMEOUT_NS: Final = 500 * MILLISECOND
TIMEOUT_MAX_NS: Final = 1500 * MILLISECOND
RECENT_NS: Final = 150 * MILLISECOND
UNKNOWN_NS: Final = 2 * SECOND
SUSPICION_NS: Final = 2 * SECOND
CALM_NS: Final = 30 * SECOND
LATE_NS: Final = 200 * MILLISECOND
GRACE_NS: Final = 250 * MILLISECOND
INDIRECT: Final = 3
RELAYS_MAX: Final = 256
RELAY_NS: Final = 2 * SECOND


@define
class _Peer:
    linked: bool = False
    liveness: Liveness = Liveness.UNKNOWN
    heard_at: int | None = None
    timeout_ns: int = TIMEOUT_NS
    probed_at: int | None = None
    probe_until: int = 0
    is_vouched: bool = False
    """Others reached it since the probe that waits."""
    is_broken: bool = False
    """Its stream broke since it was last up."""
    was_tried: bool = False


@define
class _Relay:
    asker: NodeId
    number: int
    target: NodeId
    until: int


@define
class Detector:
    """Beliefs about the other members. `turn` takes what is to be sent and announced."""

    random: Random
    turn: Turn = field(factory=Turn)
    _peers: dict[NodeId, _Peer] = field(factory=dict)
    _links: dict[NodeId, LinkState] = field(factory=dict)
    _deadlines: Deadlines[tuple[str, NodeId]] = field(factory=Deadlines)
    _tick_at: int | None = None
    _round: list[NodeId] = field(factory=list)
    _number: int = 0
    _relays: dict[int, _Relay] = field(factory=dict)

    @property
    def deadline(self) -> int | None:
        """When `wake` is wanted."""
        first = self._deadlines.first
        if self._tick_at is None or (first is not None and first < self._tick_at):
            return first
        return self._tick_at

    def liveness(self, node: NodeId) -> Liveness:
        """The belief about a peer; UNKNOWN for whom nobody told us of."""
        peer = self._peers.get(node)
        return peer.liveness if peer else Liveness.UNKNOWN

    def is_linked(self, node: NodeId) -> bool:
        """Whether there is a stream to ``node``, member or not."""
        return node in self._links

    @property
    def linked(self) -> list[NodeId]:
        """All nodes with a stream, in ascending order of id."""
        return sorted(self._links)

    def was_tried(self, node: NodeId) -> bool:
        """Whether the peer has answered since this node started, or been tried for 2 s."""
        peer = self._peers.get(node)
        return peer is not None and peer.was_tried

    def set_peers(self, now: int, nodes: Iterable[NodeId]) -> None:
        """These are the other members now."""
        wanted = dict.fromkeys(nodes)
        for node in [node for node in self._peers if node not in wanted]:
            del self._peers[node]
            for kind in ("unknown", "probe", "indirect", "down", "calm"):
                self._deadlines.drop((kind, node))
        for node in wanted:
            if node not in self._peers:
                self._peers[node] = _Peer(linked=node in self._links)
                self._deadlines.set(("unknown", node), now + UNKNOWN_NS)
                if node in self._links:
                    self.heard(now, node)
        staying = dict.fromkeys(node for node in self._round if node in self._peers)
        new = [node for node in self._peers if node not in staying]
        self.random.shuffle(new)
        self._round = [*staying, *new]
        if self._peers and self._tick_at is None:
            self._tick_at = now + TICK_NS
        elif not self._peers:
            self._tick_at = None

    def link(self, now: int, node: NodeId, state: LinkState) -> None:
        """The messenger says that the streams to ``node`` came up, broke or are full."""
        peer = self._peers.get(node)
        if state is LinkState.DOWN:
            self._links.pop(node, None)
            if peer is not None:
                peer.linked = False
                self._stop_probe(node, peer)
                peer.is_broken = True
                if peer.liveness is Liveness.UP:
                    self._suspect(now, node, peer)
            return
        is_new = node not in self._links
        self._links[node] = state
        if peer is not None and is_new:
            peer.linked = True
            self.heard(now, node)

    def heard(self, now: int, node: NodeId) -> None:
        """Something came from ``node``: it is up, if there is a stream to it."""
        peer = self._peers.get(node)
        if peer is None or not peer.linked:
            return
        peer.heard_at = now
        if peer.probed_at is not None:
            self._stop_probe(node, peer)
        if peer.liveness is Liveness.UP:
            return
        if peer.liveness is Liveness.SUSPECT and not peer.is_broken:
            peer.timeout_ns = min(2 * peer.timeout_ns, TIMEOUT_MAX_NS)
            self._deadlines.set(("calm", node), now + CALM_NS)
        peer.was_tried = True
        peer.is_broken = False
        self._deadlines.drop(("unknown", node))
        self._deadlines.drop(("down", node))
        self._change(node, peer, Liveness.UP)

    def refuted(self, now: int, node: NodeId) -> None:
        """``node`` raised its incarnation after we came to suspect it, as others told us."""
        peer = self._peers.get(node)
        if peer is not None and peer.liveness in (Liveness.SUSPECT, Liveness.DOWN):
            self._vouch(now, node, peer)

    def ping(self, sender: NodeId, message: Ping) -> None:
        """Answer a probe."""
        self.turn.send_now(sender, Ack(message.number))

    def ack(self, now: int, sender: NodeId, message: Ack) -> None:
        """A probe was answered; tell whom it was made for, if it was for another."""
        relay = self._relays.pop(message.number, None)
        if relay is not None and relay.target == sender and now < relay.until:
            self.turn.send_now(relay.asker, AckFor(relay.number, sender))

    def ping_for(self, now: int, sender: NodeId, message: PingFor) -> None:
        """Probe a third node for ``sender``."""
        target = NodeId(message.target)
        if not self.is_linked(target) or target not in self._peers or target == sender:
            return
        for number in [n for n, relay in self._relays.items() if relay.until <= now]:
            del self._relays[number]
        if len(self._relays) < RELAYS_MAX:
            self._number += 1
            self._relays[self._number] = _Relay(sender, message.number, target, now + RELAY_NS)
            self.turn.send_now(target, Ping(self._number, message.suspected))

    def ack_for(self, now: int, message: AckFor) -> None:
        """A third node reached the one that does not answer us."""
        peer = self._peers.get(NodeId(message.target))
        if peer is None:
            return
        if peer.liveness in (Liveness.SUSPECT, Liveness.DOWN):
            self._vouch(now, NodeId(message.target), peer)
        elif peer.probed_at is not None and not peer.is_vouched:
            peer.is_vouched = True
            doubled = peer.probed_at + min(2 * peer.timeout_ns, TIMEOUT_MAX_NS)
            # Never shorter than what it has already, which may bear a grace.
            peer.probe_until = max(peer.probe_until, doubled)
            self._deadlines.set(("probe", NodeId(message.target)), peer.probe_until)

    def wake(self, now: int, members: Mapping[NodeId, Member]) -> None:
        """Do what is due. ``members`` are all that there are now."""
        first = self.deadline
        late = first is not None and now - first > LATE_NS
        for kind, node in self._deadlines.each_due(now):
            peer = self._peers[node]
            if late and kind in ("probe", "down", "unknown"):
                if kind == "probe":
                    peer.probe_until = now + GRACE_NS
                self._deadlines.set((kind, node), now + GRACE_NS)
            else:
                self._due(now, kind, node, peer, members)
        if self._tick_at is not None and now >= self._tick_at:
            self._tick_at = now + TICK_NS
            self._tick(now, members)

    def _due(
        self, now: int, kind: str, node: NodeId, peer: _Peer, members: Mapping[NodeId, Member]
    ) -> None:
        match kind:
            case "unknown":
                peer.was_tried = True
                if peer.liveness is Liveness.UNKNOWN:
                    self._change(node, peer, Liveness.DOWN)
            case "indirect":
                self._ask_others(node, None)
            case "probe":
                self._deadlines.drop(("indirect", node))
                peer.probed_at = None
                self._suspect(now, node, peer)
                self._ask_others(node, _incarnation(members, node))
            case "down":
                self._change(node, peer, Liveness.DOWN)
            case _:
                peer.timeout_ns = TIMEOUT_NS

    def _tick(self, now: int, members: Mapping[NodeId, Member]) -> None:
        """Probe the next share of the peers, so that a round takes `TICKS_PER_ROUND` ticks."""
        share = -(-len(self._round) // TICKS_PER_ROUND)
        # One order for all rounds: drawn anew for each, as in SWIM, a peer might wait for two.
        chosen, rest = self._round[:share], self._round[share:]
        self._round = rest + chosen
        for node in chosen:
            self._probe(now, node, self._peers[node], members)

    def _probe(self, now: int, node: NodeId, peer: _Peer, members: Mapping[NodeId, Member]) -> None:
        if peer.liveness is Liveness.SUSPECT:
            self._ask_others(node, _incarnation(members, node))
        if not peer.linked or peer.probed_at is not None:
            return
        if peer.heard_at is not None and now - peer.heard_at < RECENT_NS:
            return
        self._number += 1
        self.turn.send_now(node, Ping(self._number))
        if peer.liveness in (Liveness.UP, Liveness.UNKNOWN):
            peer.probed_at = now
            peer.is_vouched = False
            peer.probe_until = now + peer.timeout_ns
            self._deadlines.set(("probe", node), peer.probe_until)
            self._deadlines.set(("indirect", node), now + peer.timeout_ns // 2)

    def _ask_others(self, node: NodeId, suspected: int | None) -> None:
        others = [
            other
            for other, peer in self._peers.items()
            if other != node and peer.linked and peer.liveness is Liveness.UP
        ]
        for other in self.random.sample(others, min(INDIRECT, len(others))):
            self._number += 1
            self.turn.send_now(other, PingFor(self._number, node, suspected))

    def _vouch(self, now: int, node: NodeId, peer: _Peer) -> None:
        """Others reach a peer that we do not: it is not down, and not to be routed to either."""
        self._deadlines.set(("down", node), now + self._suspicion_ns())
        self._change(node, peer, Liveness.SUSPECT)

    def _suspect(self, now: int, node: NodeId, peer: _Peer) -> None:
        self._deadlines.drop(("unknown", node))
        peer.was_tried = True
        self._deadlines.set(("down", node), now + self._suspicion_ns())
        self._change(node, peer, Liveness.SUSPECT)

    def _suspicion_ns(self) -> int:
        """How long a suspicion may last: longer in larger clusters, as SWIM has it."""
        return SUSPICION_NS * max(1, (len(self._peers) + 1).bit_length())

    def _stop_probe(self, node: NodeId, peer: _Peer) -> None:
        peer.probed_at = None
        self._deadlines.drop(("probe", node))
        self._deadlines.drop(("indirect", node))

    def _change(self, node: NodeId, peer: _Peer, liveness: Liveness) -> None:
        if peer.liveness is not liveness:
            peer.liveness = liveness
            self.turn.announce_now(LivenessChanged(node, liveness))


def _incarnation(members: Mapping[NodeId, Member], node: NodeId) -> int | None:
    member = members.get(node)
    return None if member is None else member.incarnation
