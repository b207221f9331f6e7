"""A broken invariant: what it is called, what happened, and which key and dots are involved."""

from __future__ import annotations

from sadik_causality import Dot

__all__ = ["INVARIANTS", "Violation", "show"]

INVARIANTS = {
    "a condition is judged by what was acknowledged": "6: a strict conditional write sees every "
    "write that a majority of the owners acknowledged before it began",
    "a context covers only what was shown": "3: the context of a write's answer covers the "
    "request's context and the new version, nothing else",
    "a dot names one value": "3: no dot is made twice",
    "a departed node holds nothing": "2: a node that leaves goes when the owners have what it had",
    "a fallback keeps a note": "4: a fallback's acknowledgement rests on a durable hint note",
    "a note goes when its owner has it": "2: a hint note goes after a durable acknowledgement",
    "a quorum counts owner slots": "6: acknowledgements are of distinct owner slots",
    "a register has one value": "8: what a quorum has accepted under one ballot stays, "
    "and nobody says anything else of the register",
    "a request is answered once": "11: a request has one answer",
    "a request makes one dot": "3: one request, at most one dot, however it was forwarded",
    "a second pass sends nothing": "2: a repair of replicas that are equal finds no difference",
    "a source goes when its owners have it": "2: a foreign record goes when all owners have it on "
    "their disks",
    "an acknowledged write is never lost": "1: an acknowledged write lives, or what saw it does",
    "damage is mended": "2: what a flipped bit damaged is made whole again from the other owners",
    "every request ends by its deadline": "11: every request is answered by its deadline",
    "every table has a bound": "10: queues and tables stay within their bounds",
    "everybody answers when faults stop": "2: after healing all owners can be read",
    "everything calms down when faults stop": "2: after healing no note waits and no request lasts",
    "hash trees tell the records": "2: a tree's sums are those of the records on its disk",
    "listings tell what is there": "6: a listing shows every acknowledged key, in order, once",
    "members and ring converge": "8: all nodes come to one member table and one ring",
    "no clock drags another along": "a remote clock more than 60 s ahead is not adopted (§2)",
    "no departed node in a list": "7: a preference list names nobody who has left",
    "no node twice in a list": "7: a preference list names nobody twice",
    "not applied is never seen": "12: what was refused as not applied is never seen",
    "nothing covered comes back": "5: what an acknowledged write covered stays away",
    "nothing from nowhere": "3: a context or an answer tells only of what was written",
    "nothing leaves before it is on disk": "4: nothing leaves before what it rests on is stored",
    "one value an epoch": "8: a register has one value in an epoch",
    "records decode": "what a node reads from its disk is what it wrote",
    "replicas converge": "2: after healing all owners hold the same live dots",
    "scans are short": "10: a scan asks for a bounded number of rows and of bytes, or it holds the "
    "store's old pages for long",
    "sessions never go backwards": "9: no read of a session is older than what it has seen",
    "strict reads see strict writes": "6: where R+W > N of owners, a read sees every write "
    "acknowledged before it began",
    "the last writer wins": "1: where a bucket says so, the latest acknowledged write is the one "
    "that is seen, on every node",
    "the code's own assertions hold": "an assertion or an exception in the code under test",
    "what expired is gone": "a version is not shown once it has expired by the clock of the node "
    "that looks (§7)",
    "what is gone is reaped": "5: after healing, what all owners know as gone is taken away in "
    "bounded time",
}
"""Every invariant that a run can break, with its number in ARCHITECTURE.md and its meaning."""


class Violation(AssertionError):  # noqa: N818 - names what happened in the world, not an error
    """An invariant is broken. ``invariant`` is a short stable name, one of `INVARIANTS`."""

    def __init__(
        self, invariant: str, detail: str, key: bytes = b"", dots: tuple[Dot, ...] = ()
    ) -> None:
        assert invariant in INVARIANTS, invariant
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail
        self.key = key
        self.dots = dots
        self.node = ""
        """The node that was about to break it, where it was one."""
        self.effect: object | None = None
        """What it was about to do: a message, an answer, a store."""


def show(dot: Dot) -> str:
    """A dot as people see it: instance, birth, counter."""
    actor, counter = dot
    return f"{actor[:8].hex()}:{int.from_bytes(actor[8:], 'big')}:{counter}"
