"""Whom a request asks, how long it waits, and when it asks again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_client import (
    AnswerError,
    BatchPut,
    Broken,
    BrokenAnswerError,
    Event,
    Exchange,
    IndeterminateError,
    InvalidRequestError,
    Open,
    PreconditionFailedError,
    Received,
    Settings,
    Steps,
    TooLargeError,
    UnansweredError,
    UnavailableError,
    UnreachableError,
)
from scripted_nodes import SECOND, Step, World, answer, problem

NOT_APPLIED = problem(503, "quorum", needed=2, got=1, outcome="not_applied")
UNCLEAR = problem(504, "quorum", needed=2, got=1, outcome="indeterminate")
DROP = Broken("connection reset by peer")
UNSENT = Broken("broken pipe", nothing_sent=True)
VALUE = answer(200, b"v", sadik_context="c")


@pytest.mark.parametrize(
    "trouble",
    [NOT_APPLIED, UNCLEAR, DROP, None, UNSENT, problem(500), problem(429), [Received(b"")],
     b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n", [Received(b"HTTP/1.1 200 OK\r\n"), DROP]],
)  # fmt: skip
def test_a_read_goes_on_to_another_node(trouble: Step) -> None:
    world = World("n1", "n2")
    world.script("n1", trouble)
    world.script("n2", VALUE)
    assert world.run(world.core.get("b", "k")).value == b"v"
    assert world.asked()[-1] == "n2"


@pytest.mark.parametrize("trouble", [NOT_APPLIED, UNSENT, problem(429)])
def test_a_write_goes_on_where_it_was_provably_not_applied(trouble: Step) -> None:
    world = World("n1", "n2")
    world.script("n1", trouble)
    assert world.run(world.core.put("b", "k", b"v")).context == "c"
    assert world.asked()[-1] == "n2"


def test_a_write_goes_on_where_nobody_listens() -> None:
    world = World("n1", "n2")
    world.down = {"n1"}
    world.run(world.core.put("b", "k", b"v"))
    world.core.close()
    world.down = {"n1", "n2"}
    with pytest.raises(UnreachableError, match="refused") as caught:
        world.run(world.core.put("b", "k", b"v"))
    assert caught.value.outcome == "not_applied"
    assert world.asked() == ["n2"]


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(UNCLEAR, IndeterminateError), (problem(500), IndeterminateError), (DROP, UnansweredError),
     (None, UnansweredError), ([Received(b"")], UnansweredError), (b"nonsense", UnansweredError),
     (problem(503), UnavailableError)],
)  # fmt: skip
@pytest.mark.parametrize("operation", ["put", "delete", "batch"])
def test_a_write_that_may_be_applied_is_never_repeated(
    operation: str, trouble: Step, error: type[Exception]
) -> None:
    world = World("n1", "n2")
    world.script("n1", trouble)
    core = world.core
    steps: Steps[object]
    match operation:
        case "put":
            steps = core.put("b", "k", b"v")
        case "delete":
            steps = core.delete("b", "k")
        case _:
            steps = core.batch([BatchPut("b", "k", b"v")])
    with pytest.raises(error) as caught:
        world.run(steps)
    assert world.asked() == ["n1"]
    assert caught.value.outcome == "indeterminate"  # type: ignore[attr-defined]


@given(
    st.lists(st.sampled_from(["not_applied", "unclear", "drop", "silent", "done"]), max_size=12),
    st.booleans(),
)
def test_one_write_is_applied_at_most_once(fates: list[str], is_put: bool) -> None:
    """Whatever nodes do, a second request follows only upon a proof that the first is void."""
    steps: dict[str, Step] = {
        "not_applied": NOT_APPLIED, "unclear": UNCLEAR, "drop": DROP, "silent": None,
        "done": answer(204),
    }  # fmt: skip
    world = World("n1", "n2")
    for index, fate in enumerate(fates):
        world.script(f"n{index % 2 + 1}", steps[fate])
    began = world.now_ns
    core = world.core
    steps_of_it: Steps[object] = core.put("b", "k", b"v") if is_put else core.delete("b", "k")
    try:
        world.run(steps_of_it)
    except (AnswerError, UnansweredError) as error:
        outcome = error.outcome
    else:
        outcome = None
    taken = {"n1": list(fates[::2]), "n2": list(fates[1::2])}
    met = [(taken[host] or ["done"]).pop(0) for host in world.asked()]
    assert all(fate == "not_applied" for fate in met[:-1])
    assert outcome == {
        "not_applied": "not_applied", "unclear": "indeterminate", "drop": "indeterminate",
        "silent": "indeterminate", "done": None,
    }[met[-1]]  # fmt: skip
    assert world.now_ns - began <= 10 * SECOND


def test_a_caller_can_have_a_write_repeated_and_is_told_what_that_means() -> None:
    world = World("n1", "n2")
    world.script("n1", DROP)
    world.run(world.core.put("b", "k", b"v", repeat_indeterminate=True))
    assert world.asked() == ["n1", "n2"]

    world = World("n1", "n2", settings=Settings(ring=False, repeat_indeterminate=True))
    world.script("n1", DROP)
    world.script("n2", problem(412))
    with pytest.raises(PreconditionFailedError) as caught:
        world.run(world.core.put("b", "k", b"v", if_none_match="*"))
    # The first try may be the very value that made the second one fail.
    assert caught.value.outcome == "indeterminate"

    world = World("n1", settings=Settings(ring=False, timeout_s=1))
    world.script("n1", DROP, *[NOT_APPLIED] * 100)
    with pytest.raises(UnavailableError) as refused:
        world.run(world.core.put("b", "k", b"v", repeat_indeterminate=True))
    assert refused.value.outcome == "indeterminate"


def test_without_retries_there_is_one_try() -> None:
    world = World("n1", "n2", settings=Settings(ring=False, retries=False))
    world.script("n1", NOT_APPLIED)
    with pytest.raises(UnavailableError):
        world.run(world.core.get("b", "k"))
    assert world.asked() == ["n1"]


def test_all_tries_share_one_budget() -> None:
    world = World("n1", "n2", "n3")
    world.default = lambda seen: NOT_APPLIED
    began = world.now_ns
    with pytest.raises(UnavailableError) as caught:
        world.run(world.core.put("b", "k", b"v", timeout_s=3))
    assert (caught.value.needed, caught.value.got) == (2, 1)
    assert caught.value.outcome == "not_applied"
    assert world.now_ns - began <= 3 * SECOND
    assert 6 < len(world.seen) < 40, "it backs off"
    pauses = [b.at_ns - a.at_ns for a, b in zip(world.seen, world.seen[1:], strict=False)]
    assert max(pauses) > 4 * min(each for each in pauses if each > SECOND // 100)


def test_retry_after_is_honoured() -> None:
    world = World("n1")
    world.script("n1", problem(503, retry_after="3", outcome="not_applied"))
    world.run(world.core.put("b", "k", b"v"))
    first, second = world.seen
    assert second.at_ns - first.at_ns >= 3 * SECOND


def test_a_retry_after_beyond_the_budget_ends_it_at_once() -> None:
    world = World("n1")
    world.script("n1", problem(503, retry_after="60", outcome="not_applied"))
    began = world.now_ns
    with pytest.raises(UnavailableError) as caught:
        world.run(world.core.put("b", "k", b"v"))
    assert caught.value.retry_after_s == 60
    assert world.now_ns - began < SECOND


def test_one_nodes_retry_after_does_not_keep_others_from_being_asked() -> None:
    world = World("n1", "n2")
    world.script("n1", problem(503, retry_after="30", outcome="not_applied"))
    world.script("n2", NOT_APPLIED)
    world.run(world.core.put("b", "k", b"v"))
    assert world.asked() == ["n1", "n2", "n2"]


def test_a_silent_node_costs_a_read_little_and_is_passed_over_then() -> None:
    world = World("n1", "n2")
    world.default = lambda seen: None if seen.host == "n1" else VALUE
    began = world.now_ns
    world.run(world.core.get("b", "k"))
    assert world.now_ns - began < 1.1 * SECOND
    world.run(world.core.get("b", "k"))
    assert world.asked() == ["n1", "n2", "n2"]
    world.now_ns += 2 * SECOND
    world.default = lambda seen: VALUE
    world.run(world.core.get("b", "k"))
    assert world.asked()[-1] == "n1", "it is tried again after a while"


def test_a_read_that_is_slow_everywhere_is_waited_for() -> None:
    world = World("n1", "n2")
    patience: list[int] = []
    core = world.core
    steps = core.get("b", "k")
    event: Event | None = None
    found = None
    while found is None:
        try:
            action = steps.send(event)  # type: ignore[arg-type]
        except StopIteration as end:
            found = end.value
            break
        if isinstance(action, Exchange):
            patience.append(action.deadline_ns - world.now_ns)
            if patience[-1] >= 2 * SECOND:  # what it takes
                world.script("n1", VALUE)
                world.script("n2", VALUE)
            else:
                world.script(action.link.host, None)  # type: ignore[attr-defined]
        event = world.after(action)
    assert found.value == b"v"
    assert SECOND <= patience[0] < 1.001 * SECOND
    assert patience[-1] >= 2 * SECOND


def test_a_value_that_takes_long_on_its_way_is_not_silence() -> None:
    world = World("n1", "n2")
    pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n", *[b"x"] * 60]
    slow: list[Step] = [[Received(piece) for piece in pieces]]
    world.script("n1", *slow)
    world.pace_ns = SECOND // 10
    assert len(world.run(world.core.get("b", "k")).value) == 60
    assert world.asked() == ["n1"]
    waited: list[int] = []
    steps = world.core.put("b", "k", bytes(20 * 2**20), timeout_s=60)
    event: Event | None = None
    for _ in range(3):
        action = steps.send(event)  # type: ignore[arg-type]
        if isinstance(action, Exchange):
            waited.append(action.deadline_ns - world.now_ns)
            break
        event = world.after(action)
    steps.close()
    assert waited[0] > 20 * SECOND


def test_nodes_are_told_how_long_they_have_unless_it_is_what_they_take_anyway() -> None:
    world = World("n1")
    world.run(world.core.put("b", "k", b"v"))
    world.run(world.core.put("b", "k", b"v", timeout_s=2, w="all"))
    assert [seen.target for seen in world.seen] == [
        "/v1/kv/b/k", "/v1/kv/b/k?w=all&timeout=1750"
    ]  # fmt: skip
    world = World("n1", settings=Settings(ring=False, timeout_s=90, node_timeout_s=80))
    world.run(world.core.get("b", "k"))
    assert world.seen[0].target == "/v1/kv/b/k?timeout=60000"


def test_a_connection_is_kept_and_used_again() -> None:
    world = World("n1")
    for _ in range(3):
        world.run(world.core.put("b", "k", b"v"))
    assert len(world.links) == 1
    world.core.close()
    assert world.open_links == []


@pytest.mark.parametrize("how", ["stale", "old"])
def test_a_connection_that_may_be_closed_is_not_used(how: str) -> None:
    world = World("n1")
    world.run(world.core.put("b", "k", b"v"))
    if how == "stale":
        world.links[0].stale = True
    else:
        world.now_ns += 31 * SECOND
    world.run(world.core.put("b", "k", b"v"))
    assert [link.is_closed for link in world.links] == [True, False]


def test_an_idle_connection_that_breaks_is_replaced_where_that_is_safe() -> None:
    world = World("n1")
    world.run(world.core.put("b", "k", b"v"))
    world.script("n1", UNSENT)
    world.run(world.core.put("b", "k", b"v"))
    world.script("n1", DROP, VALUE)
    assert world.run(world.core.get("b", "k")).value == b"v"
    world.script("n1", DROP)
    with pytest.raises(UnansweredError):
        world.run(world.core.put("b", "k", b"v"))
    assert len(world.open_links) == 0


def test_the_answer_to_a_body_refused_early_is_seen() -> None:
    world = World("n1")
    world.script("n1", [Broken("broken pipe"), Received(problem(413, "too large"))])
    with pytest.raises(TooLargeError) as caught:
        world.run(world.core.put("b", "k", b"v"))
    assert caught.value.outcome == "not_applied"
    assert world.open_links == []


def test_an_abandoned_request_closes_its_connection() -> None:
    world = World("n1")
    steps = world.core.get("b", "k")
    event: Event | None = None
    action = None
    while not isinstance(action, Exchange):
        action = steps.send(event)  # type: ignore[arg-type]
        if not isinstance(action, Exchange):
            event = world.after(action)
    steps.close()
    (link,) = world.links
    assert link.is_closed


def test_a_connection_that_the_node_closes_is_not_kept() -> None:
    world = World("n1")
    world.script("n1", answer(204, connection="close"))
    world.run(world.core.put("b", "k", b"v"))
    assert world.open_links == []


def test_a_node_that_says_more_than_was_asked_is_not_asked_there_again() -> None:
    world = World("n1")
    world.script("n1", answer(204) + answer(204))
    world.run(world.core.put("b", "k", b"v"))
    assert world.open_links == []


def test_idle_connections_are_bounded() -> None:
    world = World("n1", settings=Settings(ring=False, connections_max=2))
    several = [world.core.put("b", "k", b"v") for _ in range(4)]
    events: list[Event | None] = [None] * 4
    for _ in range(2):  # all four have a connection before any is answered
        for index, steps in enumerate(several):
            action = steps.send(events[index])  # type: ignore[arg-type]
            events[index] = world.after(action)
            assert not isinstance(action, Exchange)
    for index, steps in enumerate(several):
        action = steps.send(events[index])  # type: ignore[arg-type]
        with pytest.raises(StopIteration):
            steps.send(world.after(action))
    assert len(world.links) == 4
    assert len(world.open_links) == 2


def test_what_is_no_node_is_told() -> None:
    world = World("n1", settings=Settings(ring=False, retries=False))
    world.script("n1", b"220 mail.example ESMTP\r\n")
    with pytest.raises(BrokenAnswerError, match="is it a node"):
        world.run(world.core.get("b", "k"))


def test_connecting_takes_no_longer_than_it_may() -> None:
    world = World("n1", settings=Settings(ring=False, connect_timeout_s=0.5))
    steps = world.core.get("b", "k")
    action = steps.send(None)  # type: ignore[arg-type]
    action = steps.send(world.after(action))
    assert isinstance(action, Open)
    assert action.deadline_ns == world.now_ns + SECOND // 2
    steps.close()


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_refused(timeout_s: float) -> None:
    world = World("n1")
    with pytest.raises(InvalidRequestError):
        world.run(world.core.get("b", "k", timeout_s=timeout_s))
