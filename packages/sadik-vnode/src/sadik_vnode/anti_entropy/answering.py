"""The answering side of anti-entropy: nothing is kept here between two questions.

Sums are told from disk: a write that is under way is in none of them. A question about a partition
whose register this node knows by another epoch, or that one of both does not own, is refused; a
newer register comes with the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define

from sadik_causality import Container, Context
from sadik_machine import FailureReason, NodeId
from sadik_members import Phase
from sadik_vnode.adoption import newer_of
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
    RecordsAsked,
    RootsTold,
    State,
)
from sadik_vnode.anti_entropy.paging import TellingRecords, refused
from sadik_vnode.anti_entropy.records import (
    Hashes,
    pack,
    scan_hashes,
    short_hash,
    unpack,
)
from sadik_vnode.anti_entropy.sending import Lack, Sending
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import LEAVES, Key, is_name
from sadik_vnode.messages import Newer, Status
from sadik_vnode.record import Record
from sadik_vnode.tree import LEAVES_PER_MIDDLE, MIDDLES

__all__ = ["Answering", "are_owners", "packed_middles", "state_of", "told"]

_PARTITIONS_MAX: Final = 4096
_MIDDLES_MAX: Final = 64
_LEAVES_MAX: Final = 64
_STATES_MAX: Final = 256
_HASHES_BYTES_MAX: Final = 64 * 1024


def are_owners(desk: Desk, partition: int, epoch: int, peer: NodeId) -> bool:
    """Whether this node knows the partition by this epoch, and both it and ``peer`` own it."""
    ring = desk.placement.ring
    if ring is None or not 0 <= partition < ring.partitions:
        return False
    register = ring.registers[partition]
    return register.epoch == epoch and desk.self_id in register.owners and peer in register.owners


def fills(desk: Desk, partition: int, peer: NodeId) -> bool:
    """Whether ``peer`` is being brought this partition: from one giver each, so it need not wait
    for its turn.
    """
    register = desk.placement.register(partition)
    return register.phase is Phase.WRITE_BOTH and peer in register.receivers


def packed_middles(desk: Desk, partition: int) -> bytes:
    """All middles of a partition, in order."""
    assert desk.placement.ring is not None, "who is asked for a partition knows a ring"
    share = MIDDLES // desk.placement.ring.partitions
    tree = desk.replica.tree
    return b"".join(map(pack, tree.middles(partition * share, (partition + 1) * share)))


def state_of(key: Key, record: Record) -> State:
    """What a record knows, without its versions."""
    container = record.container
    return key.bucket, key.key, container.context.to_plain(), tuple(container.live_dots())


def told(states: Sequence[State]) -> list[Lack]:
    """The keys and what is known of them in received states; ValueError where they are none."""
    found: list[Lack] = []
    for bucket, name, context, dots in states:
        if not is_name(bucket, name):
            raise ValueError("not a name")
        found.append(
            (Key(bucket, name), Container.checked(dict.fromkeys(dots), Context.from_plain(context)))
        )
    return found


class Answering:
    """Answers what other owners ask."""

    def __init__(self, desk: Desk, engagement: Engagement) -> None:
        self._desk = desk
        self._engagement = engagement

    def roots(self, sender: NodeId, message: RootsTold) -> None:
        """Compare roots; tell the middles where they differ."""
        desk = self._desk
        ring, tree = desk.placement.ring, desk.replica.tree
        if not message.roots:
            self._engagement.release(sender, asks=True)
            return
        if ring is None or not tree.is_known or desk.generations.is_behind:
            desk.outbox.send(sender, MiddlesTold(message.request, Status.NOT_READY, (), (), ()))
            return
        differing: list[tuple[int, bytes]] = []
        refused: list[int] = []
        newer: list[Newer] = []
        for partition, epoch, root in message.roots[:_PARTITIONS_MAX]:
            if not are_owners(desk, partition, epoch, sender):
                refused.append(partition)
                if 0 <= partition < ring.partitions and ring.registers[partition].epoch > epoch:
                    newer.append((partition, *newer_of(desk, partition)))
            elif pack(tree.root(partition, ring.partitions)) != root:
                differing.append((partition, packed_middles(desk, partition)))
        is_filling = all(fills(desk, partition, sender) for partition, _ in differing)
        if not is_filling and not self._engagement.engage(sender, desk.now, asks=True):
            desk.outbox.send(sender, MiddlesTold(message.request, Status.NOT_READY, (), (), ()))
            return
        desk.counters.anti_entropy_bytes += sum(len(packed) for _, packed in differing)
        answer = MiddlesTold(
            message.request, Status.OK, tuple(differing), tuple(refused), tuple(newer)
        )
        desk.outbox.send(sender, answer)

    def leaves(self, sender: NodeId, message: LeavesAsked) -> None:
        """Tell the leaves of some middles."""
        desk = self._desk

        def tell(status: Status, packed: bytes = b"") -> None:
            desk.counters.anti_entropy_bytes += len(packed)
            desk.outbox.send(sender, LeavesTold(message.request, status, packed))

        middles = message.middles[:_MIDDLES_MAX]
        status = self._refusal(sender, message, [m * LEAVES_PER_MIDDLE for m in middles])
        if status is not None:
            tell(status)
            return
        leaves = [m * LEAVES_PER_MIDDLE + n for m in middles for n in range(LEAVES_PER_MIDDLE)]
        desk.replica.tree.read(
            leaves,
            lambda sums: tell(Status.OK, b"".join(map(pack, sums))),
            lambda _: tell(Status.FAILED),
        )

    def hashes(self, sender: NodeId, message: HashesAsked) -> None:
        """Tell the hashes of the records in some leaves, as many as fit a message."""
        desk = self._desk
        leaves = message.leaves[:_LEAVES_MAX]
        found: list[bytes] = []

        def tell(status: Status) -> None:
            desk.counters.anti_entropy_bytes += sum(map(len, found))
            hashes = tuple(found) if status is Status.OK else ()
            desk.outbox.send(sender, HashesTold(message.request, status, hashes))

        def scanned(hashes: Hashes) -> None:
            found.append(b"".join(sorted(hashes)))
            if len(found) == len(leaves) or sum(map(len, found)) > _HASHES_BYTES_MAX:
                tell(Status.OK)
            else:
                scan()

        def scan() -> None:
            scan_hashes(desk, leaves[len(found)], scanned, lambda _: tell(Status.FAILED))

        status = self._refusal(sender, message, leaves)
        if status is not None:
            tell(status)
        else:
            scan()

    def reconcile(self, sender: NodeId, message: Reconcile) -> None:
        """Send what the sender lacks; tell what this node lacks."""
        desk = self._desk
        try:
            states = told(message.states[:_STATES_MAX])
        except ValueError:
            desk.counters.malformed_messages += 1
            states = []
        message.wanted = message.wanted[:_LEAVES_MAX]
        leaves = [leaf for leaf, _ in message.wanted] + [key.leaf for key, _ in states]
        status = self._refusal(sender, message, leaves)
        if status is not None:
            desk.outbox.send(sender, Reconciled(message.request, status, 0, b"", ()))
            return
        _Reconciling(desk, sender, message, states).start()

    def records(self, sender: NodeId, message: RecordsAsked) -> None:
        """Send a page of rows."""
        leaves = [message.first_leaf, message.stop_leaf - 1]
        status = self._refusal(sender, message, leaves)
        if status is not None:
            self._desk.outbox.send(sender, refused(message, status))
        else:
            TellingRecords(self._desk, sender, message).start()

    def _refusal(
        self,
        sender: NodeId,
        message: LeavesAsked | HashesAsked | Reconcile | RecordsAsked,
        leaves: Sequence[int],
    ) -> Status | None:
        """Why this is not answered, or None. ``leaves`` must all be of the partition."""
        desk = self._desk
        ring = desk.placement.ring
        if ring is None or not desk.replica.tree.is_known or desk.generations.is_behind:
            return Status.NOT_READY
        if not are_owners(desk, message.partition, message.epoch, sender):
            return Status.NEWER_EPOCH
        if not fills(desk, message.partition, sender) and not self._engagement.engage(
            sender, desk.now, asks=True
        ):
            return Status.NOT_READY
        share = LEAVES // ring.partitions
        if not leaves or any(leaf // share != message.partition for leaf in leaves):
            desk.counters.malformed_messages += 1
            return Status.FAILED
        return None


@define(slots=True, eq=False)
class _Reconciling:
    """One `Reconcile` at work."""

    _desk: Desk
    _peer: NodeId
    _message: Reconcile
    _states: list[Lack]

    def start(self) -> None:
        keys = [key for key, _ in self._states]
        if keys:
            self._desk.replica.read_many(keys, self._compare, self._failed)
        else:
            self._compare([])

    def _compare(self, records: list[Record]) -> None:
        lacks: list[Lack] = []
        lacking: list[State] = []
        seen: list[bytes] = []
        for (key, theirs), record in zip(self._states, records, strict=True):
            mine = record.container
            if mine.versions:
                seen.append(short_hash(key, record))
            if mine.same_live(theirs):
                continue  # it was brought here since
            if mine.missing_in(theirs) is not None:
                lacks.append((key, theirs))
            if not mine.descends(theirs):
                lacking.append(state_of(key, record))
        self._find(list(self._message.wanted), lacks, lacking, b"".join(seen))

    def _find(
        self, wanted: list[tuple[int, bytes]], lacks: list[Lack], lacking: list[State], seen: bytes
    ) -> None:
        """Look up the records that are wanted by their hashes, leaf after leaf."""
        if not wanted:
            self._send(lacks, lacking, seen)
            return
        leaf, packed = wanted.pop()

        def scanned(hashes: Hashes) -> None:
            known: Container[None] = Container.empty()
            wanted_here = dict.fromkeys(unpack(packed[: _STATES_MAX * SHORT_BYTES]))
            # A record that has changed since goes by another hash: then all of the leaf is sent.
            is_known = all(short in hashes for short in wanted_here)
            for short, key in hashes.items():
                if short in wanted_here or not is_known:
                    lacks.append((key, known))
            self._find(wanted, lacks, lacking, seen)

        scan_hashes(self._desk, leaf, scanned, self._failed)

    def _send(self, lacks: list[Lack], lacking: list[State], seen: bytes) -> None:
        desk, request = self._desk, self._message.request

        def sent(count: int, is_whole: bool) -> None:
            status = Status.OK if is_whole else Status.FAILED
            desk.outbox.send(self._peer, Reconciled(request, status, count, seen, tuple(lacking)))

        if lacks:
            Sending(desk, self._peer, lacks, sent).start()
        else:
            sent(0, True)

    def _failed(self, _reason: FailureReason) -> None:
        self._desk.outbox.send(
            self._peer, Reconciled(self._message.request, Status.FAILED, 0, b"", ())
        )
