"""Traces: one seed, one trace, in every process; and lines that tell what differs."""

import enum
import os
import random
import subprocess
import sys
from pathlib import Path

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import (
    SECOND,
    Effect,
    Failed,
    FailureReason,
    Link,
    LinkState,
    NodeId,
    Received,
    Reply,
    RequestId,
    Send,
    Store,
    Ticket,
    Trace,
    Woke,
    describe,
)

RUN = Path(__file__).with_name("traced_run.py")


def digest_under(hash_seed: str, seed: int) -> str:
    result = subprocess.run(
        [sys.executable, str(RUN), str(seed)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_one_seed_gives_one_trace_under_every_hash_seed() -> None:
    digests = [digest_under(hash_seed, 7) for hash_seed in ("0", "1", "4242")]
    assert len(digests[0].split()[0]) == 32
    assert digests[0] == digests[1] == digests[2]
    assert digest_under("0", 8) != digests[0]


def test_a_step_is_a_line_for_the_input_and_one_for_each_effect() -> None:
    trace = Trace()
    node = NodeId(b"12345678")
    effects: list[Effect] = [Send(node, ("ping", 1)), Reply(RequestId(4), None)]
    trace.record(1_500_000_001, "n1", Received(node, ("pong", 2)), effects)
    assert trace.tail() == [
        "     1.500000001 n1 <- Received(sender='12345678', message=['pong', 2])",
        "     1.500000001 n1    -> Send(to='12345678', message=['ping', 1])",
        "     1.500000001 n1    -> Reply(request_id=4, result=None)",
    ]


def test_the_tail_keeps_the_newest_lines_and_the_digest_covers_all() -> None:
    short, long = Trace(keep=2), Trace(keep=100)
    for trace in (short, long):
        for index in range(10):
            trace.note(index, "n1", f"note {index}")
    assert short.tail() == long.tail()[-2:]
    assert short.digest == long.digest
    other = Trace(keep=2)
    for index in range(10):
        other.note(index, "n1", f"note {max(index, 1)}")
    assert other.tail() == short.tail()
    assert other.digest != short.digest


def test_every_line_goes_to_the_sink() -> None:
    lines: list[str] = []
    trace = Trace(keep=1, sink=lines.append)
    trace.note(0, "n1", "a")
    trace.record(1, "n1", Woke(), [])
    assert [line.split(maxsplit=1)[1] for line in lines] == ["n1 a", "n1 <- Woke()"]


def test_a_nanosecond_makes_another_trace() -> None:
    traces = [Trace(), Trace()]
    for index, trace in enumerate(traces):
        trace.note(1_000_000 * SECOND + index, "n1", "x")
    assert traces[0].digest != traces[1].digest


def test_where_one_line_ends_and_the_next_begins_makes_another_trace() -> None:
    one, two = Trace(), Trace()
    one.note(0, "a", "x")
    one.note(0, "a", "y")
    two.note(0, "a", "x" + one.tail()[1])
    assert one.digest != two.digest


def test_what_is_said_of_a_stream_or_a_failure_is_told() -> None:
    peer = NodeId(b"12345678")
    links = [describe(Link(peer, state)) for state in LinkState]
    assert len(dict.fromkeys(links)) == len(LinkState)
    failures = [describe(Failed(Ticket(1), reason)) for reason in FailureReason]
    assert "FailureReason.FULL" in failures[0]
    assert len(dict.fromkeys(failures)) == len(FailureReason)


class Colour(enum.IntEnum):
    RED = 1


@attrs.define
class Point:
    x: int
    secret: bytes = attrs.field(repr=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (-3, "-3"),
        (1.5, "1.5"),
        ("a\nb", "'a\\nb'"),
        (b"a\nb\xff", "'a\\nb\\xff'"),
        (bytearray(b"x"), "'x'"),
        (memoryview(b"x"), "'x'"),
        (Colour.RED, "Colour.RED"),
        ([1, (2, "x")], "[1, [2, 'x']]"),
        ({"a": 1}, "{'a': 1}"),
        (cbor2.frozendict({"a": 1}), "{'a': 1}"),
        ({"c", "a", "b"}, "{'a', 'b', 'c'}"),
        (Point(1, b"s"), "Point(x=1, secret='s')"),
        (Store(Ticket(1), [(b"k", None)], ()), "Store(ticket=1, batch=[['k', None]], then=[])"),
        (random.Random(1), "Random"),
    ],
)
def test_a_value_is_one_line_without_addresses(value: object, text: str) -> None:
    assert describe(value) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"x" * 5000, b"x" * 4999 + b"y"),
        ("x" * 5000, "x" * 4999 + "y"),
        (list(range(5000)), [*range(4999), 0]),
        (dict.fromkeys(range(500), 0), {n: n // 499 for n in range(500)}),
    ],
)
def test_long_values_are_short_lines_that_still_tell_them_apart(one: object, other: object) -> None:
    assert len(describe(one)) < 400
    assert describe(one) != describe(other)


@given(st.text())
def test_any_text_can_be_noted(text: str) -> None:
    trace = Trace()
    trace.note(0, "n1", describe(text))
    trace.note(0, "n1", describe(text + "\ud800"))
    assert len(trace.digest) == 32
    assert "\n" not in trace.tail()[0]
