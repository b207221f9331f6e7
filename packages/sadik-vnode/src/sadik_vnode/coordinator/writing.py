"""A write, at its coordinator: make the dot, store it, send it, count, and leave notes.

1. Enough candidates for W, PW and DW must be believed up, else nothing is done and it is said so.
2. The dot is made on the present record and stored; the messages to the other slots ride in the
   store, so nothing leaves this node that a crash could take back.
3. Acknowledgements count by distinct owner slot. A slot that cannot be reached gets a fallback
   while the client waits, and in the end a hint note of our own.
4. The client is answered once, honestly: after the store was issued nothing but a failed store
   permits "not applied". Where the copy of the node that forwarded the write makes the quorum, the
   answer goes with that copy.

The write's context covers what the client's covered, what a blind write replaced, and the new dot.
Where the last writer wins it covers also what is older here than the new version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define

from sadik_causality import EMPTY, Container, Context, ContextTooLarge, Dot
from sadik_machine import MILLISECOND, Effect, FailureReason, NodeId, Send
from sadik_vnode.adoption import adopt_newer
from sadik_vnode.coordinator.sending import Sending
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.etag import etag_of
from sadik_vnode.forwarding import early_answer
from sadik_vnode.hints import NoteCheck
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ReplicaAck, ReplicaWrite, Status
from sadik_vnode.quorum import JointTally, Wanted
from sadik_vnode.record import Record, Rows
from sadik_vnode.requests import Outcome, Refusal, Refused, Result, Tally, Unavailable, Written
from sadik_vnode.version import PlainVersion, Version, tombstone, version_of
from sadik_vnode.view import LWW, counting, timestamp_of

__all__ = ["Intent", "Writing", "precondition_failed"]

_EPOCH_RETRIES_MAX: Final = 8


@define(slots=True)
class Intent:
    """What to write. ``value`` None is a delete.

    ``seen`` is the context that the client showed, or None for a blind write, which replaces what
    the coordinator holds (``replaces_held``) or adds a sibling. With ``last_wins`` either replaces
    what the coordinator holds of an earlier timestamp. ``expected`` covers what a condition was
    judged by: a version beyond it means that it was judged too early.
    """

    value: bytes | None
    content_type: str | None
    meta: tuple[tuple[str, str], ...]
    seen: Context | None
    replaces_held: bool = False
    last_wins: bool = False
    ttl_s: int | None = None
    expected: Context | None = None


def precondition_failed(*, exists: bool) -> Refused:
    """The condition of a write does not hold."""
    what = "it has changed, or never was what it names" if exists else "there is no such object"
    return Refused(Refusal.PRECONDITION_FAILED, f"the condition of the write does not hold: {what}")


class Writing(Conversation):
    """One write at its coordinator; calls ``done`` once."""

    __slots__ = (
        "_answered", "_began", "_check", "_copies", "_deadline", "_done", "_early", "_etag",
        "_expires_ms", "_forwarded", "_generation", "_intent", "_is_stored", "_issued", "_lists",
        "_noted", "_pending", "_retries", "_sending", "_sloppy", "_tally", "_timestamp", "_trace",
        "_tried", "_want", "epoch", "key", "partition", "slots", "token",
    )  # fmt: skip

    _tally: JointTally

    def __init__(
        self,
        desk: Desk,
        key: Key,
        intent: Intent,
        want: tuple[Wanted, Wanted, Wanted],
        *,
        sloppy: bool,
        deadline: int,
        done: Callable[[Result], None],
        trace: str = "",
        forwarded: tuple[NodeId, int] | None = None,
    ) -> None:
        """``forwarded`` is by whom and under which id it was, if it was."""
        super().__init__(desk)
        self.key = key
        self._forwarded = forwarded
        self.partition = desk.placement.partition(key)
        self._intent = intent
        self._want = want
        self._sloppy = sloppy
        self._deadline = deadline
        self._done = done
        self._trace = trace
        self._timestamp = 0
        self._began = 0
        self._copies: dict[NodeId, None] = {}
        self._expires_ms: int | None = None
        self._generation = 0
        self._pending: dict[NodeId, NodeId] = {}
        self._tried: dict[NodeId, None] = {}
        self._noted: list[NodeId] = []
        self._sending: Sending | None = None
        self._early: tuple[object, ...] = ()
        """The answer that the copy of the node that forwarded the write brings along."""
        self._issued = False
        self._is_stored = False
        self._answered = False
        self._retries = 0
        self.token = ""
        desk.request_bytes += len(intent.value or b"")

    def start(self) -> None:
        """Check that a quorum can be had; then make and store the dot. May answer at once."""
        self._place()
        me = self.desk.self_id
        lacks = self._tally.lacks(self.slots)
        if not lacks and not _asks(self.slots, me):
            lacks = "this node is no owner of the key any more, and stands in for none"
        if not lacks and not self.desk.config.durable and self._want[2]:
            others = [(slot, node) for slot, node in self.slots if node != me]
            if JointTally(self._lists, (0, 0, self._want[2])).lacks(others):
                lacks = f"DW={self._want[2]}, but this node's acknowledgement is not durable"
        if lacks:
            self._answer_unavailable(Outcome.NOT_APPLIED, lacks)
            self._finish()
            return
        self.wake("deadline", self._deadline)
        self._noted = [s for s, node in self.slots if node is None or (node == me and s != me)]
        self.desk.hints.check(self._noted, self.key, self._update)

    def received(self, sender: NodeId, message: object) -> None:
        """A replica's acknowledgement."""
        if not isinstance(message, ReplicaAck):
            return
        slot = NodeId(message.slot)
        if self._pending.get(slot) != sender:
            return
        if message.status == Status.OK:
            del self._pending[slot]
            self._tally.add(slot, sender, durable=message.durable)
            self._copied(slot, sender)
            if message.answered and not self._answered and self._has_forwarded(sender):
                self._let_go()
            self._check_tally()
        elif message.status == Status.NEWER_EPOCH:
            self._newer(slot, message.newer)
        else:
            self.desk.generations.heard(message.generation)
            self._slot_failed(slot)

    def unsent(self, to: NodeId, message: object) -> None:
        """The version never left for this slot."""
        if isinstance(message, ReplicaWrite):
            self._node_failed(to)

    def peer_lost(self, peer: NodeId) -> None:
        """Whoever has not acknowledged by now is not waited for."""
        self._node_failed(peer)

    def due(self, what: str) -> None:
        """Time is up: answer what is known and leave notes for the rest."""
        self._give_up("not enough replicas acknowledged in time")

    # Placing

    def _place(self) -> None:
        placement = self.desk.placement
        me = self.desk.self_id
        register = placement.register(self.partition)
        self.epoch = register.epoch
        self._lists = register.lists
        self._tally = JointTally(self._lists, self._want)
        slots = placement.stand_ins(self.partition, sloppy=self._sloppy)
        if self._sloppy and not self._is_stored and not _asks(slots, me):
            # A fallback that coordinates stands in for the first owner that is down.
            slots = list(slots)
            for index, (slot, node) in enumerate(slots):
                if node != slot:
                    slots[index] = (slot, me)
                    break
        self.slots = slots

    # The local store

    def _update(self, check: NoteCheck) -> None:
        self._check = check
        self.desk.replica.update(self.key, self._make, self._stored, self._store_failed)

    def _make(self, before: Record) -> Change | None:
        """Make the dot on the present record: the one place where dots come from."""
        if self._answered:
            self._finish()  # the deadline came while the record was being loaded
            return None
        if self.desk.generations.is_behind:
            self._give_up("this node's store was rolled back, and has to catch up first")
            self._finish()
            return None
        desk, intent = self.desk, self._intent
        held = before.container
        if intent.last_wins:
            for version in held.versions.values():
                desk.clock.adopt(desk.now, timestamp_of(version))
        version = self._version()
        seen = (intent.seen or EMPTY).with_dots(self._replaced(held))
        if before.lost_tail(seen):
            desk.counters.lost_tails += 1
            before = Record(before.container)
        dot, rows = desk.replica.next_dot(before)
        notes = self._note_rows()
        if notes is None:
            self._refuse_unnoted()
            return None
        refused = self._refusal(held, seen, dot)
        if refused is not None:
            self._answer(refused)
            self._finish()
            return None
        written = held.write(seen, dot, version)
        after = Record.of_write(written, dot)
        self._generation = desk.generations.generation
        self._began = desk.now
        self._sending = Sending(after, version, dot, seen.with_dot(dot))
        conflict = LWW if intent.last_wins else ""
        self._etag = etag_of(counting(written.versions, conflict, desk.wall_ns))
        self._watch(after)
        self._issued = True
        if self._noted:
            desk.hints.written(self._noted, self.key, self._check)
        if self._forwarded is not None:
            self._early = self._early_answer(*self._forwarded)
        return Change(after, rows + notes, self._sends())

    def _replaced(self, held: Container[Version]) -> list[Dot]:
        """The held versions that this write replaces without having been shown them."""
        intent = self._intent
        if intent.last_wins:
            return [
                dot
                for dot, version in held.versions.items()
                if timestamp_of(version) < self._timestamp
            ]
        return held.live_dots() if intent.seen is None and intent.replaces_held else []

    def _note_rows(self) -> Rows | None:
        """Notes for the slots that nobody else serves; None if one that W needs has no room."""
        if not self._noted:
            return []
        desk = self.desk
        rows = desk.hints.rows(self._noted, self.key, self._check)
        if rows is None:
            stands_in = any(n == desk.self_id and s != n for s, n in self.slots)
            desk.hints.dropped(len(self._noted))
            self._noted = []
            return None if stands_in else []
        return rows

    def _refuse_unnoted(self) -> None:
        self._answer_unavailable(
            Outcome.NOT_APPLIED, "this node stands in for an owner but has no room for hints"
        )
        self._finish()

    def _refusal(self, held: Container[Version], seen: Context, dot: Dot) -> Refused | None:
        """Why this write may not add a version here, or None. Sets the token of the answer."""
        config = self.desk.config
        expected = self._intent.expected
        if expected is not None and not expected.covers_all(held.versions):
            return precondition_failed(exists=True)
        kept = [v for live, v in held.versions.items() if not seen.covers(live)]
        if kept and self._intent.value is not None:
            size = sum(v.size for v in kept) + len(self._intent.value)
            properties = self.desk.buckets.get(self.key.bucket)
            value_bytes = properties.value_bytes or config.value_bytes_max
            if len(kept) + 1 > config.siblings_max or size > 16 * value_bytes:
                return Refused(
                    Refusal.TOO_MANY_SIBLINGS,
                    f"the key has {len(kept)} siblings that this write does not replace; read it "
                    "and write with the context of that read to resolve them",
                )
            if len(kept) + 1 > config.siblings_warn:
                self.desk.counters.sibling_warnings += 1
        sealer = self.desk.sealer
        assert sealer is not None, "a node without a cluster key takes no requests"
        try:
            self.token = sealer.seal(self.key.bucket, self.key.key, seen.with_dot(dot))
        except ContextTooLarge:
            return Refused(
                Refusal.TOO_MANY_SIBLINGS,
                "the context has grown too large with writes that were chained without a read; "
                "read the key and write with the context of that read",
            )
        return None

    def _version(self) -> Version:
        intent, desk = self._intent, self.desk
        self._timestamp = timestamp = desk.clock.tick(desk.now)
        if intent.value is None:
            return tombstone(timestamp)
        if intent.ttl_s is not None:
            self._expires_ms = desk.wall_ns // MILLISECOND + intent.ttl_s * 1000
        return version_of(
            intent.value, timestamp, intent.content_type, intent.meta, self._expires_ms
        )

    def _watch(self, after: Record) -> None:
        warn_bytes = self.desk.config.context_warn_bytes
        if after.only is not None and len(after.encode()) <= warn_bytes:
            return  # its context is in its row
        if after.context.encoded_size() > warn_bytes:
            self.desk.counters.context_warnings += 1

    def _sends(self) -> list[Effect]:
        """The messages to all other slots."""
        me = self.desk.self_id
        sends: list[Effect] = []
        for slot, node in self.slots:
            if node is not None and node != me:
                self._pending[slot] = node
                self._tried[node] = None
                sends.append(Send(node, self._message(slot, node)))
        self.desk.counters.replica_writes += len(sends)
        return sends

    def _message(self, slot: NodeId, node: NodeId) -> ReplicaWrite:
        desk, key, sending = self.desk, self.key, self._sending
        assert sending is not None, "values are kept until the client is answered"
        timestamp = desk.clock.tick(desk.now)
        versions: tuple[PlainVersion, ...] = ()
        context: object = None  # with which a node refuses that has not heard of rows after all
        row = b""
        answer: tuple[object, ...] = ()
        takes_rows = slot == node and desk.together.takes_rows(node)
        if takes_rows and sending.is_row:
            row = sending.row
        else:
            versions, context = sending.versions, sending.context
        if takes_rows and self._has_forwarded(node):
            answer = self._early
        return ReplicaWrite(
            self.id, self.epoch, key.bucket, key.key, slot, versions, context, timestamp,
            self._trace, self._intent.value is not None, self._generation, row, answer,
        )  # fmt: skip

    def _has_forwarded(self, node: NodeId) -> bool:
        return self._forwarded is not None and self._forwarded[0] == node

    def _early_answer(self, forwarder: NodeId, request: int) -> tuple[object, ...]:
        """What ``forwarder`` may tell its client when it has stored its copy: nothing, unless that
        and what is stored here are enough.
        """
        desk, me = self.desk, self.desk.self_id
        durable = desk.config.durable
        tally = JointTally(self._lists, self._want)
        for slot, node in self.slots:
            if node == me or (node == forwarder and slot == node):
                tally.add(slot, me if node == me else forwarder, durable=durable)
        if (
            not tally.enough
            # What is stored after a newer register was adopted does not count under the older one.
            or desk.placement.register(self.partition).epoch != self.epoch
        ):
            return ()
        return early_answer(request, self._written(tally.value()), durable=durable)

    def _stored(self) -> None:
        self._is_stored = True
        me = self.desk.self_id
        for slot, node in self.slots:
            if node == me:
                self._tally.add(slot, me, durable=self.desk.config.durable)
                self._copied(slot, me)
        for node in dict.fromkeys(self._pending.values()):
            # The messages left just now; a peer lost while the store was under way is not waited
            # for, whether or not they reached it.
            if not self.desk.placement.is_routable(node):
                self._node_failed(node)
        self._check_tally()

    def _store_failed(self, reason: FailureReason) -> None:
        """Nothing of the batch was applied, and nothing that rested on it has left."""
        if self._issued:
            self.desk.hints.note_lost(self.key, self._check)
        self._pending.clear()
        if reason is FailureReason.FULL:
            self._answer(
                Refused(Refusal.DISK_FULL, "the coordinator's disk is full; nothing was applied")
            )
        else:
            self._answer_unavailable(
                Outcome.NOT_APPLIED, f"the coordinator could not store: {reason.value}"
            )
        self._finish()

    def _copied(self, slot: NodeId, node: NodeId) -> None:
        """An owner has the new version; what a fallback keeps for one is no copy yet."""
        owners = self._lists[-1]
        if self._began and slot == node and slot in owners and slot not in self._copies:
            self._copies[slot] = None
            took = self.desk.now - self._began
            self.desk.spread.copied(len(self._copies), len(owners), took)

    # Slots

    def _node_failed(self, node: NodeId) -> None:
        if not self._is_stored:
            return  # nothing has left yet, and nothing may: `_stored` looks again
        for slot in [slot for slot, asked in self._pending.items() if asked == node]:
            self._slot_failed(slot)

    def _slot_failed(self, slot: NodeId) -> None:
        """Who was asked for this slot will not acknowledge: a fallback, or a note of our own."""
        del self._pending[slot]
        desk = self.desk
        desk.counters.replica_writes_failed += 1
        if not self._answered and self._sloppy:
            for fallback in desk.placement.live_fallbacks(self.partition):
                if fallback not in self._tried and fallback != desk.self_id:
                    self._pending[slot] = fallback
                    self._tried[fallback] = None
                    desk.counters.replica_writes += 1
                    desk.outbox.send(fallback, self._message(slot, fallback))
                    return
        desk.hints.note(slot, self.key)
        self._check_tally()

    def _newer(self, slot: NodeId, newer: tuple[object, ...] | None) -> None:
        """A replica knows a newer register: send the same dot to its owners and count afresh."""
        adopt_newer(self.desk, self.partition, newer)
        if self.desk.placement.register(self.partition).epoch == self.epoch:
            return  # it answers what was sent under the register before: this one is on its way
        self._retries += 1
        if self._retries > _EPOCH_RETRIES_MAX or self._answered:
            self._slot_failed(slot)
            return
        self._again()

    def _again(self) -> None:
        """Count afresh under the newest register, whose owners are all sent the same dot."""
        self._pending.clear()
        self._tried.clear()
        self._early = ()
        self._began = 0  # copies under two registers would be counted together
        self._place()
        for slot, node in self.slots:
            if node is None:
                self.desk.hints.note(slot, self.key)
        sends = self._sends()
        self.desk.outbox.perform(sends)
        self._stored()

    # Answering

    def _check_tally(self) -> None:
        if not self._answered and self._tally.enough:
            if self.desk.placement.register(self.partition).epoch > self.epoch:
                # This node has adopted a register under which the answer may not be enough.
                self._again()
                return
            self._answer(self._written(self._tally.value()))
        if not self._pending:
            self._give_up("the other replicas failed while the write was under way")

    def _written(self, tally: Tally) -> Written:
        return Written(
            self.token, self._etag, tally, self.desk.self_id, self._timestamp, self._expires_ms
        )

    def _give_up(self, detail: str) -> None:
        """Nobody else will acknowledge: answer if need be, leave notes, end."""
        if not self._answered:
            outcome = Outcome.INDETERMINATE if self._issued else Outcome.NOT_APPLIED
            self._answer_unavailable(outcome, detail)
        if not self._issued:
            return  # the update is still loading its record: `_make` ends this conversation
        pending, self._pending = list(self._pending), {}
        for slot in pending:
            self.desk.hints.note(slot, self.key)
        self._finish()

    def _answer_unavailable(self, outcome: Outcome, detail: str) -> None:
        self._answer(Unavailable(outcome, detail, self._tally.value()))

    def _answer(self, result: Result) -> None:
        if not self._answered:
            self._let_go()
            self._done(result)

    def _let_go(self) -> None:
        """The client has its answer: nobody else is sent the value."""
        self._answered = True
        self._sending = None
        self.desk.request_bytes -= len(self._intent.value or b"")
        self._intent = Intent(None, None, (), None)

    def _finish(self) -> None:
        self.close("deadline")


def _asks(slots: Sequence[tuple[NodeId, NodeId | None]], whom: NodeId) -> bool:
    """Whether one of these nodes, by owner slot, is ``whom``."""
    for _, node in slots:  # noqa: SIM110 - a generator costs more than the rest
        if node == whom:
            return True
    return False
