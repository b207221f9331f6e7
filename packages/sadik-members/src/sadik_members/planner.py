"""The founder's part: taking nodes in and deciding the ring, while the cluster is empty of data.

Until registers are decided by a majority of their owners, one node decides them: the
one that founded the cluster; and only when every member of the ring has said that it holds nothing,
and takes no writes until it has the new ring. So no value can be left behind with old owners.

::

    IDLE -- a join request ------------------------> GATHERING (300 ms after the last, 1 s at most)
    GATHERING -- its end, all members reachable ---> SEALING own store, then the others'
    SEALING -- somebody holds data ----------------> IDLE, joiners refused
    SEALING -- all empty --------------------------> decide, store, tell all; IDLE
    SEALING -- no answer within 1 s ---------------> GATHERING, a little later

There is one plan at a time by construction. A joiner that hears nothing asks again, and one that is
a member already is told so again, so a lost answer costs time only. A crash of the founder in
between leaves seals that expire by themselves. What rests on a bound and not on an agreement: the
decision must reach sealed members within `SEAL_NS` less the time that sealing took.
"""

from __future__ import annotations

import random

from attrs import define, field

from sadik_hashing import claim
from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_members.documents import document_to_plain
from sadik_members.messages import (
    JoinAccepted,
    JoinRedirect,
    JoinRefusal,
    JoinRequest,
    SealAnswer,
    SealRequest,
)
from sadik_members.news import Seal, Sealed
from sadik_members.ring import claimants
from sadik_members.settings import BOOT_MAX, identity_fault
from sadik_members.state import State
from sadik_members.table import member_to_plain
from sadik_members.view import Member, MemberState

__all__ = ["Planner"]

GATHER_NS = 300 * MILLISECOND
GATHER_MAX_NS = 1 * SECOND
SEALING_NS = 1 * SECOND
SEAL_NS = 3 * SECOND
SEAL_MAX_NS = 10 * SECOND
AGAIN_NS = 300 * MILLISECOND
PENDING_MAX = 256

HOLDS_DATA = (
    "the cluster holds data, and joining a cluster that holds data comes in a later version; "
    "until then, add nodes before the first write"
)


@define
class _Plan:
    number: int
    until: int
    """When it is given up."""
    empty: dict[NodeId, bool | None]
    """By member of the ring: its answer, None while there is none."""


@define
class Planner:
    """Join requests and ring plans; on nodes other than the founder it redirects."""

    state: State
    random: random.Random
    _pending: dict[NodeId, JoinRequest] = field(factory=dict)
    _gather_until: int | None = None
    _gather_from: int = 0
    _plan: _Plan | None = None
    _seals: dict[int, NodeId] = field(factory=dict)
    """Which member asked for the seal of a number, on the side that was asked."""

    @property
    def is_founder(self) -> bool:
        """Whether this node decides."""
        cluster = self.state.cluster
        return cluster is not None and cluster.founder == self.state.me

    @property
    def is_planning(self) -> bool:
        """Whether joiners wait or a plan is under way."""
        return bool(self._pending)

    @property
    def deadline(self) -> int | None:
        """When `wake` is wanted."""
        return self._plan.until if self._plan else self._gather_until

    def request(self, now: int, sender: NodeId, message: JoinRequest) -> None:
        """Somebody asks to be taken in."""
        state = self.state
        cluster = state.cluster
        assert cluster is not None
        if not self.is_founder:
            founder = state.table.get(cluster.founder)
            if founder is not None:
                redirect = JoinRedirect(cluster.name, founder.id, founder.peer)
                state.turn.send_state(sender, redirect)
            return
        if state.table.is_present(sender):
            self._accept(sender)
            return
        reason = self._fault(sender, message)
        if reason:
            self._refuse(sender, reason)
            return
        if sender not in self._pending and self._plan is None:
            if not self._pending:
                self._gather_from = now
            self._gather_until = min(now + GATHER_NS, self._gather_from + GATHER_MAX_NS)
        self._pending[sender] = message

    def _fault(self, sender: NodeId, message: JoinRequest) -> str:
        """Why a request is refused at once, or an empty text."""
        state = self.state
        cluster = state.cluster
        assert cluster is not None
        if message.cluster_name != cluster.name:
            return f"this is the cluster {cluster.name!r}, not {message.cluster_name!r}"
        for what, asked, here in (
            ("partitions", message.partitions, cluster.partitions),
            ("replicas", message.replicas, cluster.replicas),
        ):
            if asked is not None and asked != here:
                return (
                    f"the cluster was formed with {what} = {here}, and this node is set to "
                    f"{asked}: leave {what} out, or set it to {here}"
                )
        fault = identity_fault(
            message.name, message.peer, message.http, message.zone, message.weight
        )
        if fault:
            return fault
        if not (1 <= message.boot_number <= BOOT_MAX and 0 <= message.boot_nonce <= BOOT_MAX):
            return "a boot number or nonce is out of range"
        if state.table.get(sender) is not None:
            return "this node has left the cluster or was removed from it, and cannot come back"
        holder: Member | JoinRequest | None = state.table.holder_of(message.name)
        if holder is None:
            holder = next(
                (
                    request
                    for node, request in self._pending.items()
                    if node != sender and request.name == message.name
                ),
                None,
            )
        if holder is not None:
            return (
                f"a member called {message.name!r}, at {holder.peer}, has not left the cluster: "
                "take another name, or have that member leave or be removed first"
            )
        if len(self._pending) >= PENDING_MAX:
            return "too many nodes are joining at once: try again"
        return ""

    def wake(self, now: int, linked: list[NodeId], reachable: list[NodeId]) -> None:
        """End the gathering, or give a plan up, when it is time.

        ``linked`` are the nodes with a stream; ``reachable`` those of them that answer.
        """
        if self._plan is not None:
            if now >= self._plan.until:
                self.state.count("plan_timeout")
                self._plan = None
                self._gather_until = now + AGAIN_NS
            return
        if self._gather_until is None or now < self._gather_until:
            return
        self._gather_until = None
        for node in [node for node in self._pending if node not in linked]:
            # It asks again when it is back.
            del self._pending[node]
        if not self._pending:
            return
        others = [member.id for member in self.state.others]
        if any(node not in reachable for node in others):
            self.state.count("plan_waits")
            self._gather_until = now + AGAIN_NS
            return
        number = self.random.getrandbits(62)
        empty: dict[NodeId, bool | None] = {self.state.me: None}
        empty.update(dict.fromkeys(others))
        self._plan = _Plan(number, now + SEALING_NS, empty)
        # Its own store first: if that holds data nobody else need stop writing.
        self.state.turn.announce_now(Seal(number, now + SEAL_NS))

    def sealed(self, now: int, news: Sealed) -> None:
        """This node's own data machine has answered."""
        asker = self._seals.pop(news.number, None)
        if asker is not None:
            self.state.turn.send_now(asker, SealAnswer(news.number, news.empty))
        plan = self._plan
        cluster = self.state.cluster
        if plan is None or plan.number != news.number or cluster is None:
            return
        if news.empty and plan.empty[self.state.me] is None:
            for node in plan.empty:
                if node != self.state.me:
                    request = SealRequest(cluster.id, plan.number, SEAL_NS)
                    self.state.turn.send_now(node, request)
        self._answered(now, self.state.me, news.empty)

    def seal_request(self, now: int, sender: NodeId, message: SealRequest) -> None:
        """The founder asks whether this node holds data."""
        cluster = self.state.cluster
        if cluster is None or message.cluster_id != cluster.id or sender != cluster.founder:
            self.state.count("not_founder")
            return
        duration_ns = max(0, min(message.duration_ns, SEAL_MAX_NS))
        self._seals = {message.number: sender}
        self.state.turn.announce_now(Seal(message.number, now + duration_ns))

    def seal_answer(self, now: int, sender: NodeId, message: SealAnswer) -> None:
        """A member has answered."""
        plan = self._plan
        if plan is not None and plan.number == message.number and sender in plan.empty:
            self._answered(now, sender, message.empty)

    def _answered(self, now: int, node: NodeId, empty: bool) -> None:
        plan = self._plan
        assert plan is not None
        plan.empty[node] = empty
        if not empty:
            self._plan = None
            self._gather_until = None
            for joiner in self._pending:
                self._refuse(joiner, HOLDS_DATA)
            self._pending.clear()
        elif all(plan.empty.values()) and now < plan.until:
            self._decide()

    def _decide(self) -> None:
        """All stores are empty and sealed: take the joiners in and decide the ring."""
        state = self.state
        assert state.registers is not None
        self._plan = None
        self._gather_until = None
        joiners, self._pending = self._pending, {}
        for node in sorted(joiners):
            request = joiners[node]
            holder = state.table.holder_of(request.name)
            if holder is not None:
                self._refuse(node, f"a member called {request.name!r} has not left the cluster")
                continue
            state.merge_member(_joining(node, request))
        assignment = claim(
            claimants(state.members),
            partitions=len(state.registers),
            replicas=state.registers.replicas,
            present=state.registers.assignment,
        )
        for partition, register in state.registers.moved_to(assignment):
            state.merge_register(partition, register)
        state.to_push = True
        state.count("plans")
        for node in joiners:
            if state.table.is_present(node):
                self._accept(node)

    def _accept(self, node: NodeId) -> None:
        state = self.state
        cluster, registers = state.cluster, state.registers
        assert cluster is not None
        assert registers is not None
        accepted = JoinAccepted(
            cluster_id=cluster.id,
            cluster_key=cluster.key,
            cluster_name=cluster.name,
            partitions=cluster.partitions,
            replicas=cluster.replicas,
            founder=cluster.founder,
            members=tuple(member_to_plain(member) for member in state.members.values()),
            registers=registers.plain(),
            documents=tuple(document_to_plain(d) for d in state.documents.documents),
        )
        state.turn.send_state(node, accepted)

    def _refuse(self, node: NodeId, reason: str) -> None:
        self.state.count("join_refused")
        self.state.turn.send_now(node, JoinRefusal(reason))


def _joining(node: NodeId, request: JoinRequest) -> Member:
    return Member(
        id=node,
        name=request.name,
        peer=request.peer,
        http=request.http,
        zone=request.zone,
        weight=request.weight,
        incarnation=1,
        state=MemberState.JOINING,
        boot_number=request.boot_number,
        boot_nonce=request.boot_nonce,
    )
