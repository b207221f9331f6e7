"""Counting: how many owner slots a request needs, and how many it has.

Tallies are values that know nothing of messages, nodes' addresses or time. What they count is
distinct **owner slots** of a partition: an owner, or a fallback that stands in for it. An
acknowledgement that comes twice, or from an owner and from the fallback for it, counts once.
"""

from __future__ import annotations

from sadik_machine import NodeId
from sadik_vnode.requests import Quorum, Tally

__all__ = ["BadQuorum", "ReadTally", "WriteTally", "resolve"]


class BadQuorum(ValueError):  # noqa: N818 - names what was asked for
    """A quorum that no cluster of this many replicas could ever give."""


def resolve(quorum: Quorum, default: int | str, owners: int, replicas: int) -> int:
    """The number of slots that ``quorum`` means for a partition of ``owners`` owners.

    ``one`` is 1, ``quorum`` a majority and ``all`` each of the owners that there are. ``default``
    is the bucket's own, for None. An integer may exceed the owners (then the request cannot
    be answered now) but not the cluster's ``replicas``.
    """
    value = default if quorum is None else quorum
    if quorum is None and isinstance(value, int):
        value = min(value, replicas)  # a bucket's own, set where there were more replicas
    if value == "quorum":
        return owners // 2 + 1
    if value == "all":
        return owners
    if value == "one":
        return 1
    if isinstance(value, str) or value < 0:
        raise BadQuorum(f"{value!r} is not a number of replicas, 'one', 'quorum' or 'all'")
    if value > replicas:
        raise BadQuorum(f"{value} is more than the {replicas} replicas of this cluster")
    return value


class WriteTally:
    """Which owner slots have acknowledged one write, and how."""

    __slots__ = ("_got", "dw", "pw", "w")

    def __init__(self, w: int, pw: int, dw: int) -> None:
        self.w = w
        self.pw = pw
        self.dw = dw
        self._got: dict[NodeId, tuple[bool, bool]] = {}

    def add(self, slot: NodeId, node: NodeId, *, durable: bool) -> None:
        """Count ``node``'s acknowledgement for owner ``slot``: the owner's own, or a fallback's.

        Of two for one slot each counts for what it is: the owner's makes the slot a primary's, and
        it stays durable though the owner's own is not.
        """
        was_primary, was_durable = self._got.get(slot, (False, False))
        self._got[slot] = (was_primary or node == slot, was_durable or durable)

    def __contains__(self, slot: NodeId) -> bool:
        return slot in self._got

    @property
    def enough(self) -> bool:
        """Whether W, PW and DW are all met."""
        got = self._got.values()
        return (
            len(self._got) >= self.w
            and (not self.pw or sum(primary for primary, _ in got) >= self.pw)
            and (not self.dw or sum(durable for _, durable in got) >= self.dw)
        )

    def value(self) -> Tally:
        """What to tell the client."""
        got = self._got.values()
        primaries = sum(primary for primary, _ in got)
        return Tally(
            needed=self.w,
            got=len(self._got),
            durable=sum(durable for _, durable in got),
            primaries=primaries,
            hinted=len(self._got) - primaries,
        )


class ReadTally:
    """Which owner slots have answered one read."""

    __slots__ = ("_got", "pr", "r")

    def __init__(self, r: int, pr: int) -> None:
        self.r = r
        self.pr = pr
        self._got: dict[NodeId, bool] = {}

    def add(self, slot: NodeId, node: NodeId) -> None:
        """Count ``node``'s answer for owner ``slot``."""
        self._got[slot] = self._got.get(slot, False) or node == slot

    @property
    def enough(self) -> bool:
        """Whether R and PR are met."""
        return len(self._got) >= self.r and (not self.pr or sum(self._got.values()) >= self.pr)

    def value(self) -> Tally:
        """What to tell the client."""
        primaries = sum(self._got.values())
        return Tally(self.r, len(self._got), 0, primaries, 0)
