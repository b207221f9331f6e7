"""One request until its answer: whom to ask, how long to wait, and when to ask again.

A read changes nothing, so it goes on to another node whenever one is slow, breaks off or cannot
tell. A write goes on only where it was provably not applied: nothing was sent, or the answer says
so (429, or 503 with the outcome ``not_applied``). Whatever else happens to a write ends it, because
a second copy of a write that was applied after all becomes a sibling of the first, or brings back
what another client has replaced meanwhile. A caller to whom that does no harm can say so.

All tries and the pauses between them share one budget. Each round asks a few nodes, each at most
once; the pauses between rounds grow, are random (so that clients do not come back all at once), and
are no shorter than the least Retry-After that was given. What a pause would carry past the budget
ends at once, with the trouble that was met last.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from sadik_client.actions import (
    Broken,
    Enter,
    Entered,
    Exchange,
    Open,
    Opened,
    Receive,
    Received,
    Sleep,
    Steps,
)
from sadik_client.calls import TIMEOUT_MS_MAX, Call
from sadik_client.errors import (
    BrokenAnswerError,
    InvalidRequestError,
    SadikError,
    UnansweredError,
    UnreachableError,
    error_of,
)
from sadik_client.http1 import ProtocolViolation, ResponseParser, request_bytes
from sadik_client.nodes import Connection, Node, Nodes
from sadik_client.response import Response
from sadik_client.router import Router
from sadik_client.settings import Settings

__all__ = ["Requester"]

_SECOND = 1_000_000_000
_NODE_DEFAULT_S = 5.0  # how long a node takes by itself if it is told nothing
_SLACK_NS = _SECOND // 4  # for a node's answer to travel
_LEARNING_NS = 1 * _SECOND
_BYTES_A_SECOND_MIN = 2**20  # at least as fast as that a value is expected to go out
_PAUSE_NS = _SECOND // 20
_PAUSE_NS_MAX = _SECOND
_NODES_A_ROUND = 3
_READ_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_UNCLEAR = frozenset((500, 502, 504))


class _Failure(NamedTuple):
    """A try that brought no answer."""

    reason: str
    was_sent: bool
    is_protocol: bool = False
    timed_out: bool = False
    is_lasting: bool = False


class _Trouble(NamedTuple):
    """Why a try was not the last."""

    node: Node
    met: _Failure | Response


class _Limits(NamedTuple):
    """How long one try may say nothing, and when the whole request ends."""

    silence_ns: int
    deadline_ns: int

    def until(self, now_ns: int) -> int:
        """Until when to wait for the next sign."""
        return min(now_ns + self.silence_ns, self.deadline_ns)


class Requester:
    """Brings calls to nodes. Everything that requests share is here: nodes, links, the ring."""

    def __init__(
        self, nodes: Nodes, router: Router, settings: Settings, source: random.Random
    ) -> None:
        self.nodes = nodes
        self.router = router
        self._settings = settings
        self._random = source

    def send(self, call: Call) -> Steps[Response]:
        """The answer that is final, whatever its status.

        Raises:
            UnreachableError: nothing was ever sent.
            UnansweredError: something was sent, and no answer came.
            BrokenAnswerError: what answered is no node.
            UnavailableError, IndeterminateError: the last answer said "not now", and the budget is
                used up.
        """
        settings = self._settings
        now, deadline = yield from self._enter(call.timeout_s)
        if settings.ring and call.key and self.router.is_due(now):
            now = yield from self._learn(now, min(deadline, now + _LEARNING_NS))
        owners = self.router.owners(call.bucket, call.key) if call.key else ()
        not_before: dict[Node, int] = {}
        pause = _PAUSE_NS
        slow = int(settings.slow_s * _SECOND)
        is_unsure = False
        trouble: _Trouble | None = None
        answered: _Trouble | None = None
        while True:
            ready = self.nodes.candidates(now, owners)
            if not_before:
                ready = [node for node in ready if not_before.get(node, 0) <= now] or ready
            is_lasting = True
            for node in ready[:_NODES_A_ROUND]:
                patience = slow if call.is_read and len(ready) > 1 else None
                now, met = yield from self._try(node, call, now, deadline, patience)
                trouble = _Trouble(node, met)
                if isinstance(met, Response):
                    if self._is_final(call, met):
                        if is_unsure and met.status >= 400:
                            raise _error(call, trouble, is_unsure=True)
                        self._note(call, node, met, owners, now)
                        return met
                    answered = trouble
                    not_before[node] = now + int((met.retry_after_s or 0) * _SECOND)
                is_lasting = is_lasting and isinstance(met, _Failure) and met.is_lasting
                is_safe = _is_safe(call, met)
                if not (is_safe or self._repeats(call)) or now >= deadline:
                    raise _error(call, trouble, is_unsure=is_unsure)
                is_unsure = is_unsure or not is_safe
                if not self._settings.retries:
                    raise _error(call, trouble, is_unsure=is_unsure)
            until = now + int(pause * self._random.uniform(0.5, 1.0))
            told = [not_before.get(node, 0) for node in self.nodes.candidates(now)]
            until = max(until, min(told))
            if until >= deadline or is_lasting:
                assert trouble is not None, "there is at least the node given first"
                # What a node said tells more than that another said nothing.
                raise _error(call, answered or trouble, is_unsure=is_unsure)
            now = (yield Sleep(until)).now_ns
            pause = min(2 * pause, _PAUSE_NS_MAX)
            slow *= 2
            if call.key:
                owners = self.router.owners(call.bucket, call.key)

    def _enter(self, timeout_s: float | None) -> Steps[tuple[int, int]]:
        """Begin a request: the time, and the deadline."""
        budget_s = self._settings.timeout_s if timeout_s is None else timeout_s
        if not budget_s > 0:
            raise InvalidRequestError(f"timeout_s must be above 0, not {budget_s}")
        budget_ns = int(budget_s * _SECOND)
        now, outcome = yield Enter(budget_ns)
        if isinstance(outcome, Broken):
            raise UnreachableError(self.nodes.first().url, outcome.reason)
        assert isinstance(outcome, Entered)
        return now, outcome.began_ns + budget_ns

    def learn_members(self, timeout_s: float | None) -> Steps[None]:
        """Ask the node that was given first for the others.

        Raises:
            SadikError: it gives no list of members.
        """
        node = self.nodes.first()
        now, deadline = yield from self._enter(timeout_s)
        call = Call("GET", "/v1/members")
        now, met = yield from self._try(node, call, now, deadline, None)
        if isinstance(met, _Failure) or met.status != 200:
            raise _error(call, _Trouble(node, met))
        try:
            self.nodes.learn(node, met.json()["members"], now)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BrokenAnswerError(node.url, "its list of members is none") from None

    def _learn(self, now: int, deadline: int) -> Steps[int]:
        """Learn members and ring from a node; the time afterwards. It never fails, it only ends."""
        from sadik_client.ring import Ring  # noqa: PLC0415 - see there

        router = self.router
        router.is_learning = True
        try:
            for node in self.nodes.candidates(now)[:2]:
                now, members = yield from self._try(node, Call("GET", "/v1/members"), now, deadline,
                                                    None)  # fmt: skip
                if isinstance(members, _Failure):
                    continue
                now, ring = yield from self._try(node, Call("GET", "/v1/ring"), now, deadline, None)
                if isinstance(ring, _Failure) or (members.status, ring.status) != (200, 200):
                    continue
                try:
                    self.nodes.learn(node, members.json()["members"], now)
                    router.learn(Ring(ring.json()), now)
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
                return now
            router.failed(now)
        finally:
            router.is_learning = False
        return now

    def _try(
        self, node: Node, call: Call, now: int, deadline: int, patience: int | None
    ) -> Steps[tuple[int, _Failure | Response]]:
        """Ask one node once; the time afterwards, and the answer or why there is none."""
        told_ns = self._told_ns(call, deadline - now)
        target = call.target
        if told_ns is not None:
            told = f"timeout={told_ns // 1_000_000}"
            target += f"{'&' if '?' in target else '?'}{told}"
        data = request_bytes(call.method, target, node.fields, call.fields, call.body)
        # Silence is what ends a try, and not the size of a value on its way.
        silence = deadline - now
        if not call.takes_long:
            node_ns = int(_NODE_DEFAULT_S * _SECOND) if told_ns is None else told_ns
            silence = node_ns + 4 * _SLACK_NS
        if patience is not None:
            silence = min(silence, patience)
        limits = _Limits(silence, deadline)
        connection = self.nodes.take_idle(node, now)
        if connection is not None:
            now, met = yield from self._over(node, connection, call, data, now, limits)
            if isinstance(met, Response) or met.timed_out or (met.was_sent and not call.is_read):
                return now, self._judge(node, met, now)
            # It was closed at the very moment. Others that were idle will be no better.
            self.nodes.drop_idle(node)
        opening = min(
            deadline, now + silence, now + int(self._settings.connect_timeout_s * _SECOND)
        )
        now, outcome = yield Open(node.address, opening)
        if not isinstance(outcome, Opened):
            assert isinstance(outcome, Broken)
            return now, self._judge(
                node, _Failure(outcome.reason, was_sent=False, is_lasting=outcome.is_lasting), now
            )
        parser = ResponseParser(self._settings.answer_bytes_max)
        connection = Connection(outcome.link, parser)
        now, met = yield from self._over(node, connection, call, data, now, limits)
        return now, self._judge(node, met, now)

    def _judge(self, node: Node, met: _Failure | Response, now: int) -> _Failure | Response:
        if isinstance(met, Response):
            node.worked()
        else:
            node.failed(now)
        return met

    def _over(
        self,
        node: Node,
        connection: Connection,
        call: Call,
        data: bytes,
        now: int,
        limits: _Limits,
    ) -> Steps[tuple[int, _Failure | Response]]:
        """Ask over one connection, and keep it if it is good for more."""
        is_whole = False
        try:
            now, met = yield from self._exchange(connection, node.url, call, data, now, limits)
            is_whole = isinstance(met, Response) and connection.parser.is_reusable
        finally:
            # An exception here is the shell's: a cancelled request leaves half an answer behind.
            if is_whole:
                self.nodes.give_back(node, connection, now)
            else:
                connection.link.close()
        return now, met

    def _exchange(
        self,
        connection: Connection,
        url: str,
        call: Call,
        data: bytes,
        now: int,
        limits: _Limits,
    ) -> Steps[tuple[int, _Failure | Response]]:
        parser, link = connection.parser, connection.link
        parser.start(url, is_head=call.method == "HEAD")
        sending = len(data) * _SECOND // _BYTES_A_SECOND_MIN
        event = yield Exchange(link, data, limits.until(now + sending))
        broken: Broken | None = None
        while True:
            outcome = event.outcome
            if isinstance(outcome, Received) and outcome.data:
                try:
                    response = parser.feed(outcome.data)
                except ProtocolViolation as error:
                    return event.now_ns, _Failure(str(error), was_sent=True, is_protocol=True)
                if response is not None:
                    if broken is not None:
                        parser.is_reusable = False
                    return event.now_ns, response
            elif isinstance(outcome, Received):
                reason = "it closed the connection" if broken is None else broken.reason
                return event.now_ns, _Failure(reason, was_sent=True)
            else:
                assert isinstance(outcome, Broken)
                if broken is not None or outcome.timed_out or outcome.nothing_sent:
                    first = broken or outcome
                    return event.now_ns, _Failure(
                        first.reason,
                        was_sent=not first.nothing_sent,
                        timed_out=outcome.timed_out,
                    )
                # A node that refuses a body early answers before it has read all of it.
                broken = outcome
            event = yield Receive(link, limits.until(event.now_ns))

    def _told_ns(self, call: Call, left_ns: int) -> int | None:
        """How long to tell the node that it has; None if it is what it takes by itself."""
        if not call.takes_timeout:
            return None
        node_s = self._settings.node_timeout_s
        told = min(int(node_s * _SECOND), left_ns - _SLACK_NS, TIMEOUT_MS_MAX * 1_000_000)
        if told == int(_NODE_DEFAULT_S * _SECOND):
            return None
        return max(told, 1_000_000)

    def _is_final(self, call: Call, response: Response) -> bool:
        if call.is_read:
            return response.status not in _READ_AGAIN
        return response.status not in (429, 503) and response.status not in _UNCLEAR

    def _repeats(self, call: Call) -> bool:
        return call.repeat_indeterminate or self._settings.repeat_indeterminate

    def _note(
        self, call: Call, node: Node, response: Response, owners: tuple[str, ...], now: int
    ) -> None:
        """See whether the answer fits what is known of the cluster."""
        if not self._settings.ring or not call.key:
            return
        name = response.header("sadik-node")
        if name is None or name == node.name:
            return
        if call.is_read:
            # Reads are coordinated by the node asked.
            if node.name is not None:
                self.router.doubt(now)
            self.nodes.call(node, name)
        elif owners and name not in owners:
            self.router.doubt(now)


def _is_safe(call: Call, met: _Failure | Response) -> bool:
    """Whether this try provably applied nothing."""
    if call.is_read:
        return True
    if isinstance(met, Response):
        return met.status == 429 or (
            met.status == 503 and met.problem.get("outcome") == "not_applied"
        )
    return not met.was_sent


def _error(call: Call, trouble: _Trouble, *, is_unsure: bool = False) -> SadikError:
    """What to raise; ``is_unsure`` if a try before the last one may have applied the write."""
    node, met = trouble
    if isinstance(met, Response):
        error = error_of(met, is_read=call.is_read)
        if is_unsure:
            error.outcome = "indeterminate"
        return error
    if is_unsure:
        return UnansweredError(node.url, met.reason, is_read=False)
    if met.is_protocol and call.is_read:
        return BrokenAnswerError(node.url, met.reason)
    if met.was_sent:
        return UnansweredError(node.url, met.reason, is_read=call.is_read)
    return UnreachableError(node.url, met.reason)
