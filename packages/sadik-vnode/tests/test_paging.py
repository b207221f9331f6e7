"""A replica that has nothing is brought whole ranges of rows, and what they leave out besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sadik_machine import SECOND
from sadik_vnode.anti_entropy.messages import HashesAsked, Reconcile, RecordsAsked, RecordsTold
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import ReplicaWrite
from sadik_vnode.record import Record
from sadik_vnode.requests import Repair, RepairResult
from test_anti_entropy import MINUTE, check_equal, counters, ids, record, settled
from vnode_world import World, WorldNode

MANY = {b"key-%05d" % n: record(1, size=300) for n in range(1200)}


def watch(world: World) -> list[object]:
    """All messages from now on, as they are delivered."""
    seen: list[object] = []
    deliver = world._deliver

    def spy(sender: object, target: WorldNode, boot: int, payload: bytes) -> None:
        seen.append(world.codec.decode(payload))
        deliver(sender, target, boot, payload)  # type: ignore[arg-type]

    world._deliver = spy  # type: ignore[method-assign]
    return seen


def repair_all(world: World) -> None:
    for node in ids(world):
        world.ask(node, Repair(None, MINUTE))
    world.run(MINUTE)


def test_an_empty_replica_gets_every_record_once_and_by_pages() -> None:
    world = settled([MANY, MANY, {}])
    seen = watch(world)
    result = world.answer(ids(world)[2], Repair(None, MINUTE))
    assert isinstance(result, RepairResult)
    assert result.is_finished
    assert result.differences == len(MANY)
    check_equal(world)
    rows = Counter(row for message in seen if isinstance(message, RecordsTold)
                   for row, _ in message.rows)  # fmt: skip
    assert sorted(rows) == sorted(Key("b", name).record_row for name in MANY)
    assert set(rows.values()) == {1}
    assert not any(isinstance(message, HashesAsked | Reconcile) for message in seen)
    assert max(len(m.rows) for m in seen if isinstance(m, RecordsTold)) == 64


def test_a_page_of_larger_values_has_fewer_rows() -> None:
    there = {b"key-%03d" % n: record(1, size=10_000) for n in range(100)}
    world = settled([there, there, {}])
    seen = watch(world)
    world.answer(ids(world)[2], Repair(None, MINUTE))
    check_equal(world)
    pages = [m.rows for m in seen if isinstance(m, RecordsTold) and m.rows]
    sizes = [sum(len(value) for _, value in rows) for rows in pages]
    assert max(sizes) <= 128 * 1024
    assert sum(map(len, pages)) == len(there)
    assert max(map(len, pages)) == 12


def test_what_pages_leave_out_is_found_by_comparing() -> None:
    there = MANY | {b"large": record(2, size=100_000)}
    world = settled([there, there, {}])
    seen = watch(world)
    repair_all(world)
    check_equal(world)
    assert {m.key for m in seen if isinstance(m, ReplicaWrite)} == {b"large"}


def test_who_lacks_little_is_not_sent_pages() -> None:
    lacking = dict(list(MANY.items())[100:])
    world = settled([MANY, MANY, lacking])
    seen = watch(world)
    repair_all(world)
    check_equal(world)
    assert not any(isinstance(message, RecordsAsked) for message in seen)


def test_a_damaged_row_is_not_sent_and_not_taken() -> None:
    world = settled([MANY, MANY, {}])
    one, two, three = world.nodes.values()
    row = Key("b", b"key-00007").record_row
    for node in (one, two):
        node.disk[row] = node.disk[row][:-1] + b"?"
    seen = watch(world)
    repair_all(world)
    assert row not in three.disk
    sent = [found for m in seen if isinstance(m, RecordsTold) for found, _ in m.rows]
    assert row not in sent
    assert len(sent) == len(MANY) - 1
    assert counters(world).damaged_records > 0


def test_a_giver_that_dies_in_the_middle_is_no_loss() -> None:
    world = settled([MANY, {}, {}])
    one, _, three = ids(world)
    world.ask(three, Repair(None, MINUTE))
    seen = watch(world)
    while sum(isinstance(message, RecordsTold) for message in seen) < 5:
        world.run(SECOND // 1000)
    world.crash(one)
    world.run(2 * MINUTE)
    some = sum(row.startswith(b"O") for row in world.nodes[three].disk)
    assert 0 < some < len(MANY)
    world.start(one)
    world.run(5 * SECOND)
    repair_all(world)
    check_equal(world)


def lie(world: World, change: Callable[[RecordsTold], None], times: int) -> None:
    """Change the first pages that are sent."""
    left = [times]
    encode = world.codec.encode

    def changed(message: object) -> bytes:
        if isinstance(message, RecordsTold) and message.rows and left[0]:
            left[0] -= 1
            change(message)
        return encode(message)

    world.codec.encode = changed  # type: ignore[method-assign]


def test_a_page_of_an_old_generation_is_not_taken() -> None:
    world = settled([MANY, MANY, {}])
    three = world.nodes[ids(world)[2]]

    def make_old(message: RecordsTold) -> None:
        message.generation = -2

    lie(world, make_old, 1_000_000)
    world.ask(three.id, Repair(None, MINUTE))
    world.run(MINUTE)
    assert not any(row.startswith(b"O") for row in three.disk)


@pytest.mark.parametrize(
    "change", [lambda row: row[:1] + b"\xff" * 4 + row[5:], lambda row: row + b"x"]
)
def test_a_row_that_lies_elsewhere_is_not_taken(change: Callable[[bytes], bytes]) -> None:
    world = settled([MANY, MANY, {}])
    three = world.nodes[ids(world)[2]]

    def misplace(message: RecordsTold) -> None:
        (row, value), *others = message.rows
        message.rows = ((change(row), value), *others)

    lie(world, misplace, 1)
    repair_all(world)
    check_equal(world)
    stored = {row for row in three.disk if row.startswith(b"O")}
    assert stored == {Key("b", name).record_row for name in MANY}
    assert all(Record.decode(three.disk[row]).own_actor == b"" for row in stored)
