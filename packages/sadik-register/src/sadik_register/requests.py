"""What a register machine is asked, what it answers, and its news."""

from __future__ import annotations

import enum

from attrs import frozen

from sadik_machine import SECOND
from sadik_register.keys import RegisterKey
from sadik_register.quorums import Quorums

__all__ = [
    "Conflict",
    "Damaged",
    "Decided",
    "Learn",
    "Propose",
    "RefusalReason",
    "Refused",
    "Undecided",
    "Vacant",
]


@frozen
class Propose:
    """Request: write ``value``, unless another is, or may already be, written.

    The answer is `Decided` with the value that the register has for ever, which may be another
    proposer's; `Undecided` when no quorum answered in time; or `Refused`. While a proposal of this
    node for the register is under way, a second one waits for what comes of the first.
    """

    key: RegisterKey
    value: bytes
    quorums: Quorums
    timeout_ns: int = 5 * SECOND


@frozen
class Learn:
    """Request: what was decided? Writes nothing, unless to spread a decision that was found.

    The answer is `Decided`; `Vacant` where nothing can have been decided when the question was put;
    `Undecided` where that cannot be told (something was accepted, and too few answered); or
    `Refused`. To settle a register that is `Undecided`, propose a value of your own.
    """

    key: RegisterKey
    quorums: Quorums
    timeout_ns: int = 5 * SECOND


@frozen
class Decided:
    """Answer and news: the register has this value, for ever."""

    key: RegisterKey
    value: bytes


@frozen
class Vacant:
    """Answer: when the question was put nothing was decided."""

    key: RegisterKey


@frozen
class Undecided:
    """Answer: time is up.

    ``may_be_written`` tells whether the value that was asked for may yet be decided, by anybody who
    takes the register up. False: this request has provably changed nothing.
    """

    key: RegisterKey
    may_be_written: bool


class RefusalReason(enum.Enum):
    """Why a request is not even tried."""

    INVALID = "invalid"
    """The name, the epoch, or the value's size is out of bounds."""
    OVERLOADED = "overloaded"
    """As many requests as there may be are under way."""


@frozen
class Refused:
    """Answer: nothing was tried."""

    key: RegisterKey
    reason: RefusalReason


@frozen
class Conflict:
    """News: a decision came for a register that has another one, which is kept.

    It cannot come of faults, only of quorums that did not intersect.
    """

    key: RegisterKey
    kept: bytes
    other: bytes


@frozen
class Damaged:
    """News: the acceptor's record of a register cannot be read.

    It may have held a promise, so this acceptor is silent about the register until it is told the
    decision, as if it were down.
    """

    key: RegisterKey
