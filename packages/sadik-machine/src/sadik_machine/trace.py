"""Traces: what a machine was given and what it wanted, as a hash and as lines one can read.

One seed, one trace: a host that records every step of every machine can show in one number that
two runs were the same, and a test can print the steps that led to a broken invariant.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from sadik_machine.effects import Effect
from sadik_machine.inputs import Input

__all__ = ["Trace", "describe"]

_BYTES_SHOWN_MAX = 24
_ITEMS_SHOWN_MAX = 16


class Trace:
    """Records steps. ``keep`` is how many lines stay readable; the hash covers all of them.

    ``sink``, where given, gets every line as it is made.
    """

    def __init__(self, keep: int = 1000, sink: Callable[[str], None] | None = None) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._lines: deque[str] = deque(maxlen=keep)
        self._sink = sink

    def record(self, now: int, who: str, event: Input, effects: list[Effect]) -> None:
        """One step of machine ``who``."""
        self.note(now, who, "<- " + describe(event))
        for effect in effects:
            self.note(now, who, "   -> " + describe(effect))

    def note(self, now: int, who: str, text: str) -> None:
        """A line of the host's own: a fault, a crash, a delivery."""
        line = f"{now / 1e9:12.6f} {who} {text}"
        self._hash.update(line.encode())
        self._lines.append(line)
        if self._sink is not None:
            self._sink(line)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over every line so far."""
        return self._hash.copy().hexdigest()

    def tail(self) -> list[str]:
        """The newest lines, oldest first."""
        return list(self._lines)


def describe(value: Any) -> str:
    """One line for an input, an effect, a message or a plain value, the same in every process."""
    if isinstance(value, bytes | bytearray):
        if len(value) <= _BYTES_SHOWN_MAX:
            return repr(bytes(value))[1:]
        return f"{repr(bytes(value[:8]))[1:]}…{len(value)}B#{_short_hash(bytes(value))}"
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        inner = ", ".join(f"{f.name}={describe(getattr(value, f.name))}" for f in fields)
        return f"{type(value).__name__}({inner})"
    if isinstance(value, dict):
        return "{" + _join([f"{describe(k)}: {describe(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + _join([describe(item) for item in value]) + "]"
    if isinstance(value, set | frozenset):
        return "{" + _join(sorted(describe(item) for item in value)) + "}"
    if value is None or isinstance(value, int | float | str):
        return repr(value)
    return type(value).__name__


def _join(parts: list[str]) -> str:
    if len(parts) <= _ITEMS_SHOWN_MAX:
        return ", ".join(parts)
    rest = _short_hash("".join(parts[_ITEMS_SHOWN_MAX:]).encode())
    return ", ".join(parts[:_ITEMS_SHOWN_MAX]) + f", … {len(parts)} in all #{rest}"


def _short_hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=4).hexdigest()
