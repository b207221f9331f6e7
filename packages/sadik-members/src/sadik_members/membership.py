"""Membership: one node's part in its cluster, as a pure machine.

Four ideas, each in a module of its own, over one `State` that is on disk before anyone hears of it:

- `gossip`: what is known spreads, digest first;
- `detector`: who answers, for routing only;
- `joining`: a node without a cluster asks its seeds to be taken in;
- `taking_in`, `removing` and `farewell`: a member takes nodes in, and lets them go.

::

    empty rows, no seeds --> forms a cluster of one: founder, first ring, ready at once
    empty rows, seeds -----> seeking: asks until accepted -------------------> member
    saved rows ------------> member again, with its next incarnation

`Membership.step` takes an input to its handler, does what is due, and then says once what the
step has changed: rows to store, and, released with them, announcements and messages to peers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from sadik_hashing import claim
from sadik_machine import (
    Announce,
    Effect,
    Failed,
    Input,
    Link,
    LinkState,
    NodeId,
    Observed,
    Received,
    RemoteProtocolError,
    Stored,
    earliest,
)
from sadik_members.admission import is_stale_boot
from sadik_members.detector import Detector
from sadik_members.farewell import Farewells
from sadik_members.gossip import Gossip
from sadik_members.hello import RefusalReason
from sadik_members.joining import Joiner
from sadik_members.messages import (
    Ack,
    AckFor,
    Delta,
    Digest,
    Farewell,
    FarewellHeard,
    JoinAccepted,
    JoinRefusal,
    JoinRequest,
    LeaveAsked,
    Ping,
    PingFor,
    RemovalAgreed,
    RemovalAsked,
    Summary,
)
from sadik_members.news import (
    ClusterJoined,
    DialTargets,
    Document,
    DocumentsChanged,
    HandshakeRefused,
    Heard,
    Leave,
    Left,
    MembersChanged,
    NewerRegister,
    NewInstanceNeeded,
    Publish,
    Readiness,
    Remove,
    RingChanged,
)
from sadik_members.removing import Removing
from sadik_members.ring import claimants
from sadik_members.rows import (
    CLUSTER_ID_BYTES,
    CLUSTER_KEY_BYTES,
    MEMBERSHIP_ROWS,
    Cluster,
    SavedState,
    load_rows,
)
from sadik_members.settings import (
    PARTITIONS_DEFAULT,
    REPLICAS_DEFAULT,
    ClusterSettings,
    Identity,
    SavedStateError,
    SettingsError,
)
from sadik_members.state import State
from sadik_members.table import is_other_identity
from sadik_members.taking_in import TakingIn
from sadik_members.turn import StoreQueue
from sadik_members.view import Liveness, Member, MemberState, Ring

__all__ = ["MEMBERSHIP_ROWS", "Membership", "MembershipSnapshot"]

_REFUSAL_REASONS: Final = tuple(str(reason) for reason in RefusalReason)
REFUTE_NS: Final = 2_000_000_000
"""A node raises its incarnation to refute suspicions at most once in this time."""


@frozen
class MembershipSnapshot:
    """What a node believes just now, for status views and metrics."""

    cluster_id: bytes
    """Empty while the node seeks a cluster."""
    cluster_name: str
    founder: NodeId | None
    is_ready: bool
    not_ready_reason: str
    members: tuple[tuple[Member, Liveness], ...]
    """By id; this node itself counts as UP."""
    ring: Ring | None
    documents: int
    counters: Mapping[str, int]


class Membership:
    """One node's membership; see `sadik_machine.Machine` for how it is driven.

    ``deadline`` is 0 before the first step: wake the machine at once, and it says what is saved, or
    forms its cluster. ``saved_rows`` is what a scan of `MEMBERSHIP_ROWS` found. Outside of tests
    ``random`` is a ``random.SystemRandom``, since the cluster's secret key is drawn from it.

    Raises:
        SettingsError: the rows are of another cluster, or of one with other fixed settings.
        SavedStateError: the rows are damaged or of a newer format.
    """

    def __init__(
        self,
        identity: Identity,
        cluster: ClusterSettings,
        saved_rows: Mapping[bytes, bytes],
        random: random.Random,
    ) -> None:
        self._random = random
        self._saved = load_rows(saved_rows)
        if self._saved is not None:
            _check_settings(identity, cluster, self._saved)
        self._state = State(identity, cluster)
        self._stores = StoreQueue()
        self._detector = Detector(random)
        self._gossip = Gossip(self._state, random, self._merge_told)
        self._joiner = Joiner(self._state)
        self._taking_in = TakingIn(self._state)
        self._removing = Removing(self._state, random)
        self._farewells = Farewells(self._state)
        self._is_started = False
        self._deadline: int | None = 0
        self._now = 0
        self._news: list[Effect] = []
        self._refuted_at: int | None = None
        self._stop_reason = ""
        self._has_just_left = False
        self._readiness: Readiness | None = None
        self._targets: DialTargets | None = None
        self._new_instance: int | None = None

    @property
    def members(self) -> Mapping[NodeId, Member]:
        """The member table, in ascending order of id; those who left included."""
        return self._state.members

    @property
    def ring(self) -> Ring | None:
        """The ring, perhaps not on disk yet; None while the node seeks a cluster."""
        return self._state.registers.ring if self._state.registers else None

    @property
    def counters(self) -> Mapping[str, int]:
        """How often something was ignored or refused, by reason."""
        return self._state.counters

    def liveness(self, node: NodeId) -> Liveness:
        """The belief about a node; this one is UP to itself."""
        return Liveness.UP if node == self._state.me else self._detector.liveness(node)

    def snapshot(self) -> MembershipSnapshot:
        """What is known and believed now."""
        state = self._state
        ready = self._readiness or Readiness(False, "starting")
        return MembershipSnapshot(
            cluster_id=state.cluster.id if state.cluster else b"",
            cluster_name=state.settings.name,
            founder=state.cluster.founder if state.cluster else None,
            is_ready=ready.ready,
            not_ready_reason=ready.reason,
            members=tuple((member, self.liveness(node)) for node, member in state.members.items()),
            ring=self.ring,
            documents=len(state.documents),
            counters=dict(state.counters),
        )

    @property
    def deadline(self) -> int | None:
        """When the machine next wants to be woken; 0 before the first step."""
        return self._deadline

    def _next_deadline(self) -> int | None:
        of_detector, of_stores = self._detector.deadline, self._stores.deadline
        if self._state.is_left:
            return earliest(of_detector, of_stores, self._farewells.deadline)
        gossip, joiner, removing = self._gossip, self._joiner, self._removing
        return earliest(of_detector, of_stores, gossip.deadline, joiner.deadline, removing.deadline)

    def step(self, now: int, event: Input) -> list[Effect]:
        """Take one input; see `sadik_machine.Machine`."""
        if isinstance(event, Stored) and not _is_due(self._deadline, now):
            self._stores.stored(event.ticket)
            return []  # nothing rests on it: what waited for the store was in it
        self._now = now
        self._state.begin()
        self._detector.turn = self._state.turn
        self._news = []
        if not self._is_started:
            self._start(now)
        # To match each by its fields would take five times as long.
        if isinstance(event, Received):
            self._receive(now, event.sender, event.message)
        elif isinstance(event, Stored):
            self._stores.stored(event.ticket)
        elif isinstance(event, Observed):
            self._observe(now, event.news)
        elif isinstance(event, Link):
            self._link(now, event.peer, event.state)
        elif isinstance(event, Failed):
            self._state.count("store_failed")
            self._stores.failed(now, event.ticket)
        deadline = self._next_deadline()
        is_due = _is_due(deadline, now)
        if is_due:
            self._wake(now)
        is_moved = is_due or bool(self._state.changed_members)
        self._say_changes(now)
        effects = self._stores.effects(self._state.turn)
        if self._stores.deadline is not None:
            effects = effects + self._stores.retry(now)
        self._deadline = self._next_deadline() if is_moved else deadline
        return effects

    # The beginning and the end of a step.

    def _start(self, now: int) -> None:
        """The first step: what is saved, a new cluster, or the search for one."""
        self._is_started = True
        state = self._state
        if self._saved is not None:
            saved, self._saved = self._saved, None
            state.load(saved)
            self._gossip.start(now)
            self._detector.set_peers(now, [member.id for member in state.others])
            self._news.append(Announce(ClusterJoined(saved.cluster.id, saved.cluster.key)))
            state.changed_members.update(dict.fromkeys(state.members))
            state.changed_registers.update(dict.fromkeys(range(saved.cluster.partitions)))
            state.changed_documents.update(dict.fromkeys(d.name for d in saved.documents))
            own = state.own()
            assert own is not None
            if own.state is MemberState.JOINING:
                # It was accepted, and stopped before it said so itself.
                state.merge_member(state.own_entry(own.incarnation + 1, MemberState.UP))
            elif state.is_left:
                # It stopped before it knew that others have heard of it.
                self._farewells.begin(now, 0, ())
            else:
                state.raise_incarnation()
        elif state.settings.seeds:
            self._joiner.start(now)
        else:
            self._form(now)

    def _form(self, now: int) -> None:
        """A cluster of one."""
        state = self._state
        cluster = Cluster(
            id=self._random.getrandbits(8 * CLUSTER_ID_BYTES).to_bytes(CLUSTER_ID_BYTES, "big"),
            key=self._random.getrandbits(8 * CLUSTER_KEY_BYTES).to_bytes(CLUSTER_KEY_BYTES, "big"),
            name=state.settings.name,
            partitions=state.settings.partitions or PARTITIONS_DEFAULT,
            replicas=state.settings.replicas or REPLICAS_DEFAULT,
            founder=state.me,
            had_others=False,
        )
        state.set_cluster(cluster)
        state.merge_member(state.own_entry(1, MemberState.UP))
        assert state.registers is not None
        owners = claim(claimants(state.members), cluster.partitions, cluster.replicas)
        for partition, register in state.registers.moved_to(owners):
            state.merge_register(partition, register)
        self._gossip.start(now)
        self._news.append(Announce(ClusterJoined(cluster.id, cluster.key)))

    def _say_changes(self, now: int) -> None:
        """Announce what this step changed, and push what was this node's own doing."""
        state, news = self._state, self._news
        if state.changed_members:
            others = [] if state.is_left else state.others
            self._detector.set_peers(now, [member.id for member in others])
            news.append(Announce(MembersChanged(state.members)))
        if state.changed_registers and state.registers is not None:
            news.append(Announce(RingChanged(state.registers.ring)))
        if state.changed_documents:
            found = [state.documents.get(name) for name in state.changed_documents]
            documents: tuple[Document, ...] = tuple(document for document in found if document)
            news.append(Announce(DocumentsChanged(documents)))
        if state.changed_members or state.cluster is None or self._targets is None:
            targets = self._dial_targets()
            if targets != self._targets:
                self._targets = targets
                news.append(Announce(targets))
        was = self._readiness
        if was is None or not was.ready or self._stop_reason or state.is_left:
            readiness = self._judge_readiness()
            if readiness != was:
                self._readiness = readiness
                news.append(Announce(readiness))
        if state.to_push and (not state.is_left or self._has_just_left):
            self._gossip.push(self._linked_members())
        # News first: whoever reacts to a message must find this node knowing what it said.
        if news:
            state.turn.when_stored[:0] = news
        if self._farewells.answers:
            state.turn.when_stored[:0] = self._farewells.answers
            self._farewells.answers = []

    def _dial_targets(self) -> DialTargets:
        state = self._state
        if state.is_left:
            return DialTargets({}, ())
        members = {member.id: member.peer for member in state.others}
        own_addresses = (state.identity.peer,)
        seeds = dict.fromkeys(seed for seed in state.settings.seeds if seed not in own_addresses)
        return DialTargets(members, tuple(seeds))

    def _judge_readiness(self) -> Readiness:
        state = self._state
        if self._stop_reason:
            return Readiness(False, self._stop_reason)
        if state.is_left:
            return Readiness(False, "this node has left the cluster or was removed from it")
        if state.cluster is None:
            if self._joiner.refusal:
                return Readiness(False, f"the cluster does not take it: {self._joiner.refusal}")
            seeds = ", ".join(dict.fromkeys(state.settings.seeds))
            return Readiness(False, f"waiting to be taken into a cluster by one of: {seeds}")
        own = state.own()
        if own is None or own.state is MemberState.JOINING:
            return Readiness(False, "waiting for a place in the ring")
        untried = [m.name for m in state.others if not self._detector.was_tried(m.id)]
        if untried:
            return Readiness(False, f"waiting for an answer of {', '.join(sorted(untried))}")
        return Readiness(True, "")

    def _wake(self, now: int) -> None:
        detector, state = self._detector, self._state
        detector.wake(now, state.members)
        if state.cluster is None:
            self._joiner.wake(now, detector.linked)
        elif state.is_left:
            self._farewells.wake(now, self._linked_members())
        else:
            if _is_due(self._gossip.deadline, now):
                self._gossip.wake(now, [n for n in detector.linked if not self._has_left(n)])
            if _is_due(self._removing.deadline, now):
                self._removing.wake(now)

    # Inputs.

    def _link(self, now: int, peer: NodeId, link: LinkState) -> None:
        was_linked = self._detector.is_linked(peer)
        self._detector.link(now, peer, link)
        if link is LinkState.DOWN or was_linked or self._has_left(peer):
            return
        if self._state.cluster is None:
            self._joiner.ask(peer)
        elif self._state.is_left:
            self._farewells.say(peer)
        else:
            self._gossip.open(peer)

    def _observe(self, now: int, news: object) -> None:
        state = self._state
        match news:
            case Heard(peers):
                for peer in peers:
                    self._detector.heard(now, peer)
            case Publish(document):
                state.publish(document)
            case Leave():
                self._removing.leave(news)
            case Left():
                self._leave_for_good(now, news)
            case Remove():
                self._removing.remove(now, news)
            case NewerRegister(partition, register, is_own):
                try:
                    if state.merge_register(partition, register) and is_own:
                        state.to_push = True
                except RemoteProtocolError as error:
                    state.count(error.reason)
            case HandshakeRefused():
                self._handshake_refused(news)
            case _:
                pass

    def _leave_for_good(self, now: int, news: Left) -> None:
        state = self._state
        live = [m for m in state.others if self.liveness(m.id) is Liveness.UP]
        self._removing.left(news)
        self._has_just_left = True  # and says so to the others before it stops
        if state.is_left and self._farewells.deadline is None:
            self._farewells.begin(now, len(live), self._linked_members())

    def _handshake_refused(self, news: HandshakeRefused) -> None:
        state = self._state
        # The word may be a peer's own: only known ones become names of counters.
        reason = news.reason if news.reason in _REFUSAL_REASONS else "other"
        state.count(f"handshake_{reason}")
        if not news.is_proven:
            return  # a stranger's word
        if news.by_peer and news.reason == "stale_boot":
            self._need_instance(news.boot_number)
        elif news.by_peer and news.reason == "removed" and state.cluster is not None:
            self._stop_reason = f"a member says: {news.detail}"
        elif (
            news.reason == "other_cluster"
            and not news.outgoing
            and state.cluster is not None
            and not state.cluster.had_others
            and news.cluster_name == state.settings.name
            and news.cluster_id not in (b"", state.cluster.id)
        ):
            # A founder whose directory was wiped would serve 404s for all that its cluster holds.
            self._stop_reason = (
                f"a member of another cluster called {news.cluster_name!r} "
                f"(id {news.cluster_id.hex()}) dials this address, and this node has just formed "
                f"a cluster of its own (id {state.cluster.id.hex()}): was its data directory "
                "lost? Restore it, or start with an empty directory and --join"
            )

    def _need_instance(self, boot_number: int) -> None:
        if boot_number < self._state.identity.boot_number or self._new_instance is not None:
            return
        self._new_instance = boot_number
        self._stop_reason = "its store was rolled back: it takes a new instance and starts anew"
        self._state.turn.announce_now(NewInstanceNeeded(boot_number))

    # Messages.

    def _receive(self, now: int, sender: NodeId, message: object) -> None:
        state = self._state
        self._detector.heard(now, sender)
        # Tuples of classes: told apart in a third of the time that their unions take.
        if isinstance(message, (Farewell, FarewellHeard)):
            self._receive_farewell(sender, message)
        elif not state.table.is_present(sender) and self._has_left(sender):
            state.count("removed")
        elif isinstance(message, (JoinRequest, JoinRefusal, JoinAccepted)):
            self._receive_joining(now, sender, message)
        elif state.cluster is None or state.is_left:
            state.count("not_a_member")
        elif isinstance(message, (Summary, Digest, Delta)):
            self._receive_gossip(sender, message)
        elif isinstance(message, Ping):
            self._receive_ping(now, sender, message)
        elif not state.table.is_present(sender):
            state.count("unknown_sender")
        else:
            self._receive_from_member(now, sender, message)

    def _receive_farewell(self, sender: NodeId, message: Farewell | FarewellHeard) -> None:
        if isinstance(message, FarewellHeard):
            self._farewells.heard(sender)
        elif self._state.is_left:
            self._state.count("not_a_member")
        else:
            self._farewells.told(sender, message)

    def _receive_joining(
        self,
        now: int,
        sender: NodeId,
        message: JoinRequest | JoinRefusal | JoinAccepted,
    ) -> None:
        state = self._state
        if isinstance(message, JoinRequest):
            if state.cluster is None or state.is_left or self._stop_reason:
                state.count("not_a_member")
            else:
                self._taking_in.request(sender, message)
        elif state.cluster is not None:
            state.count("joined_already")
        elif isinstance(message, JoinRefusal):
            self._joiner.refused(now, message)
        else:
            joined = self._joiner.accepted(message)
            if joined is not None:
                self._gossip.start(now)
                self._news.append(Announce(ClusterJoined(joined.id, joined.key)))

    def _receive_gossip(self, sender: NodeId, message: Summary | Digest | Delta) -> None:
        state = self._state
        assert state.cluster is not None
        if message.cluster_id != state.cluster.id:
            state.count("other_cluster")
            return
        match message:
            case Summary():
                self._gossip.summary(sender, message)
            case Digest():
                self._gossip.digest(sender, message)
            case Delta():
                self._gossip.delta(sender, message)

    def _receive_ping(self, now: int, sender: NodeId, message: Ping) -> None:
        self._detector.ping(sender, message)
        own = self._state.own()
        if own is None or message.suspected is None or message.suspected < own.incarnation:
            return
        if self._refuted_at is None or now - self._refuted_at >= REFUTE_NS:
            self._refuted_at = now
            self._state.count("suspicion_refuted")
            self._state.raise_incarnation()

    def _receive_from_member(self, now: int, sender: NodeId, message: object) -> None:
        match message:
            case Ack():
                self._detector.ack(now, sender, message)
            case PingFor():
                self._detector.ping_for(now, sender, message)
            case AckFor():
                self._detector.ack_for(now, message)
            case RemovalAsked():
                is_alive = self.liveness(NodeId(message.node)) is Liveness.UP
                self._removing.asked(sender, message, is_alive=is_alive)
            case LeaveAsked():
                self._removing.leave(Leave())
            case RemovalAgreed():
                self._removing.agreed(sender, message)
            case _:
                self._state.count("unknown_message")

    # Helpers.

    def _merge_told(self, sender: NodeId, member: Member) -> None:
        """Merge an entry that a peer sent: about this node itself it has the last word.

        About a third node nobody says who it is while it can be asked itself.
        """
        state = self._state
        if member.id == state.me and member.state is not MemberState.LEFT:
            own, identity = state.own(), state.identity
            if own is None or own.state is MemberState.LEFT:
                return
            if is_stale_boot(member, identity.boot_number, identity.boot_nonce):
                self._need_instance(member.boot_number)
            elif member.incarnation > own.incarnation or (
                member.incarnation == own.incarnation and member != own
            ):
                state.raise_incarnation(member.incarnation)
            return
        known = state.table.get(member.id)
        if (
            known is not None
            and member.id != sender
            and self._detector.is_linked(member.id)
            and is_other_identity(known, member)
        ):
            state.count("hearsay")
            self._gossip.ask(member.id)
            return
        if (
            state.merge_member(member)
            and known is not None
            and member.incarnation > known.incarnation
        ):
            self._detector.refuted(self._now, member.id)

    def _has_left(self, node: NodeId) -> bool:
        member = self._state.table.get(node)
        return member is not None and member.state is MemberState.LEFT

    def _linked_members(self) -> list[NodeId]:
        return [n for n in self._detector.linked if self._state.table.is_present(n)]


def _is_due(deadline: int | None, now: int) -> bool:
    return deadline is not None and deadline <= now


def _check_settings(identity: Identity, settings: ClusterSettings, saved: SavedState) -> None:
    """Raise where this node's settings contradict what its directory belongs to."""
    cluster = saved.cluster
    if settings.name != cluster.name:
        raise SettingsError(
            f"this data directory belongs to the cluster {cluster.name!r}, "
            f"and cluster.name is set to {settings.name!r}"
        )
    for what, asked, here in (
        ("partitions", settings.partitions, cluster.partitions),
        ("replicas", settings.replicas, cluster.replicas),
    ):
        if asked is not None and asked != here:
            raise SettingsError(
                f"the cluster was formed with {what} = {here}, and cluster.{what} is set to {asked}"
            )
    own = next((member for member in saved.members if member.id == identity.node_id), None)
    if own is None:
        raise SavedStateError("the saved member table does not name this node: is it another's?")
    for member in saved.members:
        if (
            member.id != identity.node_id
            and member.name == identity.name
            and member.state is not MemberState.LEFT
        ):
            raise SettingsError(
                f"node.name is set to {identity.name!r}, and the member at {member.peer} "
                "has that name"
            )
