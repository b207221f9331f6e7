"""Deciding a partition's next register: one value an epoch, by a majority of the owners before it.

Paxos for one value (Lamport, The Part-Time Parliament, 1998): promises from a majority, then the
value of the greatest ballot among what they had accepted, or one's own where there is none, is
accepted by a majority. Two who propose at once hinder each other and come again after a random
while; whatever they do, they never decide two values.

Owners that were removed by force have no voice: that is what an operator says by it. The others
keep theirs when they are dead, for a majority of those that were is what makes the value one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_machine import SECOND, NodeId, RemoteProtocolError
from sadik_members import Register, register_from_plain, register_to_plain
from sadik_vnode.adoption import adopt, adopt_newer
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.ringchange.acceptor import NO_BALLOT, Acceptor, Ballot
from sadik_vnode.ringchange.messages import Accept, Accepted, Prepare, Promise

__all__ = ["Proposal", "voters"]

_TIMEOUT_NS: Final = SECOND


def voters(desk: Desk, register: Register) -> tuple[NodeId, ...]:
    """The nodes of which a majority decides what comes after ``register``."""
    members = desk.placement.members
    found = tuple(
        node
        for node in register.acceptors
        if (member := members.get(node)) is None or not member.is_forced
    )
    # Of owners that are all removed by force nothing is left to ask.
    return found or (desk.self_id,)


class Proposal(Conversation):
    """Proposes ``value`` for the epoch after ``base``; calls ``done`` once, with what became of it:
    whether the epoch is decided, with this value or another.
    """

    __slots__ = (
        "_accepted",
        "_acceptor",
        "_ballot",
        "_base",
        "_done",
        "_partition",
        "_promised",
        "_seen",
        "_value",
        "_voters",
        "waits_for",
    )  # fmt: skip

    is_background = True

    def __init__(
        self,
        desk: Desk,
        acceptor: Acceptor,
        partition: int,
        base: Register,
        value: Register,
        round_: int,
        done: Callable[[bool, int], None],
    ) -> None:
        super().__init__(desk)
        assert value.epoch == base.epoch + 1, "epochs are decided one after the other"
        self._acceptor = acceptor
        self._partition = partition
        self._base = base
        self._value = value
        self._done = done
        self._voters = voters(desk, base)
        self._ballot: Ballot = (round_, bytes(desk.self_id))
        self._promised: dict[NodeId, None] = {}
        self._accepted: dict[NodeId, None] | None = None
        self._seen: Ballot = NO_BALLOT
        self.waits_for: tuple[NodeId, ...] = self._voters

    def start(self) -> None:
        """Ask for promises."""
        self.wake("deadline", self.desk.now + _TIMEOUT_NS)
        self._ask(Prepare(self.id, self._partition, self._value.epoch, self._ballot))

    def received(self, sender: NodeId, message: object) -> None:
        """An acceptor's word."""
        if sender not in self._voters or not isinstance(message, Promise | Accepted):
            return
        if message.newer is not None:
            adopt_newer(self.desk, self._partition, message.newer)
            if self.desk.placement.register(self._partition).epoch >= self._value.epoch:
                self._end(is_decided=True)
            return
        promised = (message.promised[0], bytes(message.promised[1]))
        if promised != self._ballot:
            self._end(is_decided=False, round_=promised[0] if promised[0] < 1 << 61 else 0)
        elif isinstance(message, Promise) and self._accepted is None:
            self._promise(sender, message)
        elif isinstance(message, Accepted) and self._accepted is not None:
            self._accepted[sender] = None
            if 2 * len(self._accepted) > len(self._voters):
                self.desk.counters.registers_decided += 1
                adopt(self.desk, self._partition, self._value, is_own=True)
                self._end(is_decided=True)

    def due(self, what: str) -> None:
        """Too few have answered."""
        self._end(is_decided=False)

    def _promise(self, sender: NodeId, message: Promise) -> None:
        self._promised[sender] = None
        if message.ballot is not None and message.register is not None:
            ballot = (message.ballot[0], bytes(message.ballot[1]))
            if ballot > self._seen:
                try:
                    _, value = register_from_plain((self._partition, *message.register))
                except RemoteProtocolError:
                    self.desk.counters.malformed_messages += 1
                    return
                if value.epoch == self._value.epoch:
                    self._seen, self._value = ballot, value
        if 2 * len(self._promised) > len(self._voters):
            self._accepted = {}
            register = register_to_plain(self._partition, self._value)[1:]
            self._ask(Accept(self.id, self._partition, self._value.epoch, self._ballot, register))

    def _ask(self, question: Prepare | Accept) -> None:
        me = self.desk.self_id
        for node in self._voters:
            if node != me:
                self.desk.outbox.send(node, question)
        if me in self._voters:
            self._acceptor.asked(me, question)

    def _end(self, *, is_decided: bool, round_: int = 0) -> None:
        if self.id not in self.desk.conversations:
            return
        self.close("deadline")
        self._done(is_decided, round_)
