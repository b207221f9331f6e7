"""How far long work is: a bar on a terminal, a plain line now and then elsewhere.

Both go to standard error, beside the data.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sadik_node.cli.common import say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Progress"]

_LINE_EVERY_S = 5.0


class Progress:
    """Shows one count that grows to ``total``; None: nobody knows how far."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._bytes = 0
        self._next_line_at = time.monotonic() + _LINE_EVERY_S
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - slow; only where a bar is drawn
            from rich.progress import Progress as Bar  # noqa: PLC0415 - see above

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, size_bytes: int = 0, count: int = 1) -> None:
        """One more is done, or several."""
        self._bytes += size_bytes
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """So many are done in all; of something that cannot be counted one by one."""
        self._done = max(self._done, done)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)
        else:
            megabytes = f", {self._bytes / 1e6:.1f} MB" if self._bytes else ""
            of = "" if self._total is None else f" of {self._total}"
            self._line(f"{self._done}{of}{megabytes}")

    def show(self, done: int, total: int, text: str) -> None:
        """So much is done of what is to do, which may have changed; ``text`` says it in words."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, completed=done, total=total, description=f"{self._what}: {text}"
            )
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        if time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + _LINE_EVERY_S
            say(f"{self._what}: {text}")
