"""Taking nodes in: any member accepts a join request, whatever the cluster holds.

Whoever is accepted is a member at once, JOINING until it says itself that it is up; the ring is
then changed for it, partition by partition, by the machine that holds the data. A joiner that hears
nothing asks again, and one that is a member already is told so again, so a lost answer costs time
only. Two members may take in two nodes of one name at the same moment: both stay, and an operator
sees it in the member list.
"""

from __future__ import annotations

from attrs import define

from sadik_machine import NodeId
from sadik_members.documents import document_to_plain
from sadik_members.messages import JoinAccepted, JoinRefusal, JoinRequest
from sadik_members.settings import BOOT_MAX, identity_fault
from sadik_members.state import State
from sadik_members.table import MEMBERS_MAX, member_to_plain
from sadik_members.view import Member, MemberState

__all__ = ["TakingIn"]


@define
class TakingIn:
    """Answers join requests over one node's `State`."""

    state: State

    def request(self, sender: NodeId, message: JoinRequest) -> None:
        """Somebody asks to be taken in."""
        state = self.state
        if not state.table.is_present(sender):
            reason = self._fault(sender, message)
            if reason:
                state.count("join_refused")
                state.turn.send_now(sender, JoinRefusal(reason))
                return
            state.merge_member(_joining(sender, message))
            state.to_push = True
        self._accept(sender)

    def _fault(self, sender: NodeId, message: JoinRequest) -> str:
        """Why a request is refused, or an empty text."""
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
        holder = state.table.holder_of(message.name)
        if holder is not None:
            return (
                f"a member called {message.name!r}, at {holder.peer}, has not left the cluster: "
                "take another name, or have that member leave or be removed first"
            )
        if len(state.members) >= MEMBERS_MAX:
            return f"the member table is full: {MEMBERS_MAX} nodes, those that left included"
        return ""

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
