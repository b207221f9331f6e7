"""A world for requests of many keys, quiet but for what a test does, and one in trouble."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs

from path_requests import ids
from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_vnode import EngineConfig
from vnode_world import Faults, World, WorldNode

KEYS = [f"k{n}".encode() for n in range(12)]


def a_world(
    seed: int = 1, *, nodes: int = 3, config: EngineConfig | None = None, **faults: int
) -> World:
    base = config or EngineConfig()
    config = attrs.evolve(base, anti_entropy_interval_ns=0, hedge_early=False)
    world = World(seed, nodes=nodes, faults=Faults(**faults), config=config)
    world.run(SECOND)
    return world


def running(world: World) -> list[NodeId]:
    return [node.id for node in world.nodes.values() if node.engine is not None]


def asked_in_trouble(
    seed: int,
    draw: Callable[[random.Random, int], object],
    between: Callable[[World, NodeId], None],
    prepare: Callable[[World], None] = lambda _: None,
) -> tuple[list[Any], int, list[WorldNode]]:
    """Asks what ``draw`` makes of a source and a timeout, while messages are lost and disks full,
    and does ``between`` at times, in a world that ``prepare`` has seen. The answers when all is
    well again, how many were asked for, and the nodes.
    """
    world = a_world(seed, nodes=4, loss=50, duplication=50, disk_full=20)
    prepare(world)
    source = random.Random(seed)
    answers: list[Any] = []
    asked = 0
    for _ in range(25):
        node = source.choice(running(world))
        match source.randrange(8):
            case 0:
                world.cut_off(node, source.choice([n for n in ids(world) if n != node]))
            case 1:
                world.heal()
            case 2:
                between(world, node)
            case _:
                asked += 1
                timeout_ns = source.choice((5 * MILLISECOND, SECOND))
                world.ask(node, draw(source, timeout_ns), answers.append)
        world.run(source.randrange(100 * MILLISECOND))
    world.heal()
    world.run(20 * SECOND)
    return answers, asked, list(world.nodes.values())
