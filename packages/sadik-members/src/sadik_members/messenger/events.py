"""What a messenger tells its host, and the bounds that it keeps.

Every callback is synchronous, is called from the messenger's own tasks, and must neither block
nor raise: it puts something into an inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from attrs import define, field, frozen

from sadik_machine import MILLISECOND, SECOND, LinkState, NodeId
from sadik_members.news import HandshakeRefused

__all__ = ["Counters", "MessengerEvents", "MessengerLimits", "Watcher"]

KIB: Final = 1024
MIB: Final = 1024 * 1024


class MessengerEvents(Protocol):
    """The host's side of a `Messenger`."""

    def deliver(self, peer: NodeId, messages: list[object]) -> None:
        """Messages came from ``peer``, in order within small and within bulk ones."""

    def on_link(self, peer: NodeId, state: LinkState) -> None:
        """UP: messages can be sent. DOWN: they cannot. FULL: the buffer is full, until UP."""

    def on_unsent(self, peer: NodeId, messages: list[object]) -> None:
        """A link broke, and these messages were provably never written; told before its DOWN."""

    def on_refused(self, refused: HandshakeRefused) -> None:
        """A handshake failed for a reason that matters to others than the messenger."""

    def on_heard(self, peers: tuple[NodeId, ...]) -> None:
        """These peers sent something since last told; at most every 100 ms."""

    def on_log(self, event: str, fields: Mapping[str, object]) -> None:
        """Something that an operator may want to read; ``event`` is a stable name."""


class Watcher(Protocol):
    """Who waits for all streams of a host in one place, where it does."""

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever there is something to read there."""

    def forget(self, descriptor: int) -> None:
        """Watch it no more."""


@frozen(kw_only=True)
class MessengerLimits:
    """Bounds in bytes and times in nanoseconds."""

    small_buffer_bytes: int = 8 * MIB
    bulk_buffer_bytes: int = 64 * MIB
    """A bulk message is taken while less than this waits, so one value may go beyond it."""
    bulk_from_bytes: int = 64 * KIB
    """Messages longer than this travel on the bulk stream."""
    small_frame_bytes: int = 1 * MIB
    bulk_frame_bytes: int = 65 * MIB
    write_bytes: int = 256 * KIB
    """About how much is handed to the transport at a time: what is lost without a trace at most."""
    redial_first_ns: int = 50 * MILLISECOND
    redial_max_ns: int = 2 * SECOND
    links: int = 1024
    handshakes: int = 256
    """Incoming handshakes under way at once; one more is closed."""


@define
class Counters:
    """Plain integers for metrics."""

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    writes: int = 0
    receives: int = 0
    links_up: int = 0
    links_down: int = 0
    dials: int = 0
    rejected: dict[str, int] = field(factory=dict)
    """By reason: malformed input, refused sends (``full``, ``not_linked``), duplicates."""

    def reject(self, reason: str, count: int = 1) -> None:
        """Count ``count`` rejections for ``reason``."""
        self.rejected[reason] = self.rejected.get(reason, 0) + count
