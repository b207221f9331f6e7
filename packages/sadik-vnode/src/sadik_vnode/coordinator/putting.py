"""Puts and deletes: who coordinates them, and what they come to before they are a write.

A write with a context is coordinated by the node asked if it is an owner; one without, and every
delete, by the first live owner in the list wherever it enters, so that one client that goes round
the nodes does not make siblings of its own. So is a write with a condition, whose coordinator
reads R replicas to judge it; what it replaces, its context or the bucket's rule for blind writes
decides as ever. If no owner is reachable the first live fallback coordinates, unless the client
wants no sloppy quorum.

A write is tried elsewhere only if the first choice provably never took it: the message was never
written, or the answer is an explicit refusal, as that of an owner whose disk is full. Else nobody
knows, and the client is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sadik_causality import Container, Context, TokenError
from sadik_machine import MILLISECOND, NodeId, RequestId
from sadik_vnode.adoption import adopt_newer
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.coordinator.writing import Intent, Writing, precondition_failed
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.etag import etag_of
from sadik_vnode.forwarding import NOT_TAKEN, result_from_answer, result_from_early_answer
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ForwardWrite, ForwardWriteAnswer
from sadik_vnode.quorum import BadQuorum, Wanted, wanted
from sadik_vnode.requests import (
    Condition,
    Delete,
    Missing,
    Outcome,
    Put,
    Refusal,
    Refused,
    Result,
    Tally,
    Unavailable,
    Written,
)
from sadik_vnode.version import Version
from sadik_vnode.view import LWW, counting

__all__ = ["Coordinating", "Forwarding", "route", "waiting_for"]

_ANSWER_GRACE_NS: Final = 100 * MILLISECOND
_EPOCH_RETRIES_MAX: Final = 8
_NOBODY: Final = Tally(0, 0, 0, 0, 0)
_NO_CONDITION: Final = Condition()


def route(desk: Desk, key: Key, *, blind: bool, sloppy: bool) -> Sequence[NodeId]:
    """Who may coordinate a write of ``key``, best first; empty where nobody is reachable."""
    placement = desk.placement
    partition = placement.partition(key)
    live = placement.live_owners(partition)
    me = desk.self_id
    if not blind and me in live:
        return [me, *[owner for owner in live if owner != me]]
    if live or not sloppy:
        return live
    return placement.live_fallbacks(partition)


class Forwarding(Conversation):
    """A write on the node that a client asked: finds a coordinator, which may be itself."""

    __slots__ = (
        "_asked", "_done", "_early", "_full", "_is_lost", "_key", "_request", "_retries", "_tried",
        "_until",
    )  # fmt: skip

    def __init__(self, desk: Desk, request: Put | Delete, done: Callable[[Result], None]) -> None:
        super().__init__(desk)
        self._request = request
        self._key = Key.of(request.bucket, request.key)
        self._done = done
        self._until = desk.now + request.timeout_ns
        self._tried: dict[NodeId, None] = {}
        self._retries = _EPOCH_RETRIES_MAX
        self._asked: NodeId | None = None
        self._full: Refused | None = None
        """The last refusal of an owner that has no room."""
        self._early: Written | None = None
        """What the client is told when the copy that is being stored here is on disk."""
        self._is_lost = False
        """Whether the coordinator was lost meanwhile."""

    def start(self) -> None:
        """Choose a coordinator. May answer at once."""
        desk, request = self.desk, self._request
        candidates = [
            node
            for node in route(
                desk,
                self._key,
                blind=request.context is None
                or request.condition is not None
                or isinstance(request, Delete),
                sloppy=request.sloppy,
            )
            if node not in self._tried
        ]
        if desk.self_id in candidates[:1] and desk.is_disk_short and isinstance(request, Put):
            self._tried[desk.self_id] = None
            self._full = _no_room()
            del candidates[0]
        if not candidates and self._full is not None:
            self._finish(self._full)
            return
        if not candidates:
            why = "no owner of the key is reachable"
            if self._tried:
                why = "no node that could coordinate the write took it"
            self._finish(Unavailable(Outcome.NOT_APPLIED, why, _NOBODY))
            return
        node = candidates[0]
        self._tried[node] = None
        if node == desk.self_id:
            self.close("deadline")
            Coordinating(desk, request, self._until, self._done).start()
            return
        self._asked = node
        desk.counters.forwards += 1
        self.wake("deadline", self._until + _ANSWER_GRACE_NS)
        desk.outbox.send(node, self._message())

    def received(self, sender: NodeId, message: object) -> None:
        """The coordinator's answer."""
        if not isinstance(message, ForwardWriteAnswer) or sender != self._asked:
            return
        if message.kind == NOT_TAKEN:
            partition = self.desk.placement.partition(self._key)
            if (
                message.fields
                and self._retries
                and adopt_newer(self.desk, partition, message.fields)
            ):
                # It may be an owner's word that it is none any more: choose anew.
                self._retries -= 1
                self._tried.clear()
            self._elsewhere()
            return
        try:
            result = result_from_answer(message)
        except (ValueError, TypeError):
            self.desk.counters.malformed_messages += 1
            result = self._indeterminate("the coordinator's answer could not be read")
        if isinstance(result, Refused) and result.refusal is Refusal.DISK_FULL:
            self._full = result
            self._elsewhere()
            return
        self._finish(result)

    def unsent(self, to: NodeId, message: object) -> None:
        """Never written, so provably never taken."""
        if to == self._asked:
            self._elsewhere()

    def peer_lost(self, peer: NodeId) -> None:
        """The coordinator may have taken it, and may yet carry it out."""
        if peer == self._asked:
            self._is_lost = True
            if self._early is None:
                self._finish_lost()

    def storing(self, sender: NodeId, early: Written) -> bool:
        """The coordinator's copy is being stored here: whether ``early`` holds once it is."""
        if sender == self._asked:
            self._early = early
        return sender == self._asked

    def stored(self) -> None:
        """The copy is on disk, and with it a quorum's."""
        if self._early is not None and self.is_open:
            self._finish(self._early)

    def not_stored(self) -> None:
        """The copy is not going to be on disk: all depends on the coordinator."""
        self._early = None
        if self._is_lost and self.is_open:
            self._finish_lost()

    def due(self, what: str) -> None:
        """No answer in time."""
        self._finish(self._indeterminate("the coordinator did not answer in time"))

    def _elsewhere(self) -> None:
        self._asked = None
        if self.desk.now >= self._until:
            self._finish(
                Unavailable(Outcome.NOT_APPLIED, "no coordinator took the write in time", _NOBODY)
            )
        else:
            self.start()

    def _finish_lost(self) -> None:
        self._finish(self._indeterminate("the node that coordinated the write was lost meanwhile"))

    def _indeterminate(self, detail: str) -> Unavailable:
        return Unavailable(Outcome.INDETERMINATE, detail, _NOBODY)

    def _finish(self, result: Result) -> None:
        self.close("deadline")
        self._done(result)

    def _message(self) -> ForwardWrite:
        request = self._request
        put = request if isinstance(request, Put) else None
        r = None if put is not None else getattr(request, "r", None)
        condition = request.condition or _NO_CONDITION
        return ForwardWrite(
            self.id,
            request.bucket,
            request.key,
            None if put is None else put.value,
            None if put is None else put.content_type,
            () if put is None else put.meta,
            request.context,
            (r, request.w, request.pw, request.dw),
            request.sloppy,
            max(self._until - self.desk.now, 1),
            request.trace,
            condition.if_match,
            condition.if_none_match,
            None if put is None else put.ttl_s,
        )


def waiting_for(desk: Desk, coordinator: NodeId, answer: tuple[object, ...]) -> Forwarding | None:
    """The write of a client of this node that ``answer``, of its coordinator, is the answer to, if
    storing the copy that it came with is all that it waits for.
    """
    try:
        request, durable, early = result_from_early_answer(answer)
    except (ValueError, TypeError):
        desk.counters.malformed_messages += 1
        return None
    conversation = desk.conversations.get(RequestId(request))
    if durable and not desk.config.durable:
        return None
    if isinstance(conversation, Forwarding) and conversation.storing(coordinator, early):
        return conversation
    return None


class Coordinating:
    """A write on the node that coordinates it: judged, for a delete or a condition read first, then
    written.
    """

    def __init__(
        self,
        desk: Desk,
        request: Put | Delete,
        until: int,
        done: Callable[[Result], None],
        forwarded: tuple[NodeId, int] | None = None,
    ) -> None:
        """``forwarded`` is by whom and under which id it was, if it was."""
        self.desk = desk
        self.request = request
        self._forwarded = forwarded
        self.key = Key.of(request.bucket, request.key)
        self._until = until
        self._done = done

    def start(self) -> None:
        """Judge the request; refuse it or begin."""
        desk, request = self.desk, self.request
        properties = desk.buckets.get(request.bucket)
        seen: Context | None = None
        assert desk.sealer is not None, "a node without a cluster key takes no requests"
        assert desk.placement.ring is not None, "a node without a ring takes no requests"
        if request.context is not None:
            try:
                seen = desk.sealer.open(request.bucket, request.key, request.context)
            except TokenError as error:
                self._done(Refused(Refusal.BAD_CONTEXT, str(error)))
                return
        elif properties.blind_writes == "refuse" and not (
            isinstance(request, Put) and request.condition and request.condition.wants_none
        ):
            # Of a key that never was no read has a context; that it is not there can be said.
            self._done(
                Refused(
                    Refusal.CONTEXT_REQUIRED,
                    "this bucket takes writes with the context of a read, and new keys with "
                    "If-None-Match: *",
                )
            )
            return
        replicas = desk.placement.ring.replicas
        try:
            want = (
                wanted(request.w, properties.w, replicas),
                wanted(request.pw, properties.pw, replicas),
                wanted(request.dw, properties.dw, replicas),
            )
            r: Wanted = 1
            if isinstance(request, Delete):
                r = wanted(request.r, properties.r, replicas)
            elif request.condition is not None:
                r = wanted(None, properties.r, replicas)
        except BadQuorum as bad_quorum:
            self._done(Refused(Refusal.BAD_QUORUM, str(bad_quorum)))
            return
        last_wins = properties.conflict == LWW
        if isinstance(request, Delete):
            intent = Intent(None, None, (), seen, last_wins=last_wins)
            self._read_first(r, intent, want)
            return
        if desk.is_disk_short:
            self._done(_no_room())
            return
        limit = properties.value_bytes or desk.config.value_bytes_max
        if len(request.value) > limit:
            self._done(
                Refused(
                    Refusal.VALUE_TOO_LARGE,
                    f"a value of {len(request.value)} bytes; this bucket takes up to {limit}",
                )
            )
            return
        intent = Intent(
            request.value,
            request.content_type,
            request.meta,
            seen,
            replaces_held=properties.blind_writes != "sibling",
            last_wins=last_wins,
            ttl_s=properties.ttl_seconds if request.ttl_s is None else request.ttl_s,
        )
        if request.condition is not None:
            self._read_first(r, intent, want)
        else:
            self._write(intent, want)

    def _read_first(self, r: Wanted, intent: Intent, want: tuple[Wanted, Wanted, Wanted]) -> None:
        """Read R replicas, for a write that depends on what there is: there must be something to
        delete, a condition must hold. A blind one that replaces covers what was read.
        """
        desk, request = self.desk, self.request

        def read(reading: Reading) -> None:
            merged, tally = reading.merged, reading.tally
            conflict = desk.buckets.get(request.bucket).conflict
            there = counting(merged.versions, conflict, desk.wall_ns)
            exists = not all(version.is_deleted for version in there.values())
            reading.keep_dots_only()
            condition = request.condition
            if condition is not None:
                if not condition.holds(etag_of(there) if exists else None):
                    self._done(precondition_failed(exists=exists))
                    return
                intent.expected = merged.context
            if intent.value is None and not exists:
                self._done(Missing(self._token_of(merged), tally, desk.self_id))
                return
            if intent.seen is None and (intent.value is None or intent.replaces_held):
                intent.seen = merged.context
            self._write(intent, want)

        def failed(unavailable: Unavailable) -> None:
            unavailable.outcome = Outcome.NOT_APPLIED
            self._done(unavailable)

        Reading(
            desk,
            self.key,
            r,
            0,
            sloppy=request.sloppy,
            bodies=False,
            deadline=self._until,
            done=read,
            failed=failed,
            trace=request.trace,
        ).start()

    def _token_of(self, merged: Container[Version]) -> str | None:
        """The context of what is gone; None where there never was anything."""
        if not merged:
            return None
        assert self.desk.sealer is not None, "a node without a cluster key takes no requests"
        return self.desk.sealer.seal(self.key.bucket, self.key.key, merged.live_context())

    def _write(self, intent: Intent, want: tuple[Wanted, Wanted, Wanted]) -> None:
        Writing(
            self.desk,
            self.key,
            intent,
            want,
            sloppy=self.request.sloppy,
            deadline=self._until,
            done=self._done,
            trace=self.request.trace,
            forwarded=self._forwarded,
        ).start()


def _no_room() -> Refused:
    return Refused(
        Refusal.DISK_FULL,
        "the coordinator's disk has less room than is to be kept free; deletes are taken",
    )
