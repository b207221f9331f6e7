"""Many puts at once are done as each would have been alone, whatever happens to the others."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from many_requests import KEYS, a_world, asked_in_trouble, running
from path_requests import get, ids, put, set_bucket, values
from sadik_machine import (
    MILLISECOND,
    SECOND,
    Announce,
    DiskShort,
    Effect,
    Link,
    LinkState,
    NodeId,
    Observed,
    Received,
    Unsent,
)
from sadik_members import Liveness, LivenessChanged
from sadik_vnode import EngineConfig
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import (
    MANY_KEYS_MAX,
    ForwardMany,
    ForwardWrite,
    ForwardWriteAnswer,
    KnowsMany,
    ManyAcks,
    ManyAnswers,
    ReplicaAck,
    ReplicaWrite,
    Status,
    WriteMany,
    WriteRows,
)
from sadik_vnode.news import Touched
from sadik_vnode.requests import (
    Condition,
    Found,
    ManyWritten,
    Outcome,
    Put,
    PutMany,
    Refusal,
    Refused,
    Unavailable,
    Written,
)
from sadik_vnode.together import MANY
from vnode_world import World


def ask(world: World, node: NodeId, puts: list[Put]) -> list[Any]:
    """The results of puts that are asked for at once."""
    written = world.answer(node, PutMany(puts))
    assert isinstance(written, ManyWritten)
    return written.results


def acquainted(world: World) -> None:
    """Let all nodes find out that the others know the messages of many."""
    for node in ids(world):
        ask(world, node, [put(b"before", key=b"a%d" % n) for n in range(24)])
    world.run(SECOND)


def sent(world: World) -> Counter[type]:
    """Counts the messages that nodes send from now on, by class."""
    seen: Counter[type] = Counter()
    send = world._send

    def watch(node: Any, to: NodeId, message: object) -> None:
        seen[type(message)] += 1
        send(node, to, message)

    world._send = watch  # type: ignore[method-assign]
    return seen


def losing(world: World, is_lost: Any) -> None:
    """From now on messages of which ``is_lost(sender, to, message)`` holds are lost."""
    send = world._send

    def lose(node: Any, to: NodeId, message: object) -> None:
        if not is_lost(node.id, to, message):
            send(node, to, message)

    world._send = lose  # type: ignore[method-assign]


# As each alone


def _tried(seed: int, *, together: bool, conflict: str) -> tuple[list[Any], Any]:
    """What a node makes of puts of all keys, in a world in which somebody may be away."""
    world = a_world(seed, nodes=4)
    blind_writes = "replace" if conflict == "lww" else seed % 3
    set_bucket(
        world, conflict=conflict,
        blind_writes=("sibling", "replace", "refuse")[blind_writes]
        if isinstance(blind_writes, int) else blind_writes,
    )  # fmt: skip
    source = random.Random(seed)
    one = ids(world)[0]
    contexts = {}
    for key in KEYS[:6]:
        world.answer(one, put(b"old", key=key, condition=Condition(if_none_match=("*",))))
        found = world.answer(one, get(key=key))
        contexts[key] = found.context if isinstance(found, Found) else None
    match source.randrange(4):
        case 0:
            world.crash(source.choice(ids(world)))
        case 1:
            world.cut_off(*source.sample(ids(world), 2))
        case 2:
            full = world.nodes[source.choice(ids(world))]
            world.step(full, Observed(DiskShort(is_short=True)))
    world.run(SECOND)
    node = source.choice(running(world))
    puts = [
        put(
            source.randbytes(source.choice((0, 5, 100, 70_000))),
            source.choice((None, contexts.get(key), "nonsense")),
            key,
            w=source.choice((None, 1, 2, 3, "all", 9)),
            pw=source.choice((None, 0, 2)),
            dw=source.choice((None, 0, 1)),
            sloppy=source.random() < 0.8,
            ttl_s=source.choice((None, None, 60)),
            condition=source.choice((None, None, Condition(if_none_match=("*",)))),
        )
        for key in KEYS
    ]
    alone = partial(world.answer, node)
    results = ask(world, node, puts) if together else list(map(alone, puts))
    world.run(3 * SECOND)
    return results, [world.live(each) for each in world.nodes.values()]


def _kind(result: Any) -> Any:
    """What of an answer does not depend on who was the quicker."""
    if isinstance(result, Refused):
        return result
    if isinstance(result, Unavailable):
        return result.outcome, result.detail
    return type(result), result.tally.needed, result.coordinator


@given(st.integers(0, 2**32), st.sampled_from(["siblings", "lww"]))
@settings(max_examples=max(settings().max_examples // 2, 5), deadline=None)
def test_each_key_is_written_as_it_would_have_been_alone(seed: int, conflict: str) -> None:
    together, held = _tried(seed, together=True, conflict=conflict)
    alone, held_then = _tried(seed, together=False, conflict=conflict)
    assert [_kind(each) for each in together] == [_kind(each) for each in alone]
    assert held == held_then


@given(st.integers(0, 2**32))
@settings(max_examples=max(settings().max_examples // 4, 3), deadline=None)
def test_all_are_answered_and_nothing_is_left_behind_whatever_happens(seed: int) -> None:
    def puts(source: random.Random, timeout_ns: int) -> PutMany:
        return PutMany([Put("b", key, b"v", timeout_ns) for key in source.choices(KEYS, k=6)])

    def look(world: World, node: NodeId) -> None:
        world.ask(node, get(key=KEYS[seed % len(KEYS)]))

    answers, asked, nodes = asked_in_trouble(seed, puts, look)
    assert len(answers) == asked
    assert all(len(answer.results) == 6 and None not in answer.results for answer in answers)
    for node in nodes:
        assert node.engine is not None
        assert node.engine.requests_open == 0
        assert node.engine._desk.request_bytes == 0


def test_puts_of_one_key_are_done_in_their_order() -> None:
    world = a_world()
    acquainted(world)
    for node in ids(world):
        puts = [put(b"%d" % n, key=key) for n in range(3) for key in (b"k", b"other")]
        assert all(isinstance(each, Written) for each in ask(world, node, puts))
        world.run(SECOND)
        assert values(world.answer(node, get())) == [b"2"]


# What it costs


def test_one_message_to_each_other_owner_and_one_back() -> None:
    world = a_world()
    acquainted(world)
    one, _, _ = ids(world)
    mine = [k for k in KEYS if world.ring.registers[Key("b", k).token >> 61].owners[0] == one]
    assert len(mine) > 1
    seen = sent(world)
    assert all(
        isinstance(each, Written) for each in ask(world, one, [put(b"v", key=k) for k in mine])
    )
    world.run(SECOND)
    assert seen == {WriteRows: 2, ManyAcks: 2}


def test_what_another_node_coordinates_goes_there_together_and_is_answered_together() -> None:
    world = a_world()
    acquainted(world)
    one, _, _ = ids(world)
    seen = sent(world)
    results = ask(world, one, [Put("b", key, b"v", SECOND + at) for at, key in enumerate(KEYS)])
    assert all(isinstance(each, Written) for each in results)
    assert len({each.coordinator for each in results}) == 3
    world.run(SECOND)
    # Each of three coordinators writes to two others, and two of them are not the one asked. Which
    # answers at once for those whose copies it stores, or is answered for what others stored first.
    assert {kind: seen[kind] for kind in (ForwardMany, WriteRows, ManyAcks)} == {
        ForwardMany: 2, WriteRows: 6, ManyAcks: 6,
    }  # fmt: skip
    assert seen.total() - 14 == seen[ManyAnswers] + seen[ForwardWriteAnswer] <= 2
    for key in KEYS:
        assert values(world.answer(one, get(key=key, r=3))) == [b"v"]


def test_messages_are_bounded_in_bytes_and_a_large_value_goes_alone() -> None:
    config = EngineConfig(message_bytes_max=2000)
    world = a_world(config=config)
    acquainted(world)
    one, _, _ = ids(world)
    mine = [k for k in map(b"m%d".__mod__, range(99))
            if world.ring.registers[Key("b", k).token >> 61].owners[0] == one][:10]  # fmt: skip
    seen = sent(world)
    puts = [put(b"v" * 600, key=key) for key in mine[:9]] + [put(b"v" * 3000, key=mine[9])]
    assert all(isinstance(each, Written) for each in ask(world, one, puts))
    assert seen[WriteRows] == 2 * 5 - 2  # two together and, of nine, one alone
    assert seen[ReplicaWrite] == 2 * 2


def test_each_put_counts_as_a_request_and_is_refused_alone() -> None:
    world = a_world(config=EngineConfig(requests_max=5))
    one, two, three = ids(world)
    for node in (two, three):
        world.crash(node)  # and nobody knows it yet
    answers: list[Any] = []
    world.ask(one, PutMany([put(b"v", key=key) for key in KEYS]), answers.append)
    engine = world.nodes[one].engine
    assert engine is not None
    assert engine.conversations_open == 5
    world.run(10 * SECOND)
    refused = [r for r in answers[0].results if isinstance(r, Refused)]
    assert [r.refusal for r in refused] == [Refusal.OVERLOADED] * (len(KEYS) - 5)


# Who knows of it


def test_nobody_is_sent_many_who_has_not_said_that_it_knows_them() -> None:
    world = a_world()
    deliver = world._deliver
    unknown: Counter[type] = Counter()

    def deaf(sender: NodeId, target: Any, boot: int, payload: bytes) -> None:
        kind = type(world.codec.decode(payload))
        if kind is KnowsMany or kind in MANY:
            unknown[kind] += 1
        else:
            deliver(sender, target, boot, payload)

    world._deliver = deaf  # type: ignore[method-assign]
    for _ in range(5):
        for node in ids(world):
            results = ask(world, node, [put(b"v", key=key) for key in KEYS])
            assert all(isinstance(each, Written) for each in results)
    assert set(unknown) == {KnowsMany}
    assert unknown[KnowsMany] == 6  # each asks each other one, once in a while
    world.run(11 * SECOND)
    world._deliver = deliver  # type: ignore[method-assign]
    acquainted(world)
    seen = sent(world)
    ask(world, ids(world)[0], [put(b"v", key=key) for key in KEYS])
    assert seen[ForwardMany]


def test_it_is_asked_anew_when_streams_have_broken() -> None:
    world = a_world()
    acquainted(world)
    one, two, _ = ids(world)
    world.step(world.nodes[one], Link(two, LinkState.DOWN))
    world.step(world.nodes[one], Link(two, LinkState.UP))
    to_two: Counter[type] = Counter()
    losing(
        world, lambda sender, to, m: to_two.update([type(m)]) if (sender, to) == (one, two) else 0
    )
    puts = [put(b"v", key=key) for key in KEYS]
    assert all(isinstance(each, Written) for each in ask(world, one, puts))
    assert to_two[KnowsMany] == 1
    assert to_two[ForwardWrite] > 1
    assert to_two[ForwardMany] == 0
    world.run(SECOND)
    to_two.clear()
    ask(world, one, puts)
    assert to_two[ForwardMany] == 1


def test_a_stranger_is_not_told_and_too_many_are_not_taken() -> None:
    world = a_world()
    one, two, _ = ids(world)
    desk = world.nodes[one].engine._desk  # type: ignore[union-attr]
    write = (1, 1, "b", b"k", (), ())
    too_many = WriteMany((write,) * (MANY_KEYS_MAX + 1), 1, "", True, 1)
    world.step(world.nodes[one], Received(two, too_many))
    assert desk.counters.malformed_messages == 1
    seen = sent(world)
    stranger = NodeId(b"stranger")
    world.step(world.nodes[one], Received(stranger, KnowsMany(asks=True)))
    assert desk.counters.strangers == 1
    assert not seen


# What goes wrong for some


def test_an_owner_that_is_lost_on_the_way_costs_nobody_an_answer() -> None:
    world = a_world(nodes=4)
    acquainted(world)
    one, two, _, _ = ids(world)
    losing(world, lambda _, to, m: to == two and type(m) is WriteRows)
    answers: list[Any] = []
    world.ask(one, PutMany([put(b"v", key=key, w="all") for key in KEYS]), answers.append)
    world.run(20 * MILLISECOND)
    assert not answers
    world.crash(two)
    world.run(5 * SECOND)
    lost = [r for r in answers[0].results if not isinstance(r, Written)]
    assert all(r.outcome is Outcome.INDETERMINATE and "coordinated" in r.detail for r in lost)
    written = [r for r in answers[0].results if isinstance(r, Written)]
    assert any(r.tally.hinted for r in written)
    assert all(r.tally.got == 3 for r in written)


def test_the_deadline_of_all_is_the_deadline_of_each() -> None:
    world = a_world()
    acquainted(world)
    one, _, _ = ids(world)
    losing(world, lambda _, __, m: type(m) is ManyAcks)
    began = world.now
    mine = [k for k in KEYS if world.ring.registers[Key("b", k).token >> 61].owners[0] == one]
    results = ask(world, one, [Put("b", key, b"v", SECOND) for key in mine])
    assert [each.outcome for each in results] == [Outcome.INDETERMINATE] * len(mine)
    assert world.now - began <= SECOND + MILLISECOND
    world.run(5 * SECOND)
    engine = world.nodes[one].engine
    assert engine is not None
    assert engine._desk.counters.hints_written == 2 * len(mine)


def test_a_message_of_many_that_was_never_written_is_one_for_each() -> None:
    world = a_world(nodes=4)
    acquainted(world)
    one, two, _, _ = ids(world)
    came_back: Counter[type] = Counter()

    def is_unsent(sender: NodeId, to: NodeId, message: object) -> bool:
        if (sender, to) != (one, two):
            return False
        came_back[type(message)] += 1
        world.at(0, lambda: world.step(world.nodes[one], Observed(Unsent(two, [message]))))
        return True

    losing(world, is_unsent)
    results = ask(world, one, [put(b"v", key=key, w="all") for key in KEYS])
    assert all(isinstance(each, Written) for each in results)
    assert any(each.tally.hinted for each in results)
    assert two not in {each.coordinator for each in results}
    assert came_back[ForwardMany]
    assert came_back[WriteRows]


def test_a_replica_that_refuses_some_says_so_of_each() -> None:
    world = a_world()
    acquainted(world)
    one, two, _ = ids(world)
    world.step(world.nodes[two], Observed(DiskShort(is_short=True)))
    statuses: list[int] = []
    losing(world, lambda _, __, m: statuses.append(m.status) if type(m) is ReplicaAck else None)
    mine = [k for k in KEYS if world.ring.registers[Key("b", k).token >> 61].owners[0] == one]
    results = ask(world, one, [put(b"v", key=key) for key in mine])
    assert all(isinstance(each, Written) and each.tally.got == 2 for each in results)
    assert statuses == [Status.FULL] * len(mine)


def test_a_full_disk_refuses_each_and_nothing_is_applied() -> None:
    world = a_world()
    acquainted(world)
    one, _, _ = ids(world)
    mine = [k for k in KEYS if world.ring.registers[Key("b", k).token >> 61].owners[0] == one]
    world.faults.disk_full = 1000
    results = ask(world, one, [put(b"new", key=key, sloppy=False) for key in mine])
    assert [each.refusal for each in results] == [Refusal.DISK_FULL] * len(mine)
    assert not world.holders(b"new")


def test_puts_with_a_node_away_leave_notes_as_ever() -> None:
    world = a_world()
    acquainted(world)
    one, two, three = ids(world)
    for node in (one, three):
        world.step(world.nodes[node], Observed(LivenessChanged(two, Liveness.SUSPECT)))
    world.cut[one, two] = world.cut[three, two] = None
    assert all(isinstance(e, Written) for e in ask(world, one, [put(b"v", key=k) for k in KEYS]))
    engines = [world.nodes[node].engine for node in (one, three)]
    assert sum(engine.hints_pending for engine in engines if engine) == len(KEYS)
    world.cut.clear()
    for node in (one, three):
        world.step(world.nodes[node], Link(two, LinkState.UP))
        world.step(world.nodes[node], Observed(LivenessChanged(two, Liveness.UP)))
    world.run(5 * SECOND)
    assert len(world.holders(b"v")) == 3


def test_every_node_says_which_keys_a_traced_batch_touched() -> None:
    world = a_world()
    acquainted(world)
    one, _, _ = ids(world)
    touched: Counter[tuple[str, bytes]] = Counter()
    perform = world._perform

    def watch(node: Any, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Announce) and isinstance(effect.news, Touched):
                touched[effect.news.what, effect.news.key] += 1
        perform(node, effects)

    world._perform = watch  # type: ignore[method-assign]
    ask(world, one, [put(b"v", key=key, trace="t") for key in KEYS])
    world.run(SECOND)
    assert {key: touched["write", key] for key in KEYS} == dict.fromkeys(KEYS, 2)
    assert sum(touched["coordinate", key] for key in KEYS) > 0
