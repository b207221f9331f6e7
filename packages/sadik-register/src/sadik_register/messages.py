"""What registers say to each other. Tags 200 to 219 are this package's.

``Prepare``, ``Promise``, ``Accept`` and ``Accepted`` are phases 1 and 2 of Lamport 2001;
``Rejected`` is the answer to a ballot that is below what was promised. ``Decision`` spreads what
was decided, ``Chosen`` answers anybody with it, ``Ask`` and ``State`` learn it. A ballot is (round,
proposer, boot).
"""

from __future__ import annotations

from typing import Final

from attrs import define

from sadik_machine import MessageRange, NodeId

__all__ = [
    "MESSAGES",
    "Accept",
    "Accepted",
    "Ask",
    "Chosen",
    "Decision",
    "Prepare",
    "Promise",
    "Rejected",
    "State",
]

MESSAGES: Final = MessageRange("register", 200, 219)
"""To be joined with other ranges in a `sadik_machine.Codec`."""


@MESSAGES.message(200)
@define
class Prepare:
    """Phase 1: promise to accept nothing below this ballot, and tell what you accepted."""

    name: bytes
    epoch: int
    ballot: tuple[int, NodeId, int]


@MESSAGES.message(201)
@define
class Promise:
    """The promise is on disk; with the last proposal that was accepted, if any was."""

    name: bytes
    epoch: int
    ballot: tuple[int, NodeId, int]
    accepted: tuple[int, NodeId, int] | None
    value: bytes | None


@MESSAGES.message(202)
@define
class Accept:
    """Phase 2: accept this value, unless you promised a greater ballot."""

    name: bytes
    epoch: int
    ballot: tuple[int, NodeId, int]
    value: bytes


@MESSAGES.message(203)
@define
class Accepted:
    """The value of this ballot is accepted, on disk."""

    name: bytes
    epoch: int
    ballot: tuple[int, NodeId, int]


@MESSAGES.message(204)
@define
class Rejected:
    """``ballot`` is below ``promised``."""

    name: bytes
    epoch: int
    ballot: tuple[int, NodeId, int]
    promised: tuple[int, NodeId, int]


@MESSAGES.message(205)
@define
class Decision:
    """To an acceptor: this was decided; keep it in place of promises and proposals."""

    name: bytes
    epoch: int
    value: bytes


@MESSAGES.message(206)
@define
class Chosen:
    """An acceptor's answer to whatever is said of a register that it knows to be decided."""

    name: bytes
    epoch: int
    value: bytes


@MESSAGES.message(207)
@define
class Ask:
    """What have you accepted? ``inquiry`` tells questions apart."""

    name: bytes
    epoch: int
    inquiry: int


@MESSAGES.message(208)
@define
class State:
    """The answer to an `Ask`: the last proposal accepted, if any was."""

    name: bytes
    epoch: int
    inquiry: int
    accepted: tuple[int, NodeId, int] | None
    value: bytes | None
