"""A world without I/O for the client's core: nodes that do what a script says, and virtual time."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from sadik_client import (
    Broken,
    ClientCore,
    Enter,
    Entered,
    Event,
    Exchange,
    Open,
    Opened,
    Receive,
    Received,
    Resolve,
    Resolved,
    Secret,
    Settings,
    Sleep,
    Steps,
)
from sadik_client.actions import Action, Outcome

__all__ = ["SECOND", "ScriptedLink", "Seen", "World", "answer", "json_answer", "problem"]

SECOND = 1_000_000_000
_T = TypeVar("_T")


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """One HTTP answer; ``sadik_context="x"`` becomes the field Sadik-Context."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if status not in (204, 304):
        fields["content-length"] = str(len(body))
    head = f"HTTP/1.1 {status} Some\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return head.encode() + b"\r\n" + body


def json_answer(document: object, status: int = 200, **headers: str) -> bytes:
    """One HTTP answer that is JSON."""
    kind = "application/json"
    return answer(status, json.dumps(document).encode(), content_type=kind, **headers)


def problem(status: int, title: str = "a fault", retry_after: str = "", **more: object) -> bytes:
    """One problem document."""
    headers = {"retry_after": retry_after} if retry_after else {}
    body = json.dumps({"title": title, "status": status, **more}).encode()
    return answer(status, body, content_type="application/problem+json", **headers)


class Seen(NamedTuple):
    """A request that reached a node."""

    at_ns: int
    host: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedLink:
    """A connection of the world."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_closed = False
        self.stale = False
        self.broken: Broken | None = None
        self.waiting: deque[Outcome] = deque()

    def close(self) -> None:
        self.is_closed = True

    def is_stale(self) -> bool:
        return self.stale


# What a node does with a request: answer, or break in some way. None: it says nothing.
Step = bytes | Broken | list[Outcome] | None | Callable[[Seen], bytes]


class World:
    """Nodes by host name. What a script does not say is answered by ``default``."""

    def __init__(self, *hosts: str, settings: Settings | None = None, **more: Any) -> None:
        self.now_ns = 1000 * SECOND
        self.pace_ns = SECOND // 1000
        self.seen: list[Seen] = []
        self.links: list[ScriptedLink] = []
        self.down: set[str] = set()
        self.scripts: dict[str, deque[Step]] = {}
        self.default: Callable[[Seen], Step] = lambda seen: (
            answer(200, b"v", sadik_context="c")
            if seen.method == "GET"
            else answer(204, sadik_context="c")
        )
        self.core = ClientCore(
            [f"http://{host}" for host in hosts],
            Settings(ring=False) if settings is None else settings,
            more.get("token") and Secret(more["token"]),
            more.get("resolver"),
            random.Random(1),
        )

    def script(self, host: str, *steps: Step) -> None:
        """What a node does next, request by request."""
        self.scripts.setdefault(host, deque()).extend(steps)

    def run(self, steps: Steps[_T]) -> _T:
        """Perform an operation to its end."""
        event: Event | None = None
        while True:
            try:
                action = steps.send(event)  # type: ignore[arg-type]
            except StopIteration as end:
                result: _T = end.value
                return result
            event = self.after(action)

    def after(self, action: Action) -> Event:
        """Do one action; the event that ends it."""
        outcome = self.perform(action)
        return Event(self.now_ns, outcome)

    def perform(self, action: Action) -> Outcome:
        """Do one action."""
        match action:
            case Enter():
                return Entered(self.now_ns)
            case Open(address, deadline_ns):
                assert deadline_ns > self.now_ns
                if address.host in self.down:
                    return Broken("connection refused", nothing_sent=True)
                link = ScriptedLink(address.host)
                self.links.append(link)
                return Opened(link)
            case Exchange(link, data, deadline_ns):
                assert isinstance(link, ScriptedLink)
                assert not link.is_closed, "a closed connection was used"
                link.waiting = deque(self._take(link.host, data))
                return self._next(link, deadline_ns)
            case Receive(link, deadline_ns):
                assert isinstance(link, ScriptedLink)
                return self._next(link, deadline_ns)
            case Sleep(until_ns):
                self.now_ns = max(self.now_ns, until_ns)
                return None
            case Resolve(resolver, entry):
                return Resolved(resolver(entry))

    @property
    def open_links(self) -> list[ScriptedLink]:
        """Connections that are not closed."""
        return [link for link in self.links if not link.is_closed]

    def asked(self) -> list[str]:
        """The hosts that were asked, in order."""
        return [seen.host for seen in self.seen]

    def _take(self, host: str, data: bytes) -> list[Outcome]:
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(body) == int(headers.get("content-length", "0"))
        seen = Seen(self.now_ns, host, method, target, headers, body)
        script = self.scripts.get(host)
        step = script.popleft() if script else self.default(seen)
        if isinstance(step, Broken) and step.nothing_sent:
            return [step]
        self.seen.append(seen)
        if callable(step):
            step = step(seen)
        match step:
            case bytes():
                return [Received(step)]
            case None:
                return []
            case list():
                return step
            case _:
                return [step]

    def _next(self, link: ScriptedLink, deadline_ns: int) -> Outcome:
        if link.waiting:
            self.now_ns += self.pace_ns
            outcome = link.waiting.popleft()
            link.broken = outcome if isinstance(outcome, Broken) else None
            return outcome
        if link.broken is not None:
            return link.broken
        self.now_ns = max(self.now_ns, deadline_ns)
        return Broken("no answer in time", timed_out=True)
