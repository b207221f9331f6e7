"""Plain integers that the host reads when somebody scrapes: counting must cost next to nothing."""

from __future__ import annotations

from attrs import define

__all__ = ["Counters"]


@define(slots=True)
class Counters:
    """Totals since the start of this engine."""

    replica_reads: int = 0
    replica_reads_failed: int = 0
    hedged_reads: int = 0
    """Reads that asked one more replica because those asked were slow."""
    replica_writes: int = 0
    replica_writes_failed: int = 0
    read_repairs: int = 0
    hints_written: int = 0
    hints_delivered: int = 0
    hints_dropped: int = 0
    forwards: int = 0
    duplicate_forwards: int = 0
    lost_tails: int = 0
    """Records whose own actor was seen beyond the record: a tail of this store was lost."""
    damaged_records: int = 0
    malformed_messages: int = 0
    strangers: int = 0
    """Messages from nodes that are not members."""
    stale_answers: int = 0
    """Answers that nobody waited for any more."""
    sibling_warnings: int = 0
    context_warnings: int = 0
