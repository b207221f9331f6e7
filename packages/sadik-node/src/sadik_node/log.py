"""Events on standard error: one line each, a stable name and a few fields.

Two formats: ``console`` for people, ``json`` for collectors. No event bears a key's value, a
context or a secret. Writing to standard error may block; so may any log, and the host writes few
lines: what could be many (a refused request) is limited to so many a second, and the rest counted.
The names are in `sadik_node.events`.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from sadik_node.events import EVENTS

__all__ = ["Log"]

_LIMITS = {name: kind.limit for name, kind in EVENTS.items() if kind.limit is not None}


class Log:
    """Where a node's events go. ``format`` is ``console`` or ``json``; ``node`` is on every line.

    Of an event with a limit no more than that are written in a second; a line ``log_suppressed``
    later says how many were not.
    """

    def __init__(
        self,
        node: str,
        format: str = "console",  # noqa: A002 - the word of the configuration
        stream: TextIO | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._is_json = format == "json"
        self._stream = stream
        self._wall = wall
        self._second = 0
        self._counts: dict[str, int] = {}
        """Of events with a limit, how many came in this second."""

    def event(self, name: str, message: str = "", /, **fields: object) -> None:
        """One event: ``name`` is stable, ``message`` a sentence for people."""
        now = self._wall()
        limit = _LIMITS.get(name)
        if limit is not None and not self._may_write(name, limit, int(now)):
            return
        self._write(now, name, message, fields)

    def defect(self, error: BaseException) -> None:
        """Something that should never happen did: the whole traceback, for who mends it."""
        trace = "".join(traceback.format_exception(error))
        self.event("defect", f"{type(error).__name__}: {error}", trace=trace)

    def _may_write(self, name: str, limit: int, second: int) -> bool:
        counts = self._counts
        if second != self._second:
            self._second, self._counts = second, {}
            for each, came in counts.items():
                if came > _LIMITS[each]:
                    missed = {"of": each, "events": came - _LIMITS[each]}
                    self._write(self._wall(), "log_suppressed", "", missed)
            counts = self._counts
        came = counts.get(name, 0) + 1
        counts[name] = came
        return came <= limit

    def _write(self, now: float, name: str, message: str, fields: dict[str, object]) -> None:
        moment = datetime.fromtimestamp(now, UTC)
        if self._is_json:
            line = {"time": moment.isoformat(timespec="milliseconds"), "node": self._node,
                    "event": name}  # fmt: skip
            if message:
                line["message"] = message
            text = json.dumps({**line, **fields}, default=str)
        else:
            parts = [f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}", self._node, name]
            parts += [f"{key}={_shown(value)}" for key, value in fields.items() if value != ""]
            if message:
                parts.append("- " + " ".join(message.split()))
            text = " ".join(parts)
        stream = sys.stderr if self._stream is None else self._stream
        try:
            stream.write(text + "\n")
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more; the node goes on


def _shown(value: object) -> str:
    text = str(value)
    # Nothing of what a peer or a client said may act on a terminal.
    plain = text.isprintable() and not any(c in ' "=' for c in text)
    return text if plain else json.dumps(text)
