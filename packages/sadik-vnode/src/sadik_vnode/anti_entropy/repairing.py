"""A repair that an operator wants: partitions compared among all of their owners, now.

An owner that has compared with each of the others holds what any of them held; comparing once more
with all but the last brings it to those too. So one owner suffices to repair a partition, and the
node that was asked has the first live owner do it where it is none itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_vnode.anti_entropy.comparing import Figures
from sadik_vnode.anti_entropy.messages import RepairAsked, RepairTold
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.messages import Status
from sadik_vnode.requests import Refusal, Refused, Repair, RepairResult, Result

__all__ = ["Compare", "Repairing", "serve_repair"]

Compare = Callable[[NodeId, Sequence[int], Callable[[Figures], None]], bool]

_TRIES: Final = 30
_RETRY_NS: Final = 500 * MILLISECOND
_RELAYED: Final = 16
_RELAY_TIMEOUT_NS: Final = 120 * SECOND
_PARTITIONS_MAX: Final = 4096


class _OwnRepair(Conversation):
    """Repairs partitions that this node owns. ``done`` gets figures and who was not reached."""

    __slots__ = ("_compare", "_done", "_figures", "_jobs", "_last", "_tries", "_unreachable")

    is_background = True

    def __init__(
        self,
        desk: Desk,
        compare: Compare,
        partitions: Sequence[int],
        done: Callable[[Figures, dict[NodeId, None]], None],
    ) -> None:
        super().__init__(desk)
        self._compare = compare
        self._done = done
        self._figures = Figures()
        self._unreachable: dict[NodeId, None] = {}
        self._tries = 0
        peers: dict[NodeId, list[int]] = {}
        for partition in partitions:
            for owner in desk.placement.register(partition).owners:
                if owner != desk.self_id:
                    peers.setdefault(owner, []).append(partition)
        once = sorted(peers.items())
        self._jobs = deque([(peer, shared, True) for peer, shared in once])
        self._jobs += [(peer, shared, False) for peer, shared in once[:-1]]

    def start(self) -> None:
        """Compare with the first peer."""
        self._next()

    def due(self, what: str) -> None:
        """Try the same peer again: it was busy with another one."""
        self._next()

    def _next(self) -> None:
        placement = self.desk.placement
        while self._jobs:
            peer, partitions, is_first = self._jobs[0]
            if not placement.is_routable(peer):
                self._unreachable[peer] = None
            elif is_first or self._figures.differences:
                if not self._compare(peer, partitions, self._compared):
                    self._again()
                return
            self._jobs.popleft()
        self.close("next")
        self._done(self._figures, self._unreachable)

    def _compared(self, figures: Figures) -> None:
        is_first = self._jobs[0][2]
        is_whole, figures.is_whole = figures.is_whole, True
        if not is_first or not is_whole:
            # Compared again: the same pairs are not counted twice.
            figures.partitions = figures.partitions if is_first and is_whole else 0
        self._figures.add(figures)
        if is_whole:
            self._tries = 0
            self._jobs.popleft()
            self._next()
        else:
            self._again()

    def _again(self) -> None:
        self._tries += 1
        if self._tries > _TRIES or not self.desk.placement.is_routable(self._jobs[0][0]):
            self._unreachable[self._jobs[0][0]] = None
            self._tries = 0
            self._jobs.popleft()
            self._next()
        else:
            # Two that ask each other at once are both refused: the lesser id comes again first.
            turn = 1 + (self.desk.self_id > self._jobs[0][0])
            self.wake("next", self.desk.now + turn * _RETRY_NS)


class Repairing(Conversation):
    """One repair on the node that was asked; calls ``done`` once, in time, and goes on after."""

    __slots__ = (
        "_compare", "_done", "_figures", "_left", "_now_at", "_relays", "_request", "_total",
        "_unreachable",
    )  # fmt: skip

    is_background = True

    def __init__(
        self, desk: Desk, compare: Compare, request: Repair, done: Callable[[Result], None]
    ) -> None:
        super().__init__(desk)
        self._compare = compare
        self._request = request
        self._done: Callable[[Result], None] | None = done
        self._figures = Figures()
        self._unreachable: dict[NodeId, None] = {}
        self._relays: deque[tuple[NodeId, list[int]]] = deque()
        self._now_at: tuple[NodeId, list[int]] | None = None
        self._left = 0
        self._total = 0

    def start(self) -> None:
        """Repair what this node owns; then have others repair what they own."""
        desk, partition = self.desk, self._request.partition
        ring = desk.placement.ring
        assert ring is not None, "a node without a ring takes no requests"
        if partition is not None and not 0 <= partition < ring.partitions:
            self.close()
            self._answer(
                Refused(
                    Refusal.NO_PARTITION,
                    f"there is no partition {partition}: they are 0 to {ring.partitions - 1}",
                )
            )
            return
        partitions = range(ring.partitions) if partition is None else (partition,)
        own: list[int] = []
        others: dict[NodeId, list[int]] = {}
        for number in partitions:
            owners = ring.registers[number].owners
            first = next((o for o in owners if desk.placement.is_routable(o)), None)
            if desk.self_id in owners:
                own.append(number)
            elif first is not None:
                others.setdefault(first, []).append(number)
            else:
                self._unreachable.update(dict.fromkeys(owners))
        self._total = len(partitions)
        self._left = len(own) + sum(map(len, others.values()))
        for node, theirs in sorted(others.items()):
            for at in range(0, len(theirs), _RELAYED):
                self._relays.append((node, theirs[at : at + _RELAYED]))
        self.wake("deadline", desk.now + self._request.timeout_ns)
        if own:
            _OwnRepair(
                desk, self._compare, own, lambda f, u: self._repaired(len(own), f, u)
            ).start()
        else:
            self._relay()

    def received(self, sender: NodeId, message: object) -> None:
        """Another node has repaired what it was asked to."""
        if not isinstance(message, RepairTold) or self._now_at is None:
            return
        node, partitions = self._now_at
        if sender != node:
            return
        if message.status != Status.OK or len(message.figures) < len(_figures_of(Figures())):
            self._relay_failed(node)
            return
        partitions_, differing, differences, sent, received = message.figures[:5]
        figures = Figures(partitions_, differing, differences, sent, received)
        who = dict.fromkeys(map(NodeId, message.unreachable))
        self._repaired(len(partitions), figures, who)

    def unsent(self, to: NodeId, message: object) -> None:
        """The other node was not reached."""
        self._relay_failed(to)

    def peer_lost(self, peer: NodeId) -> None:
        """The other node is down."""
        self._relay_failed(peer)

    def due(self, what: str) -> None:
        """Time to answer, though it is not all done; or a node that takes too long."""
        if what == "deadline":
            self._answer(self._result(is_finished=False))
        elif self._now_at is not None:
            self._relay_failed(self._now_at[0])

    def _relay(self) -> None:
        self._now_at = None
        if not self._relays:
            self.close("deadline", "relay")
            self._answer(self._result(is_finished=True))
            return
        self._now_at = node, partitions = self._relays.popleft()
        self.wake("relay", self.desk.now + _RELAY_TIMEOUT_NS)
        self.desk.outbox.send(node, RepairAsked(self.id, tuple(partitions)))

    def _relay_failed(self, node: NodeId) -> None:
        if self._now_at is not None and self._now_at[0] == node:
            self._unreachable[node] = None
            self._relays = deque(relay for relay in self._relays if relay[0] != node)
            self._relay()

    def _repaired(self, count: int, figures: Figures, unreachable: dict[NodeId, None]) -> None:
        self._left -= count
        self._figures.add(figures)
        self._unreachable.update(unreachable)
        self._relay()

    def _result(self, *, is_finished: bool) -> RepairResult:
        figures = self._figures
        return RepairResult(
            self._total, self._total - self._left, figures.partitions, figures.differing,
            figures.differences, figures.sent + figures.received, sorted(self._unreachable),
            is_finished,
        )  # fmt: skip

    def _answer(self, result: Result) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


def serve_repair(desk: Desk, compare: Compare, sender: NodeId, message: RepairAsked) -> None:
    """Repair for a node that was asked and owns none of these partitions."""
    ring = desk.placement.ring
    partitions = list(dict.fromkeys(message.partitions[:_PARTITIONS_MAX]))
    if ring is None or not all(
        0 <= p < ring.partitions and desk.self_id in ring.registers[p].owners for p in partitions
    ):
        desk.outbox.send(sender, RepairTold(message.request, Status.NOT_READY, (), ()))
        return

    def done(figures: Figures, unreachable: dict[NodeId, None]) -> None:
        told = RepairTold(
            message.request, Status.OK, _figures_of(figures), tuple(sorted(unreachable))
        )
        desk.outbox.send(sender, told)

    _OwnRepair(desk, compare, partitions, done).start()


def _figures_of(figures: Figures) -> tuple[int, ...]:
    return (
        figures.partitions, figures.differing, figures.differences, figures.sent, figures.received,
    )  # fmt: skip
