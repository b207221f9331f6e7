"""Scrubbing finds damage that nobody has met, and the other owners mend it."""

from sadik_machine import SECOND, NodeId
from sadik_vnode import EngineConfig
from sadik_vnode.keyspace import Key, index_row, leaf_row
from sadik_vnode.record import Record, open_value
from sadik_vnode.requests import Put, Scrub, ScrubResult
from sadik_vnode.tree import sum_row
from vnode_world import World

TIMEOUT = 5 * SECOND
NAMES = [b"k%d" % number for number in range(40)]
LARGE = b"v" * 40_000
CLEAN = ScrubResult(41, 1, 0, 0, 0, 0, is_finished=True)


def filled(config: EngineConfig | None = None) -> tuple[World, NodeId]:
    """Three nodes with 40 small values and a large one, and one of the nodes."""
    world = World(1, config=config)
    one = next(iter(world.nodes))
    for name in NAMES:
        world.answer(one, Put("b", name, b"of " + name, TIMEOUT))
    world.answer(one, Put("b", b"large", LARGE, TIMEOUT))
    world.run(SECOND)
    return world, one


def scrub(world: World, node: NodeId) -> ScrubResult:
    result = world.answer(node, Scrub(TIMEOUT))
    assert isinstance(result, ScrubResult)
    return result


def flip(world: World, node: NodeId, row: bytes) -> None:
    disk = world.nodes[node].disk
    damaged = bytearray(disk[row])
    damaged[len(damaged) // 2] ^= 4
    disk[row] = bytes(damaged)


def rename(world: World, node: NodeId, row: bytes, at: int) -> None:
    """One bit of a row's key is another."""
    disk = world.nodes[node].disk
    damaged = bytearray(row)
    damaged[at] ^= 1
    disk[bytes(damaged)] = disk.pop(row)


def assert_whole(world: World, node: NodeId) -> None:
    """All that was written is on this node's disk, and nothing else."""
    disk = world.nodes[node].disk
    keys = [Key("b", name) for name in (*NAMES, b"large")]
    for key in keys:
        record = Record.decode(disk[key.record_row])
        [(dot, version)] = record.container.versions.items()
        if key.key == b"large":
            assert open_value(disk[key.value_row(dot)]) == LARGE
        else:
            assert version.body == b"of " + key.key
        assert index_row(key) in disk
    assert sum(row[:1] == b"O" for row in disk) == len(keys)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    world, one = filled()
    assert scrub(world, one) == CLEAN
    engine = world.nodes[one].engine
    assert engine is not None
    assert engine.counters.scrubs == 1


def test_damaged_records_and_values_are_found_and_mended_though_nobody_reads_them() -> None:
    world, one = filled()
    disk = world.nodes[one].disk
    for name in NAMES[:5]:
        flip(world, one, Key("b", name).record_row)
    [value] = [row for row in disk if row.startswith(b"V")]
    flip(world, one, value)
    assert scrub(world, one).damaged == 6
    world.run(10 * SECOND)
    assert_whole(world, one)
    assert scrub(world, one) == CLEAN


def test_a_large_value_that_is_gone_is_noticed() -> None:
    world, one = filled()
    disk = world.nodes[one].disk
    [value] = [row for row in disk if row.startswith(b"V")]
    del disk[value]
    assert scrub(world, one).damaged == 1
    world.run(10 * SECOND)
    assert_whole(world, one)


def test_a_record_whose_key_was_damaged_is_brought_back_and_its_ghost_removed() -> None:
    for at in (3, 8):  # in the token, and in the name
        world, one = filled()
        rename(world, one, Key("b", NAMES[0]).record_row, at)
        found = scrub(world, one)
        assert found.misplaced == 1
        assert found.sums_wrong >= 1
        world.run(60 * SECOND)
        assert_whole(world, one)
        assert scrub(world, one) == CLEAN


def test_a_name_that_is_none_does_no_harm() -> None:
    world, one = filled()
    disk = world.nodes[one].disk
    disk[b"Ogarbage"] = b"?"
    disk[b"O"] = b"?"
    disk[b"H" + b"x" * 12] = b"?"
    assert scrub(world, one).misplaced == 2
    world.run(SECOND)
    world.crash(one)
    world.start(one)
    world.run(30 * SECOND)
    assert scrub(world, one) == CLEAN


def test_a_record_that_is_gone_is_missed_by_its_sum() -> None:
    """The roots are equal, so the other owners notice nothing by themselves."""
    world, one = filled()
    del world.nodes[one].disk[Key("b", NAMES[3]).record_row]
    assert scrub(world, one).sums_wrong == 1
    world.run(60 * SECOND)
    assert_whole(world, one)


def test_a_wrong_sum_is_built_anew() -> None:
    world, one = filled()
    leaf = Key("b", NAMES[0]).leaf
    disk = world.nodes[one].disk
    before = disk[leaf_row(leaf)]
    row, value = sum_row(leaf, 12345)
    assert value is not None
    disk[row] = value
    empty, value = sum_row(Key("other", b"k").leaf, 1)
    assert value is not None
    disk[empty] = value
    assert scrub(world, one).sums_wrong == 2
    world.run(5 * SECOND)
    assert disk[leaf_row(leaf)] == before
    assert empty not in disk
    assert scrub(world, one) == CLEAN


def test_a_record_that_is_not_listed_is_listed_again() -> None:
    world, one = filled()
    del world.nodes[one].disk[index_row(Key("b", NAMES[0]))]
    scrub(world, one)
    world.run(SECOND)
    assert_whole(world, one)


def test_writes_beside_it_are_not_taken_for_damage() -> None:
    world, one = filled()
    for number in range(60):
        world.ask(one, Put("b", NAMES[number % 40], b"new" * 9, TIMEOUT))
        world.ask(one, Put("b", b"large", LARGE + b"%d" % number, TIMEOUT))
    found = scrub(world, one)
    assert (found.damaged, found.misplaced, found.unlisted) == (0, 0, 0)
    world.run(20 * SECOND)
    assert scrub(world, one) == CLEAN
    engine = world.nodes[one].engine
    assert engine is not None
    assert engine.counters.tree_leaves_mended == 0


def test_it_runs_by_itself() -> None:
    world, one = filled(EngineConfig(scrub_interval_ns=20 * SECOND))
    flip(world, one, Key("b", NAMES[0]).record_row)
    world.run(30 * SECOND)
    assert_whole(world, one)
