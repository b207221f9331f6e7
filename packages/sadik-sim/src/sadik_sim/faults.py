"""Faults as data: what goes wrong, where, when, how strongly and for how long.

Each seed draws which kinds of fault its world has at all, then a schedule of them. A schedule is a
plain list that can be shortened, written to a file and run again; applying a fault to a world where
it makes no sense (a crash of a node that is down) does nothing.

Some faults lose data that was synced: an old copy put back, flipped bits. Their budget is one node
a run, so that at least one good copy of what W=2 acknowledged remains; a workload beside them asks
for no less.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from attrs import evolve, frozen

from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_members import Leave
from sadik_sim.network import NetworkFaults
from sadik_sim.node import SimNode
from sadik_sim.world import INSIST_NS, World

__all__ = [
    "KINDS",
    "LOSING_KINDS",
    "MEMBERSHIP_KINDS",
    "Fault",
    "apply_fault",
    "draw_faults",
    "draw_network_faults",
    "over_at",
    "spares_notes",
]

KINDS = (
    "crash", "stop", "power", "pause", "cut", "split", "clog", "break", "clock", "drift",
    "full", "slow", "broken", "old_copy", "flip",
)  # fmt: skip

MEMBERSHIP_KINDS = ("join", "leave", "remove")
"""Members come and go: kinds of a profile of their own."""

T = TypeVar("T")

LOSING_KINDS = ("old_copy", "flip")

_FLIPS_MAX: Final = 4
_FLIPPED = (b"O", b"O", b"O", b"O", b"V", b"B")
"""The rows whose bits rot, by the first byte of their keys. Those of membership keep a node from
starting, and nothing can take its place yet; notes and the keys of a bucket have no values."""
_SPREAD: Final = 2_654_435_761

_YEAR_NS: Final = 365 * 86_400 * SECOND
_NEVER_NOTED_KINDS = (
    "crash", "away", "stop", "power", "broken", "full", "drift",
    *LOSING_KINDS, *MEMBERSHIP_KINDS,
)  # fmt: skip


@frozen
class Fault:
    """One fault. Times are nanoseconds since the workload began.

    ``nodes`` names who is concerned: one node, the two ends of a direction, or one side of a split.
    ``strength`` is what the kind makes of it: nanoseconds of a clog or a clock jump, thousandths of
    a disk's chance, parts per million of a drift; of an old copy,
    1 if it was made of a node that had stopped cleanly; of flipped bits, which and how many.
    """

    at_ns: int
    kind: str
    nodes: tuple[str, ...]
    duration_ns: int
    strength: int = 0


def draw_network_faults(source: random.Random) -> NetworkFaults:
    """How the links of one seed misbehave."""
    return NetworkFaults(
        loss=source.choice((0, 0, 0, 5, 30)),
        duplication=source.choice((0, 0, 20, 100)),
        reordering=source.choice((0, 0, 20, 200)),
        breaks=source.choice((0, 0, 0, 2)),
    )


def draw_faults(
    source: random.Random,
    names: Sequence[str],
    length_ns: int,
    *,
    kinds: Sequence[str] = KINDS,
    every_ns: int = 3 * SECOND,
) -> list[Fault]:
    """A schedule: some of ``kinds``, one fault about every ``every_ns``."""
    if not kinds:
        return []
    changes = [kind for kind in kinds if kind in MEMBERSHIP_KINDS]
    kinds = [kind for kind in kinds if kind not in MEMBERSHIP_KINDS]
    if changes:
        calm = draw_faults(source, names, length_ns, kinds=kinds, every_ns=every_ns)
        return sorted((*_draw_changes(source, names, length_ns), *calm), key=_at)
    present = [kind for kind in kinds if source.randrange(2)] or [source.choice(kinds)]
    faults: list[Fault] = []
    victim: tuple[str, ...] = ()
    at = source.randrange(every_ns)
    while at < length_ns:
        fault = _draw(source, source.choice(present), at, names)
        if fault.kind in LOSING_KINDS:
            victim = victim or fault.nodes
            fault = evolve(fault, nodes=victim)
        if fault.kind != "old_copy" or all(other.kind != "old_copy" for other in faults):
            faults.append(fault)
        at += 1 + source.randrange(2 * every_ns)
    return faults


def _at(fault: Fault) -> int:
    return fault.at_ns


def _draw_changes(source: random.Random, names: Sequence[str], length_ns: int) -> list[Fault]:
    """Some joins, departures and a removal. Three of the first nodes stay."""
    changes: list[Fault] = []
    last_ns = length_ns * 2 // 3

    def change(kind: str, name: str) -> None:
        changes.append(Fault(source.randrange(last_ns), kind, (name,), 0))

    for number in range(source.randrange(4)):
        change("join", f"n{len(names) + number + 1}")
    going = source.sample(list(names), max(min(2, len(names) - 3), 0))
    for name in going[: source.randrange(len(going) + 1)]:
        is_removed = not any(other.kind == "remove" for other in changes) and source.randrange(2)
        change("remove" if is_removed else "leave", name)
    return changes or [Fault(last_ns // 2, "join", (f"n{len(names) + 1}",), 0)]


def _draw(source: random.Random, kind: str, at_ns: int, names: Sequence[str]) -> Fault:
    one: tuple[str, ...] = (source.choice(names),)
    duration_ns = source.randrange(50 * MILLISECOND, 6 * SECOND)
    strength = 0
    match kind:
        case "power":
            count = source.randrange(2, len(names) + 1)
            one = tuple(sorted(source.sample(list(names), count)))
        case "cut" | "break":
            one = tuple(source.sample(list(names), 2))
        case "split" | "clog":
            count = source.randrange(1, len(names))
            one = tuple(sorted(source.sample(list(names), count)))
            strength = source.randrange(10 * MILLISECOND, 2 * SECOND)
        case "clock":
            strength = source.randrange(-40 * SECOND, 40 * SECOND)
            if source.randrange(8) == 0:
                strength = _YEAR_NS
        case "drift":
            strength = source.randrange(-500, 500)
        case "full":
            strength = source.randrange(20, 1000)
        case "slow":
            strength = source.randrange(50, 500)
        case "broken":
            strength = source.randrange(5, 50)
        case "pause":
            duration_ns = source.randrange(20 * MILLISECOND, 12 * SECOND)
        case "old_copy":
            duration_ns = source.randrange(SECOND, 8 * SECOND)
            strength = source.randrange(2)
        case "flip":
            strength = source.randrange(1 << 32)
        case "away":
            duration_ns = source.randrange(10 * SECOND, 40 * SECOND)
        case _:
            pass
    return Fault(at_ns, kind, one, duration_ns, strength)


def over_at(faults: Sequence[Fault]) -> int:
    """When the last old copy was put back, in nanoseconds since the workload began.

    Every other fault can be ended before its time, and does no harm when that comes.
    """
    aftermath_ns = 2 * SECOND  # its node is started a second later
    ends = [f.at_ns + f.duration_ns + aftermath_ns for f in faults if f.kind == "old_copy"]
    return max(ends, default=0)


def spares_notes(faults: Sequence[Fault]) -> bool:
    """Whether every write that misses an owner leaves a hint note under these faults.

    A coordinator that dies in between leaves none, and neither does one whose disk is full.
    """
    return all(fault.kind not in _NEVER_NOTED_KINDS for fault in faults)


def apply_fault(world: World, fault: Fault) -> None:
    """Make it happen now, and end when its time is over."""
    if fault.kind == "join":
        world.join(fault.nodes[0])
        world.sometimes("node joined")
        return
    nodes = [world.node(name) for name in fault.nodes]
    if any(node.is_gone for node in nodes):
        return
    world.note(nodes[0], f"fault {fault.kind} {','.join(fault.nodes)}")
    _APPLY[fault.kind](world, nodes, fault)


def _each(what: Callable[[T], None], items: Sequence[T]) -> None:
    for item in items:
        what(item)


def _later(world: World, fault: Fault, what: object) -> None:
    assert callable(what)
    world.events.after(fault.duration_ns, what)


def _restart(node: SimNode) -> None:
    if not node.is_running:
        node.start()


def _crash(world: World, nodes: list[SimNode], fault: Fault) -> None:
    for node in nodes:
        if node.is_running:
            world.sometimes("node crashed")
            node.crash()
    _later(world, fault, partial(_each, _restart, nodes))


def _stop(world: World, nodes: list[SimNode], fault: Fault) -> None:
    for node in nodes:
        node.stop()
    world.sometimes("node stopped cleanly")
    _later(world, fault, partial(_each, _restart, nodes))


def _pause(world: World, nodes: list[SimNode], fault: Fault) -> None:
    for node in nodes:
        node.pause()
    world.sometimes("node paused")
    _later(world, fault, partial(_each, SimNode.resume, nodes))


def _cut(world: World, nodes: list[SimNode], fault: Fault) -> None:
    one, other = nodes[0].id, nodes[1].id
    world.network.cut(one, other)
    _later(world, fault, lambda: world.network.heal(one, other))


def _directions(world: World, nodes: list[SimNode]) -> list[tuple[NodeId, NodeId]]:
    side = [node.id for node in nodes]
    rest = [node for node in world.nodes if node not in side]
    return [pair for a in side for b in rest for pair in ((a, b), (b, a))]


def _split(world: World, nodes: list[SimNode], fault: Fault) -> None:
    directions = _directions(world, nodes)
    for sender, receiver in directions:
        world.network.cut(sender, receiver)
    world.sometimes("network split")
    _later(world, fault, partial(_each, lambda pair: world.network.heal(*pair), directions))


def _clog(world: World, nodes: list[SimNode], fault: Fault) -> None:
    directions = _directions(world, nodes)
    for direction in directions:
        world.network.clogged_ns[direction] = fault.strength
    _later(world, fault, lambda: [world.network.clogged_ns.pop(d, None) for d in directions])


def _break(world: World, nodes: list[SimNode], _fault: Fault) -> None:
    one, other = nodes[0].id, nodes[1].id
    world.network.end_session(one, other, notice=(one, other))


def _clock(world: World, nodes: list[SimNode], fault: Fault) -> None:
    nodes[0].wall_offset_ns += fault.strength
    world.sometimes("clock jumped")


def _drift(world: World, nodes: list[SimNode], fault: Fault) -> None:
    # A drift of the monotonic clock begins with a life: a running one must never go back.
    _stop(world, nodes, fault)
    if not nodes[0].is_running:
        nodes[0].drift_ppm = fault.strength


def _disk(world: World, nodes: list[SimNode], fault: Fault) -> None:
    faults = nodes[0].disk.faults
    setattr(faults, fault.kind, fault.strength)
    if fault.kind == "slow":
        faults.slow_ns = fault.duration_ns // 4
    _later(world, fault, lambda: setattr(faults, fault.kind, 0))


def _old_copy(world: World, nodes: list[SimNode], fault: Fault) -> None:
    node = nodes[0]
    if not node.is_running or node.is_paused:
        return
    if fault.strength:
        node.stop()
    copy = node.disk.durable.copy()
    _restart(node)

    def put_back() -> None:
        node.crash()
        node.disk.put_back(copy)
        world.checks.rolled_back(node)
        world.sometimes("old copy put back")
        world.events.after(SECOND, _restart, node)

    _later(world, fault, put_back)


def _flip(world: World, nodes: list[SimNode], fault: Fault) -> None:
    """A few bits of values rot: of records mostly, of a large value, of the births."""
    for number in range(1 + fault.strength % _FLIPS_MAX):
        where = (fault.strength + number) * _SPREAD % (1 << 32)
        prefix = _FLIPPED[where % len(_FLIPPED)]
        flipped = nodes[0].disk.flip_bit(prefix, where // len(_FLIPPED))
        if flipped is not None:
            row, value = flipped
            world.sometimes("bit flipped")
            world.note(nodes[0], f"a bit flips in {row!r}")
            world.damaged[nodes[0].id, row] = None
            if prefix == b"O":
                world.checks.lost_record(nodes[0], row, value)


def _leave(world: World, nodes: list[SimNode], fault: Fault) -> None:
    """An operator has a node leave, and asks again should it not have heard."""
    node = nodes[0]
    world.has_changed = True
    if not node.is_gone:
        node.tell(Leave())
        world.events.after(INSIST_NS, _leave, world, nodes, fault)


def _remove(world: World, nodes: list[SimNode], _fault: Fault) -> None:
    """A node dies with its disk, and an operator removes it."""
    node = nodes[0]
    world.has_changed = True
    world.sometimes("node removed")
    world.depart(node)
    world.remove(node)


_APPLY: Final = {
    "leave": _leave,
    "remove": _remove,
    "crash": _crash,
    "away": _crash,
    "power": _crash,
    "stop": _stop,
    "pause": _pause,
    "cut": _cut,
    "split": _split,
    "clog": _clog,
    "break": _break,
    "clock": _clock,
    "drift": _drift,
    "full": _disk,
    "slow": _disk,
    "broken": _disk,
    "old_copy": _old_copy,
    "flip": _flip,
}
