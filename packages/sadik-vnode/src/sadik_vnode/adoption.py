"""Adopting a register that a peer's answer bore: the newer one wins at once, then spreads."""

from __future__ import annotations

from collections.abc import Container, Iterable

import attrs

from sadik_machine import RemoteProtocolError
from sadik_members import NewerRegister, Register, register_from_plain, register_to_plain
from sadik_vnode.desk import Desk
from sadik_vnode.messages import Newer

__all__ = ["adopt", "adopt_all", "adopt_newer", "newer_of"]


def newer_of(desk: Desk, partition: int) -> Newer:
    """The register of a partition as an answer bears it: its plain form without the partition."""
    return register_to_plain(partition, desk.placement.register(partition))[1:]


def adopt_newer(desk: Desk, partition: int, newer: Newer | None) -> bool:
    """Adopt ``newer`` if it is; whether it was. The membership machine is told, and keeps it."""
    if newer is None:
        return False
    try:
        _, register = register_from_plain((partition, *newer))
    except RemoteProtocolError:
        desk.counters.malformed_messages += 1
        return False
    return adopt(desk, partition, register)


def adopt_all(desk: Desk, newer: Iterable[Newer], asked: Container[int]) -> None:
    """Adopt the registers of partitions that were asked about."""
    for plain in newer:
        partition = plain[0] if plain else None
        if type(partition) is int and partition in asked:
            adopt_newer(desk, partition, plain[1:])


def adopt(desk: Desk, partition: int, register: Register, *, is_own: bool = False) -> bool:
    """Adopt a decided register, if it is newer than what is known; whether it was.

    ``is_own``: it was decided here, so that nobody else knows of it.
    """
    ring = desk.placement.ring
    if ring is None or register.epoch <= ring.registers[partition].epoch:
        return False
    registers = list(ring.registers)
    registers[partition] = register
    desk.placement.set_ring(attrs.evolve(ring, registers=tuple(registers)))
    desk.outbox.announce(NewerRegister(partition, register, is_own))
    return True
