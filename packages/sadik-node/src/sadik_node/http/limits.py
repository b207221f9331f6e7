"""What the HTTP server bears: sizes, counts and times, all bounded.

Each bound is there because its absence is an attack: a header without end, a body sent a byte a
minute, a client that asks and never reads. The values are the contract's.
"""

from __future__ import annotations

from attrs import evolve, frozen

from sadik_machine import SECOND
from sadik_node.settings import Limits, Settings

__all__ = ["FAR_ADDRESS_CONNECTIONS", "OPERATORS_CONNECTIONS", "HttpLimits", "connections_wanted"]

FAR_ADDRESS_CONNECTIONS = 2000
"""What one address beyond loopback may have, where nothing was said."""

OPERATORS_CONNECTIONS = 256
"""What operators may have beside clients, where they have a listener of their own."""

_OPERATORS_HELD_BYTES = 64 * 2**20


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
    list_keys: int = 10_000
    """The greatest ``limit`` of a listing."""
    batch_answer_bytes: int = 64 * 2**20
    """Results of a batch; a read beyond it is not begun."""
    batch_window: int = 128
    """Operations of one batch that are worked on at once."""
    batch_window_bytes: int = 8 * 2**20
    """Values of one batch that are worked on at once."""
    header_bytes: int = 16 * 2**10
    """Request line and header fields together; more is a 431."""
    header_fields: int = 100
    """Header fields of a request; more is a 431."""
    target_bytes: int = 8 * 2**10
    """The request target; more is a 414."""
    meta_bytes: int = 8 * 2**10
    """All ``Sadik-Meta-*`` fields of a request together."""
    context_bytes: int = 12 * 2**10
    """A ``Sadik-Context``."""
    connections: int = 10_000
    """At the limit the longest-idle connection is closed first."""
    connections_spare: int = 64
    """Taken beyond the limit where every connection is busy: for health and views alone."""
    connections_per_address: int = 0
    """Connections of one client address (of IPv6, a /64); a newcomer beyond it gets a 429.
    0: `FAR_ADDRESS_CONNECTIONS` for addresses beyond loopback, no bound for loopback itself."""
    pipelined: int = 16
    """Requests of one connection that are worked on at once, where they are safe."""
    waiting: int = 64
    """Requests of one connection that were read and not answered; no more is read then."""
    connection_bytes: int = 16 * 2**20
    """Requests of one connection that are held and not answered; no other is read then."""
    output_bytes: int = 1 << 20
    """Answers of one connection that wait for its client to read; nothing more starts then."""
    held_bytes: int = 256 * 2**20
    """Requests and unread answers of all connections; above it data requests get a 503."""
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

    @classmethod
    def of(cls, limits: Limits) -> HttpLimits:
        """What an operator has decided, and the rest as it is."""
        return cls(
            value_bytes=limits.value_bytes,
            batch_bytes=limits.batch_bytes,
            batch_lines=limits.batch_lines,
            list_keys=limits.list_keys,
            header_bytes=limits.header_bytes,
            header_fields=limits.header_fields,
            # A target that fits the header is refused as itself, and never for a smaller header.
            target_bytes=min(8 * 2**10, limits.header_bytes),
            meta_bytes=limits.meta_bytes,
            connections=limits.connections,
            connections_per_address=limits.connections_per_address,
            connection_bytes=limits.connection_bytes,
            held_bytes=limits.held_bytes,
            header_ns=limits.header_seconds * SECOND,
            idle_ns=limits.idle_seconds * SECOND,
            body_rate_bytes=limits.body_bytes_per_second,
        )

    def of_operators(self) -> HttpLimits:
        """Those of the operators' own listener: few people and programs, but beside all clients."""
        return evolve(
            self,
            connections=min(self.connections, OPERATORS_CONNECTIONS),
            held_bytes=min(self.held_bytes, _OPERATORS_HELD_BYTES),
        )


def connections_wanted(settings: Settings) -> int:
    """How many HTTP connections there may be, of clients and of operators."""
    of_operators = 0 if settings.listen.admin is None else OPERATORS_CONNECTIONS
    return settings.limits.connections + of_operators
