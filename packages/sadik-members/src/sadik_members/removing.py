"""Departures: a node that leaves says so itself; a dead one is removed, with a majority's word.

A removal is an operator's act on any member. It needs acknowledgement by a majority of the members
that have not left, the one to be removed counted among them, so that two halves of a split cannot
remove each other. ``forced`` does without, and takes the removed node's voice in the registers of
the ring, too: for the case that a majority of some partition's owners is dead. Whoever forces must
know that the node is dead, for one that lives would go on deciding with the others it reaches.
"""

from __future__ import annotations

from random import Random
from typing import Final

from attrs import define, evolve, field

from sadik_machine import SECOND, NodeId
from sadik_members.messages import LeaveAsked, RemovalAgreed, RemovalAsked
from sadik_members.news import Leave, Left, RemovalDone, Remove
from sadik_members.state import State
from sadik_members.view import MemberState

__all__ = ["Removing"]

ASK_NS: Final = 2 * SECOND
UNDER_WAY_MAX: Final = 64


@define
class _Removal:
    number: int
    node: NodeId
    until: int
    tickets: list[int]
    agreed: dict[NodeId, None] = field(factory=dict)


@define
class Removing:
    """Departures over one node's `State`."""

    state: State
    random: Random
    _under_way: list[_Removal] = field(factory=list)

    @property
    def deadline(self) -> int | None:
        """When `wake` is wanted."""
        if not self._under_way:
            return None
        return min(removal.until for removal in self._under_way)

    def wake(self, now: int) -> None:
        """Give up what too few have agreed to."""
        for removal in [r for r in self._under_way if r.until <= now]:
            self._under_way.remove(removal)
            needed = self._needed()
            detail = (
                f"{len(removal.agreed)} of {needed} members that are needed agreed within "
                "2 seconds; if the others are dead for good, remove with force"
            )
            self._tell(removal, detail)

    def leave(self, news: Leave) -> None:
        """This node is to leave: it owns nothing from the next plan on. Or another one is."""
        state = self.state
        if news.node is not None and news.node != state.me:
            if state.cluster is not None:
                state.turn.send_now(news.node, LeaveAsked(state.cluster.id))
            return
        own = state.own()
        if own is not None and own.state in (MemberState.JOINING, MemberState.UP):
            state.merge_member(state.own_entry(own.incarnation + 1, MemberState.LEAVING))
            state.to_push = True

    def left(self, _news: Left) -> None:
        """This node owns nothing any more, holds nothing, and is about to stop."""
        state = self.state
        own = state.own()
        if own is not None and own.state is MemberState.LEAVING:
            state.merge_member(state.own_entry(own.incarnation + 1, MemberState.LEFT))
            state.to_push = True

    def remove(self, now: int, news: Remove) -> None:
        """An operator removes a node."""
        state = self.state
        member = state.table.get(news.node)
        removal = _Removal(self.random.getrandbits(62), news.node, now + ASK_NS, [news.ticket])
        if member is None or news.node == state.me:
            self._tell(removal, "there is no such other member")
        elif news.is_forced:
            self._mark(news.node, is_forced=True)
            self._tell(removal, "")
        elif member.state is MemberState.LEFT:
            self._tell(removal, "")
        elif len(self._under_way) >= UNDER_WAY_MAX:
            self._tell(removal, "too many removals are under way")
        else:
            self._under_way.append(removal)
            assert state.cluster is not None
            for other in state.others:
                if other.id != news.node:
                    asked = RemovalAsked(state.cluster.id, removal.number, bytes(news.node))
                    state.turn.send_now(other.id, asked)
            self._agree(removal, state.me)

    def asked(self, sender: NodeId, message: RemovalAsked, *, is_alive: bool) -> None:
        """Another member asks whether this one agrees: not if the node answers it."""
        node = NodeId(message.node)
        if not is_alive and node != self.state.me:
            self.state.turn.send_now(sender, RemovalAgreed(message.number))

    def agreed(self, sender: NodeId, message: RemovalAgreed) -> None:
        """A member agrees."""
        for removal in self._under_way:
            if removal.number == message.number:
                self._agree(removal, sender)
                return

    def _agree(self, removal: _Removal, node: NodeId) -> None:
        removal.agreed[node] = None
        if len(removal.agreed) >= self._needed():
            self._under_way.remove(removal)
            self._mark(removal.node, is_forced=False)
            self._tell(removal, "")

    def _needed(self) -> int:
        return len(self.state.table.present) // 2 + 1

    def _mark(self, node: NodeId, *, is_forced: bool) -> None:
        state = self.state
        member = state.table.get(node)
        assert member is not None
        if member.state is MemberState.LEFT and (member.is_forced or not is_forced):
            return
        entry = evolve(
            member,
            state=MemberState.LEFT,
            incarnation=member.incarnation + 1,
            is_forced=is_forced,
        )
        state.merge_member(entry)
        state.to_push = True

    def _tell(self, removal: _Removal, refusal: str) -> None:
        for ticket in removal.tickets:
            self.state.turn.announce_state(RemovalDone(ticket, refusal))
