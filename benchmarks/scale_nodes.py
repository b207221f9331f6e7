"""What a request, and doing nothing, cost as nodes grow: whole clusters in the simulator's world.

A cluster is formed and filled with some keys, and then all nodes are started anew on the disks that
they have: from there on everything that their machines are given is kept (`tape`). First they are
left alone with the settings of a node; then, started anew once more with background work turned
off, they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle

from attrs import asdict, define
from request_cost import QUIET, load
from tape import ENGINE, MEMBERSHIP, Sent, TapedWorld

from sadik_machine import SECOND
from sadik_sim.world import World
from sadik_vnode import EngineConfig
from sadik_vnode.requests import Delete, Get, Put

__all__ = ["NodesFigures", "measure_nodes"]

PARTITIONS = 256
"""What a cluster is formed with when nothing was said."""
_KEYS = 600
_ASKED_MAX = 10
_ROUNDS = 2
_IDLE_NS = 20 * SECOND
_SETTLE_NS = 12 * SECOND
"""So long that every node has compared its partitions once."""
_TIMEOUT_NS = SECOND
_DRAIN_NS = 3 * SECOND
_BUCKET = "bench"
_VALUE = b"x" * 100
_DELETED = 20

Figures = dict[str, dict[str, float]]
"""``us``, ``messages`` and ``bytes`` by what they are of."""


@define(slots=True)
class NodesFigures:
    """A cluster of so many nodes. What a request costs is of all nodes together; what being idle
    costs is of one node in a second. Times are microseconds of the processor.
    """

    nodes: int
    requests: Figures
    """By kind: ``us`` of the engines, ``messages`` and ``bytes``."""
    idle: Figures
    """By machine, ``engine`` and ``membership``: the same."""
    reaping: Figures
    """The same while what was deleted is being reaped, idle work included."""


def measure_nodes(
    counts: Iterable[int], requests: int, tell: Callable[[str], None]
) -> list[dict[str, object]]:
    """Measure clusters of so many nodes each, one after another."""
    found = []
    for nodes in counts:
        world = formed(nodes)
        idle, reaping = _idle(world)
        figures = NodesFigures(nodes, _requests(world, requests), idle, reaping)
        tell(str(figures))
        found.append(asdict(figures))
    return found


def formed(nodes: int) -> TapedWorld:
    """A cluster with some keys."""
    world = TapedWorld(nodes, config=EngineConfig(), partitions=PARTITIONS, is_taping=False)
    world.form()
    load(world, _put, _keys(_KEYS), _names(world))
    return world


def _idle(world: TapedWorld) -> tuple[Figures, Figures]:
    """What all do when nobody asks anything; and what they do when some keys were deleted."""
    world.start_taping(EngineConfig())
    world.run(_SETTLE_NS)
    world.mark("")
    world.run(_IDLE_NS)
    world.mark("idle")
    load(world, _delete, _keys(_DELETED), _names(world))
    world.mark("deletes")
    world.run(_IDLE_NS)
    world.mark("reaping")
    spent = {kind: world.seconds(kind) for kind in (ENGINE, MEMBERSHIP)}
    shares = len(world.nodes) * _IDLE_NS / SECOND
    idle, reaping = (
        {kind: _figures(world.sent[part][kind], spent[kind][part], shares) for kind in spent}
        for part in ("idle", "reaping")
    )
    return idle, reaping


def _requests(world: TapedWorld, requests: int) -> Figures:
    """What a put and a get cost; nothing is done in the background.

    Nodes keep what they found out of a partition until something changes. So the same is asked
    before, of as many nodes as can be asked often.
    """
    world.start_taping(QUIET)
    world.run(_DRAIN_NS)
    keys = [key for _, key in zip(range(requests), cycle(_keys(_KEYS)), strict=False)]
    names = _names(world)[:_ASKED_MAX]
    kinds = {"put": _put, "get": _get}
    for make in kinds.values():
        load(world, make, keys, names)
    world.run(_DRAIN_NS)
    world.mark("")
    for name, make in kinds.items():
        load(world, make, keys, names)
        world.run(_DRAIN_NS)
        world.mark(name)
    # What the engines do besides is the same in a stretch without requests.
    world.run(_DRAIN_NS)
    world.mark("none")
    rounds = [world.seconds(ENGINE) for _ in range(_ROUNDS)]
    spent = {name: min(each[name] for each in rounds) for name in (*kinds, "none")}
    found = {}
    for name in kinds:
        beside = spent["none"] * world.took_ns[name] / world.took_ns["none"]
        found[name] = _figures(world.sent[name][ENGINE], spent[name] - beside, requests)
    return found


def _figures(sent: Sent, seconds: float, shares: float) -> dict[str, float]:
    return {
        "us": seconds / shares * 1e6,
        "messages": len(sent.messages) / shares,
        "bytes": sent.bytes / shares,
    }


def _keys(count: int) -> list[bytes]:
    return [b"key-%07d" % number for number in range(count)]


def _names(world: World) -> list[str]:
    return [node.name for node in world.nodes.values()]


def _put(key: bytes) -> object:
    return Put(_BUCKET, key, _VALUE, _TIMEOUT_NS)


def _get(key: bytes) -> object:
    return Get(_BUCKET, key, _TIMEOUT_NS, r=2)


def _delete(key: bytes) -> object:
    return Delete(_BUCKET, key, _TIMEOUT_NS)
