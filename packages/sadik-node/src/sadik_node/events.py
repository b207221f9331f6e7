"""Every event that a node writes to its log, by its stable name.

Names and the meaning of their fields are part of the interface: collectors match on them. What
could come often is bounded, so that nobody outside can fill a disk or slow the loop by asking; a
line ``log_suppressed`` later says how many were not written. ``docs/logs.md`` shows this table.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["EVENTS", "EventKind"]

_SELDOM = 20
_OFTEN = 1000


@frozen
class EventKind:
    """What an event says. ``limit`` is how many a second are written; None: all."""

    meaning: str
    fields: str = ""
    limit: int | None = None


EVENTS = {
    "started": EventKind("the node runs", "id http peer admin cluster boot store engine"),
    "ready": EventKind("it serves from now on"),
    "not_ready": EventKind("it does not serve, and why"),
    "draining": EventKind("it was told to stop, and finishes what it took", "requests"),
    "stopped": EventKind("it has ended in good order"),
    "failed": EventKind("it ends because of this", "exit_code"),
    "not_durable": EventKind("at start: acknowledged writes may be lost, and when"),
    "insecure": EventKind("at start: what of the traffic nothing protects"),
    "certificate_ends": EventKind(
        "at start and when one was read anew: it runs out within 14 days, or has", "listener at"
    ),
    "new_instance": EventKind("it took a new storage instance, and why", "boot"),
    "damaged": EventKind("rows that the engine had saved cannot be read"),
    "damage": EventKind(
        "what it holds of a key is damaged; the other owners are asked", "bucket key", _SELDOM
    ),
    "disk_short": EventKind("writes are refused for want of space", "free_bytes limit_bytes"),
    "disk_has_room": EventKind("writes are taken again", "free_bytes"),
    "store_close_failed": EventKind("the store could not be closed after a failure"),
    "cluster_joined": EventKind("it belongs to this cluster now", "cluster_id"),
    "join_refused": EventKind("the cluster would not have it, and why"),
    "removed": EventKind("it was removed from the cluster, and how it knows"),
    "moved_aside": EventKind("as it ends: the data of a removed node are kept there"),
    "farewell_unheard": EventKind(
        "it has left and ends, though few or none of the others told that they know", "heard others"
    ),
    "link_up": EventKind("streams to a peer are open", "peer address dialled", _SELDOM),
    "link_down": EventKind("streams to a peer are gone", "peer reason", _SELDOM),
    "dial_failed": EventKind("a peer could not be reached", "address reason", _SELDOM),
    "handshake_refused": EventKind(
        "a stream was refused, by either side", "reason address", _SELDOM
    ),
    "stranger": EventKind(
        "a connection to the peer port ended without a TLS handshake", "address reason", _SELDOM
    ),
    "reloaded": EventKind("files that had changed were read anew", "what"),
    "reload_failed": EventKind(
        "files that have changed cannot be used; what was loaded stays", "what"
    ),
    "directory_open": EventKind("at start: others may look into the data directory"),
    "bad_message": EventKind("a peer sent what cannot be read; its stream was closed",
                             "peer reason detail", _SELDOM),
    "request": EventKind(
        "a request that is to be logged was answered here", "request op method target status ms",
        _OFTEN,
    ),
    "request_touched": EventKind(
        "this node did a part of a request that a client had named",
        "request what bucket key sender", _OFTEN,
    ),
    "request_cancelled": EventKind(
        "the client of a request that is to be logged went before its answer",
        "request op method target ms", _OFTEN,
    ),
    "request_slow": EventKind(
        "a request took longer than log.slow_ms", "request op method target status ms", _SELDOM
    ),
    "request_refused": EventKind(
        "a request was the client's mistake (4xx but 404 and 412)",
        "request op method target status ms reason", _SELDOM,
    ),
    "request_failed": EventKind(
        "a request could not be done (5xx)", "request op method target status ms reason", _SELDOM
    ),
    "defect": EventKind("something that should never happen: please report it", "trace", _SELDOM),
    "log_suppressed": EventKind("events that were not written, within a second", "of events"),
}  # fmt: skip
"""By name, in the order of a node's life."""
