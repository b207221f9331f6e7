"""What the host knows of the cluster: the newest of everything that the machines announced.

Views, metrics and readiness read it; only `observe` writes it. It holds values that other modules
made, so reading costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sadik_machine import NodeId, node_id_hex
from sadik_members.news import (
    ClusterJoined,
    JoinRefused,
    LivenessChanged,
    MembersChanged,
    Readiness,
    RingChanged,
)
from sadik_members.view import Liveness, Member, MemberState, Phase, Ring

__all__ = ["ClusterView"]


class ClusterView:
    """The cluster as one node sees it."""

    def __init__(
        self,
        own_id: NodeId,
        own_name: str,
        now: Callable[[], int] = lambda: 0,
        place_until: int = 0,
    ) -> None:
        self.own_id = own_id
        self.own_name = own_name
        self.members: Mapping[NodeId, Member] = {}
        self.ring: Ring | None = None
        self.liveness: dict[NodeId, Liveness] = {}
        self._now = now
        self._place_until = place_until
        """Until then a node that has just joined waits for its place in the ring; where there are
        data to move it serves before it has one."""
        self._unready = "it is starting"
        self.join_refused = ""
        self.cluster_id = b""

    def observe(self, news: object) -> None:
        """Take news that a machine announced; what is not about the cluster is ignored."""
        match news:
            case MembersChanged():
                self.members = news.members
            case RingChanged():
                self.ring = news.ring
                if self._place_until and self.has_place:
                    self._place_until = 0  # once it serves, a further change is no reason to stop
            case LivenessChanged():
                self.liveness[news.peer] = news.liveness
            case Readiness():
                self._unready = "" if news.ready else (news.reason or "it is not ready")
            case ClusterJoined():
                self.cluster_id = news.cluster_id
                self.join_refused = ""
            case JoinRefused():
                self.join_refused = news.reason
            case _:
                pass

    @property
    def not_ready(self) -> str:
        """Why data requests are not served; empty when they are."""
        if self._unready:
            return self._unready
        if self._place_until and self._now() < self._place_until and not self.has_place:
            return "the ring is being changed to give it its place"
        return ""

    @not_ready.setter
    def not_ready(self, reason: str) -> None:
        self._unready = reason

    @property
    def has_place(self) -> bool:
        """Whether the ring names this node and does not change."""
        ring = self.ring
        return (
            ring is not None
            and any(self.own_id in register.owners for register in ring.registers)
            and all(register.phase is Phase.DONE for register in ring.registers)
        )

    def name_of(self, node: NodeId) -> str:
        """A node's name, or its id where it is not a member that we know."""
        if node == self.own_id:
            return self.own_name
        member = self.members.get(node)
        return node_id_hex(node) if member is None else member.name

    def state_of(self, member: Member) -> str:
        """One of joining, up, suspect, down, leaving, left."""
        if member.state is not MemberState.UP:
            return member.state.name.lower()
        if member.id == self.own_id:
            return "up"
        match self.liveness.get(member.id, Liveness.UNKNOWN):
            case Liveness.UP:
                return "up"
            case Liveness.DOWN:
                return "down"
            case Liveness.SUSPECT | Liveness.UNKNOWN:
                # Not heard of yet is not up: nobody should read it as a promise.
                return "suspect"

    def members_by_state(self) -> dict[str, int]:
        """How many members are in each state that occurs."""
        counts: dict[str, int] = {}
        for member in self.members.values():
            state = self.state_of(member)
            counts[state] = counts.get(state, 0) + 1
        return counts
