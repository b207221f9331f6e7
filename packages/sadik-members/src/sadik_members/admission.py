"""Whether a node that shows itself in a handshake may have a stream.

The member table tells, and what the node itself showed in earlier handshakes: news of a start
spreads by gossip, which may come later than the streams of the life after it.

Every start of a node has a number that counts up on its disk, and a nonce drawn at random. One
who shows a lower number than its peers remember, or the same number with another nonce, runs on a
store that went back in time, and would make dots that it has made before; one who has left is told
so.

Where streams prove names (TLS), an id belongs to the name that the member table has for it: who
shows the certificate of another member, or a member's name under a new id, is not let in. A member
that takes another name therefore needs a certificate for both.
"""

from __future__ import annotations

from collections.abc import Mapping

from sadik_machine import NodeId
from sadik_members.hello import Hello, Refusal, RefusalReason
from sadik_members.view import Member, MemberState

__all__ = ["BootsMet", "admission_refusal", "is_stale_boot"]


def is_stale_boot(known: Member, boot_number: int, boot_nonce: int) -> bool:
    """Whether a node that shows this boot is behind what ``known`` remembers of it."""
    if boot_number == known.boot_number:
        return boot_nonce != known.boot_nonce
    return boot_number < known.boot_number


class BootsMet:
    """The latest start of each member that had a stream with this node in its present life."""

    def __init__(self) -> None:
        self._boots: dict[NodeId, tuple[int, int]] = {}

    def meet(self, node: NodeId, boot_number: int, boot_nonce: int) -> None:
        """A handshake with ``node`` is over, and it was let in."""
        self._boots[node] = (boot_number, boot_nonce)

    def newer_than(self, node: NodeId, boot_number: int, boot_nonce: int) -> int | None:
        """The number of a start that is remembered and beyond the one shown; None if none is."""
        number, nonce = self._boots.get(node, (0, 0))
        if boot_number < number or (boot_number == number and boot_nonce != nonce):
            return number
        return None


def admission_refusal(
    hello: Hello,
    members: Mapping[NodeId, Member],
    met: BootsMet,
    names: frozenset[str] | None = None,
) -> Refusal | None:
    """Why the node of ``hello`` gets no stream, or None. ``names`` are those that it has proven."""
    known = members.get(NodeId(hello.node_id))
    fault = "" if names is None else _name_fault(hello, known, members, names)
    if fault:
        return Refusal(RefusalReason.CERTIFICATE, fault)
    if known is None:
        return None
    if known.state is MemberState.LEFT:
        detail = f"node {known.name} ({known.id.hex()}) has left the cluster or was removed from it"
        return Refusal(RefusalReason.REMOVED, detail)
    newer = met.newer_than(known.id, hello.boot_number, hello.boot_nonce)
    if newer is None and is_stale_boot(known, hello.boot_number, hello.boot_nonce):
        newer = known.boot_number
    if newer is None:
        return None
    detail = (
        f"node {known.name} shows its start number {hello.boot_number}, but its start number "
        f"{newer} is remembered: its store was rolled back or copied"
    )
    return Refusal(RefusalReason.STALE_BOOT, detail, newer)


def _name_fault(
    hello: Hello,
    known: Member | None,
    members: Mapping[NodeId, Member],
    names: frozenset[str],
) -> str:
    """Why the names that were proven are not those of this id, as far as the table tells."""
    if known is not None:
        found = known.name in names
        return "" if found else f"the certificate is not that of the node {hello.node_id.hex()}"
    is_taken = any(
        member.name == hello.name and member.state is not MemberState.LEFT
        for member in members.values()
    )
    if is_taken:
        # Said to somebody who has proven this very name, most likely on an empty directory.
        return (
            f"{hello.name!r} is a member with another id: to come back with an empty directory "
            "it must be removed first"
        )
    return ""
