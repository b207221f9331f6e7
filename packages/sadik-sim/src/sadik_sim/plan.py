"""A plan: everything that a run is made from, drawn from a seed, or read from a file.

A plan can be cut down: without a fault, without an operation, shorter. What remains happens as it
did, as far as the rest allows it, since workload, network, disks and boots draw from streams of
their own.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

import attrs
from attrs import frozen

from sadik_machine import MILLISECOND, SECOND
from sadik_sim.faults import (
    KINDS,
    LOSING_KINDS,
    Fault,
    draw_faults,
    draw_network_faults,
)
from sadik_sim.network import NetworkFaults
from sadik_sim.streams import Streams
from sadik_sim.workload import Operation, draw_operations

__all__ = ["LIMITS", "PROFILES", "Options", "Plan", "draw_plan", "plan_from_json", "plan_to_json"]

FORMAT: Final = 1

PROFILES: dict[str, tuple[str, ...]] = {
    "default": KINDS,
    "quiet": (),
    "crashes": ("crash", "stop", "power", "drift"),
    "network": ("cut", "split", "clog", "break", "pause"),
    "disks": ("full", "slow", "broken", "crash", "old_copy", "flip"),
    "clocks": ("clock", "drift"),
    "membership": (
        "join",
        "leave",
        "remove",
        "crash",
        "stop",
        "pause",
        "cut",
        "split",
        "clog",
        "break",
        "slow",
    ),
    "absence": ("away", "cut", "old_copy", "clock"),
}
"""The kinds of fault that a profile draws from."""

LIMITS: dict[str, tuple[int, ...]] = {
    "hedge_ns": (MILLISECOND, 10 * MILLISECOND),
    "hint_bytes_max": (100, 400),
    "hint_window": (1, 3),
    "linger_ns": (20 * MILLISECOND,),
    "message_bytes_max": (100,),
    "requests_max": (10, 40),
    "scan_bytes": (64,),
    "scan_rows": (2,),
    "siblings_max": (3,),
    "delay_ns": (100_000, 30 * MILLISECOND),
    "load_ns": (50_000, 5 * MILLISECOND),
}
"""What some seeds draw other than usual: fields of `EngineConfig` small enough to be met, and how
long messages (``delay_ns``) and reads of the disk (``load_ns``) take at most."""

_SILENCING_KINDS = (*LOSING_KINDS, "remove")
"""After one of these a single node may not know what was acknowledged."""


@frozen
class Options:
    """How large a run is. Times are virtual."""

    nodes: int = 5
    seconds: int = 30
    operations: int = 1000
    clients: int = 8
    keys: int = 12
    profile: str = "default"
    partitions: int = 16
    replicas: int = 3


@frozen
class Plan:
    """One run."""

    seed: int
    options: Options
    network: NetworkFaults
    faults: tuple[Fault, ...]
    operations: tuple[Operation, ...]
    limits: tuple[tuple[str, int], ...] = ()
    """Of `LIMITS`, what this run has other than usual."""
    bug: str = ""
    """The planted bug of the run; none but in tests."""


def draw_plan(seed: int, options: Options, bug: str = "") -> Plan:
    """The plan of a seed."""
    streams = Streams(seed)
    names = [f"n{index + 1}" for index in range(options.nodes)]
    length_ns = options.seconds * SECOND
    kinds = PROFILES[options.profile]
    network = draw_network_faults(streams.faults) if kinds else NetworkFaults()
    faults = draw_faults(streams.faults, names, length_ns, kinds=kinds)
    limits = _draw_limits(streams.faults) if kinds else ()
    operations = draw_operations(
        streams.workload,
        count=options.operations,
        clients=options.clients,
        keys=options.keys,
        nodes=options.nodes,
        length_ns=length_ns,
        may_ask_one=not any(fault.kind in _SILENCING_KINDS for fault in faults),
    )
    return Plan(seed, options, network, tuple(faults), tuple(operations), limits, bug)


def _draw_limits(source: random.Random) -> tuple[tuple[str, int], ...]:
    """Most seeds have one or two limits within reach, so that what guards them is exercised."""
    count = source.choice((0, 0, 1, 2, 3))
    names = sorted(source.sample(sorted(LIMITS), count))
    return tuple((name, source.choice(LIMITS[name])) for name in names)


def plan_to_json(plan: Plan) -> str:
    """A plan as text, for a file: one line an operation and a fault."""
    plain = {"format": FORMAT, **attrs.asdict(plan)}
    lists = {name: plain.pop(name) for name in ("faults", "operations")}
    head = json.dumps(plain, indent=1).removesuffix("\n}")
    parts = [
        f' "{name}": [\n' + ",\n".join("  " + json.dumps(item) for item in items) + "\n ]"
        for name, items in lists.items()
    ]
    return ",\n".join([head, *parts]) + "\n}\n"


def plan_from_json(text: str) -> Plan:
    """The plan of a file; ValueError where it is none of this format."""
    try:
        plain: dict[str, Any] = json.loads(text)
        if plain.pop("format") != FORMAT:
            raise ValueError("another format")
        return Plan(
            seed=plain["seed"],
            options=Options(**plain["options"]),
            network=NetworkFaults(**plain["network"]),
            faults=tuple(
                Fault(f["at_ns"], f["kind"], tuple(f["nodes"]), f["duration_ns"], f["strength"])
                for f in plain["faults"]
            ),
            operations=tuple(
                Operation(**{**o, "options": tuple((name, value) for name, value in o["options"])})
                for o in plain["operations"]
            ),
            limits=tuple((name, value) for name, value in plain["limits"]),
            bug=plain["bug"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a plan of format {FORMAT}: {error}") from error
