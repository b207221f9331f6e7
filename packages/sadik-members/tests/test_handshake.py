"""Two handshakes talk to each other with no I/O: what each side learns, and what is refused."""

from __future__ import annotations

import random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from members_world import node_id, pump
from sadik_machine import LocalProtocolError, frame
from sadik_members import (
    HANDSHAKE_BYTES_MAX,
    HANDSHAKE_TIMEOUT_NS,
    MAGIC,
    BootsMet,
    Established,
    Handshake,
    Hello,
    Member,
    MemberState,
    Refusal,
    RefusalReason,
    Refused,
    Role,
    StreamKind,
    admission_refusal,
)


def hello(number: int, **changes: object) -> Hello:
    base = Hello(
        version_min=1,
        version_max=1,
        cluster_id=b"c" * 16,
        cluster_name="test",
        node_id=node_id(number),
        boot_number=3,
        boot_nonce=number,
        kind=int(StreamKind.SMALL),
        peer=f"h{number}:1",
        nonce=bytes([number]) * 16,
        attempt=1,
        expected=b"",
        link=b"",
    )
    return evolve(base, **changes)  # type: ignore[arg-type]


def pair(left: Hello, right: Hello) -> tuple[Handshake, Handshake]:
    return Handshake(Role.DIALLER, left, 0), Handshake(Role.ACCEPTOR, right, 0)


def refused(handshake: Handshake) -> Refused:
    assert isinstance(handshake.outcome, Refused)
    return handshake.outcome


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("kind", list(StreamKind))
def test_both_sides_learn_who_the_other_is(step: int, kind: StreamKind) -> None:
    left = hello(1, kind=int(kind), link=b"l" * 16, expected=node_id(2))
    dialler, acceptor = pair(left, hello(2))
    pump(dialler, acceptor, step)
    assert isinstance(dialler.outcome, Established)
    assert isinstance(acceptor.outcome, Established)
    assert dialler.outcome.node_id == node_id(2)
    assert acceptor.outcome.node_id == node_id(1)
    assert dialler.outcome.kind is acceptor.outcome.kind is kind
    assert acceptor.outcome.peer == left
    assert dialler.deadline is acceptor.deadline is None


def test_what_follows_the_handshake_is_left_over_whole() -> None:
    dialler, acceptor = pair(hello(1), hello(2))
    acceptor.receive(dialler.data_to_send())
    dialler.receive(acceptor.data_to_send())
    large = bytes(100_000)
    acceptor.receive(dialler.data_to_send() + large)
    assert isinstance(acceptor.outcome, Established)
    assert acceptor.leftover == large


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        (hello(1, version_min=2, version_max=3), hello(2), "protocol_version"),
        (hello(1, cluster_name="other"), hello(2), "other_cluster"),
        (hello(1, cluster_id=b"d" * 16), hello(2), "other_cluster"),
        (hello(1, expected=node_id(5)), hello(2), "wrong_node"),
        (hello(1), hello(1), "self"),
    ],
)
def test_both_sides_are_told_the_same_reason(left: Hello, right: Hello, reason: str) -> None:
    dialler, acceptor = pair(left, right)
    pump(dialler, acceptor)
    assert refused(dialler).reason == refused(acceptor).reason == reason
    assert refused(dialler).by_peer
    assert not refused(acceptor).by_peer
    assert refused(dialler).node_id == right.node_id
    assert refused(acceptor).cluster_id == left.cluster_id
    assert refused(dialler).detail == refused(acceptor).detail


def test_a_node_without_a_cluster_is_let_in_to_join() -> None:
    for left, right in ((b"", b"c" * 16), (b"c" * 16, b""), (b"", b"")):
        dialler, acceptor = pair(hello(1, cluster_id=left), hello(2, cluster_id=right))
        pump(dialler, acceptor)
        assert isinstance(dialler.outcome, Established)
        assert isinstance(acceptor.outcome, Established)


def test_the_greatest_common_version_is_chosen() -> None:
    dialler, acceptor = pair(
        hello(1, version_min=1, version_max=5), hello(2, version_min=2, version_max=3)
    )
    pump(dialler, acceptor)
    assert isinstance(dialler.outcome, Established)
    assert isinstance(acceptor.outcome, Established)
    assert dialler.outcome.version == acceptor.outcome.version == 3


def member(boot_number: int, boot_nonce: int, state: MemberState = MemberState.UP) -> Member:
    return Member(node_id(1), "n1", "h1:1", "h1:2", "", 1.0, 1, state, boot_number, boot_nonce)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (member(3, 1), None),
        (member(2, 77), None),
        (member(3, 2), "stale_boot"),
        (member(4, 1), "stale_boot"),
        (member(1, 1, MemberState.LEFT), "removed"),
    ],
)
def test_admission_by_what_is_remembered(known: Member, reason: str | None) -> None:
    table, met = {known.id: known}, BootsMet()
    dialler = Handshake(Role.DIALLER, hello(1), 0)
    acceptor = Handshake(Role.ACCEPTOR, hello(2), 0, lambda h: admission_refusal(h, table, met))
    pump(dialler, acceptor)
    if reason is None:
        assert isinstance(dialler.outcome, Established)
        return
    assert refused(dialler).reason == reason
    assert refused(dialler).by_peer
    if reason == "stale_boot":
        assert refused(dialler).boot_number == known.boot_number


@pytest.mark.parametrize(
    ("boot", "newer"),
    [((3, 1), None), ((4, 9), None), ((3, 2), 3), ((2, 1), 3), ((2, 77), 3)],
)
def test_admission_by_what_was_shown_before(boot: tuple[int, int], newer: int | None) -> None:
    """The table has not heard of the start that the node itself showed in an earlier handshake."""
    known, met = member(1, 1), BootsMet()
    met.meet(known.id, 3, 1)
    shown = hello(1, boot_number=boot[0], boot_nonce=boot[1])
    refusal = admission_refusal(shown, {known.id: known}, met)
    assert (None if refusal is None else refusal.boot_number) == newer
    assert admission_refusal(shown, {known.id: known}, BootsMet()) is None


def test_an_acceptor_asks_again_at_the_end() -> None:
    answers = [None, Refusal(RefusalReason.DUPLICATE, "meanwhile")]
    dialler = Handshake(Role.DIALLER, hello(1), 0)
    acceptor = Handshake(Role.ACCEPTOR, hello(2), 0, lambda _: answers.pop(0))
    pump(dialler, acceptor)
    assert refused(acceptor).reason == "duplicate"
    # Nothing is said: to the dialler the stream is open, and what it would read are messages.
    assert acceptor.data_to_send() == b""


def test_it_ends_by_its_deadline_and_says_so() -> None:
    acceptor = Handshake(Role.ACCEPTOR, hello(2), 1000)
    assert acceptor.deadline == 1000 + HANDSHAKE_TIMEOUT_NS
    acceptor.time_out(999 + HANDSHAKE_TIMEOUT_NS)
    assert acceptor.outcome is None
    acceptor.time_out(1000 + HANDSHAKE_TIMEOUT_NS)
    assert refused(acceptor).reason == "timeout"
    with pytest.raises(LocalProtocolError):
        acceptor.receive(b"x")


def test_a_stream_that_ends_early_is_closed() -> None:
    dialler, _ = pair(hello(1), hello(2))
    dialler.receive(b"")
    assert refused(dialler).reason == "closed"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        MAGIC[:3] + b"!",
        bytes(8),
    ],
)
def test_what_is_no_node_is_told_nothing(data: bytes) -> None:
    acceptor = Handshake(Role.ACCEPTOR, hello(2), 0)
    acceptor.receive(data)
    assert refused(acceptor).reason == "not_sadik"
    assert acceptor.data_to_send() == b""


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": b"short"},
        {"nonce": b""},
        {"cluster_id": b"x"},
        {"expected": b"x"},
        {"link": b"x"},
        {"boot_number": 0},
        {"boot_nonce": -1},
        {"attempt": -1},
        {"version_min": 2},
        {"kind": 3},
        {"cluster_name": "n" * 65},
        {"peer": "p" * 256},
    ],
)
def test_a_hello_out_of_bounds_is_malformed(changes: dict[str, object]) -> None:
    dialler, acceptor = pair(hello(1, **changes), hello(2))
    pump(dialler, acceptor)
    assert refused(acceptor).reason == "malformed"


def test_a_handshake_is_bounded_in_size() -> None:
    acceptor = Handshake(Role.ACCEPTOR, hello(2), 0)
    acceptor.receive(MAGIC + HANDSHAKE_BYTES_MAX.to_bytes(4, "big"))
    assert refused(acceptor).reason == "malformed"


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_no_bytes_break_it(data: bytes, seed: int) -> None:
    """Noise, and a good handshake with one byte changed, end in an outcome or in waiting."""
    for start in (b"", MAGIC, MAGIC + frame(data) if data else MAGIC):
        acceptor = Handshake(Role.ACCEPTOR, hello(2), 0)
        acceptor.receive(start + data + b"x")
        assert acceptor.outcome is None or isinstance(acceptor.outcome, Refused)
    chance = random.Random(seed)
    good = bytearray(Handshake(Role.DIALLER, hello(1), 0).data_to_send())
    good[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
    acceptor = Handshake(Role.ACCEPTOR, hello(2), 0)
    acceptor.receive(bytes(good))
    assert not isinstance(acceptor.outcome, Established)
