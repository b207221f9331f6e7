"""The receiver's side of a transfer: bring here what the givers of a partition hold.

It is a comparison of hash trees (`sadik_vnode.anti_entropy`), some partitions of a giver at a time,
so that it takes up after a crash of either side where it was, moves nothing that is there, and
yields to the requests of clients as all background work does. A partition is filled when a
comparison with each of its givers was whole, all of it under the register that was asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import Factory, define

from sadik_machine import MILLISECOND, NodeId
from sadik_members import Phase
from sadik_vnode.anti_entropy.comparing import Comparing, Figures
from sadik_vnode.anti_entropy.engagement import Engagement
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.ringchange.measuring import Measuring
from sadik_vnode.ringchange.messages import FillAsked, FillTold
from sadik_vnode.ringchange.steps import sources

__all__ = ["Filling"]

_TOGETHER: Final = 8
_RETRY_NS: Final = 200 * MILLISECOND


@define(slots=True)
class _Job:
    epoch: int
    asker: NodeId
    request: int
    givers: dict[NodeId, None]
    bytes: int = 0
    held: int = 0
    """Bytes that were here before: it takes up where it was."""
    failures: int = 0


@define(slots=True)
class _Run:
    epochs: dict[int, int] = Factory(dict)


class Filling(Conversation):
    """Fills this node's replicas. ``here`` takes the answers to its own questions."""

    __slots__ = ("_here", "_is_measuring", "_jobs", "_running", "_unmeasured")

    is_background = True

    def __init__(self, desk: Desk, here: Callable[[NodeId, FillTold], None]) -> None:
        super().__init__(desk)
        self.close()
        desk.arrived = self.arrived
        self._here = here
        self._jobs: dict[int, _Job] = {}
        self._running: dict[NodeId, _Run] = {}
        self._unmeasured: deque[tuple[int, _Job]] = deque()
        self._is_measuring = False

    @property
    def active(self) -> int:
        """Partitions that are being filled here."""
        return sum(bool(job.givers) for job in self._jobs.values())

    def asked(self, sender: NodeId, message: FillAsked) -> None:
        """Begin, go on, or tell how far it is."""
        desk = self.desk
        ring = desk.placement.ring
        partition, epoch = message.partition, message.epoch
        if ring is None or not 0 <= partition < ring.partitions:
            return
        register = ring.registers[partition]
        if register.epoch != epoch or register.phase is not Phase.WRITE_BOTH:
            why = "it knows another register"
            self._tell(sender, FillTold(message.request, partition, epoch, False, 0, why))
            return
        job = self._jobs.get(partition)
        if job is None or job.epoch != epoch:
            found = sources(register, desk.self_id, self._has_left)
            # Those that are filled from the same givers begin with different ones.
            turn = partition % max(len(found), 1)
            givers = dict.fromkeys((*found[turn:], *found[:turn]))
            job = _Job(epoch, sender, message.request, givers)
            self._jobs[partition] = job
            if desk.replica.tree.root(partition, ring.partitions):
                self._unmeasured.append((partition, job))
                self._measure()
        job.asker, job.request = sender, message.request
        self._report(partition, job)
        self._pump()

    def arrived(self, partition: int, sender: NodeId, size: int) -> None:
        """Bytes of a partition came from ``sender``: are they of a transfer?"""
        job = self._jobs.get(partition)
        if job is not None and sender in job.givers:
            job.bytes += size

    def _measure(self) -> None:
        """Find out what is here already, one partition after another."""
        if self._is_measuring or not self._unmeasured:
            return
        self._is_measuring = True
        partition, job = self._unmeasured.popleft()

        def done(sizes: dict[int, int]) -> None:
            # What came meanwhile was measured, too, and must not count twice.
            if not job.bytes:
                job.held = sizes.get(partition, 0)
            self._is_measuring = False
            self._measure()

        Measuring(self.desk, [partition], done).start()

    def poke(self) -> None:
        """The ring or the members have changed."""
        for partition, job in list(self._jobs.items()):
            register = self.desk.placement.register(partition)
            if register.epoch != job.epoch:
                del self._jobs[partition]
            elif any(map(self._has_left, job.givers)):
                # The dead give nothing: now it is all survivors.
                found = sources(register, self.desk.self_id, self._has_left)
                job.givers = dict.fromkeys(found)
        self._pump()

    def due(self, what: str) -> None:
        """Try again."""
        self._pump()

    def _has_left(self, node: NodeId) -> bool:
        return not self.desk.placement.is_member(node)

    def _pump(self) -> None:
        """Compare with every giver that may be reached and is not being compared with."""
        desk = self.desk
        is_waiting = False
        for job in list(self._jobs.values()):
            giver = self._next_of(job)
            if not desk.replica.tree.is_known or (job.givers and giver is None):
                is_waiting = True
            elif giver is not None and giver not in self._running:
                self._run(giver)
        if is_waiting:
            self.wake("retry", desk.now + _RETRY_NS)

    def _next_of(self, job: _Job) -> NodeId | None:
        """The giver whose turn it is: one after another, so that nothing comes twice."""
        return next(filter(self.desk.placement.is_routable, job.givers), None)

    def _run(self, giver: NodeId) -> None:
        chosen = {
            partition: job.epoch
            for partition, job in sorted(self._jobs.items(), key=lambda item: item[1].failures)
            if giver == self._next_of(job)
        }
        epochs = dict(list(chosen.items())[:_TOGETHER])
        self._running[giver] = _Run(epochs)

        def done(figures: Figures) -> None:
            self._ran(giver, epochs, figures)

        Comparing(self.desk, Engagement(), giver, sorted(epochs), done).start()

    def _ran(self, giver: NodeId, epochs: dict[int, int], figures: Figures) -> None:
        self._running.pop(giver, None)
        self.desk.counters.transferred_records += figures.received
        for partition, epoch in epochs.items():
            job = self._jobs.get(partition)
            register = self.desk.placement.register(partition)
            if job is None or job.epoch != epoch or register.epoch != epoch:
                continue
            if figures.is_whole:
                job.givers.pop(giver, None)
                if not job.givers:
                    self._report(partition, job)
            else:
                job.failures += 1
        if figures.is_whole:
            self._pump()
        else:
            self.wake("retry", self.desk.now + _RETRY_NS)

    def _report(self, partition: int, job: _Job) -> None:
        waits_for = ""
        placement = self.desk.placement
        lost = [giver for giver in job.givers if not placement.is_routable(giver)]
        if lost:
            waits_for = f"{placement.name_of(lost[0])} cannot be reached to give what it holds"
        elif not self.desk.replica.tree.is_known:
            waits_for = "its hash tree is still being read"
        size = job.held + job.bytes
        self._tell(
            job.asker,
            FillTold(job.request, partition, job.epoch, not job.givers, size, waits_for),
        )

    def _tell(self, asker: NodeId, told: FillTold) -> None:
        if asker == self.desk.self_id:
            self._here(asker, told)
        else:
            self.desk.outbox.send(asker, told)
