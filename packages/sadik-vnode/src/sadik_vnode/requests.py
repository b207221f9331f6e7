"""What a client of a node may ask, and what it may be told.

A front end (HTTP today) turns its protocol into these requests and these results into its
answers; nothing here knows of any. Requests are validated by type, size and alphabet in
the front end; what depends on the cluster (an R above the owners that there are) is judged here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from attrs import Factory, define, frozen

from sadik_causality import Dot
from sadik_machine import NodeId
from sadik_vnode.version import PlainVersion

__all__ = [
    "BodyResult",
    "BucketList",
    "BucketProperties",
    "BucketReset",
    "BucketResult",
    "BucketSet",
    "BucketShow",
    "BucketsResult",
    "Condition",
    "CopyBody",
    "CopyRecords",
    "CopySums",
    "Delete",
    "Explain",
    "ExplainReplica",
    "ExplainResult",
    "ExplainVersion",
    "Found",
    "Get",
    "Hints",
    "HintsResult",
    "ListKeys",
    "ListResult",
    "Missing",
    "Outcome",
    "PlainRecord",
    "Plan",
    "PlanResult",
    "Put",
    "Quorum",
    "RecordsResult",
    "Refusal",
    "Refused",
    "Repair",
    "RepairResult",
    "Request",
    "Result",
    "Scrub",
    "ScrubResult",
    "SumsResult",
    "TakeRecords",
    "TakenResult",
    "Tally",
    "Transfer",
    "Transfers",
    "TransfersResult",
    "Unavailable",
    "VersionView",
    "Written",
]

Quorum = int | str | None
"""A count of owner slots, ``"one"``, ``"quorum"``, ``"all"``, or None for the bucket's own."""


@frozen
class Condition:
    """What must hold of an object for a write of it to be done (RFC 9110, section 13.1).

    Entity tags are unquoted, or ``"*"``: any. None asks for nothing. The tags are of the whole
    object: of all siblings together.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    def holds(self, etag: str | None) -> bool:
        """Whether it holds of an object with this tag; None: there is no such object."""
        if self.if_match is not None and not _names(self.if_match, etag):
            return False
        return self.if_none_match is None or not _names(self.if_none_match, etag)


def _names(tags: tuple[str, ...], etag: str | None) -> bool:
    return etag is not None and ("*" in tags or etag in tags)


@define(slots=True)
class Get:
    """Read one object. ``timeout_ns`` bounds the whole request.

    With ``at_least``, the token of a context, it is a session's read: the answer covers all that
    the context does, or there is none. ``latest`` wants one version where there are siblings: the
    one with the greatest timestamp.
    """

    bucket: str
    key: bytes
    timeout_ns: int
    r: Quorum = None
    pr: Quorum = None
    sloppy: bool = True
    trace: str = ""
    """The Sadik-Request-Id, for logs on every node that the request touches; empty where no
    other node is to log it."""
    at_least: str | None = None
    latest: bool = False


@define(slots=True)
class Put:
    """Write one version. ``context`` is the client's token, or None for a blind write.

    ``ttl_s`` is in how many seconds the version expires; None: as the bucket says.
    """

    bucket: str
    key: bytes
    value: bytes
    timeout_ns: int
    content_type: str | None = None
    meta: tuple[tuple[str, str], ...] = ()
    context: str | None = None
    w: Quorum = None
    pw: Quorum = None
    dw: Quorum = None
    sloppy: bool = True
    trace: str = ""
    condition: Condition | None = None
    ttl_s: int | None = None


@define(slots=True)
class Delete:
    """Write a version without a value over what ``context`` covers, or over what R replicas hold.

    The `r` of a delete is for that read alone.
    """

    bucket: str
    key: bytes
    timeout_ns: int
    context: str | None = None
    r: Quorum = None
    w: Quorum = None
    pw: Quorum = None
    dw: Quorum = None
    sloppy: bool = True
    trace: str = ""
    condition: Condition | None = None


@define(slots=True)
class ListKeys:
    """One page of the live keys of a bucket in byte order, after ``after`` (exclusive)."""

    bucket: str
    prefix: bytes
    after: bytes | None
    limit: int
    timeout_ns: int
    trace: str = ""


@define(slots=True)
class Explain:
    """Where a key lives, what each replica holds, and why one is behind."""

    bucket: str
    key: bytes
    timeout_ns: int
    trace: str = ""


@define(slots=True)
class BucketShow:
    """The properties of one bucket."""

    bucket: str


@define(slots=True)
class BucketSet:
    """Merge ``changes`` (validated names and values) into a bucket's properties."""

    bucket: str
    changes: Mapping[str, object]


@define(slots=True)
class BucketReset:
    """Give a bucket the default properties again; its data stay."""

    bucket: str


@define(slots=True)
class BucketList:
    """The buckets that have properties of their own."""


@define(slots=True)
class Hints:
    """How many hints wait on this node, and for whom."""


@define(slots=True)
class Repair:
    """Compare a partition, or all, among its owners now, and exchange what differs."""

    partition: int | None
    timeout_ns: int
    """When to answer, though it may not be finished: it goes on."""


PlainRecord = tuple[str, bytes, Sequence[PlainVersion], object]
"""A record as it leaves a cluster and comes into another: bucket, key, versions, context."""


@define(slots=True)
class CopySums:
    """The sums of this node's own hash tree, as they are on disk."""

    partition: int | None
    """Only those of this partition; None: of all."""


@define(slots=True)
class CopyRecords:
    """A page of this node's own records below one middle of the hash tree, in row order.

    Bodies that lie in rows of their own are left out: `CopyBody` gives one.
    """

    middle: int
    after: bytes | None = None
    """The row after which to go on: a page's ``next``."""


@define(slots=True)
class CopyBody:
    """One version's body, as this node holds it."""

    bucket: str
    key: bytes
    dot: Dot


@define(slots=True)
class TakeRecords:
    """Merge these records into this node's own, dots and contexts as they are, durably.

    For a cluster that is made anew from a copy of another. They count at this node alone, so every
    owner is asked.
    """

    records: Sequence[PlainRecord]


@frozen
class Scrub:
    """Read all that this node holds, and look for damage."""

    timeout_ns: int
    """When to answer, though it may not be finished: it goes on."""


@frozen
class Plan:
    """What would a change of members move? ``joining`` are (name, zone, weight) of nodes that are
    not there yet; ``going`` are members that leave or are removed.
    """

    joining: tuple[tuple[str, str, float], ...] = ()
    going: tuple[NodeId, ...] = ()


@frozen
class Transfers:
    """What moves, in the whole cluster?"""


Request = (
    Get | Put | Delete | ListKeys | Explain | BucketShow | BucketSet | BucketReset | BucketList
    | Hints | Repair | CopySums | CopyRecords | CopyBody | TakeRecords | Scrub | Plan | Transfers
)  # fmt: skip


@frozen
class BucketProperties:
    """What a bucket's requests use where they say nothing themselves.

    ``conflict`` is ``siblings`` or ``lww`` (`sadik_vnode.view`); ``blind_writes`` one of
    ``replace``, ``sibling``, ``refuse``. ``ttl_seconds`` None: versions do not expire unless their
    write says so. ``value_bytes`` None means the node's ``limits.value_bytes``.
    """

    r: int | str = "quorum"
    w: int | str = "quorum"
    pr: int | str = 0
    pw: int | str = 0
    dw: int | str = 0
    conflict: str = "siblings"
    blind_writes: str = "replace"
    ttl_seconds: int | None = None
    value_bytes: int | None = None


@define(slots=True)
class Tally:
    """Distinct owner slots: what was needed and what was got.

    For writes ``got`` counts acknowledgements, ``durable`` those from a durable store,
    ``primaries`` those of owners themselves, ``hinted`` those of fallbacks. For reads ``durable``
    and ``hinted`` are 0.
    """

    needed: int
    got: int
    durable: int
    primaries: int
    hinted: int


@define(slots=True)
class VersionView:
    """One live version as a client sees it. ``timestamp`` is hybrid; ``etag`` unquoted;
    ``expires_ms`` wall time in milliseconds since the epoch.
    """

    value: bytes
    content_type: str
    meta: tuple[tuple[str, str], ...]
    timestamp: int
    etag: str
    expires_ms: int | None = None


@define(slots=True)
class Found:
    """One version, or several siblings, in the order of their dots.

    ``siblings`` counts those that there are, of which a get of the latest is shown one; then the
    context covers none of the others.
    """

    versions: list[VersionView]
    context: str
    etag: str
    """Of the whole sibling set."""
    tally: Tally
    coordinator: NodeId
    siblings: int = 1


@define(slots=True)
class Missing:
    """No live version. ``context`` is there when one was read that is gone: the key was deleted, or
    has expired.

    The answer to a `Get`, and to a `Delete` that found nothing to delete.
    """

    context: str | None
    tally: Tally
    coordinator: NodeId


@define(slots=True)
class Written:
    """The write is acknowledged by a quorum. ``etag`` is of all that its coordinator holds then.

    ``timestamp`` (hybrid) and ``expires_ms`` (wall time) are of the new version.
    """

    context: str
    etag: str
    tally: Tally
    coordinator: NodeId
    timestamp: int = 0
    expires_ms: int | None = None


class Refusal(enum.Enum):
    """Why a request was refused without regard to who is up. Nothing was applied."""

    BAD_CONTEXT = "bad_context"
    """400: the token is forged, damaged, or another key's."""
    BAD_QUORUM = "bad_quorum"
    """400: above the cluster's replicas, or no number."""
    BAD_PROPERTIES = "bad_properties"
    """400: bucket properties that contradict each other or are not known."""
    CONTEXT_REQUIRED = "context_required"
    """428: the bucket refuses blind writes."""
    PRECONDITION_FAILED = "precondition_failed"
    """412: the write's condition does not hold."""
    TOO_MANY_SIBLINGS = "too_many_siblings"
    """409: the write would add one beyond the cap."""
    VALUE_TOO_LARGE = "value_too_large"
    """413: above the bucket's ``value_bytes``."""
    DISK_FULL = "disk_full"
    """507: the coordinator's disk is full; nothing was applied."""
    NO_PARTITION = "no_partition"
    """400: the ring has no such partition."""
    BAD_RECORDS = "bad_records"
    """400: records that no node can have written."""
    NOT_OWNER = "not_owner"
    """421: this node owns no replica of that key's partition."""
    OVERLOADED = "overloaded"
    """503 with Retry-After: a queue of this node is at its bound; nothing was applied."""


@define(slots=True)
class Refused:
    """A typed refusal; ``detail`` says what was wrong and what is accepted."""

    refusal: Refusal
    detail: str


class Outcome(enum.Enum):
    """Whether an unsuccessful write may have been applied."""

    NOT_APPLIED = "not_applied"
    """503: provably nowhere, and it never will be."""
    INDETERMINATE = "indeterminate"
    """504: some replica may have it, or may get it yet."""


@define(slots=True)
class Unavailable:
    """A quorum was not reachable, or not in time. Reads are always NOT_APPLIED or, late, a 504."""

    outcome: Outcome
    detail: str
    tally: Tally
    retry_after_s: int = 1


@define(slots=True)
class ListResult:
    """Keys in byte order; ``next`` is what to pass as ``after`` for the next page, or None."""

    keys: list[bytes]
    next: bytes | None


@define(slots=True)
class ExplainVersion:
    """A version on one replica. ``dot`` is printed as ``<instance>:<birth>:<counter>``."""

    dot: str
    size_bytes: int
    deleted: bool
    timestamp: int
    expires_ms: int | None = None


@define(slots=True)
class ExplainReplica:
    """What one node holds of a key; ``state`` is ok, behind, missing or unreachable."""

    node: NodeId
    is_owner: bool
    state: str
    versions: list[ExplainVersion]
    behind: bool
    why: str


@define(slots=True)
class ExplainResult:
    """Ids are node ids; the front end names them. ``hints`` maps owner slot to waiting nodes."""

    partition: int
    epoch: int
    owners: list[NodeId]
    fallbacks: list[NodeId]
    replicas: list[ExplainReplica]
    hints: list[tuple[NodeId, NodeId]] = Factory(list)
    """Pairs (holder, owner slot) of hint notes that wait for this key."""


@define(slots=True)
class BucketResult:
    """A bucket's properties, and ``n``, the cluster's replicas."""

    bucket: str
    properties: BucketProperties
    n: int


@define(slots=True)
class BucketsResult:
    """All buckets that have properties of their own, by name."""

    buckets: Sequence[BucketResult]


@define(slots=True)
class HintsResult:
    """Hint notes that wait on this node: in all, their bytes, and by owner slot."""

    total: int
    bytes: int
    by_node: dict[NodeId, int]


@frozen
class RepairResult:
    """What a repair came to. ``compared`` counts pairs of (partition, other owner), ``differing``
    those of them whose roots differed, ``differences`` the records that did, and ``repaired`` the
    records that went from one owner to another.
    """

    partitions: int
    partitions_done: int
    compared: int
    differing: int
    differences: int
    repaired: int
    unreachable: Sequence[NodeId]
    """Owners that were down, busy for too long, or of another opinion about the ring."""
    is_finished: bool


@define(slots=True)
class SumsResult:
    """The sums by the number of their middle; those that are left out are 0."""

    partitions: int
    sums: dict[int, int]


@define(slots=True)
class RecordsResult:
    """A page of records, and the row after which the next one begins; None: it was the last."""

    records: list[PlainRecord]
    next: bytes | None


@define(slots=True)
class BodyResult:
    """The body, or None where this node holds no such version (any more)."""

    body: bytes | None


@define(slots=True)
class TakenResult:
    """So many records are on this node's disk."""

    count: int


@frozen
class PlanResult:
    """The moves ``(partition, giver, receiver)``, their least possible number, and the balance.

    A node that is yet to join has no id: it goes by its name, as bytes.
    """

    moves: Sequence[tuple[int, bytes | None, bytes | None]]
    minimum: int
    slots: Mapping[bytes, tuple[int, int]]
    """By node: its owner slots now and then."""
    refusal: str = ""


@frozen
class Transfer:
    """One partition on its way, or planned to be. ``state`` is ``planned``, ``moving``,
    ``switching`` or ``waiting``; ``reason`` says what it waits for.
    """

    partition: int
    giver: NodeId | None
    receiver: NodeId | None
    bytes: int
    """Brought to the receiver so far."""
    state: str
    reason: str


@frozen
class TransfersResult:
    """All transfers, and which member drives them; None where none can be reached."""

    transfers: Sequence[Transfer]
    driver: NodeId | None


@frozen
class ScrubResult:
    """What a pass over this node's records has found. What it found is being mended."""

    records: int
    """Records read."""
    values: int
    """Large values read."""
    damaged: int
    """Records and large values that did not match their checksums."""
    misplaced: int
    """Rows whose keys were damaged."""
    sums_wrong: int
    """Leaves of the hash tree that were not the sums of their records."""
    unlisted: int
    """Records without a row in the index of their bucket."""
    is_finished: bool


Result = (
    Found | Missing | Written | Refused | Unavailable | ListResult | ExplainResult | BucketResult
    | BucketsResult | HintsResult | RepairResult | SumsResult | RecordsResult | BodyResult
    | TakenResult | PlanResult | TransfersResult | ScrubResult
)  # fmt: skip
