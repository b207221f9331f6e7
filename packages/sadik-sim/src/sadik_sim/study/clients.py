"""Measuring clients: every write has a number, and every read knows what it should have seen.

What was acknowledged lies in a ledger: per key the writes in the order in which their clients were
told. A read that begins then is *fresh* if its answer reflects the newest of them: it shows that
write, or what replaced it. That is told by causality, not by clocks: the context of the
answer covers the write's dot. Where it does not, the answer is as many versions *behind* as
writes were acknowledged after the newest one that it does cover.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from itertools import accumulate

from attrs import Factory, define, frozen

from sadik_causality import EMPTY, Context, Dot
from sadik_machine import SECOND, NodeId
from sadik_sim.node import SimNode
from sadik_sim.study.spec import Setting, Study, Workload
from sadik_sim.study.watch import Watch
from sadik_sim.world import World
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Found, Get, Missing, Outcome, Put, Refused, Unavailable, Written

__all__ = ["BUCKET", "Answer", "Clients", "Operation", "draw_operations", "fill", "key_of"]

BUCKET = "study"
_GRACE_NS = SECOND
_FILL_NS = 60 * SECOND
_BEHIND_MAX = 100


@frozen
class Operation:
    """One operation, drawn before the run. ``pick`` chooses among the nodes of its site."""

    at_ns: int
    site: str
    pick: int
    is_read: bool
    key: int
    probes: tuple[tuple[int, str, int], ...] = ()
    """After an acknowledged write: (nanoseconds later, site, pick) of each read."""


@define(slots=True)
class Answer:
    """One answered, or unanswered, request. Times are nanoseconds; ``began_ns`` since the start.

    ``outcome`` is ``ok``, ``refused`` (nothing was applied), ``unknown``, ``silent`` (no answer at
    all) or ``closed`` (no node of the site took it). Of an ok read: ``age_ns`` is the time from the
    newest acknowledgement of its key to its own begin, None before the first write.
    """

    is_read: bool
    site: str
    began_ns: int
    took_ns: int
    outcome: str
    age_ns: int | None = None
    behind: int = 0
    siblings: int = 0


def draw_operations(source: random.Random, study: Study) -> list[Operation]:
    """The operations of a run. The same for every setting, so that settings can be compared."""
    workload = study.workload
    sites = [site.name for site in study.sites for _ in range(site.share)]
    bounds = list(accumulate(workload.weights))
    count = workload.per_second * study.length_ns // SECOND
    operations = []
    for _ in range(count):
        at_ns = source.randrange(study.length_ns)
        site, pick = source.choice(sites), source.randrange(1 << 16)
        is_read = source.randrange(100) < workload.read_percent
        key = bisect_right(bounds, source.randrange(bounds[-1]))
        probes = [
            (source.randrange(workload.probe_ns), source.choice(sites), source.randrange(1 << 16))
            for _ in range(0 if is_read else workload.probes)
        ]
        operations.append(Operation(at_ns, site, pick, is_read, key, tuple(probes)))
    operations.sort(key=lambda operation: operation.at_ns)
    return operations


def fill(world: World, workload: Workload) -> object | None:
    """Write every key once, on all its owners: no measured write is the first of its key.

    The first answer that is no success, or None.
    """
    written: list[object] = []
    node = world.running[0]
    value = b"0 ".ljust(workload.value_bytes, b"x")
    for key in range(workload.keys):
        node.request(Put(BUCKET, key_of(key), value, _FILL_NS, w="all"), written.append)
    complete = world.wait_for(lambda: len(written) == workload.keys, 2 * _FILL_NS)
    assert complete, "every write is answered by its deadline"
    world.run(SECOND)
    return next((result for result in written if not isinstance(result, Written)), None)


def key_of(number: int) -> bytes:
    """The key of a number."""
    return b"key-%d" % number


@define(slots=True, eq=False)
class _Ledger:
    """The acknowledged writes of one key: when their clients were told, and their dots."""

    acked_ns: list[int] = Factory(list)
    dots: list[Dot] = Factory(list)

    def behind(self, count: int, context: Context) -> int:
        """How many of the first ``count`` writes came after the newest that is covered."""
        for index in range(count - 1, max(count - 1 - _BEHIND_MAX, -1), -1):
            if context.covers(self.dots[index]):
                return count - 1 - index
        return min(count, _BEHIND_MAX)


class Clients:
    """Carries out operations in a world and keeps what was answered."""

    def __init__(self, world: World, watch: Watch, workload: Workload, setting: Setting) -> None:
        self.world = world
        self.answers: list[Answer] = []
        self._watch = watch
        self._workload = workload
        self._setting = setting
        self._began = world.events.now
        self._ledgers: dict[bytes, _Ledger] = {}
        self._writes = 0

    def carry_out(self, operation: Operation) -> None:
        """Do one operation now."""
        key = key_of(operation.key)
        node = self._node(operation.site, operation.pick, key)
        if node is None:
            self._add(operation.is_read, operation.site, self.world.events.now, "closed")
        elif operation.is_read:
            self._read(node, key, None)
        elif self._workload.updates:
            self._read(node, key, partial(self._update, node, key, operation))
        else:
            self._write(node, key, None, operation)

    def _node(self, site: str, pick: int, key: bytes) -> SimNode | None:
        """A node of the site that takes requests; an owner of the key where clients know it."""
        running = [n for n in self.world.nodes.values() if n.is_running and n.is_ready]
        nodes = [node for node in running if node.site == site]
        if nodes and self._workload.owner_clients:
            owners = self.owners(nodes[0], key)
            nodes = [node for node in nodes if node.id in owners] or nodes
        return nodes[pick % len(nodes)] if nodes else None

    @staticmethod
    def owners(node: SimNode, key: bytes) -> tuple[NodeId, ...]:
        """The owners of a key as a node knows them."""
        assert node.membership is not None
        ring = node.membership.ring
        assert ring is not None, "a node that is ready has a ring"
        return ring.registers[Key(BUCKET, key).token >> (65 - ring.partitions.bit_length())].owners

    # Requests

    def _read(self, node: SimNode, key: bytes, then: Callable[[object], None] | None) -> None:
        """Read; ``then`` is told the answer, or None where there was none."""
        ledger = self._ledgers.setdefault(key, _Ledger())
        known = len(ledger.dots)
        began = self.world.events.now
        age_ns = began - ledger.acked_ns[-1] if known else None

        def done(result: object) -> None:
            answer = self._add(True, node.site, began, _outcome(result))
            if isinstance(result, Found | Missing):
                answer.age_ns = age_ns
                answer.behind = ledger.behind(known, self._context(key, result.context))
                answer.siblings = len(result.versions) if isinstance(result, Found) else 0
            if then is not None:
                then(result)

        setting = self._setting
        request = Get(
            BUCKET, key, self._workload.timeout_ns,
            r=setting.r, pr=setting.pr, sloppy=not setting.strict,
        )  # fmt: skip
        self._ask(node, request, done)

    def _update(self, node: SimNode, key: bytes, operation: Operation, read: object) -> None:
        """Write with the context of a read. Who cannot read cannot update, and that counts."""
        if isinstance(read, Found | Missing) and node.is_running:
            self._write(node, key, read.context, operation)
        else:
            outcome = "closed" if not node.is_running else "refused"
            self._add(False, node.site, self.world.events.now, outcome)

    def _write(self, node: SimNode, key: bytes, context: str | None, operation: Operation) -> None:
        self._writes += 1
        value = (b"%d " % self._writes).ljust(self._workload.value_bytes, b"x")
        began = self.world.events.now

        def done(result: object) -> None:
            self._add(False, node.site, began, _outcome(result))
            if isinstance(result, Written):
                self._acked(key, result)
                for offset_ns, site, pick in operation.probes:
                    self.world.events.after(offset_ns, self._probe, site, pick, key)

        setting = self._setting
        request = Put(
            BUCKET, key, value, self._workload.timeout_ns, context=context,
            w=setting.w, pw=setting.pw, sloppy=not setting.strict,
        )  # fmt: skip
        self._ask(node, request, done)

    def _probe(self, site: str, pick: int, key: bytes) -> None:
        node = self._node(site, pick, key)
        if node is None:
            self._add(True, site, self.world.events.now, "closed")
        else:
            self._read(node, key, None)

    def _ask(self, node: SimNode, request: object, then: Callable[[object], None]) -> None:
        is_waiting = True

        def done(result: object) -> None:
            nonlocal is_waiting
            if is_waiting:
                is_waiting = False
                then(result)

        def give_up() -> None:
            nonlocal is_waiting
            if is_waiting:
                is_waiting = False
                then(None)

        self.world.events.after(self._workload.timeout_ns + _GRACE_NS, give_up)
        node.request(request, done)

    # What was answered

    def _add(self, is_read: bool, site: str, began: int, outcome: str) -> Answer:
        took = self.world.events.now - began
        answer = Answer(is_read, site, began - self._began, took, outcome)
        self.answers.append(answer)
        return answer

    def _context(self, key: bytes, token: str | None) -> Context:
        sealer = self._watch.sealer
        assert sealer is not None, "the nodes have a common key"
        return EMPTY if token is None else sealer.open(BUCKET, key, token)

    def _acked(self, key: bytes, result: Written) -> None:
        """Note the new write's dot: the newest that its coordinator made of this key.

        One whose coordinator has started anew since, under another instance, is left out.
        """
        context = self._context(key, result.context)
        instance = self.world.nodes[result.coordinator].instance
        actors = [actor for actor in context.actors() if actor.startswith(instance)]
        if actors:
            ledger = self._ledgers.setdefault(key, _Ledger())
            ledger.acked_ns.append(self.world.events.now)
            ledger.dots.append((actors[-1], context.counter(actors[-1])))


def _outcome(result: object) -> str:
    if result is None:
        return "silent"
    if isinstance(result, Found | Missing | Written):
        return "ok"
    if isinstance(result, Refused):
        return "refused"
    assert isinstance(result, Unavailable)
    return "refused" if result.outcome is Outcome.NOT_APPLIED else "unknown"
