"""What is wanted: the closed set of effects that ``step`` returns, in order.

Durability is structural. An effect that rests on a write rides in the ``then`` of the `Store`, and
the host releases it once the batch is on disk; a crash drops ``then`` together with its batch.
A `Store` with an empty batch is a barrier: its ``then`` is released once every batch
before it is on disk, which is how an answer waits for a state that is still being written.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from sadik_machine.ids import NodeId, RequestId, Ticket

__all__ = [
    "Announce",
    "Batch",
    "Effect",
    "GetRows",
    "Load",
    "Query",
    "Reply",
    "ScanRows",
    "Send",
    "Store",
]

Batch = Sequence[tuple[bytes, bytes | None]]
"""Rows to write in order, atomically: a later one for the same key wins, None deletes."""


@define(slots=True)
class GetRows:
    """Query for single rows. Its result is ``list[bytes | None]``, as long as ``keys``."""

    keys: Sequence[bytes]


@define(slots=True)
class ScanRows:
    """Query for rows in ascending key order from ``start`` up to, not including, ``stop``.

    Its result is ``list[tuple[bytes, bytes]]`` of at most ``limit_rows`` rows and about
    ``limit_bytes`` bytes (at least one row where there is one): a short chunk. The next chunk
    starts at the last key plus a zero byte. With ``keys_only`` the values come as ``b""``.
    """

    start: bytes
    stop: bytes | None
    limit_rows: int
    limit_bytes: int
    keys_only: bool = False


Query = GetRows | ScanRows


@define(slots=True)
class Send:
    """Hand a message to the messenger: at most once, in order with others to the same peer."""

    to: NodeId
    message: object


@define(slots=True)
class Reply:
    """The answer to a `Requested`. Each request gets exactly one, unless it was cancelled."""

    request_id: RequestId
    result: object


@define(slots=True)
class Load:
    """Read from the store.

    It sees every `Store` that was emitted before it, on disk or not, and of later ones at most what
    is on disk already.
    """

    ticket: Ticket
    query: Query


@define(slots=True)
class Store:
    """Write a batch; then, when it is on disk, perform ``then`` and report `Stored`.

    Batches of one machine become durable in the order in which they were emitted. When one fails,
    all that were emitted after it and before its `Failed` was delivered fail with it, at once: a
    `Load` emitted from then on sees none of them.
    """

    ticket: Ticket
    batch: Batch
    then: Sequence[Effect]


@define(slots=True)
class Announce:
    """News for the other machines of this node, and for the host."""

    news: object


Effect = Send | Reply | Load | Store | Announce
