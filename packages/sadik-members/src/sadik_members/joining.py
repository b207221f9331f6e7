"""A node that seeks a cluster: it asks every peer that its seeds lead to, until one takes it.

Any member takes it. Requests are
repeated and the answers are idempotent, so nothing here depends on a message that arrives.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from sadik_machine import MILLISECOND, SECOND, NodeId, RemoteProtocolError
from sadik_members.documents import document_from_plain
from sadik_members.messages import JoinAccepted, JoinRefusal, JoinRequest
from sadik_members.news import Document, JoinRefused
from sadik_members.registers import register_from_plain
from sadik_members.rows import CLUSTER_ID_BYTES, CLUSTER_KEY_BYTES, Cluster
from sadik_members.settings import REPLICAS_MAX, is_partition_count
from sadik_members.state import State
from sadik_members.table import member_from_plain
from sadik_members.view import Member, MemberState, Register

__all__ = ["Joiner"]

ASK_NS: Final = 500 * MILLISECOND
ASK_AFTER_REFUSAL_NS: Final = 5 * SECOND


@define
class _Offer:
    """A `JoinAccepted`, checked."""

    cluster: Cluster
    members: list[Member]
    registers: list[tuple[int, Register]]
    documents: list[Document]


@define
class Joiner:
    """Asks until it is taken."""

    state: State
    refusal: str = ""
    """Why the cluster did not take this node when last asked."""
    deadline: int | None = None
    """When `wake` is wanted."""

    def start(self, now: int) -> None:
        """Begin to ask."""
        self.deadline = now + ASK_NS

    def wake(self, now: int, linked: list[NodeId]) -> None:
        """Ask again if it is time."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = now + ASK_NS
        for peer in linked:
            self.ask(peer)

    def ask(self, peer: NodeId) -> None:
        """Ask one peer."""
        identity, settings = self.state.identity, self.state.settings
        request = JoinRequest(
            cluster_name=settings.name,
            name=identity.name,
            peer=identity.peer,
            http=identity.http,
            zone=identity.zone,
            weight=float(identity.weight),
            boot_number=identity.boot_number,
            boot_nonce=identity.boot_nonce,
            partitions=settings.partitions,
            replicas=settings.replicas,
        )
        self.state.turn.send_now(peer, request)

    def refused(self, now: int, message: JoinRefusal) -> None:
        """The cluster does not take this node: say so once, and ask on at leisure."""
        self.deadline = now + ASK_AFTER_REFUSAL_NS
        reason = message.reason[:1000]
        if reason != self.refusal:
            self.refusal = reason
            self.state.turn.announce_now(JoinRefused(reason))

    def accepted(self, message: JoinAccepted) -> Cluster | None:
        """Take the place that was given; None where it is no place for this node."""
        state = self.state
        try:
            offer = _check(message)
        except RemoteProtocolError as error:
            state.count(error.reason)
            return None
        settings, cluster = state.settings, offer.cluster
        if cluster.name != settings.name:
            state.count("other_cluster")
            return None
        if settings.partitions not in (None, cluster.partitions) or settings.replicas not in (
            None,
            cluster.replicas,
        ):
            state.count("join_settings")
            return None
        own = next((member for member in offer.members if member.id == state.me), None)
        if own is None or own.state is MemberState.LEFT:
            state.count("malformed")
            return None
        state.set_cluster(cluster)
        for member in offer.members:
            state.merge_member(member)
        for partition, register in offer.registers:
            state.merge_register(partition, register)
        for document in offer.documents:
            state.merge_document(document)
        state.merge_member(state.own_entry(own.incarnation + 1, MemberState.UP))
        state.to_push = True
        self.deadline = None
        self.refusal = ""
        return cluster


def _check(message: JoinAccepted) -> _Offer:
    cluster = Cluster(
        id=message.cluster_id,
        key=message.cluster_key,
        name=message.cluster_name,
        partitions=message.partitions,
        replicas=message.replicas,
        founder=NodeId(message.founder),
        had_others=True,
    )
    if (
        len(cluster.id) != CLUSTER_ID_BYTES
        or len(cluster.key) != CLUSTER_KEY_BYTES
        or not is_partition_count(cluster.partitions)
        or not 1 <= cluster.replicas <= REPLICAS_MAX
    ):
        raise RemoteProtocolError("malformed", "a cluster of impossible make")
    registers = [register_from_plain(plain) for plain in message.registers]
    if any(not 0 <= partition < cluster.partitions for partition, _ in registers) or any(
        len(owners) > cluster.replicas for _, register in registers for owners in register.lists
    ):
        raise RemoteProtocolError("bad_register", "a register of another ring")
    return _Offer(
        cluster,
        [member_from_plain(plain) for plain in message.members],
        registers,
        [document_from_plain(plain) for plain in message.documents],
    )
