"""A session brings what it has seen, and holds what it is told: a chain, key by key."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_client import AnswerError, IndeterminateError, InvalidRequestError, Settings
from sadik_client.session import SessionMemory
from scripted_nodes import Seen, World, answer, json_answer, problem


def contexts(world: World) -> list[str | None]:
    return [seen.headers.get("sadik-context") for seen in world.seen]


def test_each_request_brings_the_context_of_the_answer_before() -> None:
    world = World("n1")
    core, memory = world.core, world.core.new_session()
    world.script(
        "n1",
        answer(204, sadik_context="c1"), answer(200, b"v", sadik_context="c2"),
        answer(204, sadik_context="c3"), answer(404, sadik_context="c4"),
    )  # fmt: skip
    world.run(core.session_put(memory, "b", "k", b"v"))
    world.run(core.session_get(memory, "b", "k"))
    world.run(core.session_delete(memory, "b", "k"))
    world.run(core.session_get(memory, "b", "k"))
    world.run(core.session_put(memory, "b", "k", b"v"))
    assert contexts(world) == [None, "c1", "c2", "c3", "c4"]


def test_keys_and_buckets_and_sessions_are_apart() -> None:
    world = World("n1")
    core, one, other = world.core, world.core.new_session(), world.core.new_session()
    world.run(core.session_put(one, "b", "k", b"v"))
    world.run(core.session_get(one, "b", "j"))
    world.run(core.session_get(one, "c", "k"))
    world.run(core.session_get(other, "b", "k"))
    world.run(core.get("b", "k"))
    assert contexts(world) == [None] * 5


def test_an_answer_without_a_context_and_a_failure_change_nothing() -> None:
    world = World("n1")
    core, memory = world.core, world.core.new_session()
    world.script(
        "n1",
        answer(204, sadik_context="c1"), answer(404),
        problem(504, outcome="indeterminate"),
        answer(200, b"v", sadik_context="c2"),
    )  # fmt: skip
    world.run(core.session_put(memory, "b", "k", b"v"))
    assert not world.run(core.session_get(memory, "b", "k")).exists
    with pytest.raises(IndeterminateError):
        world.run(core.session_put(memory, "b", "k", b"w"))
    world.run(core.session_get(memory, "b", "k"))
    assert contexts(world) == [None, "c1", "c1", "c1"]


def test_a_read_that_cannot_be_as_new_fails_and_shows_nothing_older() -> None:
    world = World("n1", settings=Settings(ring=False, timeout_s=1))
    memory = world.core.new_session()
    world.run(world.core.session_put(memory, "b", "k", b"v"))
    world.default = lambda seen: problem(504, "behind the session")
    with pytest.raises(Exception, match="behind the session") as caught:
        world.run(world.core.session_get(memory, "b", "k"))
    assert caught.value.outcome is None  # type: ignore[attr-defined]


def test_siblings_that_a_session_resolves_are_its_past_from_then_on() -> None:
    world = World("n1", resolver=lambda entry: b"+".join(sorted(entry.values)))
    memory = world.core.new_session()
    siblings = {"siblings": [{"value_b64": "YQ=="}, {"value_b64": "Yg=="}]}
    world.script(
        "n1",
        json_answer(siblings, 300, sadik_context="both"), answer(204, sadik_context="one"),
        answer(200, b"a+b", sadik_context="one"),
    )  # fmt: skip
    assert world.run(world.core.session_get(memory, "b", "k")).value == b"a+b"
    world.run(world.core.session_get(memory, "b", "k"))
    assert contexts(world) == [None, "both", "one"]


def test_two_operations_on_one_key_at_once_are_refused() -> None:
    world = World("n1")
    core, memory = world.core, world.core.new_session()
    under_way = core.session_put(memory, "b", "k", b"v")
    under_way.send(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="one thing"):
        world.run(core.session_get(memory, "b", "k"))
    world.run(core.session_get(memory, "b", "other"))
    under_way.close()
    world.run(core.session_get(memory, "b", "k"))


def test_a_session_takes_no_context_from_outside() -> None:
    world = World("n1")
    with pytest.raises(TypeError, match="context"):
        world.run(world.core.session_put(world.core.new_session(), "b", "k", b"v", context="c"))
    # The latest sibling's context covers that one alone.
    with pytest.raises(TypeError, match="siblings"):
        world.run(world.core.session_get(world.core.new_session(), "b", "k", latest=True))


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.none() | st.text("xyz", min_size=1, max_size=9)),
        max_size=60,
    )
)
def test_memory_is_bounded_and_what_it_holds_is_the_last_word(
    operations: list[tuple[str, str | None]],
) -> None:
    memory = SessionMemory(4, 25)
    last: dict[str, str] = {}
    for key, context in operations:
        held = memory.begin("b", key.encode())
        assert held is None or held == last[key], "never anything but the latest"
        memory.end("b", key.encode(), context)
        if context is not None:
            last[key] = context
        assert len(memory) <= 4
        sizes = [1 + len(held) for held in memory._contexts.values()]
        assert memory._bytes == sum(sizes) <= 25
    if operations and operations[-1][1] is not None:
        key, context = operations[-1]
        assert memory.begin("b", key.encode()) == context, "the key used last is kept"


def test_what_is_forgotten_is_counted() -> None:
    memory = SessionMemory(2, 1000)
    for key in (b"1", b"2", b"1", b"3"):
        memory.begin("b", key)
        memory.end("b", key, "c")
    assert memory.forgotten == 1
    assert memory.begin("b", b"2") is None
    assert memory.begin("b", b"1") == "c"
    memory.forget("b", b"3")
    assert memory.begin("b", b"3") is None


def test_a_session_chain_is_never_behind() -> None:
    """Against a model of the contract: contexts as sets of dots, nodes that lag behind."""
    behind = 0
    for seed in range(30):
        source = random.Random(seed)
        made, lagged = [0], [0]
        replicas: list[set[int]] = [set(), set()]

        def serve(
            seen: Seen,
            source: random.Random = source,
            made: list[int] = made,
            lagged: list[int] = lagged,
            replicas: list[set[int]] = replicas,
        ) -> bytes:
            brought = {int(dot) for dot in seen.headers.get("sadik-context", "").split(".") if dot}
            held = replicas[int(seen.host[1:]) - 1]
            if source.random() < 0.3:
                held |= replicas[0] | replicas[1]
            if seen.method == "GET":
                if not brought <= held:
                    lagged[0] += 1
                    return problem(504, "behind the session")
                shown = ".".join(map(str, sorted(held | brought)))
                return answer(200, str(max(held, default=0)).encode(), sadik_context=shown)
            made[0] += 1
            held.add(made[0])
            covered = ".".join(map(str, sorted(brought | {made[0]})))
            return answer(204, sadik_context=covered)

        world = World("n1", "n2", settings=Settings(ring=False, timeout_s=2))
        world.default = serve
        memory = world.core.new_session()
        newest = 0
        for _ in range(20):
            world.core.close()
            world.down = {source.choice(["n1", "n2"])}
            if source.random() < 0.4:
                world.run(world.core.session_put(memory, "b", "k", b"v"))
                newest = made[0]
            else:
                try:
                    entry = world.run(world.core.session_get(memory, "b", "k"))
                except AnswerError:
                    continue
                assert int(entry.value) >= newest, f"seed {seed}"
                newest = int(entry.value)
        behind += lagged[0]
    assert behind, "no node ever lagged: the test is blind"
