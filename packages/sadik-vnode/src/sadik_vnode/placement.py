"""Where a key's replicas are, and who of them is believed to answer.

Owners come from the ring's registers. After them come the fallbacks: every other live member in
a deterministic order that considers zones. What is believed of a peer is local and decides only
whom to ask; it never moves data.

Every request asks here, and what it asks changes seldom: answers are kept until something changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sadik_hashing import preference_list
from sadik_machine import NodeId
from sadik_members import Liveness, Member, MemberState, Register, Ring
from sadik_vnode.keyspace import Key

__all__ = ["Placement"]


class Placement:
    """The ring, the members and their liveness, as one node sees them now."""

    def __init__(self, self_id: NodeId) -> None:
        self.self_id = self_id
        self.ring: Ring | None = None
        self.durable: Ring | None = None
        """The ring as it is on disk, and with it all that was stored before it was adopted. What
        is adopted comes there a little later."""
        self.members: Mapping[NodeId, Member] = {}
        self._liveness: dict[NodeId, Liveness] = {}
        self._going: dict[NodeId, None] = {}
        self._present: dict[NodeId, None] = {}
        self._shift = 0
        self._fallbacks: dict[int, list[NodeId]] = {}
        self._routable: dict[NodeId, None] = {self_id: None}
        self._stand_ins: dict[tuple[int, bool, bool], list[tuple[NodeId, NodeId | None]]] = {}
        self._live_owners: dict[int, tuple[NodeId, ...]] = {}
        self._reading_orders: dict[int, tuple[NodeId, ...] | None] = {}

    def set_ring(self, ring: Ring) -> None:
        """Adopt a ring as a whole."""
        self.ring = ring
        self._shift = 65 - ring.partitions.bit_length()
        self._fallbacks.clear()
        self._stand_ins.clear()
        self._live_owners.clear()
        self._reading_orders.clear()

    def adopt_ring(self, ring: Ring) -> None:
        """Adopt a ring that is on disk; what is known newer of a partition stays."""
        known = self.ring
        if known is not None and len(known.registers) == len(ring.registers):
            registers = tuple(
                mine if mine.epoch > theirs.epoch else theirs
                for mine, theirs in zip(known.registers, ring.registers, strict=True)
            )
            ring = Ring(ring.replicas, registers)
        self.set_ring(ring)

    def name_of(self, node: NodeId) -> str:
        """A node as people know it."""
        member = self.members.get(node)
        return node.hex() if member is None else member.name

    def set_members(self, members: Mapping[NodeId, Member]) -> None:
        """Adopt a member table."""
        self.members = members
        self._present = {m.id: None for m in members.values() if m.state is not MemberState.LEFT}
        self._fallbacks.clear()
        self._judge()

    def set_liveness(self, peer: NodeId, liveness: Liveness) -> None:
        """Believe ``liveness`` of a peer."""
        self._liveness[peer] = liveness
        self._judge()

    def set_going(self, peer: NodeId, *, is_going: bool) -> None:
        """A peer said that it is about to stop, or its streams came up again."""
        if is_going:
            self._going[peer] = None
        else:
            self._going.pop(peer, None)
        self._judge()

    def _judge(self) -> None:
        """See anew who is routable."""
        self._routable = {
            node: None
            for node in self._present
            if node not in self._going and self.liveness(node).is_routable
        }
        self._routable[self.self_id] = None
        self._stand_ins.clear()
        self._live_owners.clear()
        self._reading_orders.clear()

    def liveness(self, node: NodeId) -> Liveness:
        """What is believed of ``node``; always UP of oneself."""
        if node == self.self_id:
            return Liveness.UP
        return self._liveness.get(node, Liveness.UNKNOWN)

    def is_routable(self, node: NodeId) -> bool:
        """Whether requests are sent to ``node``: not suspected, down, departed or about to stop."""
        return node in self._routable

    def is_member(self, node: NodeId) -> bool:
        """Whether ``node`` is a member that has not left."""
        return node in self._present

    @property
    def present(self) -> Iterable[NodeId]:
        """The members that have not left, this node among them."""
        return self._present

    def has_left(self, node: NodeId) -> bool:
        """Whether ``node`` was a member and is none any more."""
        return node in self.members and node not in self._present

    def partition(self, key: Key) -> int:
        """The partition of a key. Only with a ring."""
        return key.token >> self._shift

    def register(self, partition: int) -> Register:
        """The newest decided register of a partition that this node knows. Only with a ring."""
        assert self.ring is not None, "a node without a ring takes no requests"
        return self.ring.registers[partition]

    def fallbacks(self, partition: int) -> list[NodeId]:
        """Every member that is not an owner and has not left, in the partition's own order."""
        found = self._fallbacks.get(partition)
        if found is None:
            owners = self.register(partition).owners
            members = [self.members[node] for node in self._present]
            listed = preference_list(
                [owner for owner in owners if owner in self._present], members, partition
            )
            found = [NodeId(node) for node in listed if node not in owners]
            self._fallbacks[partition] = found
        return found

    def live_owners(self, partition: int) -> tuple[NodeId, ...]:
        """The owners that are routable, in order."""
        found = self._live_owners.get(partition)
        if found is None:
            found = tuple(filter(self.is_routable, self.register(partition).owners))
            self._live_owners[partition] = found
        return found

    def live_fallbacks(self, partition: int) -> list[NodeId]:
        """The fallbacks that are routable, in order."""
        return [node for node in self.fallbacks(partition) if self.is_routable(node)]

    def stand_ins(
        self, partition: int, *, sloppy: bool, reads: bool = False
    ) -> Sequence[tuple[NodeId, NodeId | None]]:
        """For each owner slot in order, the node to ask: the owner, a fallback, or None.

        The slots are those that count for ``reads``, or else for writes. A fallback stands in for
        one slot only, so no node is asked twice for a request.
        """
        found = self._stand_ins.get((partition, sloppy, reads))
        if found is None:
            found = self._find_stand_ins(partition, sloppy=sloppy, reads=reads)
            self._stand_ins[partition, sloppy, reads] = found
        return found

    def reading_order(self, partition: int) -> tuple[NodeId, ...] | None:
        """The owners that reads count as they are asked: oneself first, for that costs nothing,
        then the others in their order. None where one of them is not routable.
        """
        try:
            return self._reading_orders[partition]
        except KeyError:
            readers = self.register(partition).readers
            order = None
            if all(map(self.is_routable, readers)):
                order = tuple(sorted(readers, key=lambda node: node != self.self_id))
            self._reading_orders[partition] = order
            return order

    def _find_stand_ins(
        self, partition: int, *, sloppy: bool, reads: bool
    ) -> list[tuple[NodeId, NodeId | None]]:
        register = self.register(partition)
        owners = register.readers if reads else register.owners
        if all(map(self.is_routable, owners)):
            return [(owner, owner) for owner in owners]
        spare = iter(self.live_fallbacks(partition) if sloppy else ())
        return [
            (owner, owner if self.is_routable(owner) else next(spare, None)) for owner in owners
        ]
