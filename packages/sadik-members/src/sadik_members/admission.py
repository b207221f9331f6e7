"""Whether a node that shows itself in a handshake may have a stream, by the member table.

Every start of a node has a number that counts up on its disk, and a nonce drawn at random. One
who shows a lower number than its peers remember, or the same number with another nonce, runs on a
store that went back in time, and would make dots that it has made before; one who has left is told
so.
"""

from __future__ import annotations

from collections.abc import Mapping

from sadik_machine import NodeId
from sadik_members.handshake import Hello, Refusal, RefusalReason
from sadik_members.view import Member, MemberState

__all__ = ["admission_refusal", "is_stale_boot"]


def is_stale_boot(known: Member, boot_number: int, boot_nonce: int) -> bool:
    """Whether a node that shows this boot is behind what ``known`` remembers of it."""
    if boot_number == known.boot_number:
        return boot_nonce != known.boot_nonce
    return boot_number < known.boot_number


def admission_refusal(hello: Hello, members: Mapping[NodeId, Member]) -> Refusal | None:
    """Why the node of ``hello`` gets no stream, or None."""
    known = members.get(NodeId(hello.node_id))
    if known is None:
        return None
    if known.state is MemberState.LEFT:
        detail = f"node {known.name} ({known.id.hex()}) has left the cluster or was removed from it"
        return Refusal(RefusalReason.REMOVED, detail)
    if is_stale_boot(known, hello.boot_number, hello.boot_nonce):
        detail = (
            f"node {known.name} shows its start number {hello.boot_number}, but its start number "
            f"{known.boot_number} is remembered: its store was rolled back or copied"
        )
        return Refusal(RefusalReason.STALE_BOOT, detail, known.boot_number)
    return None
