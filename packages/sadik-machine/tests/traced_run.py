"""A traced run of a small machine, to be compared between processes: ``traced_run.py SEED``.

The machine and its messages are full of what a process orders by its own hash seed if one is not
careful: sets and dictionaries keyed by texts.
"""

from __future__ import annotations

import random
import sys

from attrs import define

from sadik_machine import (
    Announce,
    Deadlines,
    Effect,
    Input,
    NodeId,
    Received,
    Requested,
    RequestId,
    RequestIds,
    Send,
    Store,
    Ticket,
    Trace,
    Woke,
    random_node_id,
)


@define
class Gossip:
    """Names heard of, and how often."""

    names: frozenset[str]
    counts: dict[str, int]


class Gossiper:
    """Remembers names; tells them on when a deadline comes."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._ids = RequestIds(source)
        self._counts: dict[str, int] = {}
        self._deadlines: Deadlines[str] = Deadlines()

    @property
    def deadline(self) -> int | None:
        return self._deadlines.first

    def step(self, now: int, event: Input) -> list[Effect]:
        match event:
            case Requested(_, str(name)):
                self._counts[name] = self._counts.get(name, 0) + 1
                self._deadlines.set(name, now + self._source.randrange(100))
                row = (name.encode(), bytes([self._counts[name] % 256]))
                return [Store(Ticket(self._ids.next()), [row], [Announce(name)])]
            case Woke():
                due = self._deadlines.due(now)
                gossip = Gossip(frozenset(due), dict(self._counts))
                return [Send(random_node_id(self._source), gossip)] if due else []
            case _:
                return []


def main(seed: int) -> None:
    """Run, and print the digest and the last lines."""
    source = random.Random(seed)
    machine = Gossiper(source)
    trace = Trace(keep=20)
    for now in range(0, 3000, 10):
        event: Input = Requested(RequestId(now), f"name {source.randrange(50)}")
        if machine.deadline is not None and machine.deadline <= now:
            event = Woke()
        elif source.randrange(5) == 0:
            event = Received(NodeId(b"12345678"), Gossip(frozenset(map(str, range(40))), {}))
        trace.record(now, "g", event, machine.step(now, event))
    print(trace.digest)
    print("\n".join(trace.tail()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
