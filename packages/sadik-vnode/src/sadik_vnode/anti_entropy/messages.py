"""What replicas say to each other to find where they differ.

A sum or a record's hash travels as its first `SHORT_BYTES` bytes. Sums and hashes are numbered by
leaf and middle of the whole ring (`sadik_vnode.tree`). Every question about a partition bears the
epoch of its register, and is answered only where both sides know that epoch and own the partition.
The records themselves travel as `sadik_vnode.messages.ReplicaWrite`.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from sadik_vnode.messages import MESSAGES, Newer

__all__ = [
    "SHORT_BYTES",
    "HashesAsked",
    "HashesTold",
    "LeavesAsked",
    "LeavesTold",
    "MiddlesTold",
    "Reconcile",
    "Reconciled",
    "RecordsAsked",
    "RecordsTold",
    "RepairAsked",
    "RepairTold",
    "RootsTold",
    "State",
]

SHORT_BYTES: Final = 8
"""Of the 16 bytes of a sum or a hash. Two that differ look alike once in 2**64; another write to
the leaf ends that."""

State = tuple[str, bytes, object, tuple[tuple[bytes, int], ...]]
"""(bucket, key, plain context, live dots) of a record."""


@MESSAGES.message(130)
@define(slots=True)
class RootsTold:
    """These are my roots, ``(partition, epoch, root)``: which of yours differ?"""

    request: int
    roots: tuple[tuple[int, int, bytes], ...]


@MESSAGES.message(131)
@define(slots=True)
class MiddlesTold:
    """The partitions whose roots differ, with all middles of each, packed. ``refused`` are those
    that were not compared: this node knows another epoch, or does not own them.
    """

    request: int
    status: int
    differing: tuple[tuple[int, bytes], ...]
    refused: tuple[int, ...]
    newer: tuple[Newer, ...]


@MESSAGES.message(132)
@define(slots=True)
class LeavesAsked:
    """Tell me the leaves of these middles, all of one partition."""

    request: int
    partition: int
    epoch: int
    middles: tuple[int, ...]


@MESSAGES.message(133)
@define(slots=True)
class LeavesTold:
    """Their sums, packed, in the order of the question."""

    request: int
    status: int
    leaves: bytes


@MESSAGES.message(134)
@define(slots=True)
class HashesAsked:
    """Tell me the hashes of the records in these leaves."""

    request: int
    partition: int
    epoch: int
    leaves: tuple[int, ...]


@MESSAGES.message(135)
@define(slots=True)
class HashesTold:
    """For the first of the leaves asked for, one at least, the packed hashes of their records."""

    request: int
    status: int
    hashes: tuple[bytes, ...]


@MESSAGES.message(136)
@define(slots=True)
class Reconcile:
    """Send me what these states of mine lack, and tell me which lack something with you; and send
    me the records with the hashes that are ``wanted``, ``(leaf, packed hashes)``.
    """

    request: int
    partition: int
    epoch: int
    states: tuple[State, ...]
    wanted: tuple[tuple[int, bytes], ...]


@MESSAGES.message(137)
@define(slots=True)
class Reconciled:
    """All that you lacked is on your disk; ``sent`` records it took.

    ``seen`` are the packed hashes of this node's records of the states that were told, which need
    not be asked for any more; ``lacking`` is what this node has where it lacks something.
    """

    request: int
    status: int
    sent: int
    seen: bytes
    lacking: tuple[State, ...]


@MESSAGES.message(138)
@define(slots=True)
class RepairAsked:
    """Repair these partitions, of which you are an owner."""

    request: int
    partitions: tuple[int, ...]


@MESSAGES.message(139)
@define(slots=True)
class RepairTold:
    """What it came to: see `sadik_vnode.requests.RepairResult` for the figures."""

    request: int
    status: int
    figures: tuple[int, ...]
    unreachable: tuple[bytes, ...]


@MESSAGES.message(140)
@define(slots=True)
class RecordsAsked:
    """Send me your records of these leaves, all of one partition, of which I have none: a page of
    them, from the first row whose key is greater than ``after``.
    """

    request: int
    partition: int
    epoch: int
    first_leaf: int
    stop_leaf: int
    after: bytes


@MESSAGES.message(141)
@define(slots=True)
class RecordsTold:
    """A page of rows of records as they lie on disk, in order; ``upto`` is where the next page goes
    on after, or None where there are no more.

    A row of a format that the receiver does not know is no loss: a comparison brings the record.
    """

    request: int
    status: int
    rows: tuple[tuple[bytes, bytes], ...]
    upto: bytes | None
    timestamp: int
    generation: int
