"""The schedule of anti-entropy, and the one queue of comparisons.

Every so often, with some jitter so that nodes do not fall into step, this node compares with the
next of those that own partitions with it, all their common partitions in one go; who cannot be
reached is passed over. Comparisons that an operator wants wait in the same queue: one runs
at a time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define

from sadik_machine import SECOND, NodeId
from sadik_members import Phase
from sadik_vnode.anti_entropy.answering import Answering
from sadik_vnode.anti_entropy.comparing import Comparing, Figures
from sadik_vnode.anti_entropy.engagement import Engagement
from sadik_vnode.anti_entropy.messages import (
    HashesAsked,
    LeavesAsked,
    Reconcile,
    RecordsAsked,
    RepairAsked,
    RootsTold,
)
from sadik_vnode.anti_entropy.repairing import Repairing, serve_repair
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.requests import Repair, Result

__all__ = ["AntiEntropy"]

_QUEUE_MAX: Final = 64
_LOOK_NS: Final = SECOND // 10


@define(slots=True)
class _Wanted:
    peer: NodeId
    partitions: Sequence[int]
    done: Callable[[Figures], None]


class AntiEntropy(Conversation):
    """Compares with the other owners, on a schedule and on demand; answers when they do."""

    __slots__ = ("_answering", "_engagement", "_last", "_queue", "_running", "_serve", "_source")

    is_background = True

    def __init__(self, desk: Desk, source: random.Random) -> None:
        super().__init__(desk)
        self.close()
        self._source = source
        self._engagement = Engagement()
        self._answering = Answering(desk, self._engagement)
        self._queue: deque[_Wanted] = deque()
        self._running: Comparing | None = None
        self._last: NodeId | None = None
        answering = self._answering
        self._serve: dict[type, Callable[[NodeId, object], None]] = {
            RootsTold: answering.roots,  # type: ignore[dict-item]
            LeavesAsked: answering.leaves,  # type: ignore[dict-item]
            HashesAsked: answering.hashes,  # type: ignore[dict-item]
            Reconcile: answering.reconcile,  # type: ignore[dict-item]
            RecordsAsked: answering.records,  # type: ignore[dict-item]
            RepairAsked: self._repair_asked,  # type: ignore[dict-item]
        }

    def start(self) -> None:
        """Begin the rounds."""
        interval_ns = self.desk.config.anti_entropy_interval_ns
        if interval_ns:
            self.wake("round", self.desk.now + self._source.randrange(interval_ns) + 1)

    def stop(self) -> None:
        """Begin no more rounds: this node is about to stop."""
        self.desk.deadlines.drop((self, "round"))

    def due(self, what: str) -> None:
        """Time for a round; or to look whether the tree is known by now."""
        if what == "known":
            self._next()
            return
        interval_ns = self.desk.config.anti_entropy_interval_ns
        jitter_ns = self._source.randrange(interval_ns // 2 + 1)
        self.wake("round", self.desk.now + interval_ns * 3 // 4 + jitter_ns)
        is_able = self.desk.replica.tree.is_known and not self.desk.generations.is_behind
        if self._running is None and is_able:
            self._round()

    def serve(self, sender: NodeId, message: object) -> bool:
        """Answer a question of another node; whether it was one."""
        serve = self._serve.get(type(message))
        if serve is None:
            return False
        serve(sender, message)
        return True

    def compare(
        self, peer: NodeId, partitions: Sequence[int], done: Callable[[Figures], None]
    ) -> bool:
        """Compare with a peer when the comparisons before are done; False if too many wait."""
        if len(self._queue) >= _QUEUE_MAX:
            return False
        self._queue.append(_Wanted(peer, partitions, done))
        self._next()
        return True

    def repair(self, request: Repair, done: Callable[[Result], None]) -> None:
        """Do what an operator asked for."""
        Repairing(self.desk, self.compare, request, done).start()

    def shared(self) -> dict[NodeId, list[int]]:
        """The other owners of this node's partitions, by id, with the partitions.

        Who is being brought a partition is none yet: that is a comparison of its own, and a second
        one beside it would bring the same records again.
        """
        ring = self.desk.placement.ring
        own = self.desk.self_id
        found: dict[NodeId, list[int]] = {}
        for partition, register in enumerate(ring.registers if ring is not None else ()):
            owners = register.old if register.phase is Phase.WRITE_BOTH else register.owners
            if own in owners:
                for owner in owners:
                    if owner != own:
                        found.setdefault(owner, []).append(partition)
        return dict(sorted(found.items()))

    def _round(self) -> None:
        shared = self.shared()
        placement = self.desk.placement
        peers = [p for p in shared if placement.is_routable(p) and placement.is_member(p)]
        if not peers:
            return
        if self._last is None:
            peer = self._source.choice(peers)
        else:
            last = self._last
            peer = next((p for p in peers if p > last), peers[0])
        self._last = peer
        self.desk.counters.anti_entropy_rounds += 1
        self.compare(peer, shared[peer], _ignore)

    def _next(self) -> None:
        if self._running is not None or not self._queue:
            return
        if not self.desk.replica.tree.is_known:
            # What is not counted yet would look as if it were missing here, and be sent again.
            self.wake("known", self.desk.now + _LOOK_NS)
            return
        wanted = self._queue.popleft()

        def done(figures: Figures) -> None:
            self._running = None
            wanted.done(figures)
            self._next()

        self._running = Comparing(self.desk, self._engagement, wanted.peer, wanted.partitions, done)
        self._running.start()

    def _repair_asked(self, sender: NodeId, message: RepairAsked) -> None:
        serve_repair(self.desk, self.compare, sender, message)


def _ignore(_figures: Figures) -> None:
    """The counters tell; what failed is tried again in the next round with that peer."""
