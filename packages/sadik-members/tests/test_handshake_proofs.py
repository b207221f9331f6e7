"""Who proves nothing learns nothing: the cluster's secret, and names that a stream has proven."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from attrs import evolve

from members_world import node_id, pump
from sadik_machine import Codec, frame
from sadik_members import (
    HANDSHAKE_MESSAGES,
    MAGIC,
    BootsMet,
    ClusterSecrets,
    Established,
    Handshake,
    Hello,
    Member,
    MemberState,
    Refused,
    Role,
    StreamKind,
    admission_refusal,
)
from sadik_members.hello import Challenge, Pledge, Proof, Refuse

OLD, NEW, OTHER = (word * 4 + b"0123456789abcdefghij" for word in (b"old!", b"new!", b"else"))
CODEC = Codec(HANDSHAKE_MESSAGES)
CLUSTER = b"c" * 16


def hello(number: int, **changes: object) -> Hello:
    base = Hello(
        version_min=1,
        version_max=1,
        cluster_id=CLUSTER,
        cluster_name="the-cluster",
        node_id=node_id(number),
        boot_number=3,
        boot_nonce=number,
        kind=int(StreamKind.SMALL),
        peer=f"h{number}:1",
        nonce=random.Random(number).randbytes(16),
        attempt=1,
        expected=b"",
        link=b"",
        name=f"n{number}",
    )
    return evolve(base, **changes)  # type: ignore[arg-type]


def dialler(secrets: ClusterSecrets | None, local: Hello | None = None) -> Handshake:
    return Handshake(Role.DIALLER, local or hello(1), 0, secrets=secrets)


def acceptor(secrets: ClusterSecrets | None, local: Hello | None = None) -> Handshake:
    return Handshake(Role.ACCEPTOR, local or hello(2), 0, secrets=secrets)


def said(data: bytes) -> list[object]:
    """The messages in what one side has sent."""
    data = data.removeprefix(MAGIC)
    messages = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        messages.append(CODEC.decode(data[4:end]))
        data = data[end:]
    return messages


def told(*messages: object) -> bytes:
    return b"".join(frame(CODEC.encode(message)) for message in messages)


def knows_nothing_of(number: int, data: bytes) -> bool:
    """Whether nothing in ``data`` tells who a node or its cluster is."""
    return not any(
        word in data for word in (node_id(number), CLUSTER, b"the-cluster", b"h%d:1" % number)
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [((NEW,), (NEW,)), ((NEW, OLD), (OLD,)), ((OLD,), (NEW, OLD)), ((NEW, OLD), (NEW, OLD))],
)
def test_one_secret_in_common_is_enough_in_any_order_of_a_rotation(
    left: tuple[bytes, ...], right: tuple[bytes, ...]
) -> None:
    ours, theirs = dialler(ClusterSecrets(left)), acceptor(ClusterSecrets(right))
    pump(ours, theirs, 7)
    assert isinstance(ours.outcome, Established)
    assert isinstance(theirs.outcome, Established)


def test_the_newest_common_secret_is_the_one_that_is_used() -> None:
    both = ClusterSecrets((NEW, OLD))
    assert both.match(*_pledge(ClusterSecrets((OLD, NEW)))) == NEW
    assert both.match(*_pledge(ClusterSecrets((OLD,)))) == OLD
    assert both.match(*_pledge(ClusterSecrets((OTHER,)))) is None


def _pledge(secrets: ClusterSecrets):  # type: ignore[no-untyped-def]
    from sadik_members.proof import Purpose

    return Purpose.PLEDGE, secrets.pledges(b"t"), b"t"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (ClusterSecrets((OTHER,)), ClusterSecrets((NEW, OLD))),
        (None, ClusterSecrets((NEW,))),
        (ClusterSecrets((NEW,)), None),
    ],
)
def test_without_the_secret_neither_side_is_let_in(
    left: ClusterSecrets | None, right: ClusterSecrets | None
) -> None:
    ours, theirs = dialler(left), acceptor(right)
    pump(ours, theirs)
    for side in (ours, theirs):
        assert isinstance(side.outcome, Refused)
        assert side.outcome.reason == "proof"
    if left is not None:
        assert isinstance(ours.outcome, Refused)
        assert not ours.outcome.is_proven


def test_a_dialler_that_proves_nothing_is_told_nothing() -> None:
    """The right cluster id, a wrong proof: the answer names no node, no cluster and no reason."""
    secrets = ClusterSecrets((NEW,))
    guesses: list[Callable[[bytes], list[bytes]]] = [
        lambda _: [],
        lambda _: [b""],
        lambda _: [bytes(32)],
        lambda transcript: list(ClusterSecrets((OTHER,)).pledges(transcript)),
        lambda _: [bytes(32)] * 100,
    ]
    for guess in guesses:
        theirs = acceptor(secrets)
        heard = theirs.data_to_send()
        first = told(Challenge(hello(1).nonce))
        theirs.receive(MAGIC + first)
        answer = theirs.data_to_send()
        heard += answer
        claim = told(hello(1))
        theirs.receive(claim + told(Pledge(tuple(guess(first + answer + claim)))))
        heard += theirs.data_to_send()
        assert isinstance(theirs.outcome, Refused)
        assert theirs.outcome.reason == "proof"
        assert not theirs.outcome.is_proven
        assert knows_nothing_of(2, heard)


def test_an_unproven_dialler_learns_nothing_from_any_other_refusal_either() -> None:
    for first in (
        hello(1),
        Proof(b""),
        Pledge(()),
        Challenge(b"short"),
        Refuse("x", "", 0, b"", b"", ""),
    ):
        theirs = acceptor(ClusterSecrets((NEW,)))
        heard = theirs.data_to_send()
        theirs.receive(MAGIC + told(first))
        assert isinstance(theirs.outcome, Refused)
        heard += theirs.data_to_send()
        assert knows_nothing_of(2, heard)


def test_a_replayed_handshake_fails_on_either_side() -> None:
    secrets = ClusterSecrets((NEW,))
    ours, theirs = dialler(secrets), acceptor(secrets)
    from_dialler, from_acceptor = [], []
    for _ in range(3):
        from_dialler.append(ours.data_to_send())
        theirs.receive(from_dialler[-1])
        from_acceptor.append(theirs.data_to_send())
        if ours.outcome is None:
            ours.receive(from_acceptor[-1])
    assert isinstance(theirs.outcome, Established)

    later = acceptor(secrets, hello(2, nonce=b"n" * 16))
    heard = later.data_to_send()
    for part in from_dialler:
        if later.outcome is None:
            later.receive(part)
            heard += later.data_to_send()
    assert isinstance(later.outcome, Refused)
    assert later.outcome.reason == "proof"
    assert knows_nothing_of(2, heard)

    again = dialler(secrets, hello(1, nonce=b"n" * 16))
    for part in from_acceptor:
        if again.outcome is None:
            again.receive(part)
    assert isinstance(again.outcome, Refused)
    assert again.outcome.reason == "proof"
    assert not again.outcome.is_proven


def test_nobody_is_convinced_by_its_own_words() -> None:
    """A stranger that sends back what it hears, as dialler and as acceptor."""
    secrets = ClusterSecrets((NEW,))
    mirrored = dialler(secrets)
    for _ in range(4):
        if mirrored.outcome is None:
            mirrored.receive(mirrored.data_to_send())
    assert isinstance(mirrored.outcome, Refused)
    # The pledge of a dialler, handed to another acceptor as that acceptor's challenge has it.
    ours, theirs = dialler(secrets), acceptor(secrets)
    theirs.receive(ours.data_to_send())
    ours.receive(MAGIC + told(Challenge(b"x" * 16)))
    theirs.receive(ours.data_to_send())
    assert isinstance(theirs.outcome, Refused)
    assert theirs.outcome.reason == "proof"


@pytest.mark.parametrize(
    "changes",
    [
        {"node_id": node_id(7)},
        {"cluster_id": b"d" * 16},
        {"boot_number": 4},
        {"boot_nonce": 99},
        {"nonce": b"z" * 16},
        {"name": "n7"},
        {"peer": "elsewhere:1"},
        {"attempt": 9},
    ],
)
def test_a_proof_is_bound_to_all_that_was_said(changes: dict[str, object]) -> None:
    """Whoever stands between two nodes changes one field of a hello, of either side."""
    secrets = ClusterSecrets((NEW,))
    ours, theirs = dialler(secrets), acceptor(secrets)
    theirs.receive(ours.data_to_send())
    ours.receive(theirs.data_to_send())
    claim, pledge = said(ours.data_to_send())
    assert isinstance(claim, Hello)
    theirs.receive(told(evolve(claim, **changes), pledge))  # type: ignore[arg-type]
    assert isinstance(theirs.outcome, Refused)
    assert theirs.outcome.reason == "proof"

    ours, theirs = dialler(secrets), acceptor(secrets)
    theirs.receive(ours.data_to_send())
    ours.receive(theirs.data_to_send())
    theirs.receive(ours.data_to_send())
    answer, proof = said(theirs.data_to_send())
    assert isinstance(answer, Hello)
    ours.receive(told(evolve(answer, **changes), proof))  # type: ignore[arg-type]
    assert isinstance(ours.outcome, Refused)
    assert ours.outcome.reason == "proof"


def test_the_acceptor_waits_for_the_last_proof() -> None:
    secrets = ClusterSecrets((NEW,))
    ours, theirs = dialler(secrets), acceptor(secrets)
    for _ in range(2):
        theirs.receive(ours.data_to_send())
        ours.receive(theirs.data_to_send())
    assert isinstance(ours.outcome, Established)
    assert theirs.outcome is None
    theirs.receive(told(Proof(bytes(32))))
    outcome: object = theirs.outcome
    assert isinstance(outcome, Refused)
    assert outcome.reason == "proof"


def test_a_refusal_counts_only_when_it_is_proven() -> None:
    """A stranger at a member's address may not say that a node was removed, or rolled back."""
    secrets = ClusterSecrets((NEW,))
    known = Member(node_id(1), "n1", "h:1", "h:2", "", 1.0, 1, MemberState.LEFT, 3, 1)
    ours = dialler(secrets)
    theirs = Handshake(
        Role.ACCEPTOR,
        hello(2),
        0,
        lambda h: admission_refusal(h, {known.id: known}, BootsMet()),
        secrets=secrets,
    )
    pump(ours, theirs)
    assert isinstance(ours.outcome, Refused)
    assert (ours.outcome.reason, ours.outcome.is_proven) == ("removed", True)
    assert ours.outcome.node_id == node_id(2)

    lied_to = dialler(secrets)
    lied_to.receive(MAGIC + told(Challenge(bytes(16))))
    lied_to.data_to_send()
    lie = Refuse("stale_boot", "believe me", 1 << 60, node_id(2), CLUSTER, "the-cluster", b"")
    lied_to.receive(told(lie))
    assert isinstance(lied_to.outcome, Refused)
    assert not lied_to.outcome.is_proven


def with_names(names: frozenset[str] | None, claim: Hello) -> tuple[Refused | Established, bytes]:
    """What an acceptor makes of a claim on a stream that has proven ``names``, and says to it."""
    table = {
        node_id(1): Member(node_id(1), "n1", "h:1", "h:2", "", 1.0, 1, MemberState.UP, 3, 1),
        node_id(3): Member(node_id(3), "n3", "h:1", "h:2", "", 1.0, 1, MemberState.UP, 3, 3),
    }
    theirs = Handshake(
        Role.ACCEPTOR,
        hello(2),
        0,
        lambda h: admission_refusal(h, table, BootsMet(), names),
        names=names,
    )
    heard = theirs.data_to_send()
    theirs.receive(MAGIC + told(claim))
    heard += theirs.data_to_send()
    if theirs.outcome is None:
        theirs.receive(told(Proof(b"")))
    assert theirs.outcome is not None
    return theirs.outcome, heard


def test_a_certificate_lets_in_the_node_that_it_names_and_no_other() -> None:
    assert isinstance(with_names(frozenset({"n1"}), hello(1))[0], Established)
    assert isinstance(with_names(frozenset({"n1", "n1.example"}), hello(1))[0], Established)
    # A new node, and one that takes another name with a certificate for both.
    assert isinstance(with_names(frozenset({"n9"}), hello(9))[0], Established)
    assert isinstance(with_names(frozenset({"n1", "n8"}), hello(1, name="n8"))[0], Established)


@pytest.mark.parametrize(
    ("names", "claim"),
    [
        (frozenset({"n3"}), hello(1)),
        (frozenset({"n3"}), hello(1, name="n3")),
        (frozenset({"n3"}), hello(9, name="n3")),
        (frozenset({"n8"}), hello(1, name="n8")),
        (frozenset({"*"}), hello(1)),
        (frozenset(), hello(1)),
        (frozenset(), hello(1, name="")),
    ],
)
def test_a_valid_certificate_of_another_node_learns_nothing(
    names: frozenset[str], claim: Hello
) -> None:
    outcome, heard = with_names(names, claim)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "certificate"
    assert knows_nothing_of(2, heard)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "0 secrets"),
        (b"# only a comment\n\n", "0 secrets"),
        (NEW[:20], "20 characters"),
        (b"a" * 64, "easy to guess"),
        (NEW + b" " + OLD, "visible ASCII"),
        (NEW[:-1] + b"\xff", "visible ASCII"),
        (b"\n".join((NEW, OLD, OTHER)), "3 secrets"),
    ],
)
def test_a_bad_file_of_secrets_is_refused_without_a_word_of_it(text: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what) as refusal:
        ClusterSecrets.parse(text)
    assert not any(word.decode() in str(refusal.value) for word in (NEW, OLD, OTHER))


def test_a_file_of_secrets_is_read_newest_first_and_never_shown() -> None:
    secrets = ClusterSecrets.parse(b"# new\n" + NEW + b"\r\n\n" + OLD + b"\n")
    assert secrets.secrets == (NEW, OLD)
    assert NEW.decode() not in repr(secrets)
    assert NEW.decode() not in str(secrets)
