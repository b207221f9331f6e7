"""Spreading what is known: digest first, then differences.

Once a second each node opens with one random linked peer, by hashes alone: a quiet cluster costs
one small message a node and second. Where hashes differ the answer is a digest entry by entry; to
that comes what the other lacks and a list of what is wanted in return. Seeds are among the
candidates as soon as the messenger has a stream to them, members or not, so two halves that lost
each other's addresses meet again. What a node itself originates, it pushes to every linked member
at once.

Every message names the cluster, so that a sender whom the table does not have yet (it joined while
we were away) can be told from a stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from attrs import define

from sadik_machine import MILLISECOND, SECOND, NodeId, RemoteProtocolError
from sadik_members.documents import document_from_plain, document_to_plain
from sadik_members.messages import Delta, Digest, Summary
from sadik_members.registers import register_from_plain
from sadik_members.state import State
from sadik_members.table import member_from_plain, member_to_plain
from sadik_members.view import Member

__all__ = ["GOSSIP_NS", "Gossip"]

GOSSIP_NS: Final = 1 * SECOND
JITTER_NS: Final = 100 * MILLISECOND
MEMBERS_PER_DELTA: Final = 512
REGISTERS_PER_DELTA: Final = 1024
DOCUMENTS_PER_DELTA: Final = 48
"""At 4 KiB each these stay below 256 KiB."""


@define
class Gossip:
    """Opens and answers exchanges over one node's `State`.

    ``merge_member`` is asked with who sent an entry, and the entry; it differs from a plain merge
    where the entry is this node's own, or another's that can be asked itself.
    """

    state: State
    random: Random
    merge_member: Callable[[NodeId, Member], None]
    deadline: int | None = None
    """When `wake` is wanted."""

    def start(self, now: int) -> None:
        """This node is a member: begin."""
        self.deadline = now + self._interval()

    def wake(self, now: int, candidates: list[NodeId]) -> None:
        """Open an exchange with one of ``candidates`` if it is time."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = now + self._interval()
        if candidates:
            self.open(self.random.choice(candidates))

    def open(self, peer: NodeId) -> None:
        """Open an exchange with ``peer``."""
        state = self.state
        if state.cluster is None or state.registers is None:
            return
        summary = Summary(
            state.cluster.id, state.table.hash, state.registers.hash, state.documents.hash
        )
        state.turn.send_state(peer, summary)

    def push(self, peers: Iterable[NodeId]) -> None:
        """Send what this step changed to every one of ``peers``."""
        state = self.state
        if state.cluster is None or state.registers is None:
            return
        deltas = self._deltas(
            [state.members[node] for node in state.changed_members],
            list(state.changed_registers),
            list(state.changed_documents),
        )
        for peer in peers:
            for delta in deltas:
                state.turn.send_state(peer, delta)

    def summary(self, sender: NodeId, message: Summary) -> None:
        """Answer an opening: with a digest of the parts that differ, or not at all."""
        state = self.state
        assert state.cluster is not None
        assert state.registers is not None
        members = message.members != state.table.hash
        registers = message.registers != state.registers.hash
        documents = message.documents != state.documents.hash
        if members or registers or documents:
            digest = Digest(
                state.cluster.id,
                state.table.digest() if members else None,
                state.registers.digest() if registers else None,
                state.documents.digest() if documents else None,
            )
            state.turn.send_state(sender, digest)

    def digest(self, sender: NodeId, message: Digest) -> None:
        """Answer a digest with what the sender lacks, and ask for what it has newer."""
        state = self.state
        assert state.registers is not None
        members: list[Member] = []
        partitions: list[int] = []
        names: list[str] = []
        want_members: list[bytes] = []
        want_registers: list[int] = []
        want_documents: list[str] = []
        if message.members is not None:
            members, want_members = state.table.differences(message.members)
        if message.epochs is not None:
            try:
                partitions, want_registers = state.registers.differences(message.epochs)
            except RemoteProtocolError as error:
                state.count(error.reason)
        if message.documents is not None:
            documents, want_documents = state.documents.differences(message.documents)
            names = [document.name for document in documents]
        deltas = self._deltas(members, partitions, names)
        if want_members or want_registers or want_documents:
            if not deltas:
                deltas = [self._delta((), (), ())]
            # Asked for with the last part, so that the answer finds all of ours merged.
            deltas[-1].want_members = tuple(want_members)
            deltas[-1].want_registers = tuple(want_registers)
            deltas[-1].want_documents = tuple(want_documents)
        for delta in deltas:
            state.turn.send_state(sender, delta)

    def delta(self, sender: NodeId, message: Delta) -> None:
        """Merge what came, and send what is wanted."""
        self._merge(sender, message)
        if not (message.want_members or message.want_registers or message.want_documents):
            return
        state = self.state
        members = [state.table.get(NodeId(node)) for node in message.want_members]
        deltas = self._deltas(
            [member for member in members if member is not None],
            list(dict.fromkeys(message.want_registers)),
            [name for name in message.want_documents if state.documents.get(name)],
        )
        for answer in deltas:
            state.turn.send_state(sender, answer)

    def ask(self, node: NodeId) -> None:
        """Ask ``node`` for its own entry."""
        if self.state.cluster is not None:
            self.state.turn.send_now(
                node, Delta(self.state.cluster.id, (), (), (), want_members=(node,))
            )

    def _merge(self, sender: NodeId, message: Delta) -> None:
        """Merge plain entries; a bad one is counted and left out."""
        state = self.state
        for plain in message.members:
            try:
                self.merge_member(sender, member_from_plain(plain))
            except RemoteProtocolError as error:
                state.count(error.reason)
        for plain in message.registers:
            try:
                state.merge_register(*register_from_plain(plain))
            except RemoteProtocolError as error:
                state.count(error.reason)
        for plain in message.documents:
            try:
                state.merge_document(document_from_plain(plain))
            except RemoteProtocolError as error:
                state.count(error.reason)

    def _deltas(
        self, members: list[Member], partitions: list[int], names: list[str]
    ) -> list[Delta]:
        """The messages that carry these entries, each of bounded size."""
        state = self.state
        assert state.registers is not None
        plain_members = [member_to_plain(member) for member in members]
        plain_registers = state.registers.plain(partitions)
        found = [state.documents.get(name) for name in names]
        plain_documents = [document_to_plain(document) for document in found if document]
        parts = max(
            -(-len(plain_members) // MEMBERS_PER_DELTA),
            -(-len(plain_registers) // REGISTERS_PER_DELTA),
            -(-len(plain_documents) // DOCUMENTS_PER_DELTA),
        )
        return [
            self._delta(
                tuple(_part(plain_members, part, MEMBERS_PER_DELTA)),
                tuple(_part(plain_registers, part, REGISTERS_PER_DELTA)),
                tuple(_part(plain_documents, part, DOCUMENTS_PER_DELTA)),
            )
            for part in range(parts)
        ]

    def _delta(
        self,
        members: tuple[object, ...],
        registers: tuple[object, ...],
        documents: tuple[object, ...],
    ) -> Delta:
        assert self.state.cluster is not None
        return Delta(self.state.cluster.id, members, registers, documents)

    def _interval(self) -> int:
        return GOSSIP_NS + self.random.randint(-JITTER_NS, JITTER_NS)


def _part(
    items: list[tuple[object, ...]] | tuple[object, ...], part: int, size: int
) -> list[object]:
    return list(items[part * size : (part + 1) * size])
