"""What a node knows of its cluster, in memory, and what of it this step has changed.

Changes are made here and nowhere else: each notes its row in the present `Turn`, and what is to be
announced and pushed to peers at the end of the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from sadik_machine import NodeId, RemoteProtocolError
from sadik_members.documents import DOCUMENTS_MAX, DocumentTable, check_document
from sadik_members.news import Document, DocumentRefused
from sadik_members.registers import Merged, RegisterTable
from sadik_members.rows import (
    Cluster,
    SavedState,
    cluster_row,
    document_row,
    member_row,
    register_row,
)
from sadik_members.settings import ClusterSettings, Identity
from sadik_members.table import MemberTable
from sadik_members.turn import Turn
from sadik_members.view import Member, MemberState, Register

__all__ = ["State"]

EPOCH_FIRST: Final = 1


class State:
    """Cluster, members, registers and documents of one node."""

    def __init__(self, identity: Identity, settings: ClusterSettings) -> None:
        self.identity = identity
        self.settings = settings
        self.me = identity.node_id
        self.cluster: Cluster | None = None
        self.table = MemberTable()
        self.registers: RegisterTable | None = None
        self.documents = DocumentTable()
        self.counters: dict[str, int] = {}
        self.turn = Turn()
        self.is_left = False
        """Whether this node has left, or was removed."""
        self._clear_changes()

    def _clear_changes(self) -> None:
        self.changed_members: dict[NodeId, None] = {}
        self.changed_registers: dict[int, None] = {}
        self.changed_documents: dict[str, None] = {}
        self.to_push = False

    def begin(self) -> None:
        """A new step begins. What the last one left empty serves again: most change nothing."""
        turn = self.turn
        if turn.at_once or turn.rows or turn.when_stored:
            self.turn = Turn()
        if self.changed_members or self.changed_registers or self.changed_documents or self.to_push:
            self._clear_changes()

    def count(self, reason: str, by: int = 1) -> None:
        """Count something that an operator may want to know of."""
        self.counters[reason] = self.counters.get(reason, 0) + by

    def own(self) -> Member | None:
        """This node's own entry."""
        return self.table.get(self.me)

    def own_entry(self, incarnation: int, state: MemberState) -> Member:
        """What this node says of itself."""
        identity = self.identity
        return Member(
            id=self.me,
            name=identity.name,
            peer=identity.peer,
            http=identity.http,
            zone=identity.zone,
            weight=float(identity.weight),
            incarnation=incarnation,
            state=state,
            boot_number=identity.boot_number,
            boot_nonce=identity.boot_nonce,
        )

    @property
    def others(self) -> list[Member]:
        """The other members that have not left."""
        return [member for member in self.table.present if member.id != self.me]

    def load(self, saved: SavedState) -> None:
        """Take what is on disk, without writing it again."""
        self.cluster = saved.cluster
        self.table = MemberTable(saved.members)
        own = self.own()
        self.is_left = own is not None and own.state is MemberState.LEFT
        self.registers = RegisterTable(saved.cluster.partitions, saved.cluster.replicas)
        for partition, register in saved.registers:
            self.registers.merge(partition, register)
        self.documents = DocumentTable(saved.documents)

    def set_cluster(self, cluster: Cluster) -> None:
        """Become part of a cluster."""
        if self.registers is None:
            self.registers = RegisterTable(cluster.partitions, cluster.replicas)
        self.cluster = cluster
        self.turn.store(cluster_row(cluster))

    def merge_member(self, member: Member) -> bool:
        """Take in an entry; whether it was new."""
        if not self.table.merge(member):
            return False
        entry = self.table.members[member.id]
        self.turn.store(member_row(entry))
        self.changed_members[member.id] = None
        if member.id == self.me:
            self.is_left = entry.state is MemberState.LEFT
        if member.id != self.me and self.cluster is not None and not self.cluster.had_others:
            self.set_cluster(evolve(self.cluster, had_others=True))
        return True

    def merge_register(self, partition: int, register: Register) -> bool:
        """Take in a decided register; whether it was new."""
        if self.registers is None:
            return False
        merged = self.registers.merge(partition, register)
        if merged is Merged.CONFLICT:
            self.count("register_conflict")
        if merged is not Merged.NEWER:
            return False
        self.turn.store(register_row(partition, register))
        self.changed_registers[partition] = None
        return True

    def merge_document(self, document: Document) -> bool:
        """Take in a document; whether it was new."""
        if not self.documents.merge(document):
            return False
        self.turn.store(document_row(document))
        self.changed_documents[document.name] = None
        return True

    def publish(self, document: Document) -> None:
        """Take in a document of this node's own and have it pushed; or say why it is not taken."""
        try:
            check_document(document)
        except RemoteProtocolError as error:
            self._refuse(document, str(error))
            return
        known = self.documents.get(document.name)
        if self.merge_document(document):
            self.to_push = True
        elif known is None:
            self._refuse(document, f"the cluster keeps {DOCUMENTS_MAX} documents, and no more")

    def _refuse(self, document: Document, reason: str) -> None:
        self.count("document_refused")
        self.turn.announce_now(DocumentRefused(document.name, reason))

    def raise_incarnation(self, at_least: int = 0) -> None:
        """Say anew what this node is, beyond everything that was said of it before."""
        own = self.own()
        if own is None or own.state is MemberState.LEFT:
            return
        incarnation = max(own.incarnation, at_least) + 1
        self.merge_member(self.own_entry(incarnation, own.state))
        self.to_push = True

    @property
    def members(self) -> Mapping[NodeId, Member]:
        """All entries."""
        return self.table.members
