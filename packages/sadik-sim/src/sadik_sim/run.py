"""One run: form a cluster, let clients and faults loose, then let it calm down and judge it.

Safety is checked all the while; liveness at the end: when faults have stopped, everything must
converge within a bounded virtual time, whatever was done to it before.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import attrs
from attrs import frozen

from sadik_machine import SECOND, Trace
from sadik_sim.checks import value_id
from sadik_sim.ending import (
    calm_down,
    compare_nodes,
    compare_replicas,
    mend_damage,
    wait_for_reaping,
)
from sadik_sim.faults import apply_fault, over_at, spares_notes
from sadik_sim.history import Verdict, Write, judge
from sadik_sim.last_writer import LAST_BUCKET
from sadik_sim.network import Delay
from sadik_sim.plan import Plan
from sadik_sim.story import WORKLOAD_BEGINS
from sadik_sim.trees import check_trees, repair_again, repair_all, wait_for_equal_roots
from sadik_sim.violation import Violation, show
from sadik_sim.workload import BUCKET, Clients, key_of
from sadik_sim.world import World
from sadik_vnode import EngineConfig
from sadik_vnode.requests import (
    BucketResult,
    BucketSet,
    Found,
    Get,
    Hints,
    HintsResult,
    ListKeys,
    ListResult,
    Missing,
)

__all__ = ["RunResult", "execute"]

_ENCODE_EVERY: Final = 16
_READ_NS: Final = 10 * SECOND
_ROUND_NS: Final = 5 * SECOND
_TOMBSTONE_NS: Final = 2 * SECOND
_REAP_PACE_NS: Final = SECOND // 5
_OF_THE_WORLD = ("delay_ns", "load_ns")


@frozen
class RunResult:
    """How a run ended. ``invariant`` is empty where nothing was broken."""

    seed: int
    invariant: str
    detail: str
    at_ns: int
    """When it broke, in nanoseconds since the workload began; else how long the run took."""
    events: int
    messages: int
    acked: int
    counts: dict[str, int]
    happened: dict[str, int]
    trace: str
    """The hash of the whole trace; empty where none was kept."""
    key: bytes = b""
    """The key that a broken invariant is about, as far as it is about one."""
    dots: tuple[str, ...] = ()
    """The versions that are involved, as `sadik_sim.violation.show` prints dots."""
    where: tuple[str, ...] = ()
    """For an exception of the code under test: the frames that led there, the innermost last."""

    def __reduce__(self) -> tuple[type[RunResult], tuple[Any, ...]]:
        """How it goes to another process: a compiled object is not made without its fields."""
        return RunResult, attrs.astuple(self, recurse=False)


def execute(
    plan: Plan,
    *,
    trace: Trace | None = None,
    make_world: Callable[..., World] = World,
    on_violation: Callable[[Violation], None] | None = None,
) -> RunResult:
    """Carry a plan out, with its planted bug if it has one. What breaks is in the result.

    ``on_violation`` is shown a broken invariant with all that is known of it.
    """
    if plan.bug:
        from sadik_sim.planted import planted  # noqa: PLC0415 - a plain run plants nothing

        planting = planted(plan.bug)
    else:
        planting = nullcontext()
    with planting, _without_collector():
        return _execute(plan, trace, make_world, on_violation)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A run makes some tens of megabytes that live to its end: collecting them is a tenth of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _execute(
    plan: Plan,
    trace: Trace | None,
    make_world: Callable[..., World],
    on_violation: Callable[[Violation], None] | None,
) -> RunResult:
    world = _world_of(plan, trace, make_world)
    clients = Clients(world, plan.options.clients)
    began = world.events.now
    broken: Violation | None = None
    where: tuple[str, ...] = ()
    try:
        world.form()
        _prepare(world)
        began = world.events.now
        _let_loose(world, clients, plan)
        calm_down(world, began + over_at(plan.faults))
        mend_damage(world)
        _converge(world, plan)
        _judge(world, clients, plan.options.keys)
        clients.judge_sessions()
        clients.last_writer.judge()
        wait_for_reaping(world)
        _judge(world, clients, plan.options.keys)
    except Violation as violation:
        broken = violation
    except Exception as error:  # noqa: BLE001 - whatever the code under test raises is its defect
        where = tuple(
            f"{frame.filename}:{frame.lineno} {frame.name}: {frame.line}"
            for frame in traceback.extract_tb(error.__traceback__)
        )
        detail = f"{type(error).__name__}: {error}"
        broken = Violation("the code's own assertions hold", f"{detail} (at {where[-1]})")
    if broken is not None and on_violation is not None:
        on_violation(broken)
    for node in world.nodes.values():
        if node.engine is not None:
            world.ended(node, node.engine)
    result = RunResult(
        seed=plan.seed,
        invariant=broken.invariant if broken else "",
        detail=broken.detail if broken else "",
        at_ns=world.events.now - began,
        events=world.events.happened,
        messages=world.network.sent,
        acked=sum(write.outcome == "acked" for write in clients.writes),
        counts=dict(sorted(clients.counts.items())),
        happened=dict(sorted(world.happened.items())),
        trace=trace.digest if trace is not None else "",
        key=broken.key if broken else b"",
        dots=tuple(map(show, broken.dots)) if broken else (),
        where=where,
    )
    world.discard()
    return result


def _world_of(plan: Plan, trace: Trace | None, make_world: Callable[..., World]) -> World:
    options, limits = plan.options, dict(plan.limits)
    of_engine: dict[str, Any] = {n: v for n, v in limits.items() if n not in _OF_THE_WORLD}
    world = make_world(
        plan.seed,
        ("a",) * options.nodes,
        partitions=options.partitions,
        replicas=options.replicas,
        config=attrs.evolve(
            EngineConfig(
                anti_entropy_interval_ns=0 if _is_noted(plan) else _ROUND_NS,
                tombstone_ns=_TOMBSTONE_NS,
                reap_pace_ns=_REAP_PACE_NS,
            ),
            **of_engine,
        ),
        encode=plan.seed % _ENCODE_EVERY == 0,
        trace=trace,
    )
    world.load_ns = limits.get("load_ns", 0)
    if "delay_ns" in limits:
        delay_ns = limits["delay_ns"]
        world.network.default_delay = Delay.uniform(delay_ns // 10, delay_ns)
    return world


def _let_loose(world: World, clients: Clients, plan: Plan) -> None:
    began = world.events.now
    world.note(next(iter(world.nodes.values())), WORKLOAD_BEGINS)
    world.network.faults = plan.network
    for fault in plan.faults:
        world.events.at(began + fault.at_ns, apply_fault, world, fault)
    operations = sorted(plan.operations, key=lambda operation: operation.at_ns)
    timed = ((began + operation.at_ns, operation) for operation in operations)
    world.events.at_each(timed, clients.carry_out)
    world.run(plan.options.seconds * SECOND)


def _prepare(world: World) -> None:
    """A blind write shall add a sibling: what it replaced otherwise, no history could tell."""
    first = world.running[0]
    for bucket, changes in (
        (BUCKET, {"blind_writes": "sibling"}),
        (LAST_BUCKET, {"conflict": "lww"}),
    ):
        result = world.answer(first, BucketSet(bucket, changes))
        assert isinstance(result, BucketResult), result

    def has_spread() -> bool:
        return all(
            node.membership is not None and node.membership.snapshot().documents == 2
            for node in world.nodes.values()
        )

    assert world.wait_for(has_spread, 30 * SECOND), "the bucket's properties did not spread"


def _converge(world: World, plan: Plan) -> None:
    """All owners must come to hold the same without any read: by hint notes alone, where every miss
    left one (no anti-entropy ran there until now), else by anti-entropy.
    """
    compare_nodes(world)
    keys = plan.options.keys
    if _is_noted(plan):
        compare_replicas(world, keys, "though all hint notes were delivered")
    if not world.config.anti_entropy_interval_ns:
        repair_all(world)
    wait_for_equal_roots(world)
    compare_replicas(world, keys, "though all roots are equal")
    wait_for_reaping(world)
    wait_for_equal_roots(world)
    repair_again(world)
    check_trees(world)


def _is_noted(plan: Plan) -> bool:
    """Whether hint notes alone have to do: of every miss there is one."""
    return spares_notes(plan.faults) and "hint_bytes_max" not in dict(plan.limits)


def _judge(world: World, clients: Clients, keys: int) -> None:
    """The rules of `sadik_sim.history` over every key; listings tell the same."""
    live_keys = []
    writes: dict[bytes, list[Write]] = {}
    for write in clients.writes:
        writes.setdefault(write.key, []).append(write)
    for number in range(keys):
        key = key_of(number)
        result = world.answer(world.running[number % len(world.running)], _whole(number), _READ_NS)
        if not isinstance(result, Found | Missing):
            raise Violation("everybody answers when faults stop", f"{result}", key)
        versions = result.versions if isinstance(result, Found) else []
        final = [value_id(version.value) for version in versions]
        clients.check_shown(key, tuple(final))
        verdict = judge(writes.get(key, ()), key, final)
        if not verdict.is_clean:
            rule, values = _rule_of(verdict)
            dots = world.checks.dots_of(values)
            raise Violation(rule, f"{key!r} has {final}: {verdict}", key, dots)
        if final:
            live_keys.append(key)
    for node in world.running:
        listed = world.answer(node, ListKeys(BUCKET, b"", None, 1000, _READ_NS), _READ_NS)
        if not isinstance(listed, ListResult) or listed.keys != sorted(live_keys):
            raise Violation(
                "listings tell what is there", f"{node.name}: {listed}, not {sorted(live_keys)}"
            )
        counted = world.answer(node, Hints(), _READ_NS)
        assert isinstance(counted, HintsResult), counted


def _rule_of(verdict: Verdict) -> tuple[str, list[bytes]]:
    """The rule that is broken, and the values that show it."""
    if verdict.lost:
        lost = [write.value for write in verdict.lost if write.value is not None]
        return "an acknowledged write is never lost", lost
    if verdict.resurrected:
        return "nothing covered comes back", verdict.resurrected
    if verdict.refused_but_seen:
        return "not applied is never seen", verdict.refused_but_seen
    return "nothing from nowhere", verdict.never_written


def _whole(number: int) -> Get:
    return Get(BUCKET, key_of(number), _READ_NS, r="all", sloppy=False)
