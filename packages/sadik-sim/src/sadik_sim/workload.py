"""Workloads: many clients over hot and cold keys, as data that is drawn before the run.

An operation says when, who, what, on which key, through which node and with which quorums. What
its context is follows from what its client was told in this run, so a workload from which
operations are dropped still makes sense. A client does one thing at a time: an operation that comes
while the one before it is unanswered is left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from attrs import Factory, define, frozen

from sadik_machine import MILLISECOND, SECOND
from sadik_sim.checks import value_id
from sadik_sim.history import Write
from sadik_sim.last_writer import LAST_BUCKET, LastWriter
from sadik_sim.node import SimNode
from sadik_sim.promises import Promises
from sadik_sim.violation import Violation
from sadik_sim.world import World
from sadik_vnode import EngineConfig
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import (
    Condition,
    Delete,
    Explain,
    Found,
    Get,
    GetMany,
    ListKeys,
    ListResult,
    ManyFound,
    ManyWritten,
    Missing,
    Outcome,
    Put,
    PutMany,
    Refusal,
    Refused,
    Unavailable,
    Written,
)

__all__ = ["BUCKET", "Clients", "Operation", "draw_operations", "key_of"]

BUCKET: Final = "sim"
"""The bucket of all operations; a blind write in it adds a sibling, or histories would not tell."""

TIMEOUT_NS: Final = 2 * SECOND
_ANSWER_GRACE_NS: Final = SECOND
_LARGE_BYTES: Final = 40_000
_PATIENCE_NS: Final = 2 * MILLISECOND
_LIST_KEYS_MAX: Final = 1000


@frozen
class Operation:
    """One operation; ``at_ns`` since the workload began, ``options`` for the request."""

    at_ns: int
    client: int
    kind: str
    """``get``, ``put`` (with the client's context), ``blind``, ``update`` (a get, then a put with
    its context), ``delete``, ``list``, ``explain``, ``leave`` (a get whose client goes away),
    ``session`` (a get of what the client has seen at least), ``create`` (a put where there is
    nothing), ``compare`` (a put where all is as it was read); in the bucket where the last writer
    wins ``last`` (a put) and ``look`` (a get)."""
    key: int
    entry: int
    options: tuple[tuple[str, object], ...] = ()
    is_large: bool = False


_KINDS = (
    *("get",) * 14, *("put",) * 12, *("blind",) * 4, *("update",) * 8,
    *("session",) * 4, *("last",) * 4, *("look",) * 3, "create", "create", "compare", "compare",
    "delete", "delete", "list", "list", "explain", "leave",
)  # fmt: skip
_READS = ("get", "leave", "session", "look")
_READ_OPTIONS: tuple[tuple[tuple[str, object], ...], ...] = (
    (), (), (("r", 1),), (("r", "all"),), (("sloppy", False),), (("pr", 2),),
)  # fmt: skip
_WRITE_OPTIONS: tuple[tuple[tuple[str, object], ...], ...] = (
    (), (), (), (("w", "all"),), (("sloppy", False),), (("pw", 2),), (("dw", 2),),
)  # fmt: skip
_W_ONE: tuple[tuple[str, object], ...] = (("w", 1),)
_TTLS_S = (1, 5, 60, None, None, None)


def draw_operations(
    source: random.Random,
    *,
    count: int,
    clients: int,
    keys: int,
    nodes: int,
    length_ns: int,
    may_ask_one: bool = True,
) -> list[Operation]:
    """``count`` operations over ``length_ns``; keys follow Zipf's law roughly: the first is hot.

    ``may_ask_one``: whether some writes ask for W=1, which a fault that loses data may lose.
    """
    weights = [keys * 1000 // (rank + 1) for rank in range(keys)]
    total = sum(weights)
    write_options = (*_WRITE_OPTIONS, _W_ONE) if may_ask_one else _WRITE_OPTIONS
    operations = []
    for _ in range(count):
        dice = source.randrange(total)
        key = 0
        while dice >= weights[key]:
            dice -= weights[key]
            key += 1
        kind = source.choice(_KINDS)
        options = source.choice(_READ_OPTIONS if kind in _READS else write_options)
        if kind == "last" and (ttl_s := source.choice(_TTLS_S)) is not None:
            options = (*options, ("ttl_s", ttl_s))
        operations.append(
            Operation(
                source.randrange(length_ns),
                source.randrange(clients),
                kind,
                key,
                source.randrange(nodes),
                options,
                source.randrange(60) == 0,
            )
        )
    operations.sort(key=lambda operation: operation.at_ns)
    return operations


_COMPANY: Final = 3
"""So many keys are read and written together with another."""


def key_of(number: int) -> bytes:
    """The key of a number."""
    return b"key-%d" % number


@define(slots=True, eq=False)
class _Client:
    """One client: the newest context it was given of each key, and what that covers; the
    entity tag that a read showed it last; and where it wrote last.
    """

    number: int
    contexts: dict[bytes, tuple[str, tuple[bytes, ...]]] = Factory(dict)
    etags: dict[bytes, str] = Factory(dict)
    wrote: dict[bytes, tuple[SimNode, int]] = Factory(dict)
    """Through which node it last wrote a key, and when that was acknowledged."""
    operation: int = 0
    is_busy: bool = False


class Clients:
    """Carries out operations in a world and keeps their history."""

    def __init__(self, world: World, clients: int) -> None:
        self.world = world
        self.writes: list[Write] = []
        self.counts: dict[str, int] = {}
        """Answers by operation and outcome."""
        self.latencies_ns: list[tuple[str, int]] = []
        self.on_answer: Callable[[SimNode, str, str, int], None] | None = None
        """Called with (entry node, operation, outcome, nanoseconds) for every answer."""
        self._clients = [_Client(number) for number in range(clients)]
        self._promises = Promises(world)
        self.last_writer = LastWriter(world)
        self._refused: dict[bytes, None] = {}
        self._splits = world.config.message_bytes_max < EngineConfig().message_bytes_max
        self._in_parts: dict[bytes, None] = {}
        """Keys whose records may travel in parts: a replica that has some of the parts shows
        a version beside what replaced it, until the last part has come."""
        self._lasts = 0
        self._written: dict[bytes, bytes] = {}
        self._saw: dict[bytes, tuple[bytes, ...]] = {}

    def carry_out(self, operation: Operation) -> None:
        """Do one operation now, if its client is free and its node runs."""
        client = self._clients[operation.client % len(self._clients)]
        nodes = list(self.world.nodes.values())
        node = nodes[operation.entry % len(nodes)]
        if client.is_busy or not self._takes(node):
            # One that is not ready refuses requests before they come to its engine.
            self._count(operation.kind, "left out")
            return
        key = key_of(operation.key)
        options: dict[str, Any] = dict(operation.options)
        match operation.kind:
            case "get":
                self._get(client, node, key, options, _ignore)
            case "leave":
                self._get(client, node, key, options, _ignore, leaves=True)
            case "session":
                self._session(client, node, key, options)
            case "look":
                self._look(client, node, key, options)
            case "last":
                self._put_last(client, node, key, options)
            case "create":
                client.contexts.pop(key, None)
                options |= {"condition": Condition(if_none_match=("*",)), "sloppy": False}
                self._put(client, node, key, options, operation.is_large)
            case "compare":
                if key in client.etags:
                    options["condition"] = Condition(if_match=(client.etags[key],))
                    self._put(client, node, key, options, operation.is_large)
            case "list":
                self._list(client, node)
            case "explain":
                self._ask(client, node, "explain", Explain(BUCKET, key, TIMEOUT_NS), _ignore)
            case "update":

                def then(_result: object) -> None:
                    if not client.is_busy and self._takes(node):
                        self._put(client, node, key, options, operation.is_large)

                self._get(client, node, key, {}, then)
            case "put":
                self._put(client, node, key, options, operation.is_large)
            case "blind":
                client.contexts.pop(key, None)
                self._put(client, node, key, options, operation.is_large)
            case _:
                self._delete(client, node, key, options)

    @staticmethod
    def _takes(node: SimNode) -> bool:
        """Whether a client can send ``node`` a request; one that is stopped seems to take it."""
        return node.is_running and node.is_ready

    # Requests

    def _ask(
        self,
        client: _Client,
        node: SimNode,
        name: str,
        request: object,
        then: Callable[[Any], None],
        *,
        leaves: bool = False,
    ) -> None:
        world = self.world
        client.is_busy = True
        client.operation += 1
        number, boot, began = client.operation, node.boot, world.events.now

        def done(result: object) -> None:
            if client.operation != number:
                return  # the client had given up
            client.is_busy = False
            outcome = _outcome(result)
            self._count(name, outcome)
            if self.on_answer is not None:
                self.on_answer(node, name, outcome, world.events.now - began)
            then(result)

        def give_up() -> None:
            if client.operation != number or not client.is_busy:
                return
            if node.boot == boot and node.is_running and not node.is_paused:
                was_stopped = node.paused_until_ns + TIMEOUT_NS + _ANSWER_GRACE_NS
                if world.events.now >= was_stopped:
                    raise Violation(
                        "every request ends by its deadline", f"{node.name} never answered {name}"
                    )
            client.is_busy = False
            client.operation += 1
            self._count(name, "no answer")

        def leave() -> None:
            if client.operation == number and client.is_busy:
                client.is_busy = False
                client.operation += 1
                self._count(name, "left alone")
                if node.boot == boot:
                    node.cancel(request_id)

        world.events.after(TIMEOUT_NS + _ANSWER_GRACE_NS, give_up)
        request_id = node.request(request, done)
        if leaves:
            world.events.after(_PATIENCE_NS, leave)

    def _get(
        self,
        client: _Client,
        node: SimNode,
        key: bytes,
        options: dict[str, Any],
        then: Callable[[Any], None],
        *,
        leaves: bool = False,
    ) -> None:
        """Every other one comes in the company of others, as in a batch, and all are judged."""
        is_alone = "at_least" in options or client.operation % 2 == 0
        others = [] if is_alone else [key_of(n) for n in range(_COMPANY) if key_of(n) != key]
        keys = [key, *others]
        due = [self._promises.due(each, options) for each in keys]

        def done(result: Any) -> None:
            results = result.results if isinstance(result, ManyFound) else [result] * len(keys)
            for each, its_due, its_result in zip(keys, due, results, strict=True):
                if isinstance(its_result, Found | Missing):
                    self._promises.read(Key.of(BUCKET, each), options, its_due, its_result)
                self._took_in(client, each, its_result)
            then(results[0])

        gets = [Get(BUCKET, each, TIMEOUT_NS, **options) for each in keys]
        name = "session" if "at_least" in options else "get"
        request = gets[0] if is_alone else GetMany(gets)
        self._ask(client, node, name, request, done, leaves=leaves)

    def _took_in(self, client: _Client, key: bytes, result: Any) -> None:
        """Remember what a client was shown, for what it does next."""
        if isinstance(result, Found):
            shown = tuple(value_id(version.value) for version in result.versions)
            self.check_shown(key, shown)
            client.contexts[key] = (result.context, shown)
            client.etags[key] = result.etag
        elif isinstance(result, Missing) and result.context is not None:
            client.contexts[key] = (result.context, ())

    def _session(self, client: _Client, node: SimNode, key: bytes, options: dict[str, Any]) -> None:
        """Read, and find all that the client has seen, or nothing."""
        token, _ = client.contexts.get(key, (None, ()))

        def then(result: Any) -> None:
            if token is not None:
                self._promises.in_session(Key.of(BUCKET, key), token, result)
                self._count_crossing(client, node, key, result)

        self._get(client, node, key, {**options, "at_least": token}, then)

    def _count_crossing(self, client: _Client, node: SimNode, key: bytes, result: Any) -> None:
        """Note that a session was served elsewhere than where it wrote, a partition between."""
        writer, since = client.wrote.get(key, (node, 0))
        is_served = isinstance(result, Found | Missing)
        if (
            is_served
            and writer is not node
            and self.world.network.was_cut(writer.id, node.id, since)
        ):
            self.world.sometimes("session read its write beyond a partition")

    def judge_sessions(self) -> None:
        """When all is quiet: every client finds all that it has seen, through any node."""
        world = self.world
        if world.checks.has_rolled_back:
            return
        for client in self._clients:
            for index, (key, (token, _)) in enumerate(client.contexts.items()):
                node = world.running[(client.number + index) % len(world.running)]
                result = world.answer(node, Get(BUCKET, key, TIMEOUT_NS, r=1, at_least=token))
                self._promises.in_session(Key.of(BUCKET, key), token, result)
                if isinstance(result, Unavailable):
                    raise Violation(
                        "sessions never go backwards",
                        f"{node.name} does not find what client {client.number} saw of {key!r}",
                        key,
                    )

    def _look(self, client: _Client, node: SimNode, key: bytes, options: dict[str, Any]) -> None:
        due = self.last_writer.due(key, options)
        request = Get(LAST_BUCKET, key, TIMEOUT_NS, **options)
        self._ask(client, node, "look", request, lambda r: self.last_writer.read(key, due, r))

    def _put_last(
        self, client: _Client, node: SimNode, key: bytes, options: dict[str, Any]
    ) -> None:
        self._lasts += 1
        request = self.last_writer.put(key, b"last.%d" % self._lasts, TIMEOUT_NS, options)
        self._ask(client, node, "last", request, lambda r: self.last_writer.wrote(key, options, r))

    def _list(self, client: _Client, node: SimNode) -> None:
        due = self._promises.due_in_list()

        def done(result: Any) -> None:
            if isinstance(result, ListResult):
                self._promises.listed(due, result)

        request = ListKeys(BUCKET, b"", None, _LIST_KEYS_MAX, TIMEOUT_NS)
        self._ask(client, node, "list", request, done)

    def _put(
        self,
        client: _Client,
        node: SimNode,
        key: bytes,
        options: dict[str, Any],
        is_large: bool,
    ) -> None:
        """Every other one without a condition comes in the company of others, as in a batch, one of
        the same key among them; and all are judged.
        """
        is_alone = "condition" in options or client.operation % 2 == 0
        others = [] if is_alone else [key_of(number) for number in range(_COMPANY)]
        begun = [
            self._one_put(client, node, each, options, is_large and not at)
            for at, each in enumerate([key, *others])
        ]

        def done(result: Any) -> None:
            is_each = isinstance(result, ManyWritten)
            results = result.results if is_each else [result] * len(begun)
            for (_, took), its_result in zip(begun, results, strict=True):
                took(its_result)

        puts = [put for put, _ in begun]
        self._ask(client, node, "put", puts[0] if is_alone else PutMany(puts), done)

    def _one_put(
        self,
        client: _Client,
        node: SimNode,
        key: bytes,
        options: dict[str, Any],
        is_large: bool,
    ) -> tuple[Put, Callable[[Any], None]]:
        """A put of a new value, and what takes its result."""
        context, saw = client.contexts.get(key, (None, ()))
        name = b"%d.%d" % (client.number, len(self.writes))
        write = Write(key, name, saw)
        self.writes.append(write)
        self._written[name] = key
        if is_large or self._splits:
            self._in_parts[key] = None
        self._saw[name] = saw
        value = name + b" " + b"x" * _LARGE_BYTES if is_large else name
        request = Put(BUCKET, key, value, TIMEOUT_NS, context=context, **options)
        condition: Condition | None = options.get("condition")
        is_creation = condition is not None and condition.if_none_match is not None
        was_there = is_creation and self._promises.is_there(key)

        def done(result: Any) -> None:
            if isinstance(result, Refused) and result.refusal is Refusal.PRECONDITION_FAILED:
                self.world.sometimes("condition did not hold")
            if isinstance(result, Written):
                if was_there and self._promises.is_there(key):
                    raise Violation(
                        "a condition is judged by what was acknowledged",
                        f"{name!r} was created where a value was",
                        key,
                        self.world.checks.dots_of([name]),
                    )
                self._promises.wrote(Key.of(BUCKET, key), name, context, options, result)
                client.wrote[key] = (node, self.world.events.now)
            self._wrote(client, write, result)

        return request, done

    def _delete(self, client: _Client, node: SimNode, key: bytes, options: dict[str, Any]) -> None:
        context, saw = client.contexts.get(key, (None, ()))
        if context is None:
            return  # a blind delete covers what its coordinator saw, which a history cannot tell
        write = Write(key, None, saw)
        self.writes.append(write)
        self._promises.deletes(key)
        request = Delete(BUCKET, key, TIMEOUT_NS, context=context, **options)
        self._ask(client, node, "delete", request, lambda r: self._wrote(client, write, r))

    def _wrote(self, client: _Client, write: Write, result: Any) -> None:
        write.outcome = _outcome(result)
        if isinstance(result, Written):
            covered = write.saw if write.value is None else (*write.saw, write.value)
            client.contexts[write.key] = (result.context, covered)
        elif write.outcome == "refused" and write.value is not None:
            self._refused[write.value] = None

    # Checks of what clients are shown

    def check_shown(self, key: bytes, shown: tuple[bytes, ...]) -> None:
        """A read shows nothing that nobody wrote to the key, nothing that was refused, and never
        a value together with what it replaced.
        """
        for name in shown:
            dots = self.world.checks.dots_of([name])
            if self._written.get(name) != key:
                raise Violation("nothing from nowhere", f"{key!r} shows {name!r}", key, dots)
            if name in self._refused:
                raise Violation("not applied is never seen", f"{key!r} shows {name!r}", key, dots)
            if len(shown) > 1 and key not in self._in_parts:
                beside = [saw for saw in self._saw[name] if saw in shown]
                if beside:
                    raise Violation(
                        "nothing covered comes back",
                        f"{key!r} shows {beside[0]!r} beside {name!r}, which replaced it",
                        key,
                        self.world.checks.dots_of([name, *beside]),
                    )

    def _count(self, name: str, outcome: str) -> None:
        label = f"{name} {outcome}"
        self.counts[label] = self.counts.get(label, 0) + 1


def _ignore(_result: object) -> None:
    """Nothing follows from the answer."""


def _outcome(result: object) -> str:
    if isinstance(result, ManyFound | ManyWritten):
        return _outcome(result.results[0])
    if isinstance(result, Written):
        return "acked"
    if isinstance(result, Missing):
        return "nothing"
    if isinstance(result, Refused):
        return "refused"
    if isinstance(result, Unavailable):
        return "refused" if result.outcome is Outcome.NOT_APPLIED else "indeterminate"
    return "ok"
