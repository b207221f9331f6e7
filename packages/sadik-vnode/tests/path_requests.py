"""Requests for one bucket, and what their answers show, for the tests of the whole path."""

from __future__ import annotations

from typing import Any

from sadik_machine import SECOND, NodeId, Observed, WallTime
from sadik_vnode.requests import BucketSet, Delete, Found, Get, Put
from vnode_world import World

TIMEOUT = 5 * SECOND


def get(key: bytes = b"k", **options: Any) -> Get:
    return Get("b", key, TIMEOUT, **options)


def put(value: bytes, context: str | None = None, key: bytes = b"k", **options: Any) -> Put:
    return Put("b", key, value, TIMEOUT, context=context, **options)


def delete(context: str | None = None, key: bytes = b"k", **options: Any) -> Delete:
    return Delete("b", key, TIMEOUT, context=context, **options)


def values(found: Any) -> list[bytes]:
    assert isinstance(found, Found), found
    return [version.value for version in found.versions]


def ids(world: World) -> list[NodeId]:
    return list(world.nodes)


def set_bucket(world: World, **properties: Any) -> None:
    """Give the bucket these properties, on every node."""
    world.answer(ids(world)[0], BucketSet("b", properties))
    world.run(SECOND)


def set_clock(world: World, node: NodeId, ahead_ns: int) -> None:
    """From now on the wall clock of ``node`` is so much ahead of the others'."""
    wall_ns = 1_700_000_000 * SECOND + world.now + ahead_ns
    world.step(world.nodes[node], Observed(WallTime(wall_ns)))
