"""What the host knows of the cluster: the newest of everything that the machines announced.

Views, metrics and readiness read it; only `observe` writes it. It holds values that other modules
made, so reading costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from sadik_machine import NodeId, node_id_hex
from sadik_members.news import (
    ClusterJoined,
    JoinRefused,
    LivenessChanged,
    MembersChanged,
    Readiness,
    RingChanged,
)
from sadik_members.view import Liveness, Member, MemberState, Ring

__all__ = ["ClusterView"]


class ClusterView:
    """The cluster as one node sees it."""

    def __init__(self, own_id: NodeId, own_name: str) -> None:
        self.own_id = own_id
        self.own_name = own_name
        self.members: Mapping[NodeId, Member] = {}
        self.ring: Ring | None = None
        self.liveness: dict[NodeId, Liveness] = {}
        self.not_ready = "it is starting"
        """Why data requests are not served; empty when they are."""
        self.join_refused = ""
        self.cluster_id = b""

    def observe(self, news: object) -> None:
        """Take news that a machine announced; what is not about the cluster is ignored."""
        match news:
            case MembersChanged():
                self.members = news.members
            case RingChanged():
                self.ring = news.ring
            case LivenessChanged():
                self.liveness[news.peer] = news.liveness
            case Readiness():
                self.not_ready = "" if news.ready else (news.reason or "it is not ready")
            case ClusterJoined():
                self.cluster_id = news.cluster_id
                self.join_refused = ""
            case JoinRefused():
                self.join_refused = news.reason
            case _:
                pass

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
