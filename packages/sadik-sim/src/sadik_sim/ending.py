"""The end of a run: faults stop, everything calms down, and all nodes must agree."""

from __future__ import annotations

from typing import Final

from sadik_machine import MILLISECOND, SECOND
from sadik_members import MemberState, Phase
from sadik_sim.network import NetworkFaults
from sadik_sim.node import SimNode
from sadik_sim.violation import Violation
from sadik_sim.workload import BUCKET, key_of
from sadik_sim.world import World
from sadik_vnode import Engine
from sadik_vnode.due import is_gone
from sadik_vnode.keyspace import DATA_RANGE, HINTS_RANGE, Key, parse_hint_row, record_key
from sadik_vnode.record import DamagedRecord, Record, open_value
from sadik_vnode.requests import Get, Scrub

__all__ = ["calm_down", "compare_nodes", "compare_replicas", "mend_damage", "wait_for_reaping"]

_SETTLE_NS: Final = 2 * SECOND
_CALM_NS: Final = 120 * SECOND
_REAP_NS: Final = 120 * SECOND
"""A proof takes several generations, each as long as the slowest member, and is begun anew when a
member, a life or a register changes. Each then waits ``tombstone_ns`` as well."""
_PROOFS: Final = 2
_LOOK_NS: Final = 50 * MILLISECOND
_MENDING_TRIES: Final = 5
_NAME_AT: Final = 5
"""Where the name begins in the key of a record's row, and of a large value's: behind the token."""
_DOT_BYTES: Final = 21
"""What ends the key of a large value's row: a zero byte, an actor, a counter."""


def calm_down(world: World, over_at: int) -> None:
    """Faults stop; everybody is back and sees everybody; hints drain.

    ``over_at`` is when the last fault that cannot be ended before its time is over.
    """
    world.network.faults = NetworkFaults()
    world.network.heal_all()
    for node in list(world.nodes.values()):
        node.disk.faults.full = node.disk.faults.broken = node.disk.faults.slow = 0
        node.resume()
        if not node.is_running:
            node.start()
    # An old copy may yet be put back.
    world.run(max(over_at - world.events.now, _SETTLE_NS))
    for node in world.nodes.values():
        if not node.is_running:
            node.start()
    end = world.events.now + _CALM_NS
    while not _is_calm(world):
        if world.events.now >= end:
            raise Violation("everything calms down when faults stop", _states(world))
        world.run(_LOOK_NS)
    for node in world.nodes.values():
        notes = node.disk.durable.scan(*HINTS_RANGE, 1000, keys_only=True)
        if notes:
            slot, key = parse_hint_row(notes[0][0])
            raise Violation(
                "everything calms down when faults stop",
                f"{node.name} has forgotten {len(notes)} notes on its disk, for "
                f"{world.name_of(slot)} for one",
                key.key,
            )


def mend_damage(world: World) -> None:
    """A read of what was damaged on an owner notices it, and has it made whole again; if the node
    knows the record without reading it, a scrub does.
    """
    for node_id, row in world.damaged:
        node = world.nodes[node_id]
        key = _key_of_row(row)
        if key is None or node_id not in world.owners(key):
            continue
        tries = 0
        while not _is_sound(node.disk.durable.by_key, row, key):
            if tries == _MENDING_TRIES:
                raise Violation("damage is mended", f"{node.name} keeps {row!r} damaged", key.key)
            tries += 1
            if row == key.record_row and _engine(node).knows(key):
                world.answer(node, Scrub(_SETTLE_NS))
            else:
                world.answer(node, Get(key.bucket, key.key, _SETTLE_NS, r=1))
            world.run(_SETTLE_NS)
        if tries:
            world.sometimes("damaged row mended")


def _key_of_row(row: bytes) -> Key | None:
    """The key of a record, or of a large value; None for other rows."""
    if row.startswith(b"O"):
        return Key.of_name(row[_NAME_AT:])
    if row.startswith(b"V"):
        return Key.of_name(row[_NAME_AT:-_DOT_BYTES])
    return None


def _is_sound(rows: dict[bytes, bytes], row: bytes, key: Key) -> bool:
    """Whether a row is what was written, or nobody asks for it any more.

    What replaced a large value while its record was damaged did not know that its row is there.
    """
    try:
        record = Record.decode(rows.get(key.record_row))
        live = [key.value_row(dot) for dot, _ in record.bodies_outside()]
        if row in live:
            open_value(rows.get(row))
    except DamagedRecord:
        return False
    return True


def _is_calm(world: World) -> bool:
    return not _is_changing(world) and all(
        node.is_running
        and node.is_ready
        and node.engine is not None
        and node.engine.hints_pending == 0
        and node.engine.conversations_open == 0
        and node.engine.is_ring_settled
        and not node.engine.has_doubts
        and not node.has_unsynced
        for node in world.nodes.values()
    )


def _is_changing(world: World) -> bool:
    """Whether somebody is still leaving, or the ring names a node that is gone."""
    return world.has_changed and (
        any(
            member.state in (MemberState.LEAVING, MemberState.JOINING)
            for node in world.running
            if node.membership is not None
            for member in node.membership.members.values()
        )
        or any(
            register.phase is not Phase.DONE or any(o not in world.nodes for o in register.owners)
            for register in world.ring.registers
        )
    )


def _states(world: World) -> str:
    """What `_is_calm` looks at, for a person."""
    found = [_state_of(node) for node in world.nodes.values()]
    if world.has_changed:
        found += [
            f"{node.name} has {member.name} as {member.state.name}"
            for node in world.running
            if node.membership is not None
            for member in node.membership.members.values()
            if member.state in (MemberState.LEAVING, MemberState.JOINING)
        ]
        found += [
            f"partition {number}: {register.phase.name}, epoch {register.epoch}, owners "
            + ", ".join(world.name_of(owner) for owner in register.owners)
            for number, register in enumerate(world.ring.registers)
            if register.phase is not Phase.DONE
            or any(o not in world.nodes for o in register.owners)
        ]
    return "; ".join(found)


def _state_of(node: SimNode) -> str:
    if node.engine is None:
        return f"{node.name}: down"
    engine = node.engine
    return (
        f"{node.name}: ready={node.is_ready} hints={engine.hints_pending} "
        f"open={engine.conversations_open} settled={engine.is_ring_settled} "
        f"doubts={engine.has_doubts} "
        f"unsynced={node.has_unsynced} {engine.transfers[:2]}"
    )


def compare_nodes(world: World) -> None:
    """Wait until all nodes have one member table and one ring."""
    first, *others = (node.membership for node in world.nodes.values())
    assert first is not None

    def is_one() -> bool:
        return all(
            other is not None
            and other.members == first.members
            and other.ring == first.ring
            and other.snapshot().documents == first.snapshot().documents
            for other in others
        )

    end = world.events.now + _CALM_NS
    while not is_one():
        if world.events.now >= end:
            raise Violation("members and ring converge", "they differ two minutes after the faults")
        world.run(_LOOK_NS)


def compare_replicas(world: World, keys: int, when: str) -> None:
    """All owners of a key hold the same live dots, and no context tells of what never was."""
    for number in range(keys):
        key = Key(BUCKET, key_of(number))
        lives = {}
        for owner in world.owners(key):
            node = world.nodes[owner]
            try:
                record = Record.decode(node.disk.durable.by_key.get(key.record_row))
            except DamagedRecord as error:
                raise Violation("records decode", f"{node.name}: {error}", key.key) from None
            # What all owners are just taking away, some may have no more.
            forgotten = world.checks.forgotten.context(key)
            live_dots = record.container.live_dots()
            lives[node.name] = [dot for dot in live_dots if not forgotten.covers(dot)]
            made_up = world.checks.never_made(record.container.context)
            if made_up:
                raise Violation("nothing from nowhere", f"{node.name} covers {made_up}", key.key)
        one = next(iter(lives.values()))
        if any(live != one for live in lives.values()):
            differing = [dot for live in lives.values() for dot in live]
            dots = tuple(
                dot for dot in dict.fromkeys(differing) if differing.count(dot) < len(lives)
            )
            shown = {name: world.checks.names_of(live) for name, live in lives.items()}
            raise Violation("replicas converge", f"{key}: {shown}, {when}", key.key, dots)


def wait_for_reaping(world: World) -> None:
    """What is gone by every clock is taken away in bounded time, and so is what is foreign."""
    end = world.events.now + _REAP_NS + _PROOFS * world.config.tombstone_ns
    left = _unreaped(world)
    while left is not None:
        node, key = left
        if world.events.now >= end:
            waits = [world.name_of(other) for other in _engine(node).reaping_waits_for]
            raise Violation(
                "what is gone is reaped",
                f"{node.name} still holds {key} in generation {_engine(node).reap_generation}; "
                f"it waits for {waits}",
                key.key,
            )
        world.run(_LOOK_NS)
        value = node.disk.durable.by_key.get(key.record_row)
        if value is None or not _is_left(world, node, key, value):
            left = _unreaped(world)  # all others are looked at when this one is done with


def _unreaped(world: World) -> tuple[SimNode, Key] | None:
    for node in world.nodes.values():
        if _engine(node).is_catching_up:
            return node, Key(BUCKET, b"?")
        for row, value in node.disk.durable.scan(*DATA_RANGE, 1 << 30):
            key = record_key(row)
            if _is_left(world, node, key, value):
                return node, key
    return None


def _is_left(world: World, node: SimNode, key: Key, value: bytes) -> bool:
    """Whether a record should go: it is foreign, or gone by every clock."""
    if node.id not in world.owners(key):
        return True
    wall_ns = min(other.wall_ns() for other in world.nodes.values())
    try:
        return is_gone(Record.decode(value).container, wall_ns)
    except DamagedRecord:
        return False  # nobody has read it yet, and who reads it mends it


def _engine(node: SimNode) -> Engine:
    assert node.engine is not None, "all nodes run at the end"
    return node.engine
