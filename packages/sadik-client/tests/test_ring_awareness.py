"""Straight to an owner, and never worse than without knowing."""

import pytest

from sadik_client import Settings
from sadik_hashing import Partitions
from scripted_nodes import SECOND, Seen, Step, World, answer, json_answer, problem

RING_ON = Settings()


def owners_of(key: bytes, shift: int = 0) -> list[str]:
    first = Partitions(8).of_key("b", key) + shift
    return [f"n{(first + slot) % 3 + 1}" for slot in range(2)]


class Cluster:
    """Three nodes that answer as coordinators do; ``shift`` is where the ring stands."""

    def __init__(self) -> None:
        self.shift = 0
        self.epoch = 1
        self.members = [
            {"name": f"n{i}", "http": f"h{i}:7070", "state": "up", "self": False} for i in (1, 2, 3)
        ]
        self.ring_fails = False

    def __call__(self, seen: Seen) -> Step:
        name = f"n{seen.host[1:]}"
        if seen.target == "/v1/members":
            members = [{**each, "self": each["name"] == name} for each in self.members]
            return json_answer({"members": members})
        if seen.target == "/v1/ring":
            if self.ring_fails:
                return problem(503)
            owners = [
                [f"n{(part + self.shift + slot) % 3 + 1}" for slot in range(2)] for part in range(8)
            ]
            return json_answer(
                {"epoch": self.epoch, "partitions": 8, "replicas": 2, "owners": owners}
            )
        key = seen.target.partition("?")[0].rpartition("/")[2].encode()
        coordinator = name if seen.method == "GET" else owners_of(key, self.shift)[0]
        if seen.method == "GET":
            return answer(200, b"v", sadik_context="c", sadik_node=coordinator)
        return answer(204, sadik_context="c", sadik_node=coordinator)


def world_of(*hosts: str, settings: Settings = RING_ON) -> tuple[World, Cluster]:
    world = World(*hosts, settings=settings)
    cluster = Cluster()
    world.default = cluster
    return world, cluster


def data_hosts(world: World) -> list[str]:
    return [seen.host for seen in world.seen if seen.target.startswith("/v1/kv")]


def learnings(world: World) -> int:
    return sum(seen.target == "/v1/ring" for seen in world.seen)


def test_keys_go_straight_to_their_first_owner() -> None:
    world, _ = world_of("h1")
    keys = [f"key-{number}".encode() for number in range(20)]
    for key in keys:
        world.run(world.core.put("b", key, b"v"))
        world.run(world.core.get("b", key))
    wanted = [f"h{owners_of(key)[0][1:]}" for key in keys for _ in range(2)]
    assert data_hosts(world) == wanted
    assert set(wanted) == {"h1", "h2", "h3"}
    assert learnings(world) == 1


def test_the_second_owner_is_asked_where_the_first_is_gone() -> None:
    world, _ = world_of("h1")
    key = next(k for k in (b"a", b"b", b"c", b"d", b"e", b"f") if owners_of(k)[0] == "n2")
    world.run(world.core.get("b", key))
    world.core.close()
    world.down = {"h2"}
    world.run(world.core.put("b", key, b"v"))
    assert data_hosts(world) == ["h2", f"h{owners_of(key)[1][1:]}"]


@pytest.mark.parametrize("method", ["get", "put"])
def test_an_answer_of_an_unexpected_coordinator_makes_it_learn(method: str) -> None:
    world, cluster = world_of("h1")
    key = next(k for k in (b"a", b"b", b"c", b"d", b"e", b"f") if owners_of(k)[0] == "n2")
    world.run(world.core.put("b", key, b"v"))
    world.now_ns += 6 * SECOND
    if method == "put":
        # Moved to where neither known owner is.
        cluster.shift, cluster.epoch = 2, 2
        assert owners_of(key, 2)[0] not in owners_of(key)
        world.run(world.core.put("b", key, b"v"))
    else:
        # Another node has taken the address.
        name = "n9"
        world.script("h2", answer(200, b"v", sadik_context="c", sadik_node=name))
        world.run(world.core.get("b", key))
    assert learnings(world) == 1
    world.run(world.core.put("b", key, b"v"))
    assert learnings(world) == 2
    assert data_hosts(world)[-1] == f"h{owners_of(key, cluster.shift)[0][1:]}"


def test_it_learns_at_most_every_five_seconds() -> None:
    world, cluster = world_of("h1")
    key = b"a"
    world.run(world.core.put("b", key, b"v"))
    cluster.shift = 2
    cluster.epoch = 0  # this node's ring lags behind: learning brings nothing new
    for _ in range(50):
        world.run(world.core.put("b", key, b"v"))
        world.now_ns += SECOND // 10
    assert learnings(world) <= 3


def test_it_learns_anew_at_an_age() -> None:
    world, cluster = world_of("h1")
    world.run(world.core.put("b", b"a", b"v"))
    cluster.shift, cluster.epoch = 1, 0  # a new cluster at the old addresses
    world.now_ns += 301 * SECOND
    world.run(world.core.put("b", b"a", b"v"))
    assert data_hosts(world)[-1] == f"h{owners_of(b'a', 1)[0][1:]}"


def test_it_works_without_a_ring() -> None:
    world, cluster = world_of("h1", "h2")
    cluster.ring_fails = True
    for _ in range(3):
        world.run(world.core.put("b", b"a", b"v"))
    assert data_hosts(world) == ["h1"] * 3
    assert learnings(world) == 2, "once from each of two nodes, and not again for a while"


@pytest.mark.parametrize(
    "ring",
    [{}, {"epoch": 1, "partitions": 7, "owners": []}, {"epoch": 1, "partitions": 8, "owners": []},
     [], {"epoch": "x", "partitions": 8, "owners": [["n1"]] * 8}],
)  # fmt: skip
def test_nonsense_for_a_ring_is_no_ring(ring: object) -> None:
    world, cluster = world_of("h1")
    world.default = lambda seen: json_answer(ring) if seen.target == "/v1/ring" else cluster(seen)
    world.run(world.core.put("b", b"a", b"v"))
    assert data_hosts(world) == ["h1"]


def test_without_ring_nothing_is_learned() -> None:
    world, _ = world_of("h1", settings=Settings(ring=False))
    world.run(world.core.put("b", b"a", b"v"))
    assert [seen.target for seen in world.seen] == ["/v1/kv/b/a"]
    assert world.core.nodes.urls == ["http://h1:7070"]


def test_members_that_left_are_dropped_and_given_ones_kept() -> None:
    world, cluster = world_of("h1")
    world.run(world.core.put("b", b"a", b"v"))
    assert len(world.core.nodes) == 3
    cluster.members[2]["state"] = "left"
    cluster.members[0]["state"] = "left"
    world.now_ns += 301 * SECOND
    world.run(world.core.put("b", b"a", b"v"))
    assert world.core.nodes.urls == ["http://h1:7070", "http://h2:7070"]


def test_a_token_goes_to_members_only_over_tls_if_it_was_given_for_tls() -> None:
    world = World("h1")
    nodes = type(world.core.nodes)(["https://h1:7070"], None, 4, SECOND)
    members = [
        {"name": "n2", "http": "http://h2:7070", "state": "up"},
        {"name": "n3", "http": "h3:7070", "state": "up"},
    ]
    nodes.learn(nodes.first(), members, 0)
    assert nodes.urls == ["https://h1:7070", "https://h3:7070"]


def test_one_address_for_several_nodes_is_asked_once_a_round() -> None:
    """Behind a balancer each answer has another name; that is no more than a hint gone wrong."""
    world, cluster = world_of("lb", settings=Settings(retries=False))
    names = iter(["n1", "n2", "n3", "n1", "n2", "n3"])

    def answer_as_someone(seen: Seen) -> Step:
        return cluster(seen._replace(host=f"h{next(names)[1:]}"))

    world.default = lambda seen: (
        answer_as_someone(seen) if seen.target.startswith("/v1/kv") else problem(503)
    )
    for _ in range(6):
        world.run(world.core.get("b", b"a"))
    assert data_hosts(world) == ["lb"] * 6
    assert len(world.core.nodes.candidates(world.now_ns, ["n1", "n2", "n3"])) == 1


def test_learn_asks_the_node_given_first() -> None:
    world, _ = world_of("h1", settings=Settings(ring=False))
    world.run(world.core.learn())
    assert len(world.core.nodes) == 3
    assert [seen.target for seen in world.seen] == ["/v1/members"]
