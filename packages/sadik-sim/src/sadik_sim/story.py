"""The story of a run: who was asked what, who sent what to whom, what was stored, for one key.

A `Story` is a trace that keeps the steps themselves. Afterwards it tells those that concern one
key, with nodes by name and versions by short dots: ``n3b:2:5`` is the fifth dot of the second birth
of the second storage instance of node n3. It can also tell which lines of the engine made
an effect, which is where to look when that effect broke an invariant.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from types import FrameType
from typing import Any, Final

import attrs

from sadik_causality import Context, ContextError
from sadik_machine import (
    SECOND,
    Effect,
    Failed,
    Input,
    Link,
    Observed,
    Received,
    Reply,
    Requested,
    Send,
    Store,
    Stored,
    Trace,
    Unsent,
)
from sadik_sim.checks import value_id
from sadik_vnode.keyspace import parse_hint_row
from sadik_vnode.outbox import Outbox
from sadik_vnode.record import DamagedRecord, Record

__all__ = ["WORKLOAD_BEGINS", "Story", "origin_of", "origins"]

WORKLOAD_BEGINS: Final = "the workload begins"

_FRAMES: Final = 6
_BOOT: Final = re.compile(r"boot \d+ of instance ([0-9a-f]{16}) on node ([0-9a-f]{16})")
_ORIGINS: dict[int, tuple[object, tuple[str, ...]]] = {}


class Story(Trace):
    """A trace with a memory. ``keep`` bounds the readable lines of the whole trace, not the story.

    Times are told since the workload began.
    """

    def __init__(self, keep: int = 200) -> None:
        super().__init__(keep)
        self._steps: list[tuple[int, str, Input, list[Effect]]] = []
        self._notes: list[tuple[int, str, str]] = []
        self._names: dict[bytes, str] = {}
        self._instances: dict[bytes, str] = {}
        self._lives: dict[str, int] = {}
        self._began_ns = 0

    def record(self, now: int, who: str, event: Input, effects: list[Effect]) -> None:
        """One step of machine ``who``."""
        super().record(now, who, event, effects)
        self._steps.append((now, who, event, effects))

    def note(self, now: int, who: str, text: str) -> None:
        """A line of the host's own."""
        super().note(now, who, text)
        if text[:3] in ("<- ", "   "):
            return
        self._notes.append((now, who, text))
        if text == WORKLOAD_BEGINS:
            self._began_ns = now
        boot = _BOOT.match(text)
        if boot is not None:
            instance, node = map(bytes.fromhex, boot.groups())
            self._names[node] = who
            if instance not in self._instances:
                life = self._lives[who] = self._lives.get(who, 0) + 1
                self._instances[instance] = f"{who}{chr(96 + life) if life < 27 else life}"

    # Names

    def name(self, node: bytes) -> str:
        """The name of a node id."""
        return self._names.get(node, node.hex())

    def dot(self, actor: bytes, counter: int) -> str:
        """A dot in short."""
        instance = self._instances.get(actor[:8], actor[:8].hex())
        return f"{instance}:{int.from_bytes(actor[8:], 'big')}:{counter}"

    def shorten(self, text: str) -> str:
        """A text with the ids in it made short."""
        for instance, name in self._instances.items():
            text = text.replace(instance.hex() + ":", name + ":")
        for node, name in self._names.items():
            text = text.replace(node.hex(), name).replace(repr(node), name)
        return text

    # Telling

    def tell(self, key: bytes) -> list[str]:
        """All that happened with ``key``, and what befell nodes and links, in order."""
        requests: dict[int, None] = {}
        tickets: dict[tuple[str, int], None] = {}
        lines: list[tuple[int, int, str]] = []
        for index, (now, who, event, effects) in enumerate(self._steps):
            told = self._event(event, key, requests, tickets, who)
            found = [f"{who}   {told}"] if told else []
            for effect in effects:
                found.extend(
                    f"{who}     {text}"
                    for text in self._effect(effect, key, requests, tickets, who)
                )
            lines.extend((now, index, line) for line in found)
        lines.extend((now, -1, f"{who} * {self.shorten(text)}") for now, who, text in self._notes)
        lines.sort(key=lambda line: line[0])
        shown = [f"{_seconds(now - self._began_ns)} {line}" for now, _, line in lines]
        return list(dict.fromkeys(shown))  # both machines of a node are told of a stream

    def _event(
        self,
        event: Input,
        key: bytes,
        requests: dict[int, None],
        tickets: dict[tuple[str, int], None],
        who: str,
    ) -> str:
        match event:
            case Requested(request_id, request) if getattr(request, "key", None) == key:
                requests[request_id] = None
                return f"is asked #{request_id}: {self._fields(request)}"
            case Received(sender, message) if _concerns(message, key, requests):
                return f"takes from {self.name(sender)}: {self._fields(message)}"
            case Stored(ticket) if (who, ticket) in tickets:
                return f"has store {ticket} on disk"
            case Failed(ticket, reason) if (who, ticket) in tickets:
                return f"has store {ticket} failed: {reason.value}"
            case Observed(Unsent(to, messages)):
                unsent = [m for m in messages if _concerns(m, key, requests)]
                if unsent:
                    return f"never wrote to {self.name(to)}: {self._fields(unsent[0])}"
            case Link(peer, state) if isinstance(peer, bytes):
                return f"has its streams to {self.name(peer)} {state.value}"
            case _:
                pass
        return ""

    def _effect(
        self,
        effect: Effect,
        key: bytes,
        requests: dict[int, None],
        tickets: dict[tuple[str, int], None],
        who: str,
    ) -> Iterator[str]:
        match effect:
            case Send(to, message) if _concerns(message, key, requests):
                yield f"sends to {self.name(to)}: {self._fields(message)}"
            case Reply(request_id, result) if request_id in requests:
                yield f"answers #{request_id}: {self._fields(result)}"
            case Store(ticket, batch, then):
                rows = [text for row, value in batch for text in self._row(row, value, key)]
                inner = [t for e in then for t in self._effect(e, key, requests, tickets, who)]
                if rows or inner:
                    tickets[who, ticket] = None
                    yield f"stores {ticket}: {', '.join(rows) or 'nothing new'}"
                    for text in inner:
                        yield f"  then {text}"
            case _:
                pass

    def _record(self, record: Record) -> str:
        versions = [
            self._version((*dot, v.head, v.body, v.size))
            for dot, v in sorted(record.container.versions.items())
        ]
        return f"{{{', '.join(versions)}}} with context {self._context(record.context)}"

    def _row(self, row: bytes, value: bytes | None, key: bytes) -> Iterator[str]:
        name = row.partition(b"\0")[2]
        if row[:1] == b"O" and name == key:
            if value is None:
                yield "no record"
                return
            try:
                record = Record.decode(value)
            except DamagedRecord as error:
                yield f"a damaged record ({error})"
                return
            yield self._record(record)
        elif row[:1] == b"H" and name == key:
            slot, _ = parse_hint_row(row)
            yield f"{'no note' if value is None else 'a note'} for {self.name(slot)}"

    def _version(self, plain: Sequence[Any]) -> str:
        actor, counter, head, body, size = plain
        if len(head) > 1 and head[1] & 1:
            value = "a delete"
        elif body is None:
            value = f"{size} bytes"
        else:
            value = value_id(body).decode(errors="replace")
        return f"{self.dot(actor, counter)}={value}"

    def _context(self, context: Context) -> str:
        spans = [
            self.dot(actor, first) + (f"-{last}" if last > first else "")
            for actor, first, last in context.spans()
        ]
        return "{" + ", ".join(spans) + "}"

    def _fields(self, value: object) -> str:
        """A message, a request or a result in short."""
        parts = []
        for field in attrs.fields(type(value)):  # type: ignore[arg-type]  # all of them are attrs
            got = getattr(value, field.name)
            if got in (None, "", b"", (), []) or field.name in ("timeout_ns", "trace", "bucket"):
                continue
            if field.name == "row":
                shown = self._record(Record.received(got))
            elif field.name == "versions":
                shown = f"{{{', '.join(map(self._any_version, got))}}}"
            elif field.name == "context":
                shown = self._any_context(got)
            elif isinstance(got, bytes) and got in self._names:
                shown = self._names[got]
            elif isinstance(got, bytes):
                shown = value_id(got).decode(errors="replace")
            else:
                shown = self.shorten(str(got))
            parts.append(f"{field.name}={shown}")
        return f"{type(value).__name__}({', '.join(parts)})"

    def _any_version(self, version: Any) -> str:
        if isinstance(version, tuple):
            return self._version(version)
        return str(value_id(version.value).decode(errors="replace"))

    def _any_context(self, context: Any) -> str:
        if isinstance(context, str):
            return f"token …{context[-6:]}"
        try:
            return self._context(Context.from_plain(context))
        except ContextError as error:
            return f"no context ({error})"


def _concerns(message: object, key: bytes, requests: dict[int, None]) -> bool:
    """Whether a message is about ``key``; one that is makes its request one that is."""
    request = getattr(message, "request", None)
    if getattr(message, "key", None) == key:
        if isinstance(request, int):
            requests[request] = None
        return True
    return isinstance(request, int) and request in requests


def _seconds(time_ns: int) -> str:
    sign = "-" if time_ns < 0 else ""
    whole, rest = divmod(abs(time_ns), SECOND)
    return f"{sign}{whole}.{rest // 1000:06}".rjust(12)


# Where effects come from


@contextmanager
def origins() -> Iterator[None]:
    """While it lasts, remember for each effect of an engine which lines made it."""

    def remembering(original: Any, outbox: Outbox, *args: Any) -> None:
        before = len(outbox._effects)
        original(outbox, *args)
        made = outbox._effects[before:]
        if made:
            frames = _frames()
            for effect in made:
                _ORIGINS.setdefault(id(effect), (effect, frames))
                for later in getattr(effect, "then", ()):
                    _ORIGINS.setdefault(id(later), (later, frames))

    names = ("send", "reply", "announce", "perform", "load", "store")
    originals = {name: getattr(Outbox, name) for name in names}
    try:
        for name, original in originals.items():
            setattr(Outbox, name, _method(partial(remembering, original)))
        yield
    finally:
        for name, original in originals.items():
            setattr(Outbox, name, original)
        _ORIGINS.clear()


def _method(function: Any) -> Any:
    def method(self: Outbox, *args: Any) -> None:
        function(self, *args)

    return method


def _frames() -> tuple[str, ...]:
    """The lines of the engine that lead here, the innermost first."""
    frames: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(frames) < _FRAMES:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("sadik_vnode") and not module.endswith(".engine"):
            path = PurePath(frame.f_code.co_filename)
            place = "/".join(path.parts[path.parts.index("sadik_vnode") :])
            frames.append(f"{place}:{frame.f_lineno} in {frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(frames)


def origin_of(effect: object) -> tuple[str, ...]:
    """The lines that made ``effect``, the innermost first; empty where nobody watched."""
    known = _ORIGINS.get(id(effect))
    return () if known is None else known[1]
