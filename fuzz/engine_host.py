"""An engine with a disk in memory, that takes messages of peers one after another."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import deque

from sadik_machine import (
    SECOND,
    Effect,
    GetRows,
    Input,
    Link,
    LinkState,
    Load,
    Loaded,
    NodeId,
    Observed,
    Query,
    Received,
    ScanRows,
    Store,
    Stored,
    WallTime,
    Woke,
)
from sadik_members import (
    ClusterJoined,
    Liveness,
    LivenessChanged,
    Member,
    MembersChanged,
    MemberState,
    Register,
    Ring,
    RingChanged,
)
from sadik_vnode import Engine, EngineConfig

__all__ = ["EngineHost"]

PARTITIONS = 8
EFFECTS_MAX = 10_000
STEP_NS = SECOND // 100


class EngineHost:
    """Node 1 of three, all up, each the owner of every partition."""

    def __init__(self) -> None:
        ids = [NodeId(bytes(7) + bytes([number])) for number in (1, 2, 3)]
        self.now = SECOND
        self._disk: dict[bytes, bytes] = {}
        self.engine = Engine(ids[0], b"instance", EngineConfig(), random.Random(1), {})
        members = {
            node: Member(node, f"n{node[7]}", "h:1", "h:2", "z", 1.0, 1, MemberState.UP, 1, 1)
            for node in ids
        }
        ring = Ring(3, (Register(1, tuple(ids)),) * PARTITIONS)
        begin: list[Input] = [
            Woke(),
            Observed(WallTime(1_700_000_000 * SECOND)),
            Observed(ClusterJoined(b"c" * 16, b"k" * 32)),
            Observed(MembersChanged(members)),
            Observed(RingChanged(ring)),
        ]
        for node in ids[1:]:
            begin += [Link(node, LinkState.UP), Observed(LivenessChanged(node, Liveness.UP))]
        for event in begin:
            self._settle(event)

    def take(self, sender: NodeId, message: object) -> None:
        """One message, and all that comes of it; then time passes."""
        self._settle(Received(sender, message))
        self.now += STEP_NS
        if self.engine.deadline is not None and self.engine.deadline <= self.now:
            self._settle(Woke())

    def _settle(self, event: Input) -> None:
        inbox: deque[Input] = deque([event])
        effects: deque[Effect] = deque()
        done = 0
        while inbox or effects:
            done += 1
            assert done < EFFECTS_MAX, "it does not come to rest"
            if not effects:
                effects.extend(self.engine.step(self.now, inbox.popleft()))
                continue
            match effects.popleft():
                case Load(ticket, query):
                    inbox.append(Loaded(ticket, self._look(query)))
                case Store(ticket, batch, then):
                    for row, value in batch:
                        assert 0 < len(row) <= 511, "no store takes such a key"
                        if value is None:
                            self._disk.pop(row, None)
                        else:
                            self._disk[row] = value
                    effects.extendleft(reversed(then))
                    inbox.append(Stored(ticket))
                case _:
                    pass  # what leaves goes nowhere

    def _look(self, query: Query) -> list[bytes | None] | list[tuple[bytes, bytes]]:
        if isinstance(query, GetRows):
            return [self._disk.get(key) for key in query.keys]
        assert isinstance(query, ScanRows)
        keys = sorted(self._disk)
        stop = len(keys) if query.stop is None else bisect_left(keys, query.stop)
        found = keys[bisect_left(keys, query.start) : stop][: query.limit_rows]
        return [(key, b"" if query.keys_only else self._disk[key]) for key in found]
