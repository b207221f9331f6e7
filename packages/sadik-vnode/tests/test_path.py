"""The whole path through three engines: what a client is promised of gets, puts and deletes."""

from __future__ import annotations

import pytest

from path_requests import TIMEOUT, delete, get, ids, put, values
from sadik_machine import MILLISECOND, SECOND, Received
from sadik_vnode import EngineConfig
from sadik_vnode.messages import ReplicaAck, ReplicaWrite, Status
from sadik_vnode.requests import (
    BucketSet,
    Explain,
    Hints,
    ListKeys,
    Missing,
    Outcome,
    Refusal,
    Refused,
    Unavailable,
    Written,
)
from vnode_world import World


@pytest.fixture
def world() -> World:
    return World(1)


def test_a_value_put_through_one_node_is_read_through_every_other(world: World) -> None:
    one, two, three = ids(world)
    written = world.answer(one, put(b"v", content_type="text/plain", meta=(("a", "b"),)))
    assert isinstance(written, Written)
    assert written.tally.got >= 2
    assert written.tally.needed == 2
    for node in (one, two, three):
        found = world.answer(node, get())
        assert values(found) == [b"v"]
        assert found.versions[0].content_type == "text/plain"
        assert found.versions[0].meta == (("a", "b"),)
        assert found.tally.got >= 2


def test_a_key_that_nobody_wrote_is_missing_without_a_context(world: World) -> None:
    missing = world.answer(ids(world)[0], get())
    assert isinstance(missing, Missing)
    assert missing.context is None


def test_blind_writes_through_all_nodes_in_turn_never_make_siblings(world: World) -> None:
    for index in range(12):
        node = ids(world)[index % 3]
        assert isinstance(world.answer(node, put(b"%d" % index)), Written)
    assert values(world.answer(ids(world)[0], get())) == [b"11"]


@pytest.mark.parametrize("through", [[0, 0], [0, 1], [1, 2]])
def test_two_clients_chaining_their_own_contexts_leave_their_two_last_values(
    world: World, through: list[int]
) -> None:
    world.answer(ids(world)[0], BucketSet("b", {"blind_writes": "sibling"}))
    world.run(SECOND)
    contexts: list[str | None] = [None, None]
    for round_ in range(20):
        for client, entry in enumerate(through):
            written = world.answer(
                ids(world)[entry], put(b"%d-%d" % (client, round_), contexts[client])
            )
            contexts[client] = written.context
    world.run(SECOND)
    for node in ids(world):
        assert sorted(values(world.answer(node, get()))) == [b"0-19", b"1-19"]


def test_a_write_with_the_context_of_a_read_resolves_its_siblings(world: World) -> None:
    one, two, _ = ids(world)
    world.answer(one, BucketSet("b", {"blind_writes": "sibling"}))
    world.run(SECOND)
    world.answer(one, put(b"x"))
    world.answer(two, put(b"y"))
    found = world.answer(one, get())
    assert sorted(values(found)) == [b"x", b"y"]
    world.answer(two, put(b"z", found.context))
    world.run(SECOND)
    for node in ids(world):
        assert values(world.answer(node, get())) == [b"z"]


def test_a_deleted_key_is_missing_with_a_context_and_deleting_again_finds_nothing(
    world: World,
) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    assert isinstance(world.answer(two, delete()), Written)
    missing = world.answer(three, get())
    assert isinstance(missing, Missing)
    assert missing.context is not None
    assert isinstance(world.answer(one, delete()), Missing)
    world.answer(one, put(b"again", missing.context))
    assert values(world.answer(two, get())) == [b"again"]


def test_a_concurrent_write_survives_a_delete_that_did_not_see_it(world: World) -> None:
    one, two, _ = ids(world)
    old = world.answer(one, put(b"old"))
    world.answer(two, put(b"new", old.context))
    assert isinstance(world.answer(one, delete(old.context)), Written)
    assert values(world.answer(two, get())) == [b"new"]


def test_a_context_of_another_key_is_refused(world: World) -> None:
    one = ids(world)[0]
    written = world.answer(one, put(b"v"))
    refused = world.answer(one, put(b"w", written.context, key=b"other"))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.BAD_CONTEXT


def test_a_bucket_that_refuses_blind_writes_wants_a_context(world: World) -> None:
    one = ids(world)[0]
    world.answer(one, BucketSet("b", {"blind_writes": "refuse"}))
    world.run(SECOND)
    refused = world.answer(one, put(b"v"))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.CONTEXT_REQUIRED


def test_a_quorum_above_the_replicas_is_a_mistake_and_above_the_owners_is_unavailable() -> None:
    world = World(1, nodes=2, replicas=3)
    one = ids(world)[0]
    refused = world.answer(one, get(r=4))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.BAD_QUORUM
    unavailable = world.answer(one, put(b"v", w=3))
    assert isinstance(unavailable, Unavailable)
    assert unavailable.outcome is Outcome.NOT_APPLIED


def test_the_sibling_cap_binds_where_a_dot_is_made(world: World) -> None:
    one = ids(world)[0]
    world.answer(one, BucketSet("b", {"blind_writes": "sibling"}))
    world.run(SECOND)
    for index in range(100):
        assert isinstance(world.answer(one, put(b"%d" % index)), Written)
    refused = world.answer(one, put(b"one too many"))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.TOO_MANY_SIBLINGS
    found = world.answer(one, get())
    assert len(found.versions) == 100
    assert isinstance(world.answer(one, put(b"resolved", found.context)), Written)


def test_large_values_travel_by_version_and_come_back_whole(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, BucketSet("b", {"blind_writes": "sibling"}))
    world.run(SECOND)
    large = [bytes([i]) * (200_000 + i) for i in range(3)]
    for node, value in zip((one, two, three), large, strict=True):
        assert isinstance(world.answer(node, put(value)), Written)
    for node in ids(world):
        assert sorted(values(world.answer(node, get()))) == sorted(large)


def test_with_one_node_down_writes_go_on_and_hints_bring_it_up_to_date(world: World) -> None:
    one, two, three = ids(world)
    world.crash(three)
    world.run(SECOND)
    for index in range(50):
        written = world.answer(one, put(b"v%d" % index, key=b"k%d" % index))
        assert isinstance(written, Written)
        assert written.tally.primaries == 2
    hints = world.answer(two, Hints())
    assert hints.total == 50
    assert hints.by_node == {three: 50}
    world.start(three)
    world.run(10 * SECOND)
    assert world.answer(one, Hints()).total == 0
    held = world.live(world.nodes[three])
    assert all(held[b"b\0k%d" % index] == [b"v%d" % index] for index in range(50))


def test_hint_notes_survive_the_restart_of_their_holder(world: World) -> None:
    one, _, three = ids(world)
    world.crash(three)
    world.run(SECOND)
    world.answer(one, put(b"v"))
    for node in ids(world)[:2]:
        world.crash(node)
    world.run(SECOND)
    for node in ids(world):
        world.start(node)
    world.run(10 * SECOND)
    assert world.holders(b"v") == ["n1", "n2", "n3"]
    assert world.answer(one, Hints()).total == 0


def test_large_values_are_delivered_by_hints(world: World) -> None:
    one, _, three = ids(world)
    world.crash(three)
    world.run(SECOND)
    world.answer(one, put(b"x" * 300_000))
    world.start(three)
    world.run(5 * SECOND)
    assert len(world.holders(b"x" * 300_000)) == 3


def test_with_two_of_three_down_strict_quorums_are_refused_and_w_1_goes_on(world: World) -> None:
    one, two, three = ids(world)
    world.crash(two)
    world.crash(three)
    world.run(SECOND)
    refused = world.answer(one, put(b"v"))
    assert isinstance(refused, Unavailable)
    assert refused.outcome is Outcome.NOT_APPLIED
    assert isinstance(world.answer(one, get()), Unavailable)
    assert isinstance(world.answer(one, put(b"w", w=1)), Written)
    assert values(world.answer(one, get(r=1))) == [b"w"]
    world.start(two)
    world.start(three)
    world.run(10 * SECOND)
    assert world.holders(b"v") == []
    assert world.holders(b"w") == ["n1", "n2", "n3"]


def test_fallbacks_stand_in_for_owners_and_hand_over() -> None:
    world = World(3, nodes=5)
    down = ids(world)[1:3]
    for node in down:
        world.crash(node)
    world.run(SECOND)
    hinted = 0
    for index in range(40):
        written = world.answer(ids(world)[0], put(b"v%d" % index, key=b"k%d" % index))
        assert isinstance(written, Written)
        hinted += written.tally.hinted
    assert hinted > 0
    for index in range(40):
        refused = world.answer(ids(world)[0], put(b"s", key=b"k%d" % index, sloppy=False, w="all"))
        if isinstance(refused, Unavailable):
            break
    else:
        pytest.fail("a strict quorum never missed the nodes that are down")
    for index in range(40):
        assert values(world.answer(ids(world)[3], get(b"k%d" % index)))
    for node in down:
        world.start(node)
    world.run(20 * SECOND)
    assert world.answer(ids(world)[0], Hints()).total == 0


def test_a_write_forwarded_to_a_node_that_dies_is_indeterminate(world: World) -> None:
    one, two, _ = ids(world)
    key = next(
        b"%d" % i
        for i in range(100)
        if world.ring.registers[_partition(world, b"%d" % i)].owners[0] == two
    )
    request = world.ask(one, put(b"v", key=key))
    world.crash(two)
    world.run(6 * SECOND)
    result = world.replies[request]
    assert isinstance(result, Unavailable | Written)
    if isinstance(result, Unavailable):
        assert result.outcome is Outcome.INDETERMINATE


def _partition(world: World, key: bytes) -> int:
    from sadik_hashing import Partitions

    return Partitions(world.ring.partitions).of_key("b", key)


def test_read_repair_brings_a_replica_up_to_date(world: World) -> None:
    one, _two, three = ids(world)
    world.answer(one, put(b"v"))
    world.run(SECOND)
    node = world.nodes[three]
    world.crash(three)
    node.disk = {key: value for key, value in node.disk.items() if not key.startswith((b"O", b"K"))}
    world.run(SECOND)
    world.start(three)
    world.run(SECOND)
    for _ in range(2):
        assert values(world.answer(three, get(r="all"))) == [b"v"]
        world.run(SECOND)
    assert world.holders(b"v") == ["n1", "n2", "n3"]


def test_a_full_disk_is_refused_as_not_applied(world: World) -> None:
    one = ids(world)[0]
    world.faults.disk_full = 1000
    refused = [world.answer(one, put(b"v", key=b"%d" % index)) for index in range(5)]
    assert all(isinstance(r, Refused) and r.refusal is Refusal.DISK_FULL for r in refused), refused
    world.faults.disk_full = 0
    world.run(10 * SECOND)
    assert world.holders(b"v") == []
    assert isinstance(world.answer(one, put(b"w")), Written)


def test_a_listing_pages_through_live_keys_in_byte_order(world: World) -> None:
    one, two, _ = ids(world)
    keys = [*sorted(b"p/%03d" % i for i in range(150)), b"q", b"\xff\x00z", b"p"]
    for key in keys:
        world.answer(one, put(b"v", key=key))
    world.answer(two, delete(key=b"p/007"))
    for node in ids(world):
        listed: list[bytes] = []
        after = None
        while True:
            page = world.answer(node, ListKeys("b", b"p/", after, 40, TIMEOUT))
            listed += page.keys
            after = page.next
            if after is None:
                break
        assert listed == sorted(k for k in keys if k.startswith(b"p/") and k != b"p/007")
    everything = world.answer(one, ListKeys("b", b"", None, 1000, TIMEOUT))
    assert everything.keys == sorted(k for k in keys if k != b"p/007")
    assert everything.next is None
    assert world.answer(one, ListKeys("c", b"", None, 1000, TIMEOUT)).keys == []


def test_a_listing_below_r_is_refused_and_never_shorter(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    world.crash(three)
    world.run(SECOND)
    assert world.answer(one, ListKeys("b", b"", None, 10, TIMEOUT)).keys == [b"k"]
    world.crash(two)
    world.run(SECOND)
    assert isinstance(world.answer(one, ListKeys("b", b"", None, 10, TIMEOUT)), Unavailable)


def test_explain_tells_who_is_behind_and_why(world: World) -> None:
    one, _, three = ids(world)
    world.crash(three)
    world.run(SECOND)
    world.answer(one, put(b"v"))
    world.run(SECOND)
    told = world.answer(one, Explain("b", b"k", TIMEOUT))
    states = {replica.node: replica.state for replica in told.replicas}
    assert states[three] == "unreachable"
    assert sorted(states.values()) == ["ok", "ok", "unreachable"]
    assert [slot for _, slot in told.hints] == [three]
    world.start(three)
    world.run(5 * SECOND)
    told = world.answer(three, Explain("b", b"k", TIMEOUT))
    assert [replica.state for replica in told.replicas] == ["ok"] * 3
    assert told.hints == []


def test_explain_tells_what_was_replaced_from_what_counts() -> None:
    # Nothing mends what is missed.
    world = World(1, config=EngineConfig(anti_entropy_interval_ns=0, hint_bytes_max=0))
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    world.run(SECOND)
    world.cut_off(one, three)
    world.cut_off(two, three)
    world.run(3 * SECOND)
    world.answer(one, put(b"w"))
    world.run(SECOND)
    world.heal()
    world.run(5 * SECOND)
    told = world.answer(one, Explain("b", b"k", TIMEOUT))
    behind = {replica.node: replica for replica in told.replicas}[three]
    assert behind.state == "behind"
    assert [version.is_replaced for version in behind.versions] == [True]
    others = [replica for replica in told.replicas if replica.node != three]
    assert [v.is_replaced for replica in others for v in replica.versions] == [False, False]
    assert told.writes == 2


def test_explain_shows_a_fallback_that_cannot_be_asked_and_none_that_holds_nothing() -> None:
    world = World(1, nodes=5)
    one = ids(world)[0]
    world.answer(one, put(b"v"))
    world.run(SECOND)
    told = world.answer(one, Explain("b", b"k", TIMEOUT))
    assert len(told.fallbacks) == 2
    assert {replica.node for replica in told.replicas} == {*told.owners}
    silent = next(node for node in told.fallbacks if node != one)
    world.cut[one, silent] = world.cut[silent, one] = None
    told = world.answer(one, Explain("b", b"k", TIMEOUT))
    (shown,) = [replica for replica in told.replicas if replica.node == silent]
    assert (shown.state, shown.is_owner) == ("unreachable", False)
    assert shown.why


def test_a_paused_replica_does_not_hold_a_read_up(world: World) -> None:
    one, two, three = ids(world)
    world.answer(one, put(b"v"))
    world.run(SECOND)
    # Cut without telling anybody, as a stopped process looks to its peers.
    for silent in (two,):
        for other in (one, three):
            world.cut[silent, other] = None
            world.cut[other, silent] = None
    began = world.now
    assert values(world.answer(one, get())) == [b"v"]
    assert world.now - began < 300 * MILLISECOND


def test_who_has_left_takes_nothing_any_more_that_would_go_with_it() -> None:
    world = World(1, nodes=4)
    one, *others = ids(world)
    world.run(SECOND)
    world.leave(one)
    refused = world.answer(one, put(b"v"))
    assert isinstance(refused, Unavailable)
    assert refused.outcome is Outcome.NOT_APPLIED
    plain = (b"actor-of-t", 1, b"\0", b"v", 1)
    message = ReplicaWrite(7, 1, "b", b"k", others[0], (plain,), (), 1)
    [answer] = [
        m for m in world.sent_by(one, Received(others[0], message)) if isinstance(m, ReplicaAck)
    ]
    assert answer.status == Status.NOT_READY
    assert world.live(world.nodes[one]) == {}
