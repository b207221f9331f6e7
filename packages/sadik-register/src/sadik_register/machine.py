"""The machine of one node: acceptor, proposer and learner of any number of registers.

A register is a name and an epoch, and is written once: Paxos (Lamport 2001, "Paxos Made Simple")
with an instance a register. The node that is asked to write is the proposer; there is no leader. It
prepares a ballot, proposes, and spreads the decision; where another proposer's greater ballot gets
in its way, it tries again after a random time. Safety needs nothing but that acceptors keep their
word through crashes: what an acceptor says is on disk before it is sent, and the same holds for
what this node's own acceptor says to its own proposer. Time, loss and order of messages decide only
how long it takes.

====================  ==========================================================
input                 what it does
====================  ==========================================================
`Requested`           `Propose` begins a proposal, or waits for the one under
                      way; `Learn` asks the acceptors
`Received`            the acceptor answers; the proposer and the learner count
`Loaded`, `Stored`    the acceptor goes on, and this node's own answers count
`Failed`              what was not on disk is forgotten, and never was said
`Cancelled`, `Woke`   requests end; rounds are given up, or begun
====================  ==========================================================
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Final, TypeGuard

from attrs import Factory, define

from sadik_machine import (
    Announce,
    Cancelled,
    Deadlines,
    Effect,
    Failed,
    Input,
    Loaded,
    NodeId,
    Received,
    Reply,
    Requested,
    RequestId,
    Send,
    Stored,
    Ticket,
    Woke,
)
from sadik_register.acceptor import Question
from sadik_register.keys import Ballot, RegisterKey
from sadik_register.learner import Inquiry
from sadik_register.messages import (
    Accept,
    Accepted,
    Ask,
    Chosen,
    Decision,
    Prepare,
    Promise,
    Rejected,
    State,
)
from sadik_register.proposer import Phase, Proposal
from sadik_register.requests import (
    Decided,
    Learn,
    Propose,
    RefusalReason,
    Refused,
    Undecided,
    Vacant,
)
from sadik_register.settings import Counters, Limits
from sadik_register.shelf import Shelf

__all__ = ["Registers"]

_BACK_OFF_DOUBLINGS: Final = 6

_Message = Question | Promise | Accepted | Rejected | State | Chosen


def _own_tickets() -> Callable[[], Ticket]:
    tickets = itertools.count(1)
    return lambda: Ticket(next(tickets))


def _is_ours(message: object) -> TypeGuard[_Message]:
    return isinstance(message, _Message)


@define(eq=False)
class _Proposing:
    """A proposal under way, and the requests that wait for it, with the values they asked for."""

    proposal: Proposal
    waiters: dict[RequestId, bytes] = Factory(dict)


@define(eq=False)
class _Learning:
    """A question under way."""

    key: RegisterKey
    inquiry: Inquiry
    number: int


class Registers:
    """Registers as one node sees them; `sadik_machine.Machine` has the rules for its host.

    Args:
        me: this node. As an acceptor it answers whoever asks: which acceptors a register has is
            for its proposers to know, all alike.
        boot: tells this life of the node from every other one: a boot number that never comes
            again, or 64 random bits. With one that comes again two values could be decided.
        source: seeded for this boot; for back-off and the numbers of questions.
        row_prefix: what the keys of all rows of this machine start with.
        next_ticket: draws tickets where another machine shares its own with this one; `owns`
            tells whose a ticket is.
    """

    def __init__(
        self,
        me: NodeId,
        boot: int,
        source: random.Random,
        *,
        limits: Limits | None = None,
        row_prefix: bytes = b"P",
        next_ticket: Callable[[], Ticket] | None = None,
    ) -> None:
        assert 0 <= boot < 1 << 64
        self.me = me
        self.counters = Counters()
        self.limits = limits or Limits()
        self._boot = boot
        self._round = 0
        """The greatest that was used: no ballot is used twice, for whatever register."""
        self._source = source
        self._shelf = Shelf(
            me, row_prefix, self.limits, self.counters, next_ticket or _own_tickets()
        )
        self._deadlines: Deadlines[RegisterKey | RequestId] = Deadlines()
        """Of rounds by register, of requests by their ids."""
        self._resend: Deadlines[RequestId] = Deadlines()
        """When questions are put again to those who are silent."""
        self._proposing: dict[RegisterKey, _Proposing] = {}
        self._learning: dict[RequestId, _Learning] = {}
        self._question: dict[int, RequestId] = {}
        """Whose a question is, by its number."""
        self._key_of: dict[RequestId, RegisterKey] = {}
        self._inquiries = source.getrandbits(62)
        self._out: list[Effect] = []
        self._now = 0
        self._inbox: list[tuple[NodeId, object]] = []
        """What this node says to itself in the present step."""

    @property
    def deadline(self) -> int | None:
        """When to wake next."""
        first, again = self._deadlines.first, self._resend.first
        if first is None or again is None:
            return again if first is None else first
        return min(first, again)

    @property
    def records_in_memory(self) -> int:
        """How many acceptor's records are held, of the `Limits.records` that may be."""
        return len(self._shelf)

    def owns(self, ticket: Ticket) -> bool:
        """Whether a `Loaded`, `Stored` or `Failed` with this ticket is for this machine."""
        return self._shelf.owns(ticket)

    def step(self, now: int, event: Input) -> list[Effect]:
        """Take one input; return what is wanted."""
        self._now = now
        match event:
            case Received(sender, message):
                self._inbox.append((sender, message))
            case Requested(request_id, request):
                self._requested(request_id, request)
            case Loaded(ticket, value) if self._shelf.owns(ticket):
                self._shelf.loaded(ticket, value)
            case Stored(ticket) if self._shelf.owns(ticket):
                self._shelf.stored(ticket)
            case Failed(ticket) if self._shelf.owns(ticket):
                self._shelf.failed(ticket)
            case Cancelled(request_id):
                self._end(request_id)
            case Woke():
                self._woke()
            case _:
                pass  # links and other machines' news change nothing: silence is found by time
        self._settle()
        out, self._out = self._out, []
        return out

    def _settle(self) -> None:
        """Take what came for this node, from others and itself, until nothing is left."""
        while True:
            self._out += self._shelf.effects
            self._shelf.effects.clear()
            self._inbox += [(self.me, message) for message in self._shelf.to_self]
            self._shelf.to_self.clear()
            self._out += [Announce(news) for news in self._shelf.news]
            self._shelf.news.clear()
            if not self._inbox:
                return
            inbox, self._inbox = self._inbox, []
            for sender, message in inbox:
                self._received(sender, message)

    def forget(self, now: int, keys: Sequence[RegisterKey]) -> list[Effect]:
        """Forget what this node's acceptor has on disk of some registers.

        Only for a host that answers by itself whoever asks about them from now on, in all lives to
        come: one that has the decision on its disk, or a later one that takes its place. An
        acceptor that forgot and still answered would break its promises.
        """
        self._now = now
        self._shelf.forget(keys)
        self._settle()
        out, self._out = self._out, []
        return out

    # Messages

    def _received(self, sender: NodeId, message: object) -> None:
        if not _is_ours(message) or not self._is_valid(message):
            self.counters.malformed += 1
            return
        key = RegisterKey(message.name, message.epoch)
        match message:
            case Prepare() | Accept() | Ask():
                self._shelf.take(sender, message)
            case Decision(value=value):
                self._shelf.take(sender, message)
                self._decided(key, value)
            case Chosen(value=value):
                self._decided(key, value)
            case Promise() | Accepted() | Rejected():
                self._answered(key, sender, message)
            case State(inquiry=number):
                self._stated(key, sender, number, message)

    def _is_valid(self, message: _Message) -> bool:
        """Whether all parts of a peer's message are within their bounds."""
        match message:
            case Accept(value=value) | Decision(value=value) | Chosen(value=value):
                pass
            case Promise(accepted=accepted, value=value) | State(accepted=accepted, value=value):
                if (accepted is None) != (value is None):
                    return False
            case _:
                value = None
        if value is not None and len(value) > self.limits.value_bytes:
            return False
        return RegisterKey(message.name, message.epoch).is_valid

    def _send(self, to: NodeId, message: object) -> None:
        if to == self.me:
            self._inbox.append((to, message))
        else:
            self._out.append(Send(to, message))

    # Requests

    def _requested(self, request_id: RequestId, request: object) -> None:
        assert isinstance(request, Propose | Learn), request
        key = request.key
        value = request.value if isinstance(request, Propose) else b""
        if not key.is_valid or len(value) > self.limits.value_bytes:
            self._out.append(Reply(request_id, Refused(key, RefusalReason.INVALID)))
            return
        if len(self._key_of) >= self.limits.requests:
            self._out.append(Reply(request_id, Refused(key, RefusalReason.OVERLOADED)))
            return
        assert request_id not in self._key_of
        self._key_of[request_id] = key
        self._deadlines.set(request_id, self._now + request.timeout_ns)
        if isinstance(request, Propose):
            proposing = self._proposing.get(key)
            if proposing is None:
                proposing = _Proposing(Proposal(value, request.quorums))
                self._proposing[key] = proposing
                self._begin_round(key, proposing.proposal)
            proposing.waiters[request_id] = value
        else:
            self._inquiries += 1
            learning = _Learning(key, Inquiry(request.quorums), self._inquiries)
            self._learning[request_id] = learning
            self._question[learning.number] = request_id
            self._ask(request_id, learning)

    def _end(self, request_id: RequestId) -> bool:
        """A request is over; whether its own value may have been accepted by anybody."""
        key = self._key_of.pop(request_id, None)
        if key is None:
            return False
        self._deadlines.drop(request_id)
        self._resend.drop(request_id)
        learning = self._learning.pop(request_id, None)
        if learning is not None:
            del self._question[learning.number]
            return False
        proposing = self._proposing[key]
        proposal = proposing.proposal
        value = proposing.waiters.pop(request_id)
        may_be_written = proposal.was_proposed and value == proposal.own
        if not proposing.waiters:
            # Nobody waits: what was begun is for others to end.
            del self._proposing[key]
            self._deadlines.drop(key)
        elif not proposal.was_proposed:
            # What was asked for by one who has gone shall not be proposed after all.
            proposal.propose_instead(next(iter(proposing.waiters.values())))
        return may_be_written

    def _woke(self) -> None:
        for due in self._deadlines.each_due(self._now):
            if isinstance(due, tuple):
                self._round_due(due)
            elif due in self._key_of:
                key = self._key_of[due]
                self._out.append(Reply(due, Undecided(key, may_be_written=self._end(due))))
        for request_id in self._resend.each_due(self._now):
            self._ask(request_id, self._learning[request_id])

    # Proposing

    def _begin_round(self, key: RegisterKey, proposal: Proposal) -> None:
        self.counters.rounds += 1
        ballot = proposal.begin(self.me, self._boot, self._round)
        self._round = ballot.round
        self._deadlines.set(key, self._now + self.limits.round_ns)
        for acceptor in proposal.quorums.acceptors:
            self._send(acceptor, Prepare(key.name, key.epoch, ballot))

    def _round_due(self, key: RegisterKey) -> None:
        """A round took too long, or the time between two is over."""
        proposal = self._proposing[key].proposal
        if proposal.phase is Phase.WAITING:
            self._begin_round(key, proposal)
        else:
            self._back_off(key, proposal)

    def _back_off(self, key: RegisterKey, proposal: Proposal) -> None:
        doublings = min(proposal.failures, _BACK_OFF_DOUBLINGS)
        proposal.give_up_round()
        wait_ns = self._source.randrange(1, (self.limits.back_off_ns << doublings) + 1)
        self._deadlines.set(key, self._now + wait_ns)

    def _answered(
        self, key: RegisterKey, acceptor: NodeId, message: Promise | Accepted | Rejected
    ) -> None:
        proposing = self._proposing.get(key)
        if proposing is None:
            return
        proposal, ballot = proposing.proposal, Ballot(*message.ballot)
        match message:
            case Promise(accepted=accepted, value=value):
                found = None if accepted is None else Ballot(*accepted)
                if proposal.promised(acceptor, ballot, found, value):
                    self._deadlines.set(key, self._now + self.limits.round_ns)
                    request = Accept(key.name, key.epoch, ballot, proposal.value)
                    for node in proposal.quorums.acceptors:
                        self._send(node, request)
            case Accepted():
                if proposal.accepted(acceptor, ballot):
                    self._spread(key, proposal.value, proposal.quorums.acceptors)
                    self._decided(key, proposal.value)
            case Rejected(promised=promised):
                if proposal.rejected(acceptor, ballot, Ballot(*promised)):
                    self._back_off(key, proposal)

    def _spread(self, key: RegisterKey, value: bytes, acceptors: tuple[NodeId, ...]) -> None:
        for node in acceptors:
            self._send(node, Decision(key.name, key.epoch, value))

    # Learning

    def _ask(self, request_id: RequestId, learning: _Learning) -> None:
        self._resend.set(request_id, self._now + self.limits.round_ns)
        for node in learning.inquiry.silent:
            self._send(node, Ask(learning.key.name, learning.key.epoch, learning.number))

    def _stated(self, key: RegisterKey, acceptor: NodeId, number: int, message: State) -> None:
        request_id = self._question.get(number)
        if request_id is None or self._key_of[request_id] != key:
            return
        inquiry = self._learning[request_id].inquiry
        accepted = None
        if message.accepted is not None and message.value is not None:
            accepted = (Ballot(*message.accepted), message.value)
        inquiry.answered(acceptor, accepted)
        value = inquiry.decided
        if value is not None:
            self._spread(key, value, inquiry.quorums.acceptors)
            self._decided(key, value)
        elif inquiry.is_vacant:
            self._end(request_id)
            self._out.append(Reply(request_id, Vacant(key)))
        elif not inquiry.silent:
            self._end(request_id)
            self._out.append(Reply(request_id, Undecided(key, may_be_written=False)))

    def _decided(self, key: RegisterKey, value: bytes) -> None:
        """A register's value is known: whoever waits for it is answered."""
        proposing = self._proposing.get(key)
        waiting = [] if proposing is None else list(proposing.waiters)
        waiting += [request_id for request_id, each in self._learning.items() if each.key == key]
        self.counters.decided += proposing is not None
        for request_id in waiting:
            self._end(request_id)
            self._out.append(Reply(request_id, Decided(key, value)))
        if waiting:
            self._out.append(Announce(Decided(key, value)))
