"""What one step wants, gathered, and the stores under way.

Nothing that leaves a node may show a state that is not on disk. So a step gathers what it changed
as rows, and whatever rests on the present state, changed now or in a store still under way, as
effects to be released behind them; `StoreQueue` makes one `Store` of that. What rests on no state
(a probe and its answer) goes at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field

from sadik_machine import SECOND, Announce, Effect, NodeId, Send, Store, Ticket

__all__ = ["StoreQueue", "Turn"]

RETRY_NS: Final = 1 * SECOND


@define
class Turn:
    """Gathers the effects of one step."""

    rows: dict[bytes, bytes] = field(factory=dict)
    at_once: list[Effect] = field(factory=list)
    when_stored: list[Effect] = field(factory=list)

    def store(self, row: tuple[bytes, bytes]) -> None:
        """Write a row."""
        self.rows[row[0]] = row[1]

    def send_state(self, to: NodeId, message: object) -> None:
        """Send what shows state: once the state is on disk."""
        self.when_stored.append(Send(to, message))

    def send_now(self, to: NodeId, message: object) -> None:
        """Send what shows none."""
        self.at_once.append(Send(to, message))

    def announce_state(self, news: object) -> None:
        """Announce what rests on state."""
        self.when_stored.append(Announce(news))

    def announce_now(self, news: object) -> None:
        """Announce what rests on none."""
        self.at_once.append(Announce(news))


@define
class _Pending:
    rows: dict[bytes, bytes]
    news: list[Effect]


class StoreQueue:
    """Stores in the order of their steps; a batch that failed is tried again until it is kept.

    A failed batch (the disk is full) was not applied, and neither was any after it; their rows and
    announcements are gathered and written together a second later. Messages that waited for
    them are dropped: gossip and joining ask again by themselves.
    """

    def __init__(self) -> None:
        self._next = 0
        self._under_way: dict[Ticket, _Pending] = {}
        self._failed: dict[Ticket, _Pending] = {}
        self.deadline: int | None = None
        """When failed batches are to be written again."""

    @property
    def is_idle(self) -> bool:
        """Whether all that was decided is on disk."""
        return not self._under_way and not self._failed

    def effects(self, turn: Turn) -> list[Effect]:
        """The effects of a step."""
        if not (turn.at_once or turn.when_stored or turn.rows):
            return []
        if self._failed:
            if turn.rows or turn.when_stored:
                self._failed[self._ticket()] = _Pending(turn.rows, _news(turn.when_stored))
            return turn.at_once
        if turn.rows:
            return [*turn.at_once, self._store(turn.rows, turn.when_stored)]
        if turn.when_stored and self._under_way:
            return [*turn.at_once, self._store({}, turn.when_stored)]
        return [*turn.at_once, *turn.when_stored]

    def stored(self, ticket: Ticket) -> None:
        """A batch is on disk."""
        self._under_way.pop(ticket, None)

    def failed(self, now: int, ticket: Ticket) -> None:
        """A batch was not applied."""
        pending = self._under_way.pop(ticket, None)
        if pending is None:
            return
        self._failed[ticket] = pending
        if self.deadline is None:
            self.deadline = now + RETRY_NS

    def retry(self, now: int) -> list[Effect]:
        """Write failed batches again when it is time; else nothing."""
        if self.deadline is None or now < self.deadline:
            return []
        if self._under_way:
            # Their failures are on the way: they were emitted after the one that failed.
            self.deadline = now + RETRY_NS
            return []
        rows: dict[bytes, bytes] = {}
        news: list[Effect] = []
        for ticket in sorted(self._failed):
            rows.update(self._failed[ticket].rows)
            news.extend(self._failed[ticket].news)
        self._failed.clear()
        self.deadline = None
        return [self._store(rows, news)]

    def _store(self, rows: dict[bytes, bytes], then: list[Effect]) -> Store:
        ticket = self._ticket()
        self._under_way[ticket] = _Pending(rows, _news(then))
        return Store(ticket, list(rows.items()), then)

    def _ticket(self) -> Ticket:
        self._next += 1
        return Ticket(self._next)


def _news(effects: Iterable[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Announce)]
