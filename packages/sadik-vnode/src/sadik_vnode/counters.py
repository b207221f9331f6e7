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
    anti_entropy_rounds: int = 0
    """Scheduled comparisons of all shared partitions with one other owner."""
    anti_entropy_differences: int = 0
    """Records that differed, as this node found out when it asked."""
    anti_entropy_repaired: int = 0
    """Records that this node sent to owners that had less, and that are on their disks."""
    anti_entropy_bytes: int = 0
    """Bytes sent for it: sums, hashes and records, without what frames them."""
    anti_entropy_races: int = 0
    """Leaves that differed over records that did not: a write came in between."""
    anti_entropy_refused: int = 0
    """Partitions that were not compared: the other knows another epoch, or another owner."""
    tree_leaves_built: int = 0
    """Leaves summed up from the records of a store that had no tree."""
    tree_leaves_mended: int = 0
    """Leaves whose sums were not those of their records."""
    transferred_records: int = 0
    """Records that came to this node because it is to own their partition."""
    registers_decided: int = 0
    """Registers of the ring that this node brought to a decision."""
    registers_refused: int = 0
    """Registers that peers had decided or proposed, and that nobody can have: a wrong quorum, or a
    value of another partition."""
    registers_abstained: int = 0
    """Questions about registers of the ring that this node did not answer, since promises that it
    had given may have been lost with an older state of its store."""
    foreign_handed_off: int = 0
    """Records of partitions that are not this node's, taken away when all owners had them."""
    reaped: int = 0
    """Records of nothing but deletes and what had expired, taken away by proof."""
    old_generations: int = 0
    """States that were refused because they were read too long ago."""
    rollbacks: int = 0
    """How often this node found that its store was put back to an older state."""
    rolled_back_versions: int = 0
    """Versions of such a store that went because no other owner has them."""
    forwards: int = 0
    duplicate_forwards: int = 0
    lost_tails: int = 0
    """Records whose own actor was seen beyond the record: a tail of this store was lost."""
    damaged_records: int = 0
    """Rows that did not match their checksums, or whose keys were damaged, as often as met."""
    scrubs: int = 0
    """Passes over all records that came to their end."""
    malformed_messages: int = 0
    strangers: int = 0
    """Messages from nodes that are not members."""
    stale_answers: int = 0
    """Answers that nobody waited for any more."""
    sibling_warnings: int = 0
    context_warnings: int = 0
