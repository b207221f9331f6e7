"""How a request fared with the replicas, and why it may be refused."""

from __future__ import annotations

import enum

from attrs import define

__all__ = ["Outcome", "Refusal", "Refused", "Tally", "Unavailable"]


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
    TOO_MANY_BUCKETS = "too_many_buckets"
    """409: the cluster keeps the properties of no more buckets."""
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
