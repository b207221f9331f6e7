"""Listings: the k-way merge over owners gives what merging everything at once would give."""

from __future__ import annotations

import random

import attrs
import pytest

from sadik_causality import Container
from sadik_machine import SECOND, NodeId, Observed
from sadik_members import Register, RingChanged
from sadik_vnode import EngineConfig
from sadik_vnode.adoption import adopt_all
from sadik_vnode.keyspace import Key, index_row
from sadik_vnode.record import Record
from sadik_vnode.requests import BucketSet, ListKeys, ListResult, Outcome, Unavailable
from sadik_vnode.version import Version
from vnode_values import container_of
from vnode_world import World

TIMEOUT = 5 * SECOND


class Shelves:
    """A world of nodes that hold what was drawn for them: replicas that differ in every way."""

    def __init__(self, seed: int, *, scan_rows: int) -> None:
        self.source = random.Random(seed)
        config = EngineConfig(scan_rows=scan_rows, anti_entropy_interval_ns=0, foreign_after_ns=0)
        self.world = World(seed, nodes=5, replicas=3, config=config)
        self.held: dict[NodeId, dict[Key, Container[Version]]] = {}
        for node in self.world.nodes:
            self.held[node] = {}
        for bucket in ("b", "b-", "bb"):
            for _ in range(self.source.randrange(30)):
                self._put(Key(bucket, self._name()))

    def _name(self) -> bytes:
        parts = [b"\x00", b"\xff", b"a", b"b", b"key"]
        return b"".join(self.source.choice(parts) for _ in range(self.source.randrange(1, 5)))

    def _put(self, key: Key) -> None:
        """Give each owner, and now and then another node, some state of one history."""
        source = self.source
        actors = [b"a", b"b", b"c"][: source.randrange(1, 4)]
        history = [(actor, counter) for actor in actors for counter in range(1, 4)]
        for node in self.world.nodes:
            if node not in self.owners(key) and source.randrange(4):
                continue
            known = [dot for dot in history if source.randrange(3)]
            live = [dot for dot in known if source.randrange(3) == 0]
            container = container_of(known, live)
            if not container:
                continue
            self.held[node][key] = container
            disk = self.world.nodes[node].disk
            disk[key.record_row] = Record(container).encode()
            disk[index_row(key)] = b""

    def owners(self, key: Key) -> tuple[NodeId, ...]:
        ring = self.world.ring
        return ring.registers[key.token * ring.partitions >> 64].owners

    def expected(self, bucket: str, prefix: bytes, without: NodeId | None = None) -> list[bytes]:
        """The naive twin: merge what every owner holds of each key, and see what is left."""
        listed = []
        keys = {key: None for held in self.held.values() for key in held}
        for key in keys:
            merged: Container[Version] = Container.empty()
            for owner in self.owners(key):
                if owner != without:
                    merged = merged.merge(self.held[owner].get(key, Container.empty()))
            if (
                key.bucket == bucket
                and key.key.startswith(prefix)
                and not all(version.parsed().is_deleted for version in merged.versions.values())
            ):
                listed.append(key.key)
        return sorted(listed)

    def pages(self, through: NodeId, bucket: str, prefix: bytes, limit: int) -> list[list[bytes]]:
        """What a client gets who follows ``next`` to the end."""
        pages: list[list[bytes]] = []
        after: bytes | None = None
        while True:
            request = ListKeys(bucket, prefix, after, limit, TIMEOUT)
            result = self.world.answer(through, request)
            assert isinstance(result, ListResult), result
            assert len(result.keys) <= limit
            pages.append(result.keys)
            if result.next is None:
                return pages
            assert result.keys, "a page that is not the last one gets on"
            after = result.next


@pytest.mark.parametrize("seed", range(12))
def test_a_listing_is_what_merging_all_owners_would_give(seed: int) -> None:
    shelves = Shelves(seed, scan_rows=random.Random(seed).choice([1, 2, 3, 1000]))
    for limit in (1, 3, 10_000):
        for prefix in (b"", b"a", b"\xff", b"key", b"\x00"):
            through = shelves.source.choice(list(shelves.world.nodes))
            pages = shelves.pages(through, "b", prefix, limit)
            assert [key for page in pages for key in page] == shelves.expected("b", prefix)
            if limit == 10_000:
                assert len(pages) == 1


@pytest.mark.parametrize("seed", range(4))
def test_pages_but_the_last_are_full(seed: int) -> None:
    shelves = Shelves(seed, scan_rows=2)
    pages = shelves.pages(next(iter(shelves.world.nodes)), "b", b"", 4)
    assert all(len(page) == 4 for page in pages[:-1])


@pytest.mark.parametrize("seed", range(6))
def test_a_listing_does_without_a_node_that_is_known_to_be_down(seed: int) -> None:
    shelves = Shelves(seed, scan_rows=3)
    through, down, *_ = shelves.world.nodes
    shelves.world.crash(down)
    shelves.world.run(SECOND)
    pages = shelves.pages(through, "b", b"", 5)
    assert [key for page in pages for key in page] == shelves.expected("b", b"", without=down)


@pytest.mark.parametrize("seed", range(6))
def test_a_listing_during_which_a_node_goes_down_is_whole(seed: int) -> None:
    """With or without what that node had: R owners of every partition have spoken."""
    shelves = Shelves(seed, scan_rows=1)
    world = shelves.world
    through, down, *_ = world.nodes
    answers: list[object] = []
    world.ask(through, ListKeys("b", b"", None, 10_000, TIMEOUT), answers.append)
    world.run(shelves.source.randrange(20_000_000))
    world.crash(down)
    world.run(10 * SECOND)
    [result] = answers
    assert isinstance(result, ListResult)
    assert result.keys == sorted(dict.fromkeys(result.keys))
    allowed = [shelves.expected("b", b""), shelves.expected("b", b"", without=down)]
    mixed = {*allowed[0], *allowed[1]}
    certain = [key for key in allowed[0] if key in allowed[1]]
    assert [key for key in result.keys if key in certain] == certain
    assert all(key in mixed for key in result.keys)


def test_with_fewer_owners_than_r_a_listing_is_refused_and_never_shorter() -> None:
    shelves = Shelves(1, scan_rows=3)
    through, *down = list(shelves.world.nodes)[:3]
    for node in down:
        shelves.world.crash(node)
    shelves.world.run(SECOND)
    refused = shelves.world.answer(through, ListKeys("b", b"", None, 10, TIMEOUT))
    assert isinstance(refused, Unavailable)
    assert refused.outcome is Outcome.NOT_APPLIED
    assert refused.tally.got < refused.tally.needed == 2


def test_a_bucket_with_an_r_of_one_lists_with_one_owner_left() -> None:
    shelves = Shelves(1, scan_rows=3)
    through, *down = list(shelves.world.nodes)[:3]
    shelves.world.answer(through, BucketSet("b", {"r": 1}))
    shelves.world.run(SECOND)
    for node in down:
        shelves.world.crash(node)
    shelves.world.run(SECOND)
    answer = shelves.world.answer(through, ListKeys("b", b"", None, 10_000, TIMEOUT))
    assert isinstance(answer, ListResult)


@pytest.mark.parametrize("is_old_owner", [False, True])
def test_a_node_that_knows_the_ring_of_before_lists_what_the_new_owners_hold(
    is_old_owner: bool,
) -> None:
    config = EngineConfig(anti_entropy_interval_ns=0, foreign_after_ns=0)
    world = World(1, nodes=7, replicas=3, config=config)
    key = Key("b", b"key")
    registers = list(world.ring.registers)
    partition = key.token * world.ring.partitions >> 64
    before = registers[partition].owners
    bystander, *after = [node for node in world.nodes if node not in before]
    registers[partition] = Register(2, tuple(after))
    late = before[0] if is_old_owner else bystander
    for node in world.nodes.values():
        if node.id != late:
            world.step(
                node, Observed(RingChanged(attrs.evolve(world.ring, registers=tuple(registers))))
            )
    for owner in after:
        disk = world.nodes[owner].disk
        disk[key.record_row] = Record(container_of([(b"a", 1)], [(b"a", 1)])).encode()
        disk[index_row(key)] = b""
    answer = world.answer(late, ListKeys("b", b"", None, 10, TIMEOUT))
    assert answer == ListResult([b"key"], None)
    engine = world.nodes[late].engine
    assert engine is not None
    assert engine._desk.placement.register(partition) == registers[partition]


def test_a_register_that_nobody_asked_for_or_can_have_decided_is_not_adopted() -> None:
    world = World(1)
    engine = next(iter(world.nodes.values())).engine
    assert engine is not None
    ring = engine._desk.placement.ring
    bad = (-1, 9, (b"n" * 8,))
    adopt_all(engine._desk, [(), (b"",), (0,), (1, 9, (b"n" * 8,)), bad, (0, 9, ())], [0])
    assert engine._desk.placement.ring is ring


def test_an_empty_bucket_is_an_empty_page() -> None:
    world = World(1)
    answer = world.answer(next(iter(world.nodes)), ListKeys("none", b"", None, 10, TIMEOUT))
    assert answer == ListResult([], None)
