"""What is known of a record without looking is what is on disk."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from path_requests import delete, ids, put
from sadik_causality import Container
from sadik_machine import MILLISECOND, SECOND
from sadik_vnode.key_state import KeyState
from sadik_vnode.keyspace import Key
from sadik_vnode.known import Known
from sadik_vnode.record import INLINE_BYTES_MAX, Record
from sadik_vnode.requests import Get
from sadik_vnode.version import Version, version_of
from vnode_world import Faults, World

_KEYS = (b"k", b"l", b"m")
_ROW = 100


def _check(world: World) -> int:
    """Compare on all nodes; how many records are known."""
    count = 0
    for node in world.nodes.values():
        if node.engine is None:
            continue
        for name in _KEYS:
            key = Key.of("b", name)
            known = node.engine._desk.replica.known(key)
            if known is not None:
                held = Record.decode(node.disk.get(key.record_row))
                assert known.encode() == held.encode()
                count += 1
    return count


@given(
    st.integers(0, 2**32),
    st.sampled_from([Faults(), Faults(loss=30, duplication=30, disk_full=200)]),
)  # fmt: skip
@settings(deadline=None)
def test_it_is_what_is_on_disk_whatever_happens(seed: int, faults: Faults) -> None:
    world = World(seed, nodes=4, replicas=3, faults=faults)
    world.run(SECOND)
    source = random.Random(seed)
    count = 0
    for _ in range(100):
        node, key = source.choice(ids(world)), source.choice(_KEYS)
        match source.randrange(12):
            case 0 | 1 | 2:
                size = source.choice((3, 3, INLINE_BYTES_MAX + 1))
                world.ask(node, put(source.randbytes(size), key=key))
            case 3:
                world.ask(node, delete(key=key))
            case 4:
                world.cut_off(node, source.choice([n for n in ids(world) if n != node]))
            case 5:
                world.heal()
            case 6 if world.nodes[node].engine is not None:
                world.crash(node)
            case 6 | 7 if world.nodes[node].engine is None:
                world.start(node)
            case _:
                world.ask(node, Get("b", key, 5 * SECOND))
        world.run(source.randrange(4 * MILLISECOND))
        count += _check(world)
    world.heal()
    world.run(10 * SECOND)
    assert count + _check(world) > 0


def _record(value: bytes) -> Record:
    container: Container[Version] = Container.empty()
    return Record(container.write(container.context, (b"a", 1), version_of(value, 1, None, ())))


KEY, OTHER = Key("b", b"k"), Key("b", b"l")


def _state(key: Key, record: Record, size: int, record_hash: int | None = None) -> KeyState:
    state = KeyState(key)
    state.record, state.size, state.hash = record, size, record_hash
    return state


def test_what_was_loaded_before_a_change_is_not_learnt() -> None:
    known = Known()
    known.learn(KEY, _record(b"old"), _ROW, known.changes)
    assert known.get(KEY.name) is not None
    changes = known.changes
    known.changes += 1
    known.put(_state(KEY, _record(b"new"), _ROW, 7))
    known.learn(KEY, _record(b"old"), _ROW, changes)
    found = known.get(KEY.name)
    assert found is not None
    assert found.record is not None
    assert found.record.encode() == _record(b"new").encode()
    assert found.hash == 7


def test_nothing_is_learnt_of_what_was_loaded_before_all_was_forgotten() -> None:
    known = Known()
    changes = known.changes
    known.clear()
    known.learn(KEY, _record(b"v"), _ROW, changes)
    assert known.get(KEY.name) is None


def test_neither_absent_nor_long_records_are_known() -> None:
    known = Known()
    known.put(_state(KEY, _record(b"v"), _ROW))
    known.put(_state(KEY, Record.decode(None), 0))
    assert known.get(KEY.name) is None
    known.put(_state(KEY, _record(b"v"), _ROW))
    known.put(_state(KEY, _record(bytes(5000)), 5200))
    assert known.get(KEY.name) is None
    known.learn(OTHER, _record(bytes(5000)), 5200, known.changes)
    assert known.get(OTHER.name) is None
