"""A node that is being filled is brought each record once."""

from __future__ import annotations

from collections import Counter

from sadik_machine import MILLISECOND, NodeId
from sadik_vnode import EngineConfig
from sadik_vnode.anti_entropy.messages import LeavesAsked, RecordsTold
from test_anti_entropy import ids
from test_transfer_sizes import MORE, RingWorld, moved
from vnode_world import WorldNode


def test_rounds_leave_alone_what_is_being_brought() -> None:
    world = RingWorld(MORE, config=EngineConfig(anti_entropy_interval_ns=200 * MILLISECOND))
    new = ids(world)[3]
    told: Counter[bytes] = Counter()
    compared: Counter[NodeId] = Counter()
    deliver = world._deliver

    def spy(sender: NodeId, target: WorldNode, boot: int, payload: bytes) -> None:
        message = world.codec.decode(payload)
        if isinstance(message, RecordsTold):
            told.update(row for row, _ in message.rows)
        elif isinstance(message, LeavesAsked):
            compared[sender] += 1
        deliver(sender, target, boot, payload)

    world._deliver = spy  # type: ignore[method-assign]
    moved(world, ids(world)[0])
    assert len(told) > len(MORE) // 2
    assert set(told.values()) == {1}
    assert set(compared) == {new}, "who is filled asks, and nobody asks it"
