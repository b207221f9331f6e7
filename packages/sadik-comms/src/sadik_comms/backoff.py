"""How long to wait before trying again: longer each time, and never in step with others.

The ceiling doubles from the initial to the maximum wait, and each wait is drawn evenly from the
upper half below the ceiling ("equal jitter"): nodes that lost the same peer at once do not dial it
at once, and yet nobody tries again immediately.
"""

from __future__ import annotations

from random import Random

import attrs


@attrs.define
class Backoff:
    """The next wait after a failure, in nanoseconds; pure, all chance is from ``random``.

    ``next_ns`` lies in ``[ceiling / 2, ceiling]``, with the ceiling ``initial_ns`` at first and
    doubled by each call up to ``maximum_ns``.
    """

    random: Random
    initial_ns: int = attrs.field(default=50_000_000, validator=attrs.validators.ge(1))
    maximum_ns: int = attrs.field(default=5_000_000_000)
    _ceiling_ns: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.maximum_ns < self.initial_ns:
            raise ValueError(
                f"maximum_ns ({self.maximum_ns}) is below initial_ns ({self.initial_ns})"
            )
        self._ceiling_ns = self.initial_ns

    def next_ns(self) -> int:
        """Return the wait before the next try, and lengthen the one after it."""
        ceiling_ns = self._ceiling_ns
        self._ceiling_ns = min(ceiling_ns * 2, self.maximum_ns)
        return self.random.randint((ceiling_ns + 1) // 2, ceiling_ns)

    def reset(self) -> None:
        """Begin again at ``initial_ns``: the last try succeeded."""
        self._ceiling_ns = self.initial_ns
