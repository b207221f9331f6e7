"""What a transfer has done and has to do: told truly, by estimate and in the end exactly."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import attrs
import pytest

from sadik_hashing import claim
from sadik_machine import MILLISECOND, Announce, Codec, Effect, NodeId, Observed, Received
from sadik_members import NewerRegister, Phase, Register, Ring, RingChanged, claimants
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_vnode import MESSAGES, EngineConfig
from sadik_vnode.keyspace import LEAVES, Key, records_range, row_place
from sadik_vnode.record import Record
from sadik_vnode.requests import Transfer, Transfers, TransfersResult
from sadik_vnode.ringchange.driver import RingChanges
from sadik_vnode.ringchange.measuring import Measuring
from sadik_vnode.ringchange.messages import SizesAsked, SizesTold, TransfersTold
from sadik_vnode.ringchange.telling import transfers_told
from test_anti_entropy import ON_DEMAND, ids, plant, record, settled
from vnode_world import Faults, World, WorldNode

PARTITIONS = 8


def sized(size: int) -> Record:
    """A record of a value of so many bytes; a dot names one value."""
    return record(5 * size + 1, size=size)


MANY = {b"key-%05d" % n: sized(200 + n % 7 * 50) for n in range(9000)}
SOME = dict(list(MANY.items())[:800])
MORE = dict(list(MANY.items())[:3000])


class RingWorld(World):
    """Four nodes, of which the ring lacks one, and that changes. Each node keeps the registers that
    were decided. The disks of the owners have these records, and ``theirs`` the other's.
    """

    def __init__(
        self,
        records: dict[bytes, Record],
        *,
        joins: int = 4,
        theirs: dict[bytes, Record] | None = None,
        config: EngineConfig = ON_DEMAND,
    ) -> None:
        # Far apart, so that a transfer takes its time.
        faults = Faults(delay_min_ns=60 * MILLISECOND, delay_max_ns=90 * MILLISECOND)
        super().__init__(1, 4, config=config, faults=faults)
        self.codec = Codec(MESSAGES, REGISTER_MESSAGES)
        self.config = attrs.evolve(self.config, changes_ring=True)
        everybody = [member for member in claimants(self.members) if member.id[0] != joins]
        owners = claim(everybody, PARTITIONS, 3, ((),) * PARTITIONS)
        registers = tuple(Register(1, tuple(map(NodeId, row))) for row in owners)
        self.ring = Ring(3, registers)
        self.rings = dict.fromkeys(self.nodes, self.ring)
        for node in self.nodes.values():
            self.crash(node.id)
            node.disk.clear()
            plant(self, node, (theirs or {}) if node.id[0] == joins else records)
        for node in self.nodes.values():
            self.start(node.id)

    def start(self, node_id: NodeId) -> None:
        """Boot a node on its disk and the ring that it has there."""
        before = self.ring
        self.ring = getattr(self, "rings", {}).get(node_id, before)
        super().start(node_id)
        self.ring = before

    def _perform(self, node: WorldNode, effects: list[Effect]) -> None:
        super()._perform(node, effects)
        for effect in effects:
            if isinstance(effect, Announce) and isinstance(effect.news, NewerRegister):
                partition, register = effect.news.partition, effect.news.register
                registers = list(self.rings[node.id].registers)
                if register.epoch > registers[partition].epoch:
                    registers[partition] = register
                    ring = attrs.evolve(self.rings[node.id], registers=tuple(registers))
                    self.rings[node.id] = ring
                    self.at(MILLISECOND, self._later(node, node.boot, Observed(RingChanged(ring))))

    def transfers(self, node: NodeId) -> list[Transfer]:
        """What a node tells of what moves."""
        told = self.answer(node, Transfers())
        assert isinstance(told, TransfersResult)
        return list(told.transfers)


def bytes_of(node: WorldNode, partition: int, partitions: int = PARTITIONS) -> int:
    """What a partition's records and large values take, on a disk, without looking at a sample."""
    share = LEAVES // partitions
    start, stop = records_range(partition * share, (partition + 1) * share)
    rows = {row: value for row, value in node.disk.items() if start <= row < stop}
    outside = [v.size for row in rows.values() for _, v in Record.decode(row).bodies_outside()]
    return sum(map(len, rows.values())) + sum(outside)


def measured(world: World, node: NodeId, partitions: list[int]) -> dict[int, int]:
    sender = next(other for other in world.nodes if other != node)
    question = Received(sender, SizesAsked(tuple(partitions)))
    [told] = [m for m in world.sent_by(node, question) if isinstance(m, SizesTold)]
    return dict(told.sizes)


def test_a_small_partition_is_counted_exactly() -> None:
    there = SOME | {b"large": sized(100_000)}
    world = settled([there, there, {}])
    one, _, three = world.nodes.values()
    assert measured(world, one.id, [*range(8)]) == {p: bytes_of(one, p) for p in range(8)}
    assert measured(world, three.id, [0, 5]) == {0: 0, 5: 0}
    large = Key("b", b"large").token >> 61
    assert bytes_of(one, large) > 100_000


def test_a_partition_beyond_the_sample_is_estimated_from_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = [0]
    count = Measuring._count

    def spy(self: Measuring, rows: list[tuple[bytes, bytes]]) -> None:
        counted[0] += len(rows)
        count(self, rows)

    monkeypatch.setattr(Measuring, "_count", spy)
    world = settled([MANY, {}, {}])
    one = world.nodes[ids(world)[0]]
    sizes = measured(world, one.id, [*range(8)])
    for partition in range(8):
        assert sizes[partition] == pytest.approx(bytes_of(one, partition), rel=0.15)
    assert 8 * 640 <= counted[0] < 8 * 720 < len(MANY)


def test_a_sample_is_read_a_page_at_a_time_for_others_to_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages: list[tuple[int, int]] = []
    count = Measuring._count

    def spy(self: Measuring, rows: list[tuple[bytes, bytes]]) -> None:
        pages.append((self.desk.now, len(rows)))
        count(self, rows)

    monkeypatch.setattr(Measuring, "_count", spy)
    world = settled([MANY, {}, {}])
    measured(world, ids(world)[0], [*range(8)])
    assert max(rows for _, rows in pages) <= 64
    assert len({at for at, _ in pages}) == len(pages) > 8 * 9


def test_records_of_large_values_count_with_their_values_in_the_estimate() -> None:
    # Every tenth has a value in a row of its own: a sample of the records' rows has to know.
    there = {
        name: sized(40_000 if n % 10 == 0 else 100) for n, name in enumerate(list(MANY)[:8000])
    }
    world = settled([there, {}, {}])
    one = world.nodes[ids(world)[0]]
    for partition, size in measured(world, one.id, [1, 6]).items():
        assert size == pytest.approx(bytes_of(one, partition), rel=0.35)


def test_questions_without_sense_are_answered_with_what_makes_sense() -> None:
    world = settled([SOME, SOME, {}])
    one = ids(world)[0]
    assert measured(world, one, [3, -1, 8, 3, 1 << 60]).keys() == {3}
    assert len(measured(world, one, [*range(8)] * 1000)) == 8


def test_the_place_of_a_row_is_that_of_its_token() -> None:
    key = Key("b", b"k")
    assert row_place(key.record_row) == key.token >> 32
    start, stop = records_range(0, LEAVES)
    assert (row_place(start), row_place(stop)) == (0, 1 << 32)


def moved(world: RingWorld, asked: NodeId) -> dict[int, list[Transfer]]:
    """All that is told of each partition until nothing moves."""
    seen: dict[int, list[Transfer]] = {}
    for _ in range(4000):
        told = world.transfers(asked)
        for each in told:
            seen.setdefault(each.partition, []).append(each)
        done = all(r.phase is Phase.DONE for r in world.rings[asked].registers)
        if seen and not told and done:
            return seen
        world.run(20 * MILLISECOND)
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize("through", [0, 2], ids=["the driver", "another"])
def test_a_join_is_told_with_its_bytes_from_the_plan_to_the_end(through: int) -> None:
    world = RingWorld(MORE)
    one = world.nodes[ids(world)[0]]
    real = {p: bytes_of(one, p) for p in range(PARTITIONS)}
    seen = moved(world, ids(world)[through])
    assert len(seen) == 6
    for partition, rows in seen.items():
        assert all(0 <= each.bytes <= each.total for each in rows)
        totals = [each.total for each in rows if each.total]
        assert totals
        assert totals == pytest.approx([real[partition]] * len(totals), rel=0.05)
        for before, then in pairwise(rows):
            assert before.bytes <= then.bytes
        assert [each.bytes for each in rows if each.state == "switching"][-1:] in ([], totals[-1:])
    everything = [each for rows in seen.values() for each in rows]
    assert any(each.state == "planned" and each.total for each in everything)
    assert any(each.state == "moving" and 0 < each.bytes < each.total for each in everything)


def test_a_transfer_that_takes_up_where_it_was_counts_what_is_there() -> None:
    world = RingWorld(SOME, theirs=dict(list(SOME.items())[:600]))
    seen = moved(world, ids(world)[0])
    moving = [each for rows in seen.values() for each in rows if each.bytes]
    assert moving
    assert all(each.bytes > 0.6 * each.total for each in moving)


def test_a_size_is_asked_for_once_where_a_transfer_takes_less_than_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    sized = Measuring._sized

    def spy(self: Measuring, partition: int, size: int) -> None:
        sizes.append(partition)
        sized(self, partition, size)

    monkeypatch.setattr(Measuring, "_sized", spy)
    world = RingWorld(MORE)
    seen = moved(world, ids(world)[0])
    assert sorted(sizes) == sorted(seen)


def test_few_changes_begin_at_once_and_the_others_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    propose = RingChanges._propose

    def spy(
        self: RingChanges, partition: int, change: Any, register: Register, following: Register
    ) -> None:
        if register.phase is Phase.DONE:
            begun.append(self.desk.now)
        propose(self, partition, change, register, following)

    monkeypatch.setattr(RingChanges, "_propose", spy)
    seen = moved(world := RingWorld(SOME), ids(world)[0])
    times = sorted(Counter(begun).items())
    assert sum(count for _, count in times) == len(seen) == 6
    assert [count for _, count in times] == [4, 2]
    assert times[1][0] - times[0][0] < 20 * MILLISECOND


def test_a_giver_that_does_not_know_of_sizes_leaves_them_to_what_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = RingWorld(SOME, joins=1)
    deliver = world._deliver

    def old(sender: NodeId, target: WorldNode, boot: int, payload: bytes) -> None:
        if not isinstance(world.codec.decode(payload), SizesAsked):
            deliver(sender, target, boot, payload)

    monkeypatch.setattr(world, "_deliver", old)
    seen = moved(world, ids(world)[0])
    rows = [each for told in seen.values() for each in told]
    assert any(each.bytes for each in rows)
    assert all(each.total == each.bytes for each in rows)


def test_an_older_driver_tells_no_totals() -> None:
    one = NodeId(bytes(8))
    row = Transfer(3, one, None, 70, "moving", "", 100)
    codec = Codec(MESSAGES)
    told = transfers_told(1, [row])
    assert codec.decode(codec.encode(told)) == told
    old = codec.decode(codec.encode(told)[:1].replace(b"\x84", b"\x83") + codec.encode(told)[1:-3])
    assert old == TransfersTold(1, told.rows, ())
