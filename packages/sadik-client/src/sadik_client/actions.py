"""What the core wants done and what it is told in return: the whole seam between core and shells.

Every operation of the core is a generator of *actions*. A shell performs one, sends the *event*
back into the generator, and returns what the generator returns. Time reaches the core only in
events, as nanoseconds of a monotonic clock; trouble is an outcome and not an exception. So three
shells can be a screen long each, and a test plays network, clock and all by sending events of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from sadik_client.address import Address
    from sadik_client.results import Entry, Resolution

__all__ = [
    "Action",
    "Broken",
    "Enter",
    "Entered",
    "Event",
    "Exchange",
    "Link",
    "Open",
    "Opened",
    "Outcome",
    "Receive",
    "Received",
    "Resolve",
    "Resolved",
    "Sleep",
    "Steps",
]


class Link(Protocol):
    """A connection that a shell opened. The core keeps it between requests."""

    def close(self) -> None:
        """Close it at once. It never waits, and a second time it does nothing."""
        ...

    def is_stale(self) -> bool:
        """Whether the node has closed it, or sent what nobody asked for. It never waits."""
        ...


class Enter(NamedTuple):
    """A request begins: wait for one of the places that the shell has. Answered by `Entered`, or
    by `Broken` if none was free within the budget.

    The place is given back when the operation ends; a second request of it keeps the first's.
    """

    budget_ns: int


class Open(NamedTuple):
    """Connect, with TLS where the address says so. Answered by `Opened` or `Broken`."""

    address: Address
    deadline_ns: int


class Exchange(NamedTuple):
    """Send all of ``data``, then wait for the first bytes. Answered by `Received` or `Broken`."""

    link: Link
    data: bytes
    deadline_ns: int


class Receive(NamedTuple):
    """Wait for more bytes; none means the end. Answered by `Received` or `Broken`."""

    link: Link
    deadline_ns: int


class Sleep(NamedTuple):
    """Wait until that time, which may have passed. Answered by None."""

    until_ns: int


class Resolve(NamedTuple):
    """Call the caller's own function. Answered by `Resolved`; what it raises ends the operation."""

    resolver: Callable[[Entry], Resolution]
    entry: Entry


class Entered(NamedTuple):
    """The request has its place. ``began_ns`` is when it came, from which its budget counts."""

    began_ns: int


class Opened(NamedTuple):
    """A new connection."""

    link: Link


class Received(NamedTuple):
    """Bytes from the node, or none at their end."""

    data: bytes


class Broken(NamedTuple):
    """It could not be done; the link, if there is one, is of no more use.

    ``nothing_sent`` only where the shell knows that not one byte of an `Exchange` went out;
    ``is_lasting`` where trying again brings the same: a certificate that is not trusted.
    """

    reason: str
    nothing_sent: bool = False
    timed_out: bool = False
    is_lasting: bool = False


class Resolved(NamedTuple):
    """What the caller's function made of the siblings."""

    resolution: Resolution


Action: TypeAlias = Enter | Open | Exchange | Receive | Sleep | Resolve
Outcome: TypeAlias = Entered | Opened | Received | Broken | Resolved | None


class Event(NamedTuple):
    """An action is done: when, and how it ended."""

    now_ns: int
    outcome: Outcome = None


_T = TypeVar("_T")
Steps: TypeAlias = Generator[Action, Event, _T]
"""An operation on its way to a result."""
