"""A gate for readers: nearly free to pass, and shut now and then for an instant.

The idea: every read pays for passing, so passing is one append and one pop on a list, each atomic
under the interpreter lock. A reader announces itself first and looks at the gate after; the one
who shuts it shuts first and looks for readers after. So one of the two always sees the other.
"""

from __future__ import annotations

import threading
import time

__all__ = ["ReadGate"]

TURN_SECONDS = 0.02
"""How long the gate stays shut at most while somebody is inside: many times a short read."""


class ReadGate:
    """Lets any number of readers in, and waits for a moment when none is inside."""

    def __init__(self) -> None:
        """Make an open gate."""
        self._inside: list[None] = []
        self._is_shut = False
        self._reopened = threading.Event()

    def enter(self) -> None:
        """Go in, after an instant's wait if the gate is shut. A reader may go in twice."""
        self._inside.append(None)
        while self._is_shut:
            self._inside.pop()
            self._reopened.wait()
            self._inside.append(None)

    def leave(self) -> None:
        """Go out; once for each `enter`."""
        self._inside.pop()

    def shut(self, timeout_seconds: float) -> bool:
        """Shut the gate and wait until nobody is inside; false if that took too long.

        Who comes to a shut gate waits. That may be one who holds a snapshot already and reads on,
        and whom this waits for: so the gate is shut in turns, and lets such a one in between.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            turn_end = time.monotonic() + TURN_SECONDS
            self._reopened.clear()
            self._is_shut = True
            while self._inside and time.monotonic() < turn_end:
                time.sleep(0.0002)
            if not self._inside:
                return True
            self.reopen()
            if time.monotonic() > deadline:
                return False
            time.sleep(TURN_SECONDS)

    def reopen(self) -> None:
        """Let the readers in again; only after `shut` was true."""
        self._is_shut = False
        self._reopened.set()
