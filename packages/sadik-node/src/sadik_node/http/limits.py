"""What the HTTP server bears: sizes, counts and times, all bounded.

Each bound is there because its absence is an attack: a header without end, a body sent a byte a
minute, a client that asks and never reads. The values are the contract's.
"""

from __future__ import annotations

from attrs import frozen

from sadik_machine import SECOND

__all__ = ["HttpLimits"]


@frozen
class HttpLimits:
    """Bounds of one server. Times in nanoseconds, sizes in bytes."""

    value_bytes: int = 4 * 2**20
    """A value, by its declared length or as it comes."""
    json_bytes: int = 64 * 2**10
    """A JSON document of a client."""
    batch_bytes: int = 16 * 2**20
    """The body of a batch."""
    batch_lines: int = 1000
    """Operations of a batch."""
    batch_answer_bytes: int = 64 * 2**20
    """Results of a batch; a read beyond it is not begun."""
    batch_window: int = 64
    """Operations of one batch that are worked on at once."""
    batch_window_bytes: int = 8 * 2**20
    """Values of one batch that are worked on at once."""
    header_bytes: int = 16 * 2**10
    """Request line and header fields together; more is a 431."""
    target_bytes: int = 8 * 2**10
    """The request target; more is a 414."""
    meta_bytes: int = 8 * 2**10
    """All ``Sadik-Meta-*`` fields of a request together."""
    context_bytes: int = 12 * 2**10
    """A ``Sadik-Context``."""
    connections: int = 10_000
    """At the limit the longest-idle connection is closed first."""
    pipelined: int = 16
    """Requests of one connection that are worked on at once, where they are safe."""
    waiting: int = 64
    """Requests of one connection that were read and not answered; no more is read then."""
    output_bytes: int = 1 << 20
    """Answers of one connection that wait for its client to read; nothing more starts then."""
    held_bytes: int = 256 * 2**20
    """Request bodies and unread answers of all connections; above it data requests get a 503."""
    header_ns: int = 10 * SECOND
    """From the first byte of a request to the end of its header."""
    idle_ns: int = 60 * SECOND
    """Between requests."""
    body_window_ns: int = 10 * SECOND
    """How often a body's rate is judged."""
    body_rate_bytes: int = 1024
    """The least bytes a second of a body, over one window."""
    stall_ns: int = 30 * SECOND
    """How long a client may leave an answer unread."""
    drain_bytes: int = 8 * 2**20
    """What is read and dropped after a request was refused early, so that the client sees why."""
    drain_ns: int = 2 * SECOND
    """How long that goes on."""
    tick_ns: int = SECOND // 4
    """How coarsely all these times are kept."""
