"""Comparing partitions with another owner and exchanging what differs: the asking side.

    roots     of all partitions, one message; back come the middles of those that differ
    middles   a few at a time: their leaves
    pages     of middles that are empty here, where most are: the records themselves (`paging`)
    leaves    those that differ, a few at a time: the hashes of their records, from both disks
    hashes    only here: the state of that record is told; only there: it is asked for by its hash
    records   flow both ways, each acknowledged from disk, only the versions that the other lacks

Every step is one bounded question, and the next waits for its answer and for the admission
controller. Sums that differ over records that do not are a write that came in between; that is
counted, and the leaf's sum is checked against its records, for it could be wrong. (Dynamo, section
4.7, with sums in the place of Merkle's hashes.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Final

from attrs import define

from sadik_hashing import SUM_BYTES
from sadik_machine import SECOND, FailureReason, NodeId
from sadik_vnode.adoption import adopt_all
from sadik_vnode.anti_entropy.answering import are_owners, packed_middles, state_of, told
from sadik_vnode.anti_entropy.engagement import Engagement
from sadik_vnode.anti_entropy.messages import (
    SHORT_BYTES,
    HashesAsked,
    HashesTold,
    LeavesAsked,
    LeavesTold,
    MiddlesTold,
    Reconcile,
    Reconciled,
    RootsTold,
    State,
)
from sadik_vnode.anti_entropy.paging import Paging
from sadik_vnode.anti_entropy.records import Hashes, pack, scan_hashes, unpack
from sadik_vnode.anti_entropy.sending import Sending
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import Status
from sadik_vnode.record import Record
from sadik_vnode.tree import LEAVES_PER_MIDDLE, MIDDLES

__all__ = ["Comparing", "Figures"]

_NOTHING: Final = bytes(SHORT_BYTES)
_ROOTS_MAX: Final = 512
_MIDDLES_MAX: Final = 16
_LEAVES_MAX: Final = 32
_STATES_MAX: Final = 64
_WANTED_MAX: Final = 64
_ANSWER_NS: Final = 10 * SECOND
_RECONCILED_NS: Final = 60 * SECOND
"""For this answer: the other side may be sending records before it gives it."""


@define(slots=True)
class Figures:
    """What a comparison came to. ``partitions`` counts (partition, peer) pairs that were compared;
    ``differences`` records that differed; ``sent`` and ``received`` records that went to and fro.
    """

    partitions: int = 0
    differing: int = 0
    differences: int = 0
    sent: int = 0
    received: int = 0
    is_whole: bool = True
    """Whether all was compared and exchanged: false where the peer failed or refused a part."""

    def add(self, other: Figures) -> None:
        """Count another comparison in."""
        self.partitions += other.partitions
        self.differing += other.differing
        self.differences += other.differences
        self.sent += other.sent
        self.received += other.received
        self.is_whole = self.is_whole and other.is_whole


@define(slots=True)
class _Group:
    """Some leaves of one partition, both sides' hashes of which are known."""

    partition: int
    states: deque[Key]
    wanted: dict[int, dict[bytes, None]]


class Comparing(Conversation):
    """Compares ``partitions``, which both own, with ``peer``; calls ``done`` once."""

    __slots__ = (
        "_asked", "_began", "_done", "_engagement", "_figures", "_group", "_has_engaged", "_here",
        "_leaves", "_left", "_middles", "_missing", "_peer",
    )  # fmt: skip

    is_background = True

    def __init__(
        self,
        desk: Desk,
        engagement: Engagement,
        peer: NodeId,
        partitions: Sequence[int],
        done: Callable[[Figures], None],
    ) -> None:
        super().__init__(desk)
        self._engagement = engagement
        self._has_engaged = False
        self._peer = peer
        self._left = deque(partitions)
        self._done = done
        self._figures = Figures()
        self._asked: object = None
        self._began = 0
        self._missing: deque[range] = deque()
        self._middles: deque[int] = deque()
        self._leaves: deque[int] = deque()
        self._here: list[Hashes] = []
        self._group: _Group | None = None

    def start(self) -> None:
        """Tell the first roots."""
        self._next()

    # Events

    def received(self, sender: NodeId, message: object) -> None:
        """The answer to the one question that is open."""
        asked = self._asked
        if sender != self._peer or asked is None:
            return
        take: Callable[[], None]
        match asked, message:
            case RootsTold(), MiddlesTold(status=status):
                take = partial(self._middles_told, asked, message)
            case LeavesAsked(), LeavesTold(status=status):
                take = partial(self._leaves_told, asked, message)
            case HashesAsked(), HashesTold(status=status):
                take = partial(self._hashes_told, asked, message)
            case Reconcile(), Reconciled(status=status):
                take = partial(self._reconciled, asked, message)
            case _:
                return
        self._asked = None
        self.desk.deadlines.drop((self, "answer"))
        if status != Status.OK:
            self._end(is_whole=False)
            return
        take()

    def unsent(self, to: NodeId, message: object) -> None:
        """The peer's queue is full, or its stream broke: leave it for the next round."""
        self._end(is_whole=False)

    def peer_lost(self, peer: NodeId) -> None:
        """The peer is down."""
        if peer == self._peer:
            self._end(is_whole=False)

    def due(self, what: str) -> None:
        """Go on after a pause; or the peer has not answered for too long."""
        if what == "next":
            self._next()
        else:
            self._end(is_whole=False)

    # Steps

    @property
    def _is_over(self) -> bool:
        return self.id not in self.desk.conversations

    def _next(self) -> None:
        """Ask the next question, of what lies deepest."""
        if self._is_over:
            return
        self._began = self.desk.now
        if self._group is not None:
            self._exchange(self._group)
        elif self._missing:
            self._bring(self._missing.popleft())
        elif self._leaves:
            self._ask_hashes()
        elif self._middles:
            self._ask_leaves()
        elif self._left:
            self._tell_roots()
        else:
            self._end(is_whole=True)

    def _pause(self) -> None:
        """A unit of work is done: let others have their turn."""
        if self._is_over:
            return
        desk = self.desk
        self.wake("next", desk.now + desk.admission.pause_ns(desk.now, desk.now - self._began))

    def _ask(self, question: object) -> None:
        if self._is_over:
            return
        self._asked = question
        patience_ns = _RECONCILED_NS if isinstance(question, Reconcile) else _ANSWER_NS
        self.wake("answer", self.desk.now + patience_ns)
        self.desk.outbox.send(self._peer, question)

    def _failed(self, _reason: FailureReason) -> None:
        self._end(is_whole=False)

    def _tell_roots(self) -> None:
        desk = self.desk
        ring = desk.placement.ring
        assert ring is not None, "who compares knows a ring"
        tree = desk.replica.tree
        roots: list[tuple[int, int, bytes]] = []
        while self._left and len(roots) < _ROOTS_MAX:
            partition = self._left.popleft()
            epoch = desk.placement.register(partition).epoch
            if are_owners(desk, partition, epoch, self._peer):
                roots.append((partition, epoch, pack(tree.root(partition, ring.partitions))))
        desk.counters.anti_entropy_bytes += SUM_BYTES * len(roots)
        self._ask(RootsTold(self.id, tuple(roots)))

    def _middles_told(self, asked: RootsTold, message: MiddlesTold) -> None:
        desk = self.desk
        adopt_all(desk, message.newer, [partition for partition, _, _ in asked.roots])
        refused = len([p for p, _, _ in asked.roots if p in message.refused])
        desk.counters.anti_entropy_refused += refused
        self._figures.is_whole = self._figures.is_whole and not refused
        self._figures.partitions += len(asked.roots) - refused
        partitions = {partition: None for partition, _, _ in asked.roots}
        for partition, theirs in message.differing:
            if partition in partitions:
                self._differ(partition, theirs)
        self._has_engaged = self._has_engaged or bool(message.differing)
        if self._middles and not self._engage():
            self._end(is_whole=False)
        elif self._middles:
            self._pause()
        else:
            self._next()

    def _engage(self) -> bool:
        """Have no business with any other replica while records are exchanged with this one."""
        return self._engagement.engage(self._peer, self.desk.now, asks=False)

    def _differ(self, partition: int, theirs: bytes) -> None:
        mine = packed_middles(self.desk, partition)
        if len(mine) != len(theirs):
            self.desk.counters.malformed_messages += 1
            self._figures.is_whole = False
            return
        self._figures.differing += 1
        first = partition * (len(mine) // SHORT_BYTES)
        pairs = list(enumerate(zip(unpack(mine), unpack(theirs), strict=True), first))
        self._middles += [middle for middle, (here, there) in pairs if here != there]
        full = sum(there != _NOTHING for _, (_, there) in pairs)
        lacking = [middle for middle, (here, there) in pairs if here == _NOTHING != there]
        # A sum that is wrong, or a record missed, is no reason to be sent what is here.
        if 2 * len(lacking) > full:
            empty = {middle for middle, (here, _) in pairs if here == _NOTHING}
            self._missing += _ranges(lacking, empty)

    def _bring(self, leaves: range) -> None:
        """Get the records of these leaves; what is left out is compared afterwards."""

        def brought(count: int, is_whole: bool) -> None:
            self._figures.received += count
            self._figures.differences += count
            self.desk.counters.anti_entropy_differences += count
            if is_whole:
                self._next()
            else:
                self._end(is_whole=False)

        self._engage()
        Paging(self.desk, self._peer, self._partition(leaves.start), leaves, brought).start()

    def _ask_leaves(self) -> None:
        partition = self._partition(self._middles[0] * LEAVES_PER_MIDDLE)
        middles = self._take(self._middles, LEAVES_PER_MIDDLE, partition, _MIDDLES_MAX)
        epoch = self.desk.placement.register(partition).epoch
        self._ask(LeavesAsked(self.id, partition, epoch, tuple(middles)))

    def _leaves_told(self, asked: LeavesAsked, message: LeavesTold) -> None:
        leaves = [
            m * LEAVES_PER_MIDDLE + n for m in asked.middles for n in range(LEAVES_PER_MIDDLE)
        ]
        theirs = unpack(message.leaves)
        if len(theirs) != len(leaves):
            self.desk.counters.malformed_messages += 1
            self._end(is_whole=False)
            return

        def compare(sums: list[int]) -> None:
            pairs = zip(leaves, map(pack, sums), theirs, strict=True)
            self._leaves += [leaf for leaf, one, other in pairs if one != other]
            self._pause()

        self.desk.replica.tree.read(leaves, compare, self._failed)

    def _ask_hashes(self) -> None:
        partition = self._partition(self._leaves[0])
        leaves = self._take(self._leaves, 1, partition, _LEAVES_MAX)
        epoch = self.desk.placement.register(partition).epoch
        self._ask(HashesAsked(self.id, partition, epoch, tuple(leaves)))

    def _hashes_told(self, asked: HashesAsked, message: HashesTold) -> None:
        count = min(len(message.hashes), len(asked.leaves))
        if not count:
            self._end(is_whole=False)
            return
        self._leaves.extendleft(reversed(asked.leaves[count:]))
        self._here = []
        leaves = asked.leaves[:count]

        def scanned(hashes: Hashes) -> None:
            self._here.append(hashes)
            scan()

        def scan() -> None:
            if len(self._here) < count:
                scan_hashes(self.desk, leaves[len(self._here)], scanned, self._failed)
            else:
                self._compare(asked.partition, leaves, message.hashes)

        scan()

    def _compare(self, partition: int, leaves: Sequence[int], told_hashes: Sequence[bytes]) -> None:
        """Both sides' hashes of some leaves are there."""
        group = _Group(partition, deque(), {})
        for leaf, here, packed in zip(leaves, self._here, told_hashes, strict=False):
            there = dict.fromkeys(unpack(packed))
            only_here = [key for short, key in here.items() if short not in there]
            only_there = {short: None for short in there if short not in here}
            group.states += only_here
            if only_there:
                group.wanted[leaf] = only_there
            if not only_here and not only_there:
                self.desk.counters.anti_entropy_races += 1
                self.desk.replica.tree.on_broken(leaf)
        self._here = []
        if group.states or group.wanted:
            self._group = group
        self._pause()

    def _exchange(self, group: _Group) -> None:
        """Tell some states, or, when all are told, ask for some records by their hashes."""
        if group.states:
            count = min(len(group.states), _STATES_MAX)
            keys = [group.states.popleft() for _ in range(count)]
            self.desk.replica.read_many(
                keys, lambda records: self._tell_states(group, keys, records), self._failed
            )
            return
        wanted: list[tuple[int, bytes]] = []
        room = _WANTED_MAX
        while room and group.wanted:
            leaf, hashes = next(iter(group.wanted.items()))
            some = list(hashes)[:room]
            room -= len(some)
            wanted.append((leaf, b"".join(some)))
            for short in some:
                del hashes[short]
            if not hashes:
                del group.wanted[leaf]
        if not wanted:
            self._group = None
            self._next()
            return
        self._engage()
        self._figures.differences += _WANTED_MAX - room
        self.desk.counters.anti_entropy_differences += _WANTED_MAX - room
        epoch = self.desk.placement.register(group.partition).epoch
        self._ask(Reconcile(self.id, group.partition, epoch, (), tuple(wanted)))

    def _tell_states(self, group: _Group, keys: list[Key], records: list[Record]) -> None:
        states: list[State] = [state_of(*pair) for pair in zip(keys, records, strict=True)]
        self._figures.differences += len(states)
        self.desk.counters.anti_entropy_differences += len(states)
        epoch = self.desk.placement.register(group.partition).epoch
        self._ask(Reconcile(self.id, group.partition, epoch, tuple(states), ()))

    def _reconciled(self, asked: Reconcile, message: Reconciled) -> None:
        group = self._group
        assert group is not None, "there is a group while its records are exchanged"
        self._figures.received += message.sent
        for short in unpack(message.seen):
            for leaf, hashes in list(group.wanted.items()):
                if hashes.pop(short, b"") is None and not hashes:
                    del group.wanted[leaf]
        try:
            lacks = told(message.lacking)
        except ValueError:
            self.desk.counters.malformed_messages += 1
            self._end(is_whole=False)
            return
        asked_for = {(bucket, key): None for bucket, key, _, _ in asked.states}
        lacks = [lack for lack in lacks if (lack[0].bucket, lack[0].key) in asked_for]

        def sent(count: int, is_whole: bool) -> None:
            self._figures.sent += count
            if is_whole:
                self._pause()
            else:
                self._end(is_whole=False)

        if lacks:
            Sending(self.desk, self._peer, lacks, sent).start()
        else:
            self._pause()

    def _partition(self, leaf: int) -> int:
        ring = self.desk.placement.ring
        assert ring is not None, "who compares knows a ring"
        return leaf // (MIDDLES * LEAVES_PER_MIDDLE // ring.partitions)

    def _take(self, queue: deque[int], width: int, partition: int, limit: int) -> list[int]:
        """Take from the front what is of one partition; each item is ``width`` leaves wide."""
        taken: list[int] = []
        while queue and len(taken) < limit and self._partition(queue[0] * width) == partition:
            taken.append(queue.popleft())
        return taken

    def _end(self, *, is_whole: bool) -> None:
        if self._is_over:
            return
        self._asked = None
        self._figures.is_whole = self._figures.is_whole and is_whole
        self.close("answer", "next")
        if self._has_engaged:  # the peer, at least
            self._engagement.release(self._peer, asks=False)
            self.desk.outbox.send(self._peer, RootsTold(0, ()))
        self._done(self._figures)


def _ranges(lacking: Sequence[int], empty: Collection[int]) -> Iterator[range]:
    """The leaves of the middles that are ``lacking``, in as few ranges as can be made of middles
    that are ``empty`` here.
    """
    start = stop = -1
    for middle in lacking:
        if start >= 0 and all(between in empty for between in range(stop, middle)):
            stop = middle + 1
            continue
        if start >= 0:
            yield range(start * LEAVES_PER_MIDDLE, stop * LEAVES_PER_MIDDLE)
        start, stop = middle, middle + 1
    if start >= 0:
        yield range(start * LEAVES_PER_MIDDLE, stop * LEAVES_PER_MIDDLE)
