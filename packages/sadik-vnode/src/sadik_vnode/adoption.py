"""Adopting a register that a peer's answer bore: the newer one wins at once, then spreads."""

from __future__ import annotations

import attrs

from sadik_machine import NODE_ID_BYTES, NodeId
from sadik_members import NewerRegister, Register
from sadik_vnode.desk import Desk

__all__ = ["adopt_newer", "newer_of"]


def newer_of(desk: Desk, partition: int) -> tuple[int, tuple[bytes, ...]]:
    """The register of a partition as an answer bears it."""
    register = desk.placement.register(partition)
    return register.epoch, register.owners


def adopt_newer(desk: Desk, partition: int, newer: tuple[int, tuple[bytes, ...]] | None) -> bool:
    """Adopt ``newer`` if it is; whether it was. The membership machine is told, and keeps it."""
    ring = desk.placement.ring
    if ring is None or newer is None or newer[0] <= ring.registers[partition].epoch:
        return False
    epoch, owners = newer
    if len(set(owners)) != len(owners) or any(len(owner) != NODE_ID_BYTES for owner in owners):
        desk.counters.malformed_messages += 1
        return False
    register = Register(epoch, tuple(NodeId(owner) for owner in owners))
    registers = list(ring.registers)
    registers[partition] = register
    desk.placement.set_ring(attrs.evolve(ring, registers=tuple(registers)))
    desk.outbox.announce(NewerRegister(partition, register))
    return True
