"""What crosses the nodes' boundaries in a study: counted, not judged.

A study compares; campaigns look for faults. So the invariants are left to campaigns, and what
remains is cheap: how many messages of what size, and which of them carried data a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from sadik_causality import ContextSealer, Dot
from sadik_machine import Codec, NodeId, ScanRows
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members import ClusterJoined
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_sim.checks import Checks
from sadik_vnode import MESSAGES as ENGINE_MESSAGES
from sadik_vnode.messages import ReplicaWrite
from sadik_vnode.together import singles

if TYPE_CHECKING:
    from sadik_sim.node import SimNode
    from sadik_sim.world import World

__all__ = ["Cost", "Watch"]


@define(slots=True)
class Cost:
    """What all nodes together sent. Bytes are of encoded messages, without frames."""

    messages: int = 0
    """Of requests and of repair; gossip and probes are counted apart."""
    bytes: int = 0
    repair_messages: int = 0
    """Those with a version that had been sent before, or with none: hints, read repair, and what
    went to a fallback because an owner did not answer."""
    repair_bytes: int = 0
    gossip_messages: int = 0


class Watch(Checks):
    """Stands in the place of a world's checks."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.world = world
        self.cost = Cost()
        self.sealer: ContextSealer | None = None
        """Opens the contexts that nodes give to clients."""
        self._codec = Codec(MEMBERS_MESSAGES, REGISTER_MESSAGES, ENGINE_MESSAGES)
        self._first_sent: dict[Dot, int] = {}

    def stored(self, node: SimNode, batch: Any) -> None:
        """Nothing is judged here."""

    def received(self, node: SimNode, sender: NodeId, message: ReplicaWrite) -> None:
        """Nothing is judged here."""

    def sending(self, node: SimNode, to: NodeId, message: object) -> None:
        """A message leaves."""
        cost = self.cost
        if type(message) in _OF_MEMBERSHIP:
            cost.gossip_messages += 1
            return
        size = len(self._codec.encode(message))
        cost.messages += 1
        cost.bytes += size
        writes = [m for m in singles(message, node.id, to) if type(m) is ReplicaWrite]
        if writes and not any(self._is_first(node, write) for write in writes):
            cost.repair_messages += 1
            cost.repair_bytes += size

    def replying(self, node: SimNode, result: object) -> None:
        """Nothing is judged here."""

    def announced(self, node: SimNode, news: object) -> None:
        """The nodes' common key is what opens contexts."""
        if isinstance(news, ClusterJoined):
            self.sealer = ContextSealer(news.cluster_key, news.cluster_id)

    def after_steps(self, node: SimNode) -> None:
        """Nothing is judged here."""

    def rolled_back(self, node: SimNode) -> None:
        """Nothing is judged here."""

    def scanning(self, node: SimNode, query: ScanRows) -> None:
        """Nothing is judged here."""

    def lost_record(self, node: SimNode, row: bytes, value: bytes) -> None:
        """Nothing is judged here."""

    def _is_first(self, node: SimNode, message: ReplicaWrite) -> bool:
        """Whether a version leaves its coordinator at the instant when it is on disk there."""
        now = self.world.events.now
        return any(
            self._first_sent.setdefault((actor, counter), now) == now
            and actor.startswith(node.instance)
            for actor, counter, *_ in message.versions
        )


_OF_MEMBERSHIP = frozenset(MEMBERS_MESSAGES.classes.values())
