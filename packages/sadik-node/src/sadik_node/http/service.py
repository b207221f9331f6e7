"""What the handlers need of the node: an engine to ask, a view of the cluster, a few figures.

Handlers know HTTP and `sadik_vnode.requests`, nothing of machines, disks or tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from attrs import Factory, define

from sadik_machine import RequestId
from sadik_members import RemovalDone
from sadik_node.cluster_view import ClusterView
from sadik_node.http.answers import Answer, problem
from sadik_node.http.exchange import Exchange
from sadik_node.http.limits import HttpLimits
from sadik_vnode.requests import Refusal, Refused, Request, Result, Unavailable

__all__ = ["Asks", "Service", "refusal_answer", "unavailable_answer"]

R = TypeVar("R")

_STATUS_OF_REFUSAL = {
    Refusal.BAD_CONTEXT: 400,
    Refusal.BAD_QUORUM: 400,
    Refusal.NO_PARTITION: 400,
    Refusal.BAD_PROPERTIES: 400,
    Refusal.BAD_RECORDS: 400,
    Refusal.NOT_OWNER: 421,
    Refusal.CONTEXT_REQUIRED: 428,
    Refusal.PRECONDITION_FAILED: 412,
    Refusal.TOO_MANY_BUCKETS: 409,
    Refusal.TOO_MANY_SIBLINGS: 409,
    Refusal.VALUE_TOO_LARGE: 413,
    Refusal.DISK_FULL: 507,
    Refusal.OVERLOADED: 503,
}


class Asks(Protocol):
    """Where requests go: the host."""

    @property
    def overload(self) -> str:
        """Why no request can be taken now; empty while it can."""
        ...

    def request(self, request: Request, done: Callable[[Result], None]) -> RequestId:
        """Hand a request to the engine; ``done`` is called once with its result."""
        ...

    def cancel(self, request_id: RequestId) -> None:
        """The result is wanted no more."""
        ...


def _nobody(_news: object) -> None:
    """There is no machine to tell."""


@define(slots=True)
class Service:
    """Everything that the handlers of one node share."""

    host: Asks
    view: ClusterView
    limits: HttpLimits
    exposition: Callable[[], bytes]
    status: Callable[[], dict[str, object]]
    defect: Callable[[Exception], None]
    """Told of what should never happen."""
    clock_ns: Callable[[], int]
    """A monotonic clock, the server's."""
    is_draining: bool = False
    tell: Callable[[object], None] = _nobody
    """Gives news to the membership machine."""
    _removals: dict[int, Callable[[RemovalDone], None]] = Factory(dict)
    _tickets: int = 0

    def ticket(self, done: Callable[[RemovalDone], None]) -> int:
        """A number for a removal; ``done`` is called with its outcome."""
        self._tickets += 1
        self._removals[self._tickets] = done
        return self._tickets

    def observe(self, news: object) -> None:
        """Take news that a machine announced."""
        if isinstance(news, RemovalDone):
            done = self._removals.pop(news.ticket, None)
            if done is not None:
                try:
                    done(news)
                except Exception as error:  # noqa: BLE001 - it is called from the host's loop
                    self.defect(error)

    def hindrance(self) -> Answer | None:
        """A 503 where no data request can be taken now: not ready, or too much to do."""
        reason = self.view.not_ready
        if reason:
            return _not_applied(f"this node is not ready: {reason}", "not_ready")
        overload = self.host.overload
        if overload:
            return _not_applied(overload, "overloaded")
        return None

    def ask(
        self,
        exchange: Exchange,
        request: Request,
        finish: Callable[[Service, Exchange, Result], None],
    ) -> None:
        """Have the engine work on it; ``finish`` answers the exchange."""
        hindrance = self.hindrance()
        if hindrance is not None:
            exchange.answer(hindrance)
            return
        request_id = self.host.request(request, partial(self._conclude, finish, exchange))
        if exchange.answered is None:
            exchange.cancel = partial(self.host.cancel, request_id)

    def _conclude(
        self,
        finish: Callable[[Service, Exchange, Result], None],
        exchange: Exchange,
        result: Result,
    ) -> None:
        """Called from the host's loop, which a defect met by one client must not stop."""
        try:
            finish(self, exchange, result)
        except Exception as error:  # noqa: BLE001 - see above
            self.defect(error)
            if exchange.answered is None:
                exchange.answer(problem(500, "this node could not say what became of it"))


def refusal_answer(result: Refused) -> Answer:
    """The answer to a request that was refused without regard to who is up."""
    status = _STATUS_OF_REFUSAL[result.refusal]
    word = result.refusal.value
    if status in (503, 507):
        return problem(
            status, result.detail, reason=word, kind=_kind(word), outcome="not_applied", retry=True
        )
    return problem(status, result.detail, reason=word, kind=_kind(word))


def unavailable_answer(result: Unavailable) -> Answer:
    """The 503 or 504 of a quorum that was not reached."""
    outcome = result.outcome.value
    tally = result.tally
    is_applied_nowhere = outcome == "not_applied"
    return problem(
        503 if is_applied_nowhere else 504,
        result.detail,
        reason=outcome,
        kind=_kind("quorum_" + outcome),
        retry_after_s=result.retry_after_s,
        needed=tally.needed,
        got=tally.got,
        durable=tally.durable,
        primaries=tally.primaries,
        hinted=tally.hinted,
        outcome=outcome,
        # An indeterminate write may be tried again only with care for siblings: not at once.
        retry=is_applied_nowhere,
    )


def _not_applied(detail: str, reason: str) -> Answer:
    return problem(503, detail, reason=reason, outcome="not_applied", retry=True)


def _kind(word: str) -> str:
    return f"urn:sadik:problem:{word.replace('_', '-')}"
