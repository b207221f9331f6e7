"""At most once: a window over the sequence numbers of one sender's life to one receiver's life.

Every message carries a number that its sender counts up from 1 per (sender boot, receiver boot,
kind of stream). The receiver remembers the last `WINDOW` of them as bits of one integer. A number
below the window is refused like one seen before: losing a message is allowed, taking it twice is
not.
"""

from __future__ import annotations

from typing import Final

__all__ = ["WINDOW", "SequenceFilter"]

WINDOW: Final = 1024
_MASK: Final = (1 << WINDOW) - 1


class SequenceFilter:
    """Says which numbers are new. A new boot on either side needs a new filter."""

    __slots__ = ("_greatest", "_seen", "refused_count")

    def __init__(self) -> None:
        self._greatest = 0
        self._seen = 0
        self.refused_count = 0

    def accept(self, number: int) -> bool:
        """Whether ``number``, from 1 up, is seen for the first time; remembers it."""
        ahead = number - self._greatest
        if ahead > 0:
            if ahead < WINDOW:
                self._seen = ((self._seen << ahead) | 1) & _MASK
            else:
                self._seen = 1
            self._greatest = number
            return True
        bit = 1 << -ahead
        if number < 1 or -ahead >= WINDOW or self._seen & bit:
            self.refused_count += 1
            return False
        self._seen |= bit
        return True
