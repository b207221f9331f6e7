"""A get: a quorum read, the bodies of what is live, the answer; then repair.

Large bodies do not travel with the replicas' states. They are fetched once each, from
a replica that answered with the version, oneself first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sadik_causality import Container, Context, ContextTooLarge, Dot, TokenError
from sadik_machine import FailureReason, NodeId
from sadik_vnode.coordinator.reading import Reading
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.etag import etag_of
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import Body, FetchBody
from sadik_vnode.quorum import BadQuorum, wanted
from sadik_vnode.requests import (
    Found,
    Get,
    Missing,
    Outcome,
    Refusal,
    Refused,
    Result,
    Unavailable,
    VersionView,
)
from sadik_vnode.version import MalformedVersion, Version
from sadik_vnode.view import counting, last_written

__all__ = ["Bodies", "Getting"]

_RETRIES_MAX: Final = 3


class Getting:
    """One client's get on the node that it asked."""

    def __init__(self, desk: Desk, request: Get, done: Callable[[Result], None]) -> None:
        self.desk = desk
        self.request = request
        self.key = Key.of(request.bucket, request.key)
        self._done = done
        self._deadline = desk.now + request.timeout_ns
        self._retries = 0
        self._is_cancelled = False
        self._reading: Reading | None = None
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
        except BadQuorum as error:
            self._done(Refused(Refusal.BAD_QUORUM, str(error)))
            return
        if request.at_least is not None:
            assert desk.sealer is not None, "a node without a cluster key takes no requests"
            try:
                self._at_least = desk.sealer.open(request.bucket, request.key, request.at_least)
            except TokenError as error:
                self._done(Refused(Refusal.BAD_CONTEXT, str(error)))
                return
        self._reading = Reading(
            desk,
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
        )
        self._reading.start()

    def cancel(self) -> None:
        """The client has gone."""
        self._is_cancelled = True
        if self._reading is not None:
            self._reading.cancel()

    def _read(self, reading: Reading) -> None:
        conflict = self.desk.buckets.get(self.key.bucket).conflict
        there = counting(reading.merged.versions, conflict, self.desk.wall_ns)
        # Told once: while bodies are fetched the clock goes on, and the bucket's rule may change.
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
        self.start()

    def _answer(self, reading: Reading) -> None:
        self._done(self._result(reading))
        reading.repair()
        reading.keep_dots_only()

    def _result(self, reading: Reading) -> Result:
        merged = reading.merged
        tally = reading.tally
        node = self.desk.self_id
        if not merged:
            return Missing(None, tally, node)
        shown = {
            dot: version for dot in self._there if not (version := merged.versions[dot]).is_deleted
        }
        siblings = len(shown)
        unshown: list[Dot] = []
        if self.request.latest and siblings > 1:
            latest = last_written(shown)
            unshown = [dot for dot in shown if dot != latest]
            shown = {latest: shown[latest]}
        token = self._token(merged, unshown)
        try:
            views = [_view(dot, version) for dot, version in shown.items()]
        except MalformedVersion as error:
            self.desk.counters.damaged_records += 1
            return Unavailable(Outcome.INDETERMINATE, f"a version is damaged: {error}", tally)
        if not views:
            return Missing(token, tally, node)
        return Found(views, token, etag_of(self._there), tally, node, siblings)

    def _token(self, merged: Container[Version], unshown: list[Dot]) -> str:
        """A context that covers all that the answer shows: all that was merged but what it does not
        show, or, where that is too long for a header, exactly the live versions.
        """
        sealer = self.desk.sealer
        assert sealer is not None, "a node without a cluster key takes no requests"
        context = merged.context.without_dots(unshown) if unshown else merged.context
        try:
            return sealer.seal(self.key.bucket, self.key.key, context)
        except ContextTooLarge:
            live = merged.live_context().without_dots(unshown)
            return sealer.seal(self.key.bucket, self.key.key, live)


class Bodies(Conversation):
    """Fetches the bodies of versions that a reading found; calls ``done`` with those it got."""

    __slots__ = (
        "_asked", "_deadline", "_done", "_got", "_pending", "_reading", "_sources", "_trace",
    )  # fmt: skip

    def __init__(
        self,
        desk: Desk,
        reading: Reading,
        wanted: list[Dot],
        deadline: int,
        trace: str,
        done: Callable[[dict[Dot, bytes]], None],
    ) -> None:
        super().__init__(desk)
        self._reading = reading
        self._trace = trace
        self._deadline = deadline
        self._done = done
        self._got: dict[Dot, bytes] = {}
        self._sources = {dot: iter(reading.holders_of(dot)) for dot in wanted}
        self._pending = dict.fromkeys(wanted)
        self._asked: dict[Dot, NodeId] = {}

    def start(self) -> None:
        """Ask the first holder of each."""
        self.wake("deadline", self._deadline)
        for dot in list(self._pending):
            self._ask(dot)

    def received(self, sender: NodeId, message: object) -> None:
        """A body, or that the holder has it no more."""
        if isinstance(message, Body):
            dot = (message.actor, message.counter)
            if dot in self._pending and self._asked[dot] == sender:
                self._took(dot, message.body)

    def unsent(self, to: NodeId, message: object) -> None:
        """Ask the next holder."""
        if isinstance(message, FetchBody):
            self._ask((message.actor, message.counter))

    def peer_lost(self, peer: NodeId) -> None:
        """Ask the next holder of whatever that peer was asked for."""
        for dot in [dot for dot in self._pending if self._asked[dot] == peer]:
            self._ask(dot)

    def due(self, what: str) -> None:
        """Time is up: answer with what there is."""
        self._pending.clear()
        self._finish_if_done()

    def _ask(self, dot: Dot) -> None:
        desk, key = self.desk, self._reading.key
        node = next(filter(desk.placement.is_routable, self._sources[dot]), None)
        if node is None:
            self._pending.pop(dot, None)
            self._finish_if_done()
            return
        self._asked[dot] = node
        if node == desk.self_id:

            def read(bodies: dict[Dot, bytes]) -> None:
                self._took(dot, bodies.get(dot))

            def failed(_reason: FailureReason) -> None:
                self._took(dot, None)

            desk.replica.read_bodies(key, [dot], read, failed)
        else:
            desk.outbox.send(
                node, FetchBody(self.id, key.bucket, key.key, dot[0], dot[1], self._trace)
            )

    def _took(self, dot: Dot, body: bytes | None) -> None:
        if dot not in self._pending:
            return
        if body is None or len(body) != self._reading.merged.versions[dot].size:
            self._ask(dot)
            return
        self._got[dot] = body
        del self._pending[dot]
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._pending:
            self.close("deadline")
            self._done(self._got)


def _view(dot: Dot, version: Version) -> VersionView:
    head = version.parsed()
    assert version.body is not None, "bodies are fetched before the answer"
    return VersionView(
        version.body, head.content_type, head.meta, head.timestamp, etag_of((dot,)), head.expires_ms
    )
