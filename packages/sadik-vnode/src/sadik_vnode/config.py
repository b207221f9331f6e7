"""What the host tells an engine about its node, and the bounds that it keeps."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sadik_machine import MILLISECOND, SECOND

__all__ = ["MIB", "EngineConfig"]

MIB: Final = 1024 * 1024


@frozen
class EngineConfig:
    """Limits and intervals; sizes in bytes, times in nanoseconds."""

    durable: bool = True
    """Whether a stored batch survives a power cut: false for the memory backend, and for
    ``sync = "interval"``."""
    value_bytes_max: int = 4 * MIB
    hint_bytes_max: int = 1024 * MIB
    siblings_max: int = 100
    siblings_warn: int = 25
    context_warn_bytes: int = 4096
    requests_max: int = 20_000
    """Conversations at once; beyond them requests are refused as overload."""
    request_bytes_max: int = 256 * MIB
    """Values of writes in flight."""
    hedge_ns: int = 50 * MILLISECOND
    """A read asks one more replica when those asked have not answered for so long."""
    hedge_early: bool = True
    """Whether it asks earlier where a peer is slower than it nearly always was lately."""
    linger_ns: int = 2 * SECOND
    """How long a read that was answered waits for late replicas, to repair them."""
    hint_window: int = 64
    """Hints under way to one owner at once."""
    hint_window_bytes: int = 4 * MIB
    hint_retry_ns: int = SECOND
    message_bytes_max: int = 64 * 1024
    """Versions are gathered into one message up to about this; a larger one travels alone."""
    anti_entropy_interval_ns: int = 10 * SECOND
    """About how often this node compares its partitions with the next of their other owners; 0 for
    never but on demand."""
    changes_ring: bool = True
    """Whether this node takes part in changing the ring; false in tests of a ring that stands."""
    plan_after_ns: int = SECOND
    """How long membership stands still before the ring is planned anew."""
    foreign_after_ns: int = SECOND // 2
    """How soon this node hands off what it does not own; 0 for only when that is waited for."""
    tombstone_ns: int = 60 * SECOND
    """How long what may be reaped is kept when that is proven."""
    reap_pace_ns: int = SECOND
    """A reap generation takes so long at least."""
    scrub_interval_ns: int = 7 * 24 * 3600 * SECOND
    """How often this node reads all that it holds and looks for damage; 0 for never but on
    demand. The first time is an hour after the start, at the latest."""
    scan_rows: int = 1000
    scan_bytes: int = 256 * 1024
