"""Faults that the engine once had: each stays caught."""

from __future__ import annotations

import random

import pytest

from replica_host import ReplicaHost
from sadik_causality import EMPTY
from sadik_machine import (
    MILLISECOND,
    SECOND,
    FailureReason,
    NodeId,
    Observed,
    Received,
    Send,
    encode_plain,
)
from sadik_members import (
    Document,
    DocumentsChanged,
    Liveness,
    LivenessChanged,
    Member,
    MemberState,
    Register,
    Ring,
)
from sadik_vnode import Engine, EngineConfig
from sadik_vnode.births import Births
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import BIRTHS_ROW, Key
from sadik_vnode.messages import KeysScanned, ReplicaAck, ReplicaWrite, ScanKeys, Status
from sadik_vnode.placement import Placement
from sadik_vnode.quorum import WriteTally
from sadik_vnode.record import DamagedRecord, Record, open_value, seal_value
from sadik_vnode.requests import (
    BucketSet,
    BucketShow,
    Explain,
    Get,
    Hints,
    ListKeys,
    ListResult,
    Put,
    Refused,
    Written,
)
from sadik_vnode.version import version_of
from vnode_values import container_of
from vnode_world import World

TIMEOUT = 5 * SECOND
A, B, C = (NodeId(bytes([n]) * 8) for n in (1, 2, 3))


def test_a_durable_acknowledgement_counts_on_when_a_less_durable_one_follows() -> None:
    """DW: enough went from True back to False, for max((primary, durable)) drops the durable."""
    tally = WriteTally(1, 0, 1)
    tally.add(A, B, durable=True)  # a fallback's, durable
    assert tally.enough
    tally.add(A, A, durable=False)  # the owner's, on a memory backend or sync=interval
    assert tally.enough
    assert tally.value().durable == 1


def test_a_birth_reservation_is_not_lost_with_a_write_that_is_refused() -> None:
    """writing._make draws the dot, then returns None: the reservation row is gone, the memory of it
    is not. Births used after that are on disk without a reservation, and drawn again after a start.
    """
    config = EngineConfig(siblings_max=1)
    world = World(1, config=config)
    one, _two, _three = world.nodes
    world.answer(one, BucketSet("b", {"blind_writes": "sibling"}))
    world.run(SECOND)
    # A key whose first owner is `one` and that `one` knows only from another coordinator, so that
    # the refused write is the first for which it draws a birth.
    keys = [Key("b", b"%d" % n) for n in range(200)]
    mine = [k for k in keys if world.ring.registers[k.token * 8 >> 64].owners[0] == one]
    held = container_of([], [(b"elsewhere001", 1)])
    world.nodes[one].disk[mine[0].record_row] = Record(held).encode()
    assert isinstance(world.answer(one, Put("b", mine[0].key, b"v", TIMEOUT)), Refused)
    assert isinstance(world.answer(one, Put("b", mine[1].key, b"v", TIMEOUT)), Written)
    world.run(SECOND)
    disk = world.nodes[one].disk
    [(actor, _)] = Record.decode(disk[mine[1].record_row]).container.versions
    saved = disk.get(BIRTHS_ROW)
    assert saved is not None, "a birth is on disk and its reservation is not"
    assert int.from_bytes(actor[8:], "big") < int.from_bytes(open_value(saved), "big")


def test_an_entry_with_an_impossible_counter_does_not_raise_out_of_step() -> None:
    """listing._container falls back to Context.from_dots(versions), which asserts."""
    world = World(1)
    one, two, _ = world.nodes
    world.ask(one, ListKeys("b", b"", None, 10, TIMEOUT))
    node = world.nodes[one]
    assert node.engine is not None
    [request] = node.engine._desk.conversations
    for peer in (two, list(world.nodes)[2]):
        entries = ((b"k", (), ((b"a", 0, False), (b"", 1 << 63, False))),)
        world.step(node, Received(peer, KeysScanned(request, Status.OK, entries, None)))
    world.run(10 * SECOND)


def test_a_bucket_document_beyond_this_clusters_replicas_does_not_raise_out_of_step() -> None:
    """buckets.adopt accepts counts up to 65536; listing._short_of lets BadQuorum out."""
    world = World(1)
    one = next(iter(world.nodes))
    document = Document("bucket/b", 99, encode_plain({"r": 5}))
    world.step(world.nodes[one], Observed(DocumentsChanged((document,))))
    world.answer(one, ListKeys("b", b"", None, 10, TIMEOUT))


def test_a_listing_leaves_a_slow_owner_out_as_soon_as_r_others_have_spoken() -> None:
    """due("slow") looks once: where R had not spoken at 200 ms, nobody looks again when they have,
    and the page waits for the slowest owner, up to the deadline.
    """
    world = World(1)
    one, two, _three = world.nodes
    node = world.nodes[one]
    answers: list[object] = []
    real_send = world._send

    def slow_send(sender, to, message):  # type: ignore[no-untyped-def]
        if isinstance(message, ScanKeys):
            if to == two:
                world.at(300 * MILLISECOND, lambda: real_send(sender, to, message))
            return  # three: never answers, and its stream stays up
        real_send(sender, to, message)

    world._send = slow_send  # type: ignore[method-assign]
    world.ask(one, ListKeys("b", b"", None, 10, TIMEOUT), answers.append)
    world.run(SECOND)
    assert node.engine is not None
    assert answers == [ListResult([], None)]


@pytest.mark.parametrize(
    ("bucket", "key", "slot"),
    [
        ("b", b"x" * 600, A),  # a row key beyond LMDB's 511 bytes: the store raises
        ("b" * 500, b"k", A),
        ("b", b"", A),
        ("a\0b", b"k", A),  # the row is read back as bucket a, key b\0k
        ("", b"k", A),
        ("b", b"k", b""),  # a note that the next start cannot read (see below)
        ("b", b"k", b"x" * 9),
    ],
)
def test_a_peers_write_outside_of_the_limits_is_refused(
    bucket: str, key: bytes, slot: bytes
) -> None:
    world = World(1)
    one, two, _ = world.nodes
    node = world.nodes[one]
    version = version_of(b"v", 1, None, ()).to_plain((b"a", 1))
    write = ReplicaWrite(1, 1, bucket, key, NodeId(slot), (version,), ((b"a", 1),), 1)
    world.step(node, Received(two, write))
    world.run(SECOND)
    assert sorted(row for row in node.disk if not row.startswith(b"B")) == []


def test_a_note_for_no_node_does_not_keep_the_node_from_starting() -> None:
    world = World(1)
    one, two, _ = world.nodes
    node = world.nodes[one]
    version = version_of(b"v", 1, None, ()).to_plain((b"a", 1))
    write = ReplicaWrite(1, 1, "b", b"k", NodeId(b""), (version,), ((b"a", 1),), 1)
    world.step(node, Received(two, write))
    world.run(SECOND)
    world.crash(one)
    world.run(SECOND)
    world.start(one)
    world.run(10 * SECOND)


def test_a_departed_owner_is_not_asked() -> None:
    """Placement.is_routable says "not departed" but looks only whether the table names the node."""
    placement = Placement(A)
    states = {A: MemberState.UP, B: MemberState.LEFT, C: MemberState.UP}
    members = {n: Member(n, n.hex(), "", "", "z", 1.0, 1, s, 1, 1) for n, s in states.items()}
    placement.set_members(members)
    placement.set_ring(Ring(3, (Register(1, (A, B)),) * 8))
    placement.set_liveness(B, Liveness.UP)
    assert not placement.is_routable(B)
    assert placement.stand_ins(0, sloppy=True) == [(A, A), (B, C)]


def test_many_records_read_while_a_batch_fails_do_not_show_what_failed() -> None:
    """read_many asks whether states are pending when the rows come; the batch that they show may
    have failed in between (Failed delivered before Loaded), and then no barrier is set.
    """
    host = ReplicaHost()
    key = Key("b", b"k")
    shown: list[list[Record]] = []

    def make(before: Record) -> Change:
        dot, rows = host.replica.next_dot(before)
        version = version_of(b"never on disk", 1, None, ())
        return Change(Record(before.container.write(EMPTY, dot, version), dot[0]), rows, ())

    def ignore(_reason: FailureReason) -> None:
        pass

    host.replica.update(key, make, None, ignore)
    host.perform()
    host.answer_load()
    host.replica.read_many([key], shown.append, ignore)
    host.perform()  # evaluated now: it sees the pending batch, as it must
    host.fail_stores()
    host.settle()
    assert [record.is_absent for record in shown[0]] == [True]


def test_two_changes_of_one_bucket_at_once_are_both_kept() -> None:
    """changed() merges into what was adopted, not into what is being published."""
    world = World(1)
    one = next(iter(world.nodes))
    world.ask(one, BucketSet("b", {"w": "all"}))
    world.ask(one, BucketSet("b", {"r": "one"}))
    world.run(SECOND)
    properties = world.answer(one, BucketShow("b")).properties
    assert (properties.w, properties.r) == ("all", "one")


def test_a_flipped_bit_in_the_births_row_is_detected() -> None:
    """One bit turns 4097 into 1: the births 1 to 4096 are drawn again, dots with them. The row has
    no checksum (seal_value would do); where it is damaged the node needs a new instance id.
    """
    births = Births(b"instance", None)
    actors = [births.draw()[0] for _ in range(10)]
    [(_, saved)] = Births(b"instance", None).draw()[1]
    assert saved is not None
    damaged = bytearray(saved)
    damaged[-2] ^= 0x10
    with pytest.raises(DamagedRecord):
        assert Births(b"instance", bytes(damaged)).draw()[0] not in actors


@pytest.mark.parametrize("plain", [[], {}, {"a": 1}])
def test_an_empty_record_with_a_right_sum_is_damaged_and_no_other_error(plain: object) -> None:
    """plain[0] raises IndexError or KeyError, which are no ValueError."""
    with pytest.raises(DamagedRecord):
        Record.decode(seal_value(encode_plain(plain)))


def test_a_replica_with_a_damaged_record_is_healed_by_the_others() -> None:
    """update() fails for ever with DAMAGED, so no read repair, hint or write mends the key here."""
    world = World(1)
    one, two, _three = world.nodes
    world.answer(two, Put("b", b"k", b"v", TIMEOUT))
    world.run(SECOND)
    node = world.nodes[one]
    row = Key("b", b"k").record_row
    node.disk[row] = node.disk[row][:-1] + b"\x00"
    world.answer(two, Put("b", b"k", b"w", TIMEOUT))
    world.run(60 * SECOND)
    assert not Record.decode(node.disk[row]).is_absent


def test_a_candidate_that_is_suspected_before_it_is_asked_holds_no_read_up() -> None:
    """It was no `peer_lost` of a node that was asked, and asking it then waited for nobody."""
    world = World(1, nodes=4)
    ids = list(world.nodes)
    key = Key("b", b"k")
    owners = world.ring.registers[key.token * 8 >> 64].owners
    [fallback] = [node for node in ids if node not in owners]
    entry = world.nodes[fallback]
    answers: list[object] = []
    for owner in owners:
        world.cut[fallback, owner] = None  # silent: nobody has noticed yet
    world._send = lambda *_: None  # type: ignore[method-assign]
    began = world.now
    world.ask(fallback, Get("b", b"k", TIMEOUT, r=1), answers.append)
    for owner in (owners[1], owners[2], owners[0]):
        world.step(entry, Observed(LivenessChanged(owner, Liveness.SUSPECT)))
    world.run(SECOND)
    assert answers, "the fallback itself could answer"
    assert world.now - began <= 2 * SECOND


def test_a_note_whose_removal_failed_is_delivered_again() -> None:
    world = World(1)
    one, two, three = world.nodes
    world.crash(three)
    world.run(SECOND)
    world.answer(one, Put("b", b"k", b"v", TIMEOUT))
    world.run(SECOND)
    world.faults.disk_full = 1000
    for holder in (one, two):
        world.nodes[holder].syncing = False
    world.start(three)
    world.run(SECOND)
    world.faults.disk_full = 0
    world.run(30 * SECOND)
    assert world.answer(one, Hints()).total == 0
    assert not any(row.startswith(b"H") for node in world.nodes.values() for row in node.disk)
    assert world.holders(b"v") == ["n1", "n2", "n3"]


def test_an_explanation_is_given_once_though_this_nodes_own_store_answers_late() -> None:
    world = World(1)
    one = next(iter(world.nodes))
    keys = [Key("b", b"%d" % n) for n in range(50)]
    key = next(k for k in keys if world.ring.registers[k.token * 8 >> 64].owners[0] == one)
    world.faults.sync_min_ns, world.faults.sync_max_ns = 2 * SECOND, 3 * SECOND
    world.ask(one, Put("b", key.key, b"w", TIMEOUT))  # its own record is pending for two seconds
    world.run(10 * MILLISECOND)
    told: list[object] = []
    world.ask(one, Explain("b", key.key, TIMEOUT), told.append)
    world.run(5 * SECOND)  # the world asserts that no request is answered twice
    assert len(told) == 1


def test_a_node_that_does_not_know_its_cluster_yet_says_so_instead_of_being_silent() -> None:
    """Silence held the delivery of a hint up until it timed out."""
    engine = Engine(A, b"instance", EngineConfig(), random.Random(1), {})
    version = version_of(b"v", 1, None, ()).to_plain((b"a", 1))
    write = ReplicaWrite(7, 1, "b", b"k", A, (version,), ((b"a", 1),), 1)
    sent = [e for e in engine.step(1, Received(B, write)) if isinstance(e, Send)]
    assert [(s.to, s.message) for s in sent] == [(B, ReplicaAck(7, A, Status.NOT_READY, False))]
