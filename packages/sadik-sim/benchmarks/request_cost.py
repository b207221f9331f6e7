"""What a request costs the engine: processor time, messages and bytes, of all nodes together.

    python benchmarks/request_cost.py [--requests 2000] [--rounds 5] [--json FILE]

Three nodes, N=3, no faults, values of 100 bytes, 64 requests under way, entering at all nodes in
turn; keys are there already. The world runs once, and then each node's engine is given what it was
given there, again and again, with nothing else in the process (`tape`); what is printed is the
least of the rounds. Forming the cluster and filling it is left out, and background work is turned
off. A batch is what a node makes of a hundred lines: a request of 64, and then one of the others.

``engine`` is the machine's own time, ``codec`` that of encoding each message once and decoding it.
HTTP, the host's loop, sockets and the disk come on top. Bytes are of messages without frames.

Machines and their load differ, so the figure that compares from day to day is ``turns``: how many
turns of a plain loop, measured in the same minute, the engine's time is worth.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from attrs import asdict, define
from seeds_per_second import loop_seconds
from tape import ENGINE, NEVER_NS, TapedWorld, codec_us

from sadik_machine import SECOND
from sadik_vnode import EngineConfig
from sadik_vnode.requests import Delete, Found, Get, GetMany, Put, PutMany, Written

__all__ = ["QUIET", "Cost", "costs", "load"]

QUIET = EngineConfig(
    anti_entropy_interval_ns=0, scrub_interval_ns=0, reap_pace_ns=NEVER_NS, tombstone_ns=NEVER_NS
)
"""No background work."""
_BUCKET = "bench"
_VALUE = b"x" * 100
_TIMEOUT_NS = SECOND
_DRAIN_NS = 3 * SECOND
"""Until even the deadlines of a part's requests have passed."""
_LINES = 100
_WINDOW = 64
_PARTITIONS = 64

Make = Callable[[bytes], object]


@define(slots=True)
class Cost:
    """Of one request, or batch, by all nodes together. Times are microseconds."""

    engine: float
    codec: float
    messages: float
    bytes: float
    turns: float
    """The engine's time in turns of a plain loop."""


def load(
    world: TapedWorld, make: Make, keys: Sequence[bytes], entries: Sequence[str],
    window: int = _WINDOW,
) -> None:  # fmt: skip
    """Ask for every key, so many at once, at the nodes of these names in turn. Every answer is
    good, and each part of it.
    """
    waiting = list(enumerate(keys))[::-1]
    left = len(keys)

    def go_on() -> None:
        if waiting:
            number, key = waiting.pop()
            world.node(entries[number % len(entries)]).request(make(key), answered)

    def answered(result: object) -> None:
        nonlocal left
        for each in getattr(result, "results", (result,)):
            assert isinstance(each, Found | Written), each
        left -= 1
        world.events.after(0, go_on)

    for _ in range(window):
        go_on()
    assert world.events.run_while(lambda: left > 0, world.events.now + NEVER_NS)


def _mark(world: TapedWorld, name: str) -> None:
    """End a part, when all that it gave rise to is over."""
    world.run(_DRAIN_NS)
    world.mark(name)


def _put(key: bytes) -> object:
    return Put(_BUCKET, key, _VALUE, _TIMEOUT_NS)


def _get(key: bytes, r: int) -> object:
    return Get(_BUCKET, key, _TIMEOUT_NS, r=r)


def _put_many(keys: Sequence[bytes], _key: bytes) -> object:
    return PutMany([Put(_BUCKET, key, _VALUE, _TIMEOUT_NS) for key in keys])


def _get_many(keys: Sequence[bytes], _key: bytes) -> object:
    return GetMany([Get(_BUCKET, key, _TIMEOUT_NS, r=2) for key in keys])


def _delete(key: bytes) -> object:
    return Delete(_BUCKET, key, _TIMEOUT_NS)


def run_world(
    requests: int, nodes: int = 3, partitions: int = _PARTITIONS
) -> tuple[TapedWorld, dict[str, int]]:
    """Every kind of request, so many times; the world, and how many requests each part has."""
    world = TapedWorld(nodes, config=QUIET, partitions=partitions)
    world.form()
    keys = [b"key-%07d" % number for number in range(requests)]
    load(world, _put, keys, ["n1"])
    names = [node.name for node in world.nodes.values()]
    for name in names:
        # That they know of each other that they take many at once.
        load(world, partial(_put_many, keys[:_WINDOW]), [b""], [name])
    _mark(world, "")
    counts: dict[str, int] = {}
    kinds: dict[str, Make] = {
        "put, W=2": _put, "get, R=1": partial(_get, r=1), "get, R=2": partial(_get, r=2),
    }  # fmt: skip
    for name, make in kinds.items():
        load(world, make, keys, names)
        _mark(world, name)
        counts[name] = requests
    batches = max(requests // _LINES, 1)
    for name, together in (("100 puts in a batch", _put_many), ("100 gets in a batch", _get_many)):
        for number in range(batches):
            lines = keys[number * _LINES : (number + 1) * _LINES]
            for part in (lines[:_WINDOW], lines[_WINDOW:]):
                load(world, partial(together, part), [b""], [names[number % nodes]])
        _mark(world, name)
        counts[name] = batches
    load(world, _delete, keys, names)
    _mark(world, "delete")
    counts["delete"] = requests
    return world, counts


def costs(world: TapedWorld, counts: dict[str, int], rounds: int) -> tuple[dict[str, Cost], float]:
    """The least of so many rounds, and of plain loops between them: what else the machine does can
    only add to it. The loop is in microseconds a turn.
    """
    engine: list[dict[str, float]] = []
    codec: list[dict[str, float]] = []
    loops = [loop_seconds()]
    for _ in range(rounds):
        engine.append(world.seconds(ENGINE))
        codec.append({name: codec_us(world.sent[name][ENGINE].messages) for name in counts})
        loops.append(loop_seconds())
    loop_us = min(loops)
    found = {}
    for name, count in counts.items():
        sent = world.sent[name][ENGINE]
        engine_us = min(spent[name] for spent in engine) / count * 1e6
        found[name] = Cost(
            engine_us, min(spent[name] for spent in codec) / count,
            len(sent.messages) / count, sent.bytes / count, engine_us / loop_us,
        )  # fmt: skip
    return found, loop_us


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000, help="of each kind (default 2000)")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args(arguments)
    found, loop_us = costs(*run_world(given.requests), given.rounds)
    print(f"{'':<20} engine us  codec us  messages     bytes   turns")
    for name, cost in found.items():
        print(
            f"{name:<20} {cost.engine:>9,.1f} {cost.codec:>9,.1f} {cost.messages:>9,.2f} "
            f"{cost.bytes:>9,.0f} {cost.turns:>7,.0f}"
        )
    print(f"a turn of the plain loop: {loop_us * 1e3:.1f} ns")
    if given.json is not None:
        document = {
            "python": platform.python_version(),
            "loop_ns": loop_us * 1e3,
            "costs": {name: asdict(cost) for name, cost in found.items()},
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
