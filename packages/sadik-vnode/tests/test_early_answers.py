"""A client is answered by the node that it asked, once that has stored its copy, and with it a
quorum has; and copies travel as rows to those who know them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from many_requests import a_world
from path_requests import delete, get, ids, put, set_bucket, values
from sadik_causality import Context
from sadik_machine import SECOND, Failed, FailureReason, NodeId, Observed, Received, Stored
from sadik_members import Register, RingChanged
from sadik_vnode import EngineConfig
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import (
    ForwardWriteAnswer,
    KnowsMany,
    ReplicaAck,
    ReplicaWrite,
    Status,
)
from sadik_vnode.record import Record
from sadik_vnode.requests import Outcome, Unavailable, Written
from sadik_vnode.together import singles
from sadik_vnode.version import version_of
from vnode_world import World, WorldNode

KEY = b"k"


def engine_of(world: World, node: NodeId) -> Any:
    engine = world.nodes[node].engine
    assert engine is not None
    return engine


def a_scene(**options: Any) -> tuple[World, NodeId, NodeId, NodeId]:
    """A world whose nodes know each other, the coordinator of the key, an owner that a client asks,
    and the third owner.
    """
    world = a_world(**options)
    for node in ids(world):
        assert isinstance(world.answer(node, put(b"before", w=3)), Written)
    world.run(SECOND)
    coordinator, asked, third = world.ring.registers[Key("b", KEY).token >> 61].owners
    return world, coordinator, asked, third


def watching(
    world: World, does: Callable[[NodeId, NodeId, object], bool]
) -> list[tuple[NodeId, NodeId, object]]:
    """What nodes say to each other from now on, part by part; what ``does`` is true of is lost."""
    said: list[tuple[NodeId, NodeId, object]] = []
    send = world._send

    def watch(node: WorldNode, to: NodeId, message: object) -> None:
        parts = singles(message, node.id, to)
        said.extend((node.id, to, part) for part in parts)
        if not any(does(node.id, to, part) for part in parts):
            send(node, to, message)

    world._send = watch  # type: ignore[method-assign]
    return said


def kinds(said: list[tuple[NodeId, NodeId, object]]) -> Counter[type]:
    return Counter(type(message) for _, _, message in said)


def test_who_was_asked_answers_when_it_has_stored_its_copy() -> None:
    world, coordinator, asked, third = a_scene()
    # Nobody but the node that was asked and the coordinator has the version.
    said = watching(world, lambda sender, to, m: third in (sender, to))
    answer = world.answer(asked, put(b"v"))
    assert isinstance(answer, Written)
    assert answer.coordinator == coordinator
    assert (answer.tally.needed, answer.tally.got, answer.tally.primaries) == (2, 2, 2)
    for node in (coordinator, asked):
        assert b"v" in world.live(world.nodes[node])[Key("b", KEY).name]
    world.run(10 * SECOND)
    assert not kinds(said)[ForwardWriteAnswer]
    assert [m.answered for s, to, m in said if type(m) is ReplicaAck] == [True]
    assert not engine_of(world, coordinator).requests_open
    assert not engine_of(world, coordinator)._desk.request_bytes
    assert engine_of(world, coordinator).hints_pending == 1  # for the third


def test_the_answer_is_that_of_the_coordinator() -> None:
    world, coordinator, asked, third = a_scene()
    watching(world, lambda sender, to, m: third in (sender, to))
    early = world.answer(asked, put(b"v", content_type="text/plain", ttl_s=1000))
    found = world.answer(coordinator, get())
    assert (early.etag, early.expires_ms) == (found.etag, found.versions[0].expires_ms)
    assert isinstance(world.answer(coordinator, put(b"w", context=early.context)), Written)
    assert values(world.answer(coordinator, get())) == [b"w"]


@pytest.mark.parametrize("options", [{"w": 3}, {"pw": 3}, {"dw": 3}, {"w": "all"}])
def test_who_is_not_enough_with_the_coordinator_does_not_answer(options: dict[str, Any]) -> None:
    world, _, asked, third = a_scene()
    said = watching(world, lambda sender, to, m: third in (sender, to))
    world.ask(asked, put(b"v", **options))
    world.run(SECOND)
    assert kinds(said)[ReplicaAck] == 1
    assert not any(m.answered for _, _, m in said if type(m) is ReplicaAck)
    assert not any(m.answer for _, _, m in said if type(m) is ReplicaWrite)


def test_a_third_owner_that_was_quicker_is_answered_for_by_the_coordinator() -> None:
    world, coordinator, asked, _ = a_scene()
    said = watching(world, lambda sender, to, m: type(m) is ReplicaWrite and to == asked)
    assert isinstance(world.answer(asked, put(b"v")), Written)
    assert [(s, to) for s, to, m in said if type(m) is ForwardWriteAnswer] == [(coordinator, asked)]


def test_nobody_answers_for_a_write_that_he_did_not_forward() -> None:
    world, coordinator, asked, _ = a_scene()
    said = watching(world, lambda *_: False)
    assert isinstance(world.answer(coordinator, put(b"v")), Written)
    world.answer(asked, delete())
    writes = [m for _, _, m in said if type(m) is ReplicaWrite]
    assert {bool(m.answer) for m in writes if m.is_put} == {False}


def held(world: World, node: NodeId) -> Any:
    """Lets updates of the key wait at a node until its `Replica.open`."""
    replica = engine_of(world, node)._desk.replica
    leaf = Key("b", KEY).leaf
    replica.shut(leaf, leaf + 1, lambda: None)
    return replica


def newer(world: World) -> RingChanged:
    register = world.ring.registers[0]
    registers = tuple(Register(register.epoch + 1, each.owners) for each in world.ring.registers)
    return RingChanged(attrs.evolve(world.ring, registers=registers))


def test_what_is_stored_after_a_newer_register_was_adopted_is_no_answer() -> None:
    world, coordinator, asked, third = a_scene()
    replica = held(world, asked)
    said = watching(world, lambda sender, to, m: third in (sender, to))
    world.ask(asked, put(b"v"))
    world.run(SECOND)
    assert any(m.answer for _, _, m in said if type(m) is ReplicaWrite)
    world.step(world.nodes[asked], Observed(newer(world)))
    replica.open()
    world.run(SECOND)
    acks = [m for sender, to, m in said if type(m) is ReplicaAck and to == coordinator]
    assert acks
    assert not any(m.answered for m in acks)


def test_a_coordinator_that_has_adopted_a_newer_register_leaves_no_answer_to_others() -> None:
    world, coordinator, asked, _ = a_scene()
    replica = held(world, coordinator)
    said = watching(world, lambda *_: False)
    answers: list[Any] = []
    world.ask(asked, put(b"v"), answers.append)
    world.run(SECOND)
    world.step(world.nodes[coordinator], Observed(newer(world)))
    replica.open()
    world.run(SECOND)
    assert not any(m.answer for _, _, m in said if type(m) is ReplicaWrite)
    assert isinstance(answers[0], Written)


def test_a_register_counts_as_adopted_when_what_was_stored_before_is_on_disk() -> None:
    world, _, asked, _ = a_scene()
    desk = engine_of(world, asked)._desk
    world.faults.sync_min_ns, world.faults.sync_max_ns = SECOND, 2 * SECOND
    world.ask(asked, put(b"v", key=b"other"))
    while not desk.outbox.stores_pending:
        world.run(SECOND // 1000)
    change = newer(world)
    world.step(world.nodes[asked], Observed(change))
    assert desk.placement.register(0).epoch == change.ring.registers[0].epoch
    assert desk.placement.durable is world.ring
    while any(store.batch for store in world.nodes[asked].queue):
        assert desk.placement.durable is world.ring
        world.run(SECOND // 1000)
    world.run(5 * SECOND)
    assert desk.placement.durable is change.ring


def test_only_who_forwarded_a_write_can_have_answered_it() -> None:
    world, coordinator, _, _ = a_scene()
    answers: list[Any] = []
    said = watching(world, lambda *_: False)
    deliver = world._deliver

    def lying(sender: NodeId, target: Any, boot: int, payload: bytes) -> None:
        for part in singles(world.codec.decode(payload), sender, target.id):
            if type(part) is ReplicaAck:
                part.answered = True
            deliver(sender, target, boot, world.codec.encode(part))

    world._deliver = lying  # type: ignore[method-assign]
    world.ask(coordinator, put(b"v"), answers.append)
    world.run(SECOND)
    assert isinstance(answers[0], Written)
    assert said


@pytest.mark.parametrize("fails", [False, True])
def test_a_coordinator_that_is_lost_meanwhile_is_not_needed(fails: bool) -> None:
    world, coordinator, asked, third = a_scene()
    watching(world, lambda sender, to, m: third in (sender, to))
    step = world.step
    answers: list[Any] = []

    def stored_late(node: WorldNode, event: Any) -> None:
        if node.id == asked and isinstance(event, Stored) and not answers and not lost:
            lost.append(coordinator)
            engine_of(world, asked)._peer_lost(coordinator)
            assert not answers, "it waits for its own store"
            if fails:
                event = Failed(event.ticket, FailureReason.FULL)
        step(node, event)

    lost: list[NodeId] = []
    world.ask(asked, put(b"v"), answers.append)
    world.step = stored_late  # type: ignore[method-assign]
    world.run(SECOND)
    assert lost
    if fails:
        assert isinstance(answers[0], Unavailable)
        assert answers[0].outcome is Outcome.INDETERMINATE
        assert "lost" in answers[0].detail
    else:
        assert isinstance(answers[0], Written)


def test_a_copy_that_is_not_on_disk_is_no_answer_to_who_counted_on_that() -> None:
    world, coordinator, asked, third = a_scene()
    desk = engine_of(world, asked)._desk
    desk.config = attrs.evolve(desk.config, durable=False)
    said = watching(world, lambda sender, to, m: third in (sender, to))
    assert isinstance(world.answer(asked, put(b"v")), Written)
    assert [m.answered for _, to, m in said if type(m) is ReplicaAck and to == coordinator] == [
        False
    ]


def test_where_nothing_is_on_disk_at_once_that_is_no_hindrance() -> None:
    world, coordinator, asked, third = a_scene(config=EngineConfig(durable=False))
    said = watching(world, lambda sender, to, m: third in (sender, to))
    answer = world.answer(asked, put(b"v"))
    assert isinstance(answer, Written)
    assert answer.tally.durable == 0
    world.run(SECOND)
    assert [m.answered for _, to, m in said if type(m) is ReplicaAck and to == coordinator] == [
        True
    ]


@pytest.mark.parametrize(
    "answer",
    [(1,), ("x", True), (1, True, "t"), (1, 5, "t", "e", (2, 2, 2, 2, 0), b"x" * 8, 1, None)],
)
def test_an_answer_that_is_none_costs_nothing_but_itself(answer: tuple[object, ...]) -> None:
    world, coordinator, asked, _ = a_scene()
    version = version_of(b"v", 1, None, ()).to_plain((b"a", 1))
    context = Context.from_dots([(b"a", 1)]).to_plain()
    write = ReplicaWrite(
        7, 1, "b", b"other", asked, (version,), context, 1, "", True, 1, b"", answer
    )
    sent = world.sent_by(asked, Received(coordinator, write))
    assert [m.status for m in sent if isinstance(m, ReplicaAck)] == [Status.OK]
    assert not any(m.answered for m in sent if isinstance(m, ReplicaAck))
    assert engine_of(world, asked).counters.malformed_messages == 1


# Rows


def test_a_copy_is_the_row_of_the_coordinator_without_its_actor() -> None:
    world, coordinator, asked, third = a_scene()
    said = watching(world, lambda *_: False)
    world.answer(coordinator, put(b"v"))
    world.run(SECOND)
    copies = {to: m for _, to, m in said if type(m) is ReplicaWrite}
    row = Key("b", KEY).record_row
    for node in (asked, third):
        assert copies[node].row == world.nodes[node].disk[row]
        assert (copies[node].versions, copies[node].context) == ((), None)
    assert Record.received(world.nodes[coordinator].disk[row]).encode() == copies[asked].row


def test_siblings_large_values_and_deletes_travel_as_they_did() -> None:
    world, coordinator, _, _ = a_scene()
    set_bucket(world, blind_writes="sibling")
    said = watching(world, lambda *_: False)
    world.answer(coordinator, put(b"sibling"))
    world.answer(coordinator, put(b"v" * 40_000, key=b"large"))
    world.answer(coordinator, delete())
    world.run(SECOND)
    writes = [m for _, _, m in said if type(m) is ReplicaWrite]
    assert len(writes) == 6
    assert not any(m.row for m in writes)
    assert all(m.versions and m.context for m in writes)


def test_a_row_that_is_damaged_on_the_way_is_not_stored() -> None:
    world, coordinator, asked, _ = a_scene()
    disk = world.nodes[asked].disk
    row = bytearray(Record.received(disk[Key("b", KEY).record_row]).encode())
    row[-3] ^= 1
    write = ReplicaWrite(7, 1, "b", b"other", asked, (), None, 1, "", True, 1, bytes(row))
    sent = world.sent_by(asked, Received(coordinator, write))
    assert [m.status for m in sent if isinstance(m, ReplicaAck)] == [Status.FAILED]
    assert Key("b", b"other").record_row not in disk


def test_who_takes_a_row_for_no_versions_does_not_acknowledge_it() -> None:
    """A node may be of an older version by the time a row leaves: that knows no such field."""
    world, coordinator, asked, _ = a_scene()
    write = ReplicaWrite(7, 1, "b", b"other", asked, (), None, 1, "", True, 1)
    sent = world.sent_by(asked, Received(coordinator, write))
    assert [m.status for m in sent if isinstance(m, ReplicaAck)] == [Status.FAILED]


@pytest.mark.parametrize("level", [0, 1])
def test_who_does_not_know_of_rows_is_sent_versions(level: int) -> None:
    """``level`` 0 is a node that does not know `KnowsMany` either."""
    world = a_world()
    _, asked, third = world.ring.registers[Key("b", KEY).token >> 61].owners
    deliver = world._deliver

    def old(sender: NodeId, target: Any, boot: int, payload: bytes) -> None:
        message = world.codec.decode(payload)
        if type(message) is KnowsMany and sender == asked:
            if not level:
                return
            payload = world.codec.encode(KnowsMany(asks=message.asks))
        deliver(sender, target, boot, payload)

    world._deliver = old  # type: ignore[method-assign]
    for node in ids(world):
        world.answer(node, put(b"before", w=3))
    world.run(SECOND)
    said = watching(world, lambda *_: False)
    assert isinstance(world.answer(asked, put(b"v", w=3)), Written)
    copies = {to: m for sender, to, m in said if type(m) is ReplicaWrite}
    assert not copies[asked].row
    assert not copies[asked].answer
    assert copies[third].row
    for node in ids(world):
        assert values(world.answer(node, get(r=1))) == [b"v"]
