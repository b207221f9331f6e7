"""Saying farewell: a node that leaves ends when others have on their disks that it has left.

Only the node itself may say that it has left, and once it has ended it says nothing any more. Were
its word lost with a stream that broke at the wrong moment, it would be *leaving* for ever in the
tables of all others, until an operator removes it. So each of them is told, again and again, until
it answers; and it answers when what it was told is on its disk.

    enough     a majority of those that were up when it left; gossip brings it to the rest
    or         all that are still linked, two seconds later: others have crashed meanwhile
    given up   five seconds later: the host says so, ends all the same, and `remove` is what is left
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from sadik_machine import MILLISECOND, SECOND, NodeId, RemoteProtocolError, Send
from sadik_members.messages import Farewell, FarewellHeard
from sadik_members.news import FarewellEnded
from sadik_members.state import State
from sadik_members.table import member_from_plain, member_to_plain
from sadik_members.view import MemberState

__all__ = ["FAREWELL_NS", "Farewells"]

FAREWELL_NS: Final = 5 * SECOND
"""After so long it is given up."""
REPEAT_NS: Final = 500 * MILLISECOND
PATIENCE_NS: Final = 2 * SECOND
"""So long those that were up are waited for: who is dead is found out by then."""


@define
class Farewells:
    """One node's own farewell, and the answers to those of others."""

    state: State
    deadline: int | None = None
    """When `wake` is wanted."""
    answers: list[Send] = field(factory=list)
    """Of this step. They rest on what is stored, and have to leave before anybody hears of it: who
    hears that a peer has left ends its streams."""
    _began: int = 0
    _needed: int = 0
    _heard: dict[NodeId, None] = field(factory=dict)

    def begin(self, now: int, live: int, linked: Sequence[NodeId]) -> None:
        """This node has left; of the other members ``live`` are up."""
        others = len(self.state.others)
        self._began = now
        self._needed = max(live // 2 + 1, 1) if others else 0
        self.deadline = now + REPEAT_NS
        if not others:
            self._end(is_enough=True)
            return
        for peer in linked:
            self.say(peer)

    def say(self, peer: NodeId) -> None:
        """Tell one member."""
        state = self.state
        own = state.own()
        if own is not None and state.cluster is not None:
            state.turn.send_state(peer, Farewell(state.cluster.id, member_to_plain(own)))

    def wake(self, now: int, linked: Sequence[NodeId]) -> None:
        """Say it again to those who have not answered, or be done with it."""
        if self.deadline is None or now < self.deadline:
            return
        silent = [peer for peer in linked if peer not in self._heard]
        if self._heard and not silent and now - self._began >= PATIENCE_NS:
            self._end(is_enough=True)
        elif now - self._began >= FAREWELL_NS:
            self._end(is_enough=False)
        else:
            self.deadline = now + REPEAT_NS
            for peer in silent:
                self.say(peer)

    def heard(self, sender: NodeId) -> None:
        """A member has it on disk."""
        if self.deadline is None or not self.state.table.is_present(sender):
            return
        self._heard[sender] = None
        if len(self._heard) >= self._needed:
            self._end(is_enough=True)

    def told(self, sender: NodeId, message: Farewell) -> None:
        """Another node says that it has left: answer when that is on disk."""
        state = self.state
        if state.cluster is None or message.cluster_id != state.cluster.id:
            state.count("other_cluster")
            return
        try:
            member = member_from_plain(message.member)
        except RemoteProtocolError as error:
            state.count(error.reason)
            return
        if member.id != sender or member.state is not MemberState.LEFT:
            state.count("hearsay")
        elif state.table.get(sender) is None:
            state.count("unknown_sender")
        else:
            state.merge_member(member)
            self.answers.append(Send(sender, FarewellHeard()))

    def _end(self, *, is_enough: bool) -> None:
        self.deadline = None
        self.state.turn.announce_state(
            FarewellEnded(len(self._heard), len(self.state.others), is_enough)
        )
