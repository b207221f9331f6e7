"""What the partitions that change hold: the driver asks one who has it, and remembers.

A figure for people, so nothing waits for it. It is asked for when a change is planned, and again
when it begins a minute later or more; who does not answer is asked again after a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sadik_machine import SECOND, NodeId
from sadik_members import Phase, Register
from sadik_vnode.desk import Desk
from sadik_vnode.ringchange.measuring import Measuring
from sadik_vnode.ringchange.messages import SizesAsked, SizesTold
from sadik_vnode.ringchange.steps import givers

__all__ = ["Sizes"]

_AT_ONCE: Final = 32
"""Partitions of one question."""
_ASK_AGAIN_NS: Final = 30 * SECOND
_STALE_NS: Final = 60 * SECOND
_SIZE_MAX: Final = 1 << 60


class Sizes:
    """Asks, answers and remembers; one question at a time between two nodes."""

    __slots__ = ("_asking", "_desk", "_known", "_measuring")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: dict[int, tuple[int, int, int]] = {}
        """By partition: the epoch at which its bytes were asked for, the bytes, and until when they
        will do for later epochs too."""
        self._asking: dict[NodeId, tuple[int, dict[int, int]]] = {}
        """By node: until when its answer is waited for, and the epochs by partition."""
        self._measuring: dict[NodeId, None] = {}

    def of(self, partition: int) -> int:
        """The bytes of a partition; 0 while nobody has told."""
        return self._known.get(partition, (0, 0, 0))[1]

    def rest(self) -> None:
        """Nothing changes any more, or another member drives."""
        self._known.clear()
        self._asking.clear()

    def look(self, changing: Iterable[int]) -> None:
        """Ask for what is not known of these partitions."""
        desk = self._desk
        for node, (until, _) in list(self._asking.items()):
            if desk.now >= until:
                del self._asking[node]
        wanted: dict[NodeId, dict[int, int]] = {}
        for partition in changing:
            register = desk.placement.register(partition)
            known = self._known.get(partition)
            if known is not None:
                epoch, _, fresh_until = known
                is_over = register.phase is Phase.READ_NEW
                if epoch >= register.epoch or is_over or desk.now < fresh_until:
                    continue
            holder = self._holder(register)
            if holder is not None and holder not in self._asking:
                wanted.setdefault(holder, {})[partition] = register.epoch
        for node, epochs in wanted.items():
            self._ask(node, dict(list(epochs.items())[:_AT_ONCE]))

    def _holder(self, register: Register) -> NodeId | None:
        """Who has all of it and can be asked: the giver, before those who stay owners."""
        placement = self._desk.placement
        old = register.old or register.owners
        for node in (*givers(register), *old):
            if placement.is_member(node) and placement.is_routable(node):
                return node
        return None

    def _ask(self, node: NodeId, epochs: dict[int, int]) -> None:
        desk = self._desk
        self._asking[node] = (desk.now + _ASK_AGAIN_NS, epochs)
        if node != desk.self_id:
            desk.outbox.send(node, SizesAsked(tuple(epochs)))
            return

        def done(sizes: dict[int, int]) -> None:
            self.told(node, SizesTold(tuple(sizes.items())))

        Measuring(desk, list(epochs), done).start()

    def told(self, sender: NodeId, message: SizesTold) -> None:
        """The answer to a question of this node."""
        _, epochs = self._asking.pop(sender, (0, {}))
        for partition, size in message.sizes:
            epoch = epochs.pop(partition, None)
            if epoch is not None:
                fresh_until = self._desk.now + _STALE_NS
                self._known[partition] = (epoch, min(max(size, 0), _SIZE_MAX), fresh_until)
        for partition, epoch in epochs.items():
            self._known[partition] = (epoch, self.of(partition), 0)  # it could not be told

    def asked(self, sender: NodeId, message: SizesAsked) -> None:
        """Estimate, and answer. Who asks again meanwhile gets the one answer."""
        ring = self._desk.placement.ring
        if ring is None or sender in self._measuring:
            return
        known = [p for p in message.partitions[:_AT_ONCE] if 0 <= p < ring.partitions]

        def done(sizes: dict[int, int]) -> None:
            self._measuring.pop(sender, None)
            self._desk.outbox.send(sender, SizesTold(tuple(sizes.items())))

        self._measuring[sender] = None
        Measuring(self._desk, list(dict.fromkeys(known)), done).start()
