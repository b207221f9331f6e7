"""The ring's registers: per partition the newest decided owners that this node has seen.

A register's value in one epoch is decided once, by a majority of the owners of the epoch before it,
so merging is choosing the greatest epoch. Two values of one epoch never
exist; if one is shown all the same, the first stays and the other is a counted conflict.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from sadik_hashing import Assignment
from sadik_machine import NODE_ID_BYTES, NodeId, RemoteProtocolError, encode_plain
from sadik_members.settings import REPLICAS_MAX, is_partition_count
from sadik_members.view import Phase, Register, Ring

__all__ = ["Merged", "RegisterTable", "register_from_plain", "register_to_plain"]

EPOCH_MAX: Final = (1 << 63) - 1


class Merged(enum.Enum):
    """What became of a register that was shown to the table."""

    NEWER = "newer"
    KNOWN = "known"
    CONFLICT = "conflict"


def register_to_plain(partition: int, register: Register) -> tuple[object, ...]:
    """The plain form of one partition's register; phase and new list only while it changes."""
    if register.phase is Phase.DONE:
        return (partition, register.epoch, register.owners)
    return (partition, register.epoch, register.old, int(register.phase), register.new)


def register_from_plain(plain: object) -> tuple[int, Register]:
    """The partition and the register of a plain form.

    Raises:
        RemoteProtocolError: with reason ``bad_register``, for what nobody can have decided.
    """
    if type(plain) is not tuple or len(plain) < 3:
        raise RemoteProtocolError("bad_register", "a register is an array of three values")
    partition, epoch, owners = plain[:3]
    phase, new = plain[3:5] if len(plain) >= 5 else (0, ())
    if type(partition) is not int or type(epoch) is not int or type(phase) is not int:
        raise RemoteProtocolError("bad_register", "a value of a register has the wrong type")
    if not 1 <= epoch <= EPOCH_MAX or not Phase.DONE <= phase <= Phase.READ_NEW:
        raise RemoteProtocolError("bad_register", "an epoch or a phase is out of range")
    _check_owners(owners)
    if not phase:
        return partition, Register(epoch, owners)
    _check_owners(new)
    return partition, Register.changing(epoch, Phase(phase), owners, new)


def _check_owners(owners: object) -> None:
    if type(owners) is not tuple or not 1 <= len(owners) <= REPLICAS_MAX:
        raise RemoteProtocolError("bad_register", "a count of owners is out of range")
    if any(type(owner) is not bytes or len(owner) != NODE_ID_BYTES for owner in owners):
        raise RemoteProtocolError("bad_register", f"a node id has {NODE_ID_BYTES} bytes")
    if len(dict.fromkeys(owners)) != len(owners):
        raise RemoteProtocolError("bad_register", "a node owns a partition twice")


class RegisterTable:
    """The registers of all partitions; epoch 0 without owners is a partition not yet decided."""

    def __init__(self, partitions: int, replicas: int) -> None:
        assert is_partition_count(partitions)
        self.replicas = replicas
        self._registers = [Register(0, ())] * partitions
        self._ring: Ring | None = None
        self._hash: bytes | None = None

    def __len__(self) -> int:
        return len(self._registers)

    def __getitem__(self, partition: int) -> Register:
        return self._registers[partition]

    @property
    def ring(self) -> Ring:
        """The registers as a value."""
        if self._ring is None:
            self._ring = Ring(self.replicas, tuple(self._registers))
        return self._ring

    def merge(self, partition: int, register: Register) -> Merged:
        """Take in a decided register.

        Raises:
            RemoteProtocolError: with reason ``bad_register``, where this cluster has no such
                partition, or fewer owner slots.
        """
        if not 0 <= partition < len(self._registers) or any(
            len(owners) > self.replicas for owners in register.lists
        ):
            raise RemoteProtocolError("bad_register", f"partition {partition} is of another ring")
        known = self._registers[partition]
        if register.epoch < known.epoch or register == known:
            return Merged.KNOWN
        if register.epoch == known.epoch:
            return Merged.CONFLICT
        self._registers[partition] = register
        self._ring = None
        self._hash = None
        return Merged.NEWER

    @property
    def hash(self) -> bytes:
        """16 bytes over all registers."""
        if self._hash is None:
            plain = tuple(
                register_to_plain(partition, register)
                for partition, register in enumerate(self._registers)
            )
            self._hash = hashlib.blake2b(encode_plain(plain), digest_size=16).digest()
        return self._hash

    def digest(self) -> tuple[int, ...]:
        """The epochs, in the order of partitions: a decided epoch says what the value is."""
        return tuple(register.epoch for register in self._registers)

    def differences(self, epochs: Sequence[int]) -> tuple[list[int], list[int]]:
        """Against a peer's epochs: the partitions that we know newer, and those that it does."""
        if len(epochs) != len(self._registers):
            raise RemoteProtocolError("bad_register", f"{len(epochs)} partitions is another ring")
        ours_newer, wanted = [], []
        for partition, (register, epoch) in enumerate(zip(self._registers, epochs, strict=True)):
            if register.epoch > epoch:
                ours_newer.append(partition)
            elif register.epoch < epoch:
                wanted.append(partition)
        return ours_newer, wanted

    def plain(self, partitions: Iterable[int] | None = None) -> tuple[object, ...]:
        """The plain forms of some partitions, or of all that are decided."""
        chosen = range(len(self._registers)) if partitions is None else partitions
        return tuple(
            register_to_plain(partition, self._registers[partition])
            for partition in chosen
            if 0 <= partition < len(self._registers) and self._registers[partition].epoch
        )

    @property
    def assignment(self) -> Assignment | None:
        """The owners as the claim solver takes them; None while a partition has none."""
        if not all(register.owners for register in self._registers):
            return None
        return tuple(register.settled for register in self._registers)

    def moved_to(self, assignment: Assignment) -> list[tuple[int, Register]]:
        """The registers, one epoch on, of the partitions whose owners differ in ``assignment``."""
        assert len(assignment) == len(self._registers)
        return [
            (partition, Register(known.epoch + 1, tuple(NodeId(owner) for owner in owners)))
            for partition, (known, owners) in enumerate(
                zip(self._registers, assignment, strict=True)
            )
            if known.owners != tuple(owners)
        ]
