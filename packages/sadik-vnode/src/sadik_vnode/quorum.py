"""Counting: how many owner slots a request needs, and how many it has.

Tallies are values that know nothing of messages, nodes' addresses or time. What they count is
distinct **owner slots** of a partition: an owner, or a fallback that stands in for it. An
acknowledgement that comes twice, or from an owner and from the fallback for it, counts once.
"""

from __future__ import annotations

from collections.abc import Sequence

from sadik_machine import NodeId
from sadik_vnode.requests import Quorum, Tally

__all__ = [
    "BadQuorum", "JointTally", "ReadTally", "Wanted", "WriteTally", "count_of", "resolve", "wanted",
]  # fmt: skip

Wanted = int | str
"""How many owner slots a request needs: a number, or ``one``, ``quorum`` or ``all`` of them."""


_NAMES = ("one", "quorum", "all")


class BadQuorum(ValueError):  # noqa: N818 - names what was asked for
    """A quorum that no cluster of this many replicas could ever give."""


def wanted(quorum: Quorum, default: Wanted, replicas: int) -> Wanted:
    """What ``quorum`` asks for, whatever owners there are; ``default`` is the bucket's own.

    An integer may exceed the owners (then the request cannot be answered now) but not the
    cluster's ``replicas``.
    """
    value = default if quorum is None else quorum
    if quorum is None and isinstance(value, int):
        value = min(value, replicas)  # a bucket's own, set where there were more replicas
    if value in _NAMES:
        return value
    if isinstance(value, str) or value < 0:
        raise BadQuorum(f"{value!r} is not a number of replicas, 'one', 'quorum' or 'all'")
    if value > replicas:
        raise BadQuorum(f"{value} is more than the {replicas} replicas of this cluster")
    return value


def count_of(value: Wanted, owners: int) -> int:
    """The number of slots that ``value`` is for a partition of ``owners`` owners: ``one`` is 1,
    ``quorum`` a majority and ``all`` each of the owners that there are.
    """
    if isinstance(value, int):
        return value
    return 1 if value == "one" else owners if value == "all" else owners // 2 + 1


def resolve(quorum: Quorum, default: Wanted, owners: int, replicas: int) -> int:
    """The number of slots that ``quorum`` means for a partition of ``owners`` owners."""
    return count_of(wanted(quorum, default, replicas), owners)


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
            len(got) >= self.w
            and (not self.pw or sum(primary for primary, _ in got) >= self.pw)
            and (not self.dw or sum(durable for _, durable in got) >= self.dw)
        )

    def value(self) -> Tally:
        """What to tell the client."""
        primaries = durables = 0
        for primary, durable in self._got.values():
            primaries += primary
            durables += durable
        got = len(self._got)
        return Tally(self.w, got, durables, primaries, got - primaries)


class JointTally:
    """A write while the owners change: it needs its quorum among the old owners and among the new.

    A slot of both lists counts in both.
    """

    __slots__ = ("_lists",)

    def __init__(
        self, lists: Sequence[tuple[NodeId, ...]], want: tuple[Wanted, Wanted, Wanted]
    ) -> None:
        w, pw, dw = want
        self._lists: list[tuple[tuple[NodeId, ...], WriteTally]] = []
        for owners in lists:
            size = len(owners)
            tally = WriteTally(count_of(w, size), count_of(pw, size), count_of(dw, size))
            self._lists.append((owners, tally))

    def add(self, slot: NodeId, node: NodeId, *, durable: bool) -> None:
        """Count ``node``'s acknowledgement for owner ``slot`` in each list that has that slot."""
        for owners, tally in self._lists:
            if slot in owners:
                tally.add(slot, node, durable=durable)

    @property
    def enough(self) -> bool:
        """Whether W, PW and DW are all met in every list."""
        for _, tally in self._lists:  # noqa: SIM110 - a generator costs more than the rest
            if not tally.enough:
                return False
        return True

    def value(self) -> Tally:
        """What to tell the client: the list that lacks most, or has least to spare."""
        values = [tally.value() for _, tally in self._lists]
        if len(values) == 1:
            return values[0]
        return min(values, key=lambda value: value.got - value.needed)

    def lacks(self, slots: Sequence[tuple[NodeId, NodeId | None]]) -> str:
        """Why asking these nodes for these slots cannot be enough, or an empty text."""
        for owners, tally in self._lists:
            asked = primaries = 0
            for slot, node in slots:
                if node is not None and slot in owners:
                    asked += 1
                    primaries += slot == node
            if asked < tally.w or asked < tally.dw or primaries < tally.pw:
                return (
                    f"{asked} of {len(owners)} replicas are reachable, {primaries} of them "
                    f"owners; W={tally.w}, PW={tally.pw}, DW={tally.dw}"
                )
        return ""


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
