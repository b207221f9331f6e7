"""At most once: a window over the sequence numbers of one sender's life to one receiver's life.

Every message carries a number that its sender counts up from 1 per (sender boot, receiver boot,
kind of stream). The receiver remembers which of the last `WINDOW` of them it has not seen, which
nearly always is none. A number below the window is refused like one seen before: losing a message
is allowed, taking it twice is not.
"""

from __future__ import annotations

from typing import Final

__all__ = ["WINDOW", "SequenceFilter"]

WINDOW: Final = 1024


class SequenceFilter:
    """Says which numbers are new. A new boot on either side needs a new filter."""

    __slots__ = ("_greatest", "_unseen", "refused_count")

    def __init__(self) -> None:
        self._greatest = 0
        self._unseen: set[int] = set()
        """Numbers below the greatest; some may have fallen out of the window since."""
        self.refused_count = 0

    def accept(self, number: int) -> bool:
        """Whether ``number``, from 1 up, is seen for the first time; remembers it."""
        greatest = self._greatest
        if number > greatest:
            self._greatest = number
            if number > greatest + 1:
                self._skip(greatest + 1, number)
            return True
        if number > greatest - WINDOW and number in self._unseen:
            self._unseen.remove(number)
            return True
        self.refused_count += 1
        return False

    def _skip(self, first: int, stop: int) -> None:
        """Not seen yet are ``first`` to ``stop - 1``, and ``stop`` is the greatest now."""
        lowest = stop - WINDOW + 1
        self._unseen.update(range(max(first, lowest), stop))
        if len(self._unseen) >= WINDOW:
            self._unseen = {number for number in self._unseen if number >= lowest}
