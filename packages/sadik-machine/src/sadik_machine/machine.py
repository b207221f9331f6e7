"""The machine itself: one ``step``, one ``deadline``.

All decisions of Sadik are made in such machines. They do no I/O, read no clock, draw no global
randomness and never wait; a host that does these things can therefore be replaced, by a
simulator for one, and the machine cannot tell.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sadik_machine.effects import Effect
from sadik_machine.inputs import Input

__all__ = ["Machine"]


@runtime_checkable
class Machine(Protocol):
    """A pure state machine: everything that it does is a function of the inputs that it was given.

    Rules for a host:

    - ``now`` is integer nanoseconds of one monotonic clock and never goes back between calls.
    - Effects are performed in the order in which they were returned.
    - `step` is called with `Woke` no later than ``deadline``, as read after the last step;
      calling it earlier, or twice, does no harm.
    - What ``step`` raises is a defect. Bad input from a peer or a client is an effect or
      a counted reason, never an exception.
    """

    def step(self, now: int, event: Input) -> list[Effect]:
        """Take one input at ``now``; return what is wanted of the host, in order."""
        ...

    @property
    def deadline(self) -> int | None:
        """The instant at which the machine next wants `Woke`; None while it waits for nothing."""
        ...
