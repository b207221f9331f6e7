"""A request that is to be logged wherever it goes is announced by every node that it touches."""

from __future__ import annotations

from typing import Any

from path_requests import get, ids, put
from sadik_machine import Announce, NodeId
from sadik_vnode.news import Touched
from sadik_vnode.requests import Explain, ListKeys
from vnode_world import World, WorldNode


class Watched(World):
    """A world that remembers what its nodes announce."""

    def __init__(self, seed: int) -> None:
        self.touched: list[tuple[NodeId, Touched]] = []
        super().__init__(seed)

    def _perform(self, node: WorldNode, effects: Any) -> None:
        for effect in effects:
            if isinstance(effect, Announce) and isinstance(effect.news, Touched):
                self.touched.append((node.id, effect.news))
        super()._perform(node, effects)


def test_what_has_no_trace_is_announced_nowhere() -> None:
    world = Watched(1)
    for node in ids(world):
        world.answer(node, put(b"v"))
        world.answer(node, get())
    assert world.touched == []


def test_every_node_that_a_request_touches_says_so() -> None:
    world = Watched(1)
    first, *others = ids(world)
    for node in ids(world):
        world.answer(node, put(b"v", trace="T"))
    writes = [(t.sender, node) for node, t in world.touched if t.what == "write"]
    coordinator = writes[0][0]
    assert sorted(writes) == sorted(
        [(coordinator, node) for node in ids(world) if node != coordinator] * 3
    )
    coordinated = [node for node, t in world.touched if t.what == "coordinate"]
    assert len(coordinated) == 2, "two of three nodes forward to the first owner"
    assert len(set(coordinated)) == 1
    assert {t.trace for _, t in world.touched} == {"T"}
    assert {(t.bucket, t.key) for _, t in world.touched} == {("b", b"k")}

    world.touched.clear()
    world.answer(first, get(r="all", trace="R"))
    assert sorted((node, t.what) for node, t in world.touched) == [
        (node, "read") for node in others
    ]

    world.touched.clear()
    world.answer(first, ListKeys("b", b"", None, 10, 10**9, "L"))
    world.answer(first, Explain("b", b"k", 10**9, "E"))
    seen = {(node, t.what, t.key) for node, t in world.touched}
    assert seen == {(n, w, k) for n in others for w, k in (("scan", b""), ("inspect", b"k"))}


def test_a_trace_of_a_peer_is_cut_to_what_a_client_may_send() -> None:
    world = Watched(1)
    world.answer(ids(world)[0], get(r="all", trace="x" * 1000))
    assert {len(t.trace) for _, t in world.touched} == {128}
