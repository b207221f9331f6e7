"""What a step wants, gathered; and what to do when the host reports how it went.

Parts of the engine ask for loads and stores here and hand over two functions: one for the outcome,
one for the failure. The host knows tickets only. A continuation is called in a later step,
never within the call that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from attrs import Factory, define

from sadik_machine import (
    Announce,
    Batch,
    Effect,
    FailureReason,
    Load,
    NodeId,
    Query,
    Reply,
    RequestId,
    Send,
    Store,
    Ticket,
)
from sadik_vnode.blocks import JoinedMessages, OneStore

__all__ = ["OnFailed", "OnLoaded", "OnStored", "Outbox"]

OnLoaded = Callable[[Any], None]
OnStored = Callable[[], None]
OnFailed = Callable[[FailureReason], None]


@define(slots=True, eq=False)
class _Gathered:
    """Stores that are going to be one. Of rows with the same key the last one counts."""

    rows: dict[bytes, bytes | None] = Factory(dict)
    then: list[Effect] = Factory(list)
    ends: list[tuple[OnStored | None, OnFailed]] = Factory(list)


class Outbox:
    """Effects of the present step, in order, and the continuations that wait for tickets.

    ``now`` is the time of the present step.
    """

    __slots__ = (
        "_effects", "_gathered", "_loads", "_stores", "_tickets", "join", "now", "store_failing",
    )  # fmt: skip

    def __init__(self) -> None:
        self.now = 0
        self._effects: list[Effect] = []
        self._gathered: _Gathered | None = None
        self._tickets: Iterator[Ticket] = count(1)  # type: ignore[assignment]  # what a ticket is
        self._loads: dict[Ticket, tuple[OnLoaded, OnFailed]] = {}
        self._stores: dict[Ticket, tuple[OnStored | None, OnFailed]] = {}
        self.store_failing: Callable[[], None] = _nothing
        """Called before the continuation of every failed store: all stores that are pending then
        are going to be reported as failed, so nobody may build on one of them any more."""
        self.join: Callable[[Sequence[Effect]], Sequence[Effect]] = _as_they_are
        """Makes fewer messages of those that are wanted together."""

    @property
    def stores_pending(self) -> int:
        """Stores that are neither on disk nor failed."""
        return len(self._stores)

    def take(self) -> list[Effect]:
        """The effects since the last call."""
        effects = self._effects
        self._effects = []
        return effects

    def send(self, to: NodeId, message: object) -> None:
        """Want ``message`` sent now."""
        self._effects.append(Send(to, message))

    def reply(self, request_id: RequestId, result: object) -> None:
        """Answer a client's request."""
        self._effects.append(Reply(request_id, result))

    def announce(self, news: object) -> None:
        """Tell the other machines and the host."""
        self._effects.append(Announce(news))

    def perform(self, effects: Sequence[Effect]) -> None:
        """Want effects now that were made to wait for a store which is not needed after all."""
        self._effects.extend(effects)

    def together(self) -> JoinedMessages:
        """Of what is sent within the block, messages to one peer may become one."""
        return JoinedMessages(self)

    @property
    def wanted(self) -> int:
        """How many effects are wanted by now."""
        return len(self._effects)

    def join_since(self, begin: int) -> None:
        """Make fewer messages of those wanted since there were ``begin`` effects."""
        if len(self._effects) - begin > 1:
            self._effects[begin:] = self.join(self._effects[begin:])

    def load(self, query: Query, done: OnLoaded, failed: OnFailed) -> None:
        """Read rows; ``done`` gets what the query's documentation says."""
        self.end_store()
        ticket = next(self._tickets)
        self._loads[ticket] = (done, failed)
        self._effects.append(Load(ticket, query))

    def store(
        self, batch: Batch, then: Sequence[Effect], done: OnStored | None, failed: OnFailed
    ) -> None:
        """Write rows; ``then`` is performed, and after it ``done`` called, once they are on disk.

        An empty batch waits for all that was stored before it.
        """
        gathered = self._gathered
        if gathered is not None:
            gathered.rows.update(batch)
            gathered.then.extend(then)
            gathered.ends.append((done, failed))
            return
        ticket = next(self._tickets)
        self._stores[ticket] = (done, failed)
        self._effects.append(Store(ticket, batch, then))

    def one_store(self) -> OneStore:
        """Within the block all stores are gathered into one, on disk together or not at all.

        A host has work to do for every store, which many small ones then share; and what waits for
        them may be joined, as in `together`. A load must see what was stored before it, so one
        within the block ends what was gathered until then.
        """
        return OneStore(self)

    def begin_store(self) -> None:
        """Gather stores from now on; see `one_store`."""
        assert self._gathered is None, "stores are gathered once"
        self._gathered = _Gathered()

    def gather_no_more(self) -> None:
        """Every store is by itself again; what was gathered and not ended is dropped."""
        self._gathered = None

    def end_store(self) -> None:
        """What was gathered until now is one store; what comes is another. Harmless elsewhere."""
        gathered = self._gathered
        if gathered is None or not gathered.ends:
            return
        ends = gathered.ends

        def stored() -> None:
            with self.together():
                for done, _ in ends:
                    if done is not None:
                        done()

        def failed(reason: FailureReason) -> None:
            for _, on_failed in ends:
                on_failed(reason)

        self._gathered = None
        self.store(list(gathered.rows.items()), self.join(gathered.then), stored, failed)
        self._gathered = _Gathered()

    def loaded(self, ticket: Ticket, value: Any) -> None:
        """The host's answer to a load."""
        done, _ = self._loads.pop(ticket)
        done(value)

    def stored(self, ticket: Ticket) -> None:
        """The host's answer to a store."""
        done, _ = self._stores.pop(ticket)
        if done is not None:
            done()

    def failed(self, ticket: Ticket, reason: FailureReason) -> None:
        """The host could not load or store."""
        load = self._loads.pop(ticket, None)
        if load is not None:
            load[1](reason)
            return
        _, failed = self._stores.pop(ticket)
        self.store_failing()
        failed(reason)


def _nothing() -> None:
    """Nobody builds on what is pending."""


def _as_they_are(effects: Sequence[Effect]) -> Sequence[Effect]:
    """Nobody joins messages."""
    return effects
