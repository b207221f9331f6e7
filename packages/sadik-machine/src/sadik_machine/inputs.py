"""What happened: the closed set of inputs that a host passes to ``step``.

Inputs are hot and short-lived, so they are slotted and mutable in type but never mutated
in use (a frozen attrs instance costs three times as much to make).
"""

from __future__ import annotations

import enum
from typing import Any

from attrs import define

from sadik_machine.ids import NodeId, RequestId, Ticket

__all__ = [
    "Cancelled",
    "DiskShort",
    "Draining",
    "Failed",
    "FailureReason",
    "Input",
    "Link",
    "LinkState",
    "Loaded",
    "Observed",
    "Received",
    "Requested",
    "Stored",
    "Unsent",
    "WallTime",
    "Woke",
]


class FailureReason(enum.Enum):
    """Why a load or a store failed."""

    FULL = "full"
    """The disk or the store is full; nothing of the batch was applied."""
    IO = "io"
    """The device failed. After a failed write the host stops the node."""
    DAMAGED = "damaged"
    """What was read does not match its checksum or its format."""
    DEPENDENCY = "dependency"
    """A batch that this one builds on failed, so this one was not tried."""


class LinkState(enum.Enum):
    """What the messenger says of its streams to one peer."""

    UP = "up"
    DOWN = "down"
    FULL = "full"
    """The bounded send queue is full: send nothing but what cannot wait until UP comes again."""


@define(slots=True)
class Received:
    """A decoded message from a peer whose identity the handshake has established."""

    sender: NodeId
    message: object


@define(slots=True)
class Requested:
    """A client of this node asks for something; the answer is a `Reply` with the same id."""

    request_id: RequestId
    request: object


@define(slots=True)
class Cancelled:
    """The client of a request has gone; its answer is wanted no more."""

    request_id: RequestId


@define(slots=True)
class Loaded:
    """What a `Load` found; `GetRows` and `ScanRows` say in which shape."""

    ticket: Ticket
    value: Any


@define(slots=True)
class Stored:
    """The batch of a `Store` is on disk. The host has performed its ``then`` already."""

    ticket: Ticket


@define(slots=True)
class Failed:
    """A load or a store failed. Nothing of a failed store's batch is, or will be, on disk.

    Where several stores fail together they are reported in the order in which they were emitted,
    with no other input between them, and by then no load shows any of them: on the first report
    a machine knows that all its pending stores have failed.
    """

    ticket: Ticket
    reason: FailureReason


@define(slots=True)
class Link:
    """The streams to a peer came up, broke, or are full."""

    peer: NodeId
    state: LinkState


@define(slots=True)
class Observed:
    """News from another machine of this node (what it emitted as `Announce`), or from the host."""

    news: object


@define(slots=True)
class Woke:
    """The deadline has come, or somebody woke the machine for nothing, which is harmless."""


@define(slots=True)
class Draining:
    """News from the host: this node is about to stop; begin nothing new for other nodes."""


@define(slots=True)
class DiskShort:
    """News from the host: from now on less room is left on the disk than shall be, or no longer.

    While it is so, writes of clients that bring values are refused; deletes and repair go on.
    """

    is_short: bool


@define(slots=True)
class WallTime:
    """News from the host: the wall clock now shows ``wall_ns`` nanoseconds since the epoch."""

    wall_ns: int


@define(slots=True)
class Unsent:
    """News from the messenger: these messages to a peer were provably never written.

    For all others, once handed over, nobody can tell whether the peer took them.
    """

    to: NodeId
    messages: list[object]


Input = Received | Requested | Cancelled | Loaded | Stored | Failed | Link | Observed | Woke
