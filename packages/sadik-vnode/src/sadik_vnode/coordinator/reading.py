"""A quorum read: ask enough replicas, hedge, merge, and know who must be brought up to date.

`Answers` is the core as a value: add an answer, enough?, what is merged, who has less. `Reading`
is the conversation around it. It serves gets, the read before a delete, and repairs alike.

R counts distinct owner slots. A fallback stands in for an owner that is believed down; but when it
has nothing, that says little, so its empty answer counts only after every owner has answered,
failed, or is down.

A session's read has to cover what the session has seen. Where the R answers do not, all owner slots
are asked, and then every other node that may be reached, for one of them made the missing dots.
Where every member has answered and none knows them, they were reaped after a delete, and count as
seen: but only after all owners have been asked once more, for what a fallback handed off in between
is with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sadik_causality import Container, Context, Dot
from sadik_machine import FailureReason, NodeId
from sadik_members import Register
from sadik_vnode.adoption import adopt_newer
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ReplicaRead, ReplicaState, Status
from sadik_vnode.parts import container_from_plain, parts_of, replica_write
from sadik_vnode.quorum import ReadTally, Wanted, count_of
from sadik_vnode.record import Record, Rows
from sadik_vnode.requests import Outcome, Tally, Unavailable
from sadik_vnode.version import Version

__all__ = ["Answers", "Reading", "hedge_after_ns", "needs"]

_EPOCH_RETRIES_MAX: Final = 8


def needs(want: tuple[Wanted, Wanted], readers: int) -> tuple[int, int]:
    """The numbers of slots that R and PR are for a partition that so many owners are read of."""
    r, pr = want
    return count_of(r, readers), count_of(pr, readers)


def hedge_after_ns(desk: Desk, peers: Iterable[NodeId]) -> tuple[int, bool]:
    """When to ask one more, if ``peers`` have not answered, and whether that is early."""
    latest_ns = desk.config.hedge_ns
    if not desk.config.hedge_early:
        return latest_ns, False
    after_ns = desk.latencies.hedge_after_ns(peers, latest_ns)
    return after_ns, after_ns < latest_ns


class Answers:
    """What the replicas of one key answered, for one read.

    ``owners`` are the owner slots in order.
    """

    def __init__(self, owners: tuple[NodeId, ...], r: int, pr: int) -> None:
        self.owners = owners
        self.tally = ReadTally(r, pr)
        self.by_node: dict[NodeId, Container[Version]] = {}
        self.generation: int | None = None
        """The least reap generation in which any of it was read."""
        self.merged: Container[Version] = Container.empty()
        self._empty_stand_ins: list[tuple[NodeId, NodeId]] = []

    def add(
        self, slot: NodeId | None, node: NodeId, answer: Container[Version], generation: int
    ) -> None:
        """``node`` answers for owner ``slot``, or for none: then it does not count."""
        if self.generation is None or generation < self.generation:
            self.generation = generation
        self.by_node[node] = answer
        self.merged = _with_bodies(self.merged.merge(answer), answer)
        if slot is None:
            return
        if node != slot and not answer:
            self._empty_stand_ins.append((slot, node))
        else:
            self.tally.add(slot, node)

    @property
    def waits_for_owners(self) -> bool:
        """Whether a fallback's empty answer waits for what the owners say."""
        return bool(self._empty_stand_ins)

    def owners_are_settled(self) -> None:
        """No owner will answer any more: the fallbacks' empty answers count now."""
        for slot, node in self._empty_stand_ins:
            self.tally.add(slot, node)
        self._empty_stand_ins.clear()

    def owners_behind(self) -> list[tuple[NodeId, Container[Version]]]:
        """The owners that answered with less than all answers together, and what each lacks."""
        behind = []
        for node, answer in self.by_node.items():
            if node in self.owners and not self.merged.same_live(answer):
                missing = self.merged.missing_in(answer)
                # Where nothing is, there is nothing to delete: it may just have been reaped.
                if missing is not None and (answer or not _is_deleted(missing)):
                    behind.append((node, missing))
        return behind

    def drop_bodies(self) -> None:
        """Keep what comparing needs: dots and contexts."""
        self.merged = _without_bodies(self.merged)
        self.by_node = {node: _without_bodies(answer) for node, answer in self.by_node.items()}


class Reading(Conversation):
    """One quorum read.

    Calls ``done`` once with itself when enough have answered, or ``failed`` once with
    why not. After ``done`` it lingers for the answers of all that it asked.
    """

    __slots__ = (
        "_asked", "_asked_at", "_at_least", "_bodies", "_candidates", "_deadline", "_done",
        "_epoch", "_failed", "_finished", "_hedges_early", "_is_second_look", "_left", "_retries",
        "_same", "_sloppy", "_trace", "_want", "answers", "key", "partition",
    )  # fmt: skip

    _asked: dict[NodeId, NodeId | None]
    _asked_at: dict[NodeId, int]

    def __init__(
        self,
        desk: Desk,
        key: Key,
        r: Wanted,
        pr: Wanted,
        *,
        sloppy: bool,
        bodies: bool,
        deadline: int,
        done: Callable[[Reading], None],
        failed: Callable[[Unavailable], None],
        at_least: Context | None = None,
        trace: str = "",
        takes_over: Conversation | None = None,
    ) -> None:
        super().__init__(desk, takes_over)
        self.key = key
        self.partition = desk.placement.partition(key)
        self._want = (r, pr)
        self._sloppy = sloppy
        self._bodies = bodies
        self._deadline = deadline
        self._done = done
        self._failed = failed
        self._at_least = at_least
        self._trace = trace
        self._hedges_early = False
        self._finished = False
        self._retries = 0
        self._is_second_look = False
        self._same: Container[Version] | None = None
        self._begin(desk.placement.register(self.partition))

    def start(self) -> None:
        """Ask the first replicas. May call ``failed`` at once."""
        r, pr = self.answers.tally.r, self.answers.tally.pr
        placement = self.desk.placement
        available = [
            (slot, node)
            for slot, node in placement.stand_ins(self.partition, sloppy=self._sloppy, reads=True)
            if node is not None
        ]
        primaries = sum(slot == node for slot, node in available)
        if len(available) < r or primaries < pr:
            have = f"{len(available)} of {len(self.answers.owners)} replicas are reachable"
            self._fail(Outcome.NOT_APPLIED, f"{have}; R={r}, PR={pr}")
            return
        self._candidates = self._in_order(available)
        self.wake("deadline", self._deadline)
        for _ in range(max(r, pr)):
            self._ask_next()
        if self._candidates:
            after_ns, self._hedges_early = hedge_after_ns(self.desk, self._asked_at)
            self.wake("hedge", self.desk.now + after_ns)

    def go_on(
        self,
        register: Register,
        order: Sequence[NodeId],
        asked_at: dict[NodeId, int],
        answers: Sequence[tuple[NodeId, Container[Version], int]],
        *,
        same: Container[Version] | None,
        hedge_at: int | None,
        hedges_early: bool,
    ) -> None:
        """Go on from what `start` came to, instead of it, under ``register``.

        ``order`` are its readers as they are asked, all of them up then. The first R or PR have
        been asked, and so far ``answers`` came, in this order; who answers that it holds the same
        means ``same``. Where there are others to ask, ``hedge_at`` is when.
        """
        self._begin(register)
        self._same = same
        r, pr = self.answers.tally.r, self.answers.tally.pr
        count = max(r, pr)
        self._asked = {node: node for node in order[:count]}
        self._candidates = [(node, node) for node in order[count:]]
        self._asked_at = asked_at
        for node, answer, generation in answers:
            self.answers.add(node, node, answer, generation)
        self.wake("deadline", self._deadline)
        self._hedges_early = hedges_early
        if hedge_at is not None and hedge_at > self.desk.now:
            self.wake("hedge", hedge_at)

    @property
    def merged(self) -> Container[Version]:
        """All answers together. Bodies may be missing: see `holders_of`."""
        return self.answers.merged

    @property
    def tally(self) -> Tally:
        """Who has answered."""
        return self.answers.tally.value()

    def holders_of(self, dot: Dot) -> list[NodeId]:
        """The nodes that answered with the version of ``dot``, oneself first."""
        holders = [n for n, answer in self.answers.by_node.items() if dot in answer.versions]
        return sorted(holders, key=lambda node: node != self.desk.self_id)

    def repair(self) -> None:
        """Bring the owners that answered with less up to date, out of the client's way."""
        desk = self.desk
        behind = self.answers.owners_behind()
        if not behind:
            return
        timestamp = desk.clock.tick(desk.now)
        generation = self.answers.generation
        assert generation is not None, "who is behind has answered"
        for node, missing in behind:
            if any(version.body is None for version in missing.versions.values()):
                continue  # a body that was not fetched: the next read that needs it repairs
            desk.counters.read_repairs += 1
            if node == desk.self_id:
                desk.replica.merge(self.key, missing, self._rows, (), None, _ignore_failure)
                continue
            for part in parts_of(missing, desk.config.message_bytes_max):
                write = replica_write(
                    self.id, self._epoch, self.key, node, part, timestamp, generation
                )
                desk.outbox.send(node, write)

    def is_recent(self) -> bool:
        """Whether what was read may still be merged into this node's own record."""
        generation = self.answers.generation
        return generation is not None and self.desk.generations.takes(generation)

    def _rows(self) -> Rows | None:
        """No further rows beside a repair of this node, or None where it comes too late."""
        return [] if self.is_recent() else None

    def keep_dots_only(self) -> None:
        """The client has its answer: late replicas are compared by dots, so let the values go."""
        if self._waiting():
            self.answers.drop_bodies()

    def received(self, sender: NodeId, message: object) -> None:
        """A replica's state, or its acknowledgement of a repair, which nobody waits for."""
        if not isinstance(message, ReplicaState) or sender not in self._asked:
            return
        asked_at = self._asked_at.pop(sender, None)
        if asked_at is not None:
            self.desk.latencies.add(sender, self.desk.now - asked_at)
        if message.status == Status.NEWER_EPOCH:
            adopt_newer(self.desk, self.partition, message.newer)
            # Unless this answers what was asked under the register before: then it is asked anew.
            epoch = self.desk.placement.register(self.partition).epoch
            if epoch > self._epoch and not self._finished:
                self._again()
            return
        if message.status == Status.SAME and self._same is not None:
            self.answered(sender, self._same, message.generation)
            return
        if message.status != Status.OK:
            self._lost(sender)
            return
        try:
            answer = container_from_plain(message.versions, message.context)
        except ValueError:
            self.desk.counters.malformed_messages += 1
            self._lost(sender)
            return
        self.answered(sender, answer, message.generation)

    def unsent(self, to: NodeId, message: object) -> None:
        """The question never left: ask somebody else."""
        if isinstance(message, ReplicaRead):
            self._lost(to)

    def peer_lost(self, peer: NodeId) -> None:
        """Ask somebody else instead of waiting."""
        if peer in self._asked:
            self._lost(peer)

    def due(self, what: str) -> None:
        """The deadline of the request, of the hedge, or of lingering."""
        if what == "hedge":
            self.desk.counters.hedged_reads += 1
            if self._hedges_early:
                self._hedges_early = False
                self.desk.latencies.hedged()
            self._ask_next()
            if self._candidates:
                self.wake("hedge", self.desk.now + self.desk.config.hedge_ns)
        elif self._finished:
            self._end()
        elif self.answers.tally.enough:
            self._fail_behind()
        else:
            self._fail(Outcome.INDETERMINATE, "not enough replicas answered in time")

    def cancel(self) -> None:
        """The client has gone."""
        self._finished = True
        self._end()

    def _begin(self, register: Register) -> None:
        self._epoch = register.epoch
        readers = register.readers
        self.answers = Answers(readers, *needs(self._want, len(readers)))
        self._candidates = list[tuple[NodeId, NodeId]]()
        self._asked = {}
        self._asked_at = {}
        self._left: dict[NodeId, None] = {}

    def _again(self) -> None:
        """A newer register was adopted: count afresh."""
        self._retries += 1
        if self._retries > _EPOCH_RETRIES_MAX:
            self._fail(Outcome.NOT_APPLIED, "the ring keeps changing; try again")
            return
        self._begin(self.desk.placement.register(self.partition))
        self.start()

    def _in_order(self, available: list[tuple[NodeId, NodeId]]) -> list[tuple[NodeId, NodeId]]:
        """Oneself first, for it costs nothing; then owners in their order; then fallbacks."""
        me = self.desk.self_id
        return sorted(available, key=lambda pair: (pair[1] != me, pair[0] != pair[1]))

    def _ask_next(self) -> None:
        desk = self.desk
        while self._candidates and not desk.placement.is_routable(self._candidates[0][1]):
            # Suspected since it became a candidate: nobody would tell once more that it is lost.
            slot, node = self._candidates.pop(0)
            self._asked[node] = slot
            self._left[node] = None
            self._replace(node)
        if not self._candidates:
            return
        slot, node = self._candidates.pop(0)
        self._ask(slot, node)

    def _ask(self, slot: NodeId | None, node: NodeId) -> None:
        desk, key = self.desk, self.key
        self._asked[node] = slot
        if node == desk.self_id:
            generation = desk.generations.generation
            desk.replica.read(
                key, lambda record: self.read_here(record, generation), self.failed_here
            )
            return
        desk.counters.replica_reads += 1
        self._asked_at[node] = desk.now
        desk.outbox.send(
            node, ReplicaRead(self.id, self._epoch, key.bucket, key.key, self._bodies, self._trace)
        )

    def read_here(self, record: Record, generation: int) -> None:
        """This node's own record, whose load was asked for in ``generation``."""
        me = self.desk.self_id
        if me in self._asked:  # a newer register may have come that does not name this node
            self.answered(me, record.container, generation)

    def failed_here(self, _reason: FailureReason) -> None:
        """This node's own record could not be read."""
        me = self.desk.self_id
        if me in self._asked:
            self._lost(me)

    def answered(self, node: NodeId, answer: Container[Version], generation: int) -> None:
        """What a node that was asked has."""
        if node in self.answers.by_node or node in self._left:
            return
        if not self.desk.generations.takes(generation):
            self.desk.counters.old_generations += 1
            self._lost(node)
            return
        if self._finished:
            self._answered_late(node, answer)
            return
        self.answers.add(self._asked[node], node, answer, generation)
        self._check()

    def _answered_late(self, node: NodeId, answer: Container[Version]) -> None:
        """After the client's answer: note only whether this replica agrees with it."""
        self.answers.by_node[node] = Container.empty()
        if not self.merged.same_live(answer) and node in self.answers.owners:
            self.desk.repairs.soon(self.key)
        self._end_if_all_answered()

    def _lost(self, node: NodeId) -> None:
        """``node`` will not answer, or not in time."""
        if node in self.answers.by_node or node in self._left:
            return
        self._left[node] = None
        self.desk.counters.replica_reads_failed += 1
        if self._finished:
            self._end_if_all_answered()
            return
        self._replace(node)
        self._ask_next()
        self._check()

    def _replace(self, node: NodeId) -> None:
        """A fallback takes the place of an owner that turned out to be down."""
        slot = self._asked[node]
        if not self._sloppy or slot is None:
            return
        known = {*self._asked, *(candidate for _, candidate in self._candidates)}
        for fallback in self.desk.placement.live_fallbacks(self.partition):
            if fallback not in known:
                self._candidates.append((slot, fallback))
                return

    def _check(self) -> None:
        answers = self.answers
        if not answers.tally.enough and not self._waiting():
            if self._candidates:
                self._ask_next()
                return
            answers.owners_are_settled()
            if not answers.tally.enough:
                self._fail(
                    Outcome.NOT_APPLIED, "too few replicas could answer; the others are down"
                )
                return
        elif answers.waits_for_owners and not answers.tally.enough:
            while self._candidates:
                self._ask_next()
        if answers.tally.enough:
            if self._is_behind():
                if self._is_second_look:
                    self._nobody_knows()
                else:
                    self._ask_everybody()
                return
            self._finished = True
            if self._waiting():
                self.desk.deadlines.drop((self, "hedge"))
                self.wake("deadline", self.desk.now + self.desk.config.linger_ns)
            else:
                self._end()
            self._let_go()(self)

    def _is_behind(self) -> bool:
        """Whether the session that reads has seen more than what was answered."""
        at_least = self._at_least
        return at_least is not None and not self.merged.context.dominates(at_least)

    def _ask_everybody(self) -> None:
        while self._candidates:
            self._ask_next()
        if self._waiting():
            return
        # All owner slots have spoken. Whoever made the missing dots is an owner or a fallback.
        placement = self.desk.placement
        owners = placement.register(self.partition).owners
        nodes = (*owners, *placement.fallbacks(self.partition))
        further = [n for n in nodes if n not in self._asked and placement.is_routable(n)]
        if not further:
            self._nobody_knows()
            return
        for node in further:
            self._ask(None, node)

    def _nobody_knows(self) -> None:
        """All who can be reached have spoken: what is missing was reaped, or is out of reach."""
        members = self.desk.placement.members
        is_everybody = all(
            node in self.answers.by_node or not self.desk.placement.is_member(node)
            for node in members
        )
        if self._is_second_look:
            self._at_least = None
            self._check()
        elif is_everybody:
            self._is_second_look = True
            self._sloppy = False
            self._want = (len(self.answers.owners), 0)
            self._begin(self.desk.placement.register(self.partition))
            self.start()
        else:
            self._fail_behind()

    def _fail_behind(self) -> None:
        self._fail(
            Outcome.INDETERMINATE,
            "no replica that can be reached is as new as the context of this read; try again",
        )

    def _waiting(self) -> bool:
        return any(n not in self.answers.by_node and n not in self._left for n in self._asked)

    def _fail(self, outcome: Outcome, detail: str) -> None:
        if self._is_second_look:
            # A session's read found enough replicas, though none as new as it wants.
            outcome = Outcome.INDETERMINATE
        self._finished = True
        tally = self.tally
        self._end()
        failed = self._failed
        self._let_go()
        failed(Unavailable(outcome, detail, tally))

    def _let_go(self) -> Callable[[Reading], None]:
        """What to call when enough have answered. Whoever reads refers to this reading and is
        referred to by it: without the second they need no garbage collector.
        """
        done, self._done, self._failed = self._done, _nothing, _nothing
        return done

    def _end_if_all_answered(self) -> None:
        if not self._waiting():
            self._end()

    def _end(self) -> None:
        self.close("deadline", "hedge")


def _with_bodies(merged: Container[Version], answer: Container[Version]) -> Container[Version]:
    """Take bodies that only ``answer`` has: a version's body may have been left out by others."""
    lacking = [
        dot
        for dot, version in merged.versions.items()
        if version.body is None
        and (other := answer.versions.get(dot)) is not None
        and other.body is not None
    ]
    if not lacking:
        return merged
    versions = {**merged.versions, **{dot: answer.versions[dot] for dot in lacking}}
    return Container(versions, merged.context)


def _is_deleted(container: Container[Version]) -> bool:
    """Whether there is nothing in it but deletes."""
    return all(version.is_deleted for version in container.versions.values())


def _without_bodies(container: Container[Version]) -> Container[Version]:
    versions = {dot: Version(v.head, None, v.size) for dot, v in container.versions.items()}
    return Container(versions, container.context)


def _nothing(_outcome: object) -> None:
    """Told already."""


def _ignore_failure(_reason: FailureReason) -> None:
    """A repair that failed is made up for by the next one."""
