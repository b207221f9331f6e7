"""Bounds, times and counts of a register machine."""

from __future__ import annotations

from attrs import define, frozen

from sadik_machine import MILLISECOND

__all__ = ["Counters", "Limits"]


@frozen
class Limits:
    """How much there may be of everything, and how long things take. Times in nanoseconds."""

    value_bytes: int = 64 * 1024
    requests: int = 1000
    """`Propose` and `Learn` requests under way."""
    records: int = 4096
    """Acceptors' records in memory. Those on disk are not bounded."""
    waiting: int = 16
    """Messages that wait for one record to be loaded; a lost one is sent again by its sender."""
    round_ns: int = 500 * MILLISECOND
    """When a round that no quorum answered is given up; best above a round trip with two syncs."""
    back_off_ns: int = 20 * MILLISECOND
    """A round that failed is followed by another after a random time of at most this, doubled with
    each failure up to 64 times."""


@define
class Counters:
    """What happened so far in this life of the machine."""

    rounds: int = 0
    decided: int = 0
    """Proposals of this node that ended with a decision."""
    rejected: int = 0
    """Ballots that this acceptor rejected."""
    dropped: int = 0
    """Messages dropped at a bound, to be sent again."""
    malformed: int = 0
    """Messages dropped for what they say."""
    damaged: int = 0
    conflicts: int = 0
