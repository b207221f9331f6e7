"""Traces: what a machine was given and what it wanted, as a hash and as lines one can read.

One seed, one trace: a host that records every step of every machine can show in one number that
two runs were the same, and a test can print the steps that led to a broken invariant.
"""

from __future__ import annotations

import enum
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from sadik_machine.effects import Effect
from sadik_machine.inputs import Input
from sadik_machine.times import SECOND

__all__ = ["Trace", "describe"]

_BYTES_SHOWN_MAX: Final = 24
_TEXT_SHOWN_MAX: Final = 200
_ITEMS_SHOWN_MAX: Final = 16


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
        line = f"{now // SECOND:6}.{now % SECOND:09} {who} {text}"
        self._hash.update(line.encode(errors="surrogatepass") + b"\n")
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
    """One line for an input, an effect, a message or a plain value, the same in every process.

    It tells equal values from others (by a hash where they are long), but for objects that are
    neither data nor attrs classes: of those it tells the class.
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, str) and len(value) > _TEXT_SHOWN_MAX:
        rest = _short_hash(value.encode(errors="surrogatepass"))
        return f"{value[:_TEXT_SHOWN_MAX]!r}… {len(value)} in all #{rest}"
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        if len(data) <= _BYTES_SHOWN_MAX:
            return repr(data)[1:]
        return f"{repr(data[:8])[1:]}…{len(data)}B#{_short_hash(data)}"
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        inner = ", ".join(f"{f.name}={_describe_field(value, f)}" for f in fields)
        return f"{type(value).__name__}({inner})"
    if isinstance(value, Mapping):
        return "{" + _join([f"{describe(k)}: {describe(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + _join([describe(item) for item in value]) + "]"
    if isinstance(value, set | frozenset):
        return "{" + _join(sorted(describe(item) for item in value)) + "}"
    if value is None or isinstance(value, int | float | str):
        return repr(value)
    return type(value).__name__


def _describe_field(value: Any, field: attrs.Attribute[Any]) -> str:
    """What a field holds. A number is one: whether it came as a member of an enumeration is lost
    on its way between nodes, and in compiled code.
    """
    held = getattr(value, field.name)
    annotation: object = field.type  # a string, where annotations are not evaluated
    return repr(int(held)) if annotation == "int" else describe(held)


def _join(parts: list[str]) -> str:
    if len(parts) <= _ITEMS_SHOWN_MAX:
        return ", ".join(parts)
    rest = _short_hash(", ".join(parts[_ITEMS_SHOWN_MAX:]).encode(errors="surrogatepass"))
    return ", ".join(parts[:_ITEMS_SHOWN_MAX]) + f", … {len(parts)} in all #{rest}"


def _short_hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=4).hexdigest()
