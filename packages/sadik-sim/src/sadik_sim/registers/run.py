"""One run of registers: proposals at odds, every fault, and then one answer everywhere."""

from __future__ import annotations

import random
from contextlib import nullcontext
from functools import partial

from attrs import frozen

from sadik_machine import MILLISECOND, SECOND
from sadik_register import Learn, Propose, RegisterKey
from sadik_sim.disk import DiskFaults
from sadik_sim.network import NetworkFaults
from sadik_sim.planted.bug import exchanged
from sadik_sim.registers.bugs import REGISTER_BUGS
from sadik_sim.registers.world import RegisterWorld
from sadik_sim.violation import Violation

__all__ = ["RegisterResult", "execute_registers"]

_KEYS = tuple(RegisterKey(name, epoch) for name in (b"a", b"b") for epoch in (1, 2, 3))
_LENGTH_NS = 2 * SECOND
_REQUESTS = 60
_FAULTS = ("crash", "crash", "power", "cut", "cut", "isolate", "break")


@frozen
class RegisterResult:
    """How a run ended. ``invariant`` is empty where nothing was broken."""

    seed: int
    invariant: str
    detail: str
    at_ns: int
    events: int
    answers: int
    decided_under_faults: int
    """Registers that were decided before the faults stopped."""


def execute_registers(seed: int, bug: str = "") -> RegisterResult:
    """Run a seed, with a planted bug of `REGISTER_BUGS` if one is named."""
    planting = exchanged(REGISTER_BUGS[bug].plant()) if bug else nullcontext()
    source = random.Random(f"sadik registers {seed}")
    count = source.choice((3, 5))
    phase1 = source.randrange(1, count + 1)
    world = RegisterWorld(seed, count, phase1, count + 1 - phase1)
    invariant = detail = ""
    decided = 0
    with planting:
        try:
            _let_loose(world, source)
            world.events.run_until(_LENGTH_NS)
            decided = len(world.truth.decided)
            _calm_down(world)
            _judge(world)
        except Violation as violation:
            invariant, detail = violation.invariant, violation.detail
        except Exception as error:  # noqa: BLE001 - whatever the code under test raises is its defect
            invariant = "the code's own assertions hold"
            detail = f"{type(error).__name__}: {error}"
    events = world.events
    return RegisterResult(
        seed, invariant, detail, events.now, events.happened, world.answers, decided
    )


def _let_loose(world: RegisterWorld, source: random.Random) -> None:
    """Draw how bad things are, and put requests and faults on the heap."""
    world.network.faults = NetworkFaults(
        loss=source.choice((0, 10, 100)),
        duplication=source.choice((0, 100)),
        reordering=source.choice((0, 200)),
        breaks=source.choice((0, 5)),
    )
    full, slow = source.choice((0, 20)), source.choice((0, 100))
    for node in world.nodes.values():
        node.disk.faults = DiskFaults(full=full, slow=slow, slow_ns=80 * MILLISECOND)
    nodes = list(world.nodes.values())
    for number in range(_REQUESTS):
        key, node = source.choice(_KEYS), source.choice(nodes)
        timeout_ns = source.choice((50, 500, 2000)) * MILLISECOND
        request: Propose | Learn
        if source.randrange(4):
            request = Propose(key, b"%d" % number, world.quorums, timeout_ns)
        else:
            request = Learn(key, world.quorums, timeout_ns)
        world.events.at(source.randrange(_LENGTH_NS), world.ask, node, request)
    for _ in range(source.randrange(12)):
        at_ns = source.randrange(_LENGTH_NS)
        for_ns = source.randrange(1, 400) * MILLISECOND
        kind, node, other = source.choice(_FAULTS), source.choice(nodes), source.choice(nodes)
        if kind in ("crash", "power"):
            for each in nodes if kind == "power" else [node]:
                world.events.at(at_ns, world.crash, each)
                world.events.at(at_ns + for_ns, _start, world, each)
        elif kind == "break":
            ends = (node.id, other.id)
            world.events.at(at_ns, partial(world.network.end_session, *ends, notice=ends))
        else:
            cuts = [(node.id, other.id)]
            if kind == "isolate":
                cuts = [pair for n in nodes for pair in ((node.id, n.id), (n.id, node.id))]
            for sender, receiver in cuts:
                if sender != receiver:
                    world.events.at(at_ns, world.network.cut, sender, receiver)
                    world.events.at(at_ns + for_ns, world.network.heal, sender, receiver)


def _start(world: RegisterWorld, node: object) -> None:
    """Start a node that is down; of two crashes at once the second start finds it running."""
    for each in world.nodes.values():
        if each is node and each.machine is None:
            world.start(each)


def _calm_down(world: RegisterWorld) -> None:
    """The faults stop, and whatever is under way comes to its end."""
    world.network.faults = NetworkFaults()
    for node in world.nodes.values():
        node.disk.faults = DiskFaults()
        for other in world.nodes:
            world.network.heal(node.id, other)
        _start(world, node)
    world.events.run_until(_LENGTH_NS + 4 * SECOND)


def _waits(world: RegisterWorld, answers: int) -> bool:
    return world.answers == answers


def _judge(world: RegisterWorld) -> None:
    """Every node can settle every register, and says the same of it as all others."""
    for number, node in enumerate(world.nodes.values()):
        for key in _KEYS:
            before = world.answers
            last = b"last %d" % number
            world.ask(node, Propose(key, last, world.quorums, 20 * SECOND))
            end = world.events.now + 20 * SECOND
            if not world.events.run_while(partial(_waits, world, before), end):
                raise Violation("everybody answers when faults stop", f"{key} on {node.id.hex()}")
            if key not in world.truth.decided:
                raise Violation("everybody answers when faults stop", f"{key} is not decided")
    world.events.run_until(world.events.now + SECOND)
    for node in world.nodes.values():
        assert node.machine is not None
        if node.machine.deadline is not None:
            raise Violation("everything calms down when faults stop", node.id.hex())
        if node.machine.records_in_memory > node.machine.limits.records:
            raise Violation("every table has a bound", node.id.hex())
