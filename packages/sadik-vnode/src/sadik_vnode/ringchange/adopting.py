"""Telling the driver which registers are on this node's disk.

What a node has on disk it will never go behind again: it refuses reads and writes of an older
epoch, in this life and the next. Registers that are asked for and not known yet are adopted at
once, and the answer waits for the disk.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from sadik_machine import NodeId, RemoteProtocolError, RequestId
from sadik_members import register_from_plain
from sadik_vnode.adoption import adopt
from sadik_vnode.desk import Desk
from sadik_vnode.ringchange.messages import AdoptionAsked, AdoptionTold

__all__ = ["Adopting"]

_WAITING_MAX: Final = 1024


@define(slots=True)
class _Waiting:
    sender: NodeId
    request: RequestId
    epochs: dict[int, int]


class Adopting:
    """Answers `AdoptionAsked`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: list[_Waiting] = []

    def asked(self, sender: NodeId, message: AdoptionAsked) -> None:
        """Adopt, and tell when it is on disk."""
        desk = self._desk
        ring = desk.placement.ring
        epochs: dict[int, int] = {}
        for plain in message.registers:
            try:
                partition, register = register_from_plain(plain)
            except RemoteProtocolError:
                desk.counters.malformed_messages += 1
                continue
            if ring is not None and 0 <= partition < ring.partitions:
                adopt(desk, partition, register)
                epochs[partition] = register.epoch
        if len(self._waiting) < _WAITING_MAX:
            self._waiting.append(_Waiting(sender, RequestId(message.request), epochs))
        self.stored()

    def stored(self) -> None:
        """The ring on disk has changed, perhaps."""
        durable = self._desk.placement.durable
        if durable is None or not self._waiting:
            return
        still: list[_Waiting] = []
        for waiting in self._waiting:
            known = {p: durable.registers[p].epoch for p in waiting.epochs}
            if all(known[p] >= epoch for p, epoch in waiting.epochs.items()):
                told = AdoptionTold(waiting.request, tuple(known.items()))
                self._desk.outbox.send(waiting.sender, told)
            else:
                still.append(waiting)
        self._waiting = still
