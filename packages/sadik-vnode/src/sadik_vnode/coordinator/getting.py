"""A get: a quorum read, the bodies of what is live, the answer; then repair.

Nearly always the owners that are asked first are up, answer soon, and say the same. Then there is
nothing to merge, to repair or to wait for, and a get counts the answers by itself. Whatever else
happens, a `Reading` goes on from what is known so far. Until then the get has done what a reading
would have done, in the same order.

Where this node is an owner and knows its own record, the question to the others bears the sum of
it, and who holds the same says no more than that.

Large bodies do not travel with the replicas' states. They are fetched once each, from
a replica that answered with the version, oneself first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_causality import Container, Context, Dot, TokenError
from sadik_machine import FailureReason, NodeId
from sadik_vnode.coordinator.bodies import Bodies
from sadik_vnode.coordinator.reading import Reading, hedge_after_ns, needs
from sadik_vnode.coordinator.showing import present, shown
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ReplicaRead, ReplicaState, Status
from sadik_vnode.parts import container_from_plain
from sadik_vnode.quorum import BadQuorum, wanted
from sadik_vnode.record import Record
from sadik_vnode.requests import Get, Outcome, Refusal, Refused, Result, Tally, Unavailable
from sadik_vnode.version import Version

__all__ = ["Getting"]

_RETRIES_MAX: Final = 3


class Getting(Conversation):
    """One client's get on the node that it asked. It takes part in the conversation as long as
    all owners that it asked agree, and leaves it to a reading then.
    """

    __slots__ = (
        "_agreed", "_answers", "_asked", "_at_least", "_began", "_deadline", "_done", "_generation",
        "_hedge_at", "_hedges_early", "_is_cancelled", "_left_to", "_order", "_own", "_r",
        "_reading", "_register", "_retries", "_there", "_waiting", "_want", "key", "request",
    )  # fmt: skip

    def __init__(
        self,
        desk: Desk,
        request: Get,
        done: Callable[[Result], None],
        deadline: int | None = None,
    ) -> None:
        """``deadline`` counts where the request came some time ago."""
        # What cannot be read at all opens no conversation: `start` does.
        self.desk = desk
        self.request = request
        self.key = Key.of(request.bucket, request.key)
        self._done = done
        self._deadline = desk.outbox.now + request.timeout_ns if deadline is None else deadline
        self._retries = 0
        self._is_cancelled = False
        self._reading: Reading | None = None
        self._left_to: Reading | None = None
        self._at_least: Context | None = None
        self._there: list[Dot] = []

    def start(self) -> None:
        """Read from a quorum. May answer at once."""
        desk, request = self.desk, self.request
        properties = desk.buckets.get(request.bucket)
        ring = desk.placement.ring
        assert ring is not None, "a node without a ring takes no requests"
        try:
            r = wanted(request.r, properties.r, ring.replicas)
            pr = wanted(request.pr, properties.pr, ring.replicas)
        except BadQuorum as bad_quorum:
            self._done(Refused(Refusal.BAD_QUORUM, str(bad_quorum)))
            return
        if request.at_least is not None:
            assert desk.sealer is not None, "a node without a cluster key takes no requests"
            try:
                self._at_least = desk.sealer.open(request.bucket, request.key, request.at_least)
            except TokenError as error:
                self._done(Refused(Refusal.BAD_CONTEXT, str(error)))
                return
        self._want = r, pr
        if not self._ask_who_may_agree():
            self._reading = reading = self._new_reading()
            reading.start()

    def cancel(self) -> None:
        """The client has gone."""
        self._is_cancelled = True
        if self._reading is not None:
            self._reading.cancel()
        else:
            self.close("due")

    # As long as the owners agree

    def _ask_who_may_agree(self) -> bool:
        """Ask the first owners, if all are up; whether they were asked.

        A session's read may have to ask further, so it is left to a reading from the beginning.
        """
        desk = self.desk
        partition = desk.placement.partition(self.key)
        order = desk.placement.reading_order(partition)
        if order is None or self._at_least is not None:
            return False
        r, pr = needs(self._want, len(order))
        count = max(r, pr)
        if not 0 < count <= len(order):
            return False
        self.id = desk.open(self)
        self._r = r
        self._order = order
        self._register = desk.placement.register(partition)
        self._began = desk.outbox.now
        self._agreed: Container[Version] | None = None
        self._answers: list[tuple[NodeId, Container[Version], int]] = []
        self._asked = order[:count]
        self._waiting = list(self._asked)
        self._own = desk.replica.known(self.key) if desk.self_id in self._asked else None
        self._ask_first()
        own = self._own
        if own is None or count > 1 or not own.is_one_row:
            self._set_alarm()  # else it is answered now
        if own is not None:
            self._read_here(own)
        return True

    def _ask_first(self) -> None:
        desk, key, own = self.desk, self.key, self._own
        question = None
        for node in self._asked:
            if node == desk.self_id:
                self._generation = desk.generations.generation
                if own is None:
                    desk.replica.read(key, self._read_here, self._failed_here)
                continue
            if question is None:
                question = ReplicaRead(
                    self.id, self._register.epoch, key.bucket, key.key, True, self.request.trace,
                    b"" if own is None else own.sum(),
                )  # fmt: skip
            desk.counters.replica_reads += 1
            desk.outbox.send(node, question)

    def _set_alarm(self) -> None:
        """Be woken when it is time to hedge or to end, whichever comes first."""
        desk = self.desk
        self._hedge_at: int | None = None
        self._hedges_early = False
        at = self._deadline
        if len(self._order) > len(self._asked):
            peers = [node for node in self._asked if node != desk.self_id]
            after_ns, self._hedges_early = hedge_after_ns(desk, peers)
            self._hedge_at = hedge_at = self._began + after_ns
            at = min(at, hedge_at)
        self.wake("due", at)

    def received(self, sender: NodeId, message: object) -> None:
        """An owner's state."""
        if type(message) is not ReplicaState or sender not in self._waiting:
            return
        answer: Container[Version] | None = None
        if message.status == Status.SAME and self._own is not None:
            answer = self._own.container
        elif message.status == Status.OK:
            try:
                answer = container_from_plain(message.versions, message.context)
            except ValueError:
                answer = None  # the reading says so
        if answer is None:
            self._leave_to_reading().received(sender, message)
            return
        self.desk.latencies.add(sender, self.desk.outbox.now - self._began)
        self._waiting.remove(sender)
        self._answered(sender, answer, message.generation)

    def unsent(self, to: NodeId, message: object) -> None:
        """The question never left."""
        if to in self._waiting:
            self._leave_to_reading().unsent(to, message)

    def peer_lost(self, peer: NodeId) -> None:
        """One that was asked is not going to answer."""
        if peer in self._waiting:
            self._leave_to_reading().peer_lost(peer)

    def due(self, what: str) -> None:
        """Time to hedge, or to end."""
        is_hedge = self._hedge_at is not None and self._hedge_at < self._deadline
        self._leave_to_reading().due("hedge" if is_hedge else "deadline")

    def _read_here(self, record: Record) -> None:
        if self._left_to is not None:
            self._left_to.read_here(record, self._generation)
        else:
            me = self.desk.self_id
            self._waiting.remove(me)
            self._answered(me, record.container, self._generation)

    def _failed_here(self, reason: FailureReason) -> None:
        (self._left_to or self._leave_to_reading()).failed_here(reason)

    def _answered(self, node: NodeId, answer: Container[Version], generation: int) -> None:
        agreed = self._agreed
        if agreed is None:
            agrees = all(version.body is not None for version in answer.versions.values())
        else:
            # Merging it changes nothing, and it lacks nothing that is live: it needs no repair.
            agrees = answer is agreed or (
                agreed.merge(answer) is agreed and agreed.same_live(answer)
            )
        if not (agrees and self.desk.generations.takes(generation)):
            self._leave_to_reading().answered(node, answer, generation)
            return
        if agreed is None:
            self._agreed = agreed = answer
        self._answers.append((node, answer, generation))
        if not self._waiting:
            self._all_agree(agreed)

    def _all_agree(self, agreed: Container[Version]) -> None:
        """Each that was asked is an owner, and there are as many as R and PR want."""
        self.close("due")
        desk, key = self.desk, self.key
        count = len(self._answers)
        there = list(present(desk, key.bucket, agreed))
        tally = Tally(self._r, count, 0, count, 0)
        self._done(shown(desk, key, agreed, there, tally, latest=self.request.latest))

    # Where they do not, or not in time

    def _leave_to_reading(self) -> Reading:
        """A reading that goes on from here, under the id that those who were asked know."""
        self.desk.deadlines.drop((self, "due"))
        me = self.desk.self_id
        self._reading = self._left_to = reading = self._new_reading(takes_over=self)
        reading.go_on(
            self._register,
            self._order,
            {node: self._began for node in self._waiting if node != me},
            self._answers,
            same=None if self._own is None else self._own.container,
            hedge_at=self._hedge_at,
            hedges_early=self._hedges_early,
        )
        return reading

    def _new_reading(self, takes_over: Conversation | None = None) -> Reading:
        request = self.request
        r, pr = self._want
        return Reading(
            self.desk,
            self.key,
            r,
            pr,
            sloppy=request.sloppy,
            bodies=True,
            deadline=self._deadline,
            done=self._read,
            failed=self._done,
            at_least=self._at_least,
            trace=request.trace,
            takes_over=takes_over,
        )

    def _read(self, reading: Reading) -> None:
        # Told once: while bodies are fetched the clock goes on, and the bucket's rule may change.
        there = present(self.desk, self.key.bucket, reading.merged)
        self._there = list(there)
        lacking = [dot for dot, version in there.items() if version.body is None]
        if not lacking:
            self._answer(reading)
            return

        def fetched(bodies: dict[Dot, bytes]) -> None:
            if self._is_cancelled:
                return
            merged = reading.merged
            versions = {
                dot: Version(v.head, bodies.get(dot, v.body), v.size)
                for dot, v in merged.versions.items()
            }
            reading.answers.merged = Container(versions, merged.context)
            if all(versions[dot].body is not None for dot in lacking):
                self._answer(reading)
            else:
                self._read_again()

        Bodies(self.desk, reading, lacking, self._deadline, self.request.trace, fetched).start()

    def _read_again(self) -> None:
        """A version was replaced between a replica's answer and the fetching of its body."""
        self._retries += 1
        if self._retries > _RETRIES_MAX or self.desk.now >= self._deadline:
            assert self._reading is not None
            self._done(
                Unavailable(
                    Outcome.INDETERMINATE,
                    "the replicas could not send the value in time",
                    self._reading.tally,
                )
            )
            return
        self._reading = self._new_reading()
        self._reading.start()

    def _answer(self, reading: Reading) -> None:
        latest = self.request.latest
        self._done(
            shown(self.desk, self.key, reading.merged, self._there, reading.tally, latest=latest)
        )
        reading.repair()
        reading.keep_dots_only()
