"""An engine with a disk in memory, that takes messages of peers and requests of clients in turn."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any

from sadik_machine import (
    SECOND,
    Announce,
    Cancelled,
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
    Reply,
    Requested,
    RequestId,
    RequestIds,
    ScanRows,
    Store,
    Stored,
    WallTime,
    Woke,
)
from sadik_members import (
    ClusterJoined,
    DocumentsChanged,
    Liveness,
    LivenessChanged,
    Member,
    MembersChanged,
    MemberState,
    Publish,
    Register,
    Ring,
    RingChanged,
)
from sadik_vnode import Engine, EngineConfig

__all__ = ["EngineHost"]

PARTITIONS = 8
EFFECTS_MAX = 10_000
STEP_NS = SECOND // 100
WALL_S = 1_700_000_000
"""The wall clock when it begins."""


class EngineHost:
    """Node 1 of so many, all up, each the owner of every partition.

    For a front end it is the host (`sadik_node.http.service.Asks`), but that it does nothing until
    `work`. What it sends goes nowhere, so only a cluster of one answers clients at once.
    """

    overload = ""

    def __init__(
        self,
        nodes: int = 3,
        config: EngineConfig | None = None,
        instance: bytes = b"instance",
    ) -> None:
        ids = [NodeId(bytes(7) + bytes([number])) for number in range(1, nodes + 1)]
        self.now = SECOND
        self.rows: dict[bytes, bytes] = {}
        """What is on its disk."""
        self._request_ids = RequestIds(random.Random(2))
        self._asked: deque[Input] = deque()
        self._replies: dict[RequestId, Callable[[Any], None]] = {}
        self.engine = Engine(ids[0], instance, config or EngineConfig(), random.Random(1), {})
        self.members = {
            node: Member(node, f"n{node[7]}", "h:1", "h:2", "z", 1.0, 1, MemberState.UP, 1, 1)
            for node in ids
        }
        self.ring = Ring(nodes, (Register(1, tuple(ids)),) * PARTITIONS)
        begin: list[Input] = [
            Woke(),
            Observed(WallTime(WALL_S * SECOND)),
            Observed(ClusterJoined(b"c" * 16, b"k" * 32)),
            Observed(MembersChanged(self.members)),
            Observed(RingChanged(self.ring)),
        ]
        for node in ids[1:]:
            begin += [Link(node, LinkState.UP), Observed(LivenessChanged(node, Liveness.UP))]
        for event in begin:
            self._settle(event)

    def take(self, sender: NodeId, message: object) -> None:
        """One message, and all that comes of it; then time passes."""
        self._settle(Received(sender, message))
        self.pass_time(self.now + STEP_NS)

    def pass_time(self, until: int) -> None:
        """Let it be this late."""
        self.now = max(self.now, until)
        if self.engine.deadline is not None and self.engine.deadline <= self.now:
            self._settle(Woke())

    # A front end's requests

    @property
    def requests_open(self) -> int:
        """Requests that have no answer yet."""
        return len(self._replies)

    def request(self, request: object, done: Callable[[Any], None]) -> RequestId:
        """See `Asks.request`."""
        request_id = self._request_ids.next()
        self._replies[request_id] = done
        self._asked.append(Requested(request_id, request))
        return request_id

    def cancel(self, request_id: RequestId) -> None:
        """See `Asks.cancel`."""
        if self._replies.pop(request_id, None) is not None:
            self._asked.append(Cancelled(request_id))

    def work(self) -> None:
        """Take what was asked, and all that comes of it."""
        while self._asked:
            self._settle(self._asked.popleft())

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
                            self.rows.pop(row, None)
                        else:
                            self.rows[row] = value
                    effects.extendleft(reversed(then))
                    inbox.append(Stored(ticket))
                case Reply(request_id, result):
                    done_with = self._replies.pop(request_id, None)
                    if done_with is not None:
                        done_with(result)
                case Announce(Publish(document)):
                    inbox.append(Observed(DocumentsChanged((document,))))
                case _:
                    pass  # what leaves goes nowhere

    def _look(self, query: Query) -> list[bytes | None] | list[tuple[bytes, bytes]]:
        if isinstance(query, GetRows):
            return [self.rows.get(key) for key in query.keys]
        assert isinstance(query, ScanRows)
        keys = sorted(self.rows)
        stop = len(keys) if query.stop is None else bisect_left(keys, query.stop)
        found = keys[bisect_left(keys, query.start) : stop][: query.limit_rows]
        return [(key, b"" if query.keys_only else self.rows[key]) for key in found]
