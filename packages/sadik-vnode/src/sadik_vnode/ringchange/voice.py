"""Whether this node's acceptor may speak: not of what it may have forgotten.

A store that was put back to an older state lacks promises that this node has given since. Were it
to answer as if it had given none, two values could be decided for one epoch: by it and one half of
the others before, by it and the other half after. So it is **in doubt** about a partition until the
next register of it was decided without its voice, and answers nothing about that until then, as if
it were down. Proposals of its own do not count it, either.

- **Where it must be silent.** If two majorities may have nobody in common but this node: where
  the number of voters is odd. Of an even number any two majorities share two nodes, and the other
  one remembers. One that is alone has nobody else who could decide.
- **How doubt ends.** The epochs that it may have voted in end with the first that was not decided
  when its store was put back; nobody can have asked for the one after that. So it proposes what is
  the case already, with a number of its own in it, to a majority that it is no part of. If just
  that is decided, a majority had accepted nothing before: the epoch was open, and with the next one
  this node speaks again. If something else is, the same is done with the next epoch.

Until then a partition of three owners needs the two others to decide anything; so this is done at
once, while they are up.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import FailureReason, NodeId, PlainError, decode_plain, encode_plain
from sadik_members import Phase, Register
from sadik_register import Quorums
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import VOICE_ROW
from sadik_vnode.record import DamagedRecord, open_value, seal_value

__all__ = ["Voice"]

_ALL: Final = b""
"""In the row's place: all partitions, however many there are."""


class Voice:
    """The partitions about which this node is in doubt. ``saved`` is the value of its row."""

    def __init__(self, desk: Desk, saved: bytes | None) -> None:
        self._desk = desk
        self._of_all, self._doubted = _opened(saved)
        self._is_storing = False
        self._is_saved = True

    @property
    def is_in_doubt(self) -> bool:
        """Whether there is any partition of which it must not speak."""
        return self._of_all or bool(self._doubted)

    def lost(self) -> None:
        """This node's store turned out to be an older state of itself."""
        self._of_all = True
        self._doubted = {}
        self._save()

    def settled(self, partition: int) -> None:
        """The next register of a partition was decided, open and without this node."""
        self._spread()
        if partition in self._doubted:
            del self._doubted[partition]
            self._save()

    def may_answer(self, partition: int, epoch: int, voters: tuple[NodeId, ...]) -> bool:
        """Whether the acceptor may answer about this epoch, if ``voters`` decide the next one."""
        if not self._doubts(partition):
            return True
        is_next = epoch == self._desk.placement.register(partition).epoch + 1
        return is_next and not _needs_silence(self._desk.self_id, voters)

    def quorums(self, partition: int, voters: tuple[NodeId, ...]) -> Quorums:
        """Who decides the next register, as far as this node may propose it."""
        own = self._desk.self_id
        if not self._doubts(partition) or not _needs_silence(own, voters):
            return Quorums.majority(voters)
        needed = len(voters) // 2 + 1
        return Quorums(tuple(node for node in voters if node != own), needed, needed)

    def needs_settling(self, partition: int, voters: tuple[NodeId, ...]) -> bool:
        """Whether this node should have the next register decided, and enough can be asked."""
        placement = self._desk.placement
        if (
            not self._doubts(partition)
            or placement.register(partition).phase is not Phase.DONE
            or not _needs_silence(placement.self_id, voters)
        ):
            return False
        able = [n for n in voters if n != placement.self_id and placement.is_routable(n)]
        return len(able) > len(voters) // 2

    def same_again(self, partition: int, base: Register, nonce: int) -> bytes:
        """The register of the next epoch that changes nothing, told from all others like it."""
        return encode_plain((partition, base.epoch + 1, base.owners, 0, (), nonce))

    def _doubts(self, partition: int) -> bool:
        return self._of_all or partition in self._doubted

    def _spread(self) -> None:
        """All, by name, now that it is known how many there are."""
        ring = self._desk.placement.ring
        if self._of_all and ring is not None:
            self._doubted = dict.fromkeys(range(ring.partitions))
            self._of_all = False

    def _save(self) -> None:
        """Write the row: at once, or when what is under way is on disk."""
        self._is_saved = False
        if self._is_storing:
            return
        self._is_storing = self._is_saved = True
        value: bytes | None = None
        if self._of_all:
            value = _ALL
        elif self._doubted:
            value = seal_value(encode_plain(tuple(self._doubted)))

        def stored() -> None:
            self._is_storing = False
            if not self._is_saved:
                self._save()

        def failed(_reason: FailureReason) -> None:
            self._is_storing = self._is_saved = False

        self._desk.outbox.store(((VOICE_ROW, value),), (), stored, failed)

    def look(self) -> None:
        """Write again what could not be written."""
        if not self._is_saved:
            self._save()


def _needs_silence(own: NodeId, voters: tuple[NodeId, ...]) -> bool:
    """Whether two majorities of these may have nobody but ``own`` in common, and the others are
    enough without it."""
    return own in voters and len(voters) >= 3 and len(voters) % 2 == 1


def _opened(saved: bytes | None) -> tuple[bool, dict[int, None]]:
    """Whether all are in doubt, and else which. A row that is damaged says that some are."""
    if saved is None:
        return False, {}
    if saved == _ALL:
        return True, {}
    try:
        plain = decode_plain(open_value(saved))
    except (DamagedRecord, PlainError):
        return True, {}
    if type(plain) is not tuple or any(type(each) is not int for each in plain):
        return True, {}
    return False, dict.fromkeys(plain)
