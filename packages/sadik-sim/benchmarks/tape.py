"""What machines were given, kept so that it can be given to them again with a clock beside it.

A machine is a function of its inputs. So a world runs once, slowly, with everything that a
simulator does between two steps; its tape keeps what each machine was given, and then each is made
anew and given the same, with nothing in between. What that takes is the machine's own processor
time, as in a process of its own, and it can be taken as often as one likes.
"""

from __future__ import annotations

import copy
import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import Factory, define

from sadik_machine import MILLISECOND, SECOND, Codec, Effect, Input, Machine, NodeId
from sadik_members import MESSAGES as MEMBERS_MESSAGES
from sadik_members import ClusterSettings, Identity, Membership
from sadik_register import MESSAGES as REGISTER_MESSAGES
from sadik_sim.network import Delay
from sadik_sim.node import SimNode
from sadik_sim.study.watch import Watch
from sadik_sim.world import World
from sadik_vnode import MESSAGES as ENGINE_MESSAGES
from sadik_vnode import Engine, EngineConfig

__all__ = ["ENGINE", "MEMBERSHIP", "NEVER_NS", "Sent", "Taped", "TapedWorld", "codec_us"]

Rows = list[tuple[bytes, bytes | None]]

ENGINE, MEMBERSHIP = "engine", "membership"
NEVER_NS = 365 * 86_400 * SECOND
_DELAY_NS = MILLISECOND // 5
_CODEC = Codec(MEMBERS_MESSAGES, REGISTER_MESSAGES, ENGINE_MESSAGES)
_COLLECTOR_THRESHOLDS = (10_000, 20, 20)


@define(slots=True, eq=False)
class Taped:
    """One machine: how it was made, and what it was given between one mark and the next."""

    kind: str
    make: Callable[[], Machine]
    inputs: list[tuple[int, Input]] = Factory(list)
    effects: int = 0
    """How many it wanted, all in all; another time it must want as many."""
    marks: list[int] = Factory(list)

    def took(self, now: int, event: Input, effects: Sequence[Effect]) -> None:
        """Keep one step."""
        self.inputs.append((now, event))
        self.effects += len(effects)

    def seconds(self) -> list[float]:
        """Give it all again: processor seconds from the beginning to the first mark, and so on."""
        step, wanted, spent = self.make().step, 0, []
        parts = [
            self.inputs[begin:end] for begin, end in zip([0, *self.marks], self.marks, strict=False)
        ]
        rest = self.inputs[self.marks[-1] if self.marks else 0 :]
        with _collector_of_a_node():
            for part in parts:
                began = time.process_time()
                for now, event in part:
                    wanted += len(step(now, event))
                spent.append(time.process_time() - began)
        wanted += sum(len(step(now, event)) for now, event in rest)
        assert wanted == self.effects, f"{self.kind}: {wanted} effects, not {self.effects}"
        return spent


@contextmanager
def _collector_of_a_node() -> Iterator[None]:
    """Collect garbage as a node does: what was there before is left out."""
    thresholds, was_enabled = gc.get_threshold(), gc.isenabled()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)
    gc.enable()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        if not was_enabled:
            gc.disable()


class _TapedEngine(Engine):
    tape: Taped

    def step(self, now: int, event: Input) -> list[Effect]:
        effects = super().step(now, event)
        self.tape.took(now, event, effects)
        return effects

    def join(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        """As they are: what a request costs alone is counted, whatever shares its turn."""
        return effects


class _TapedMembership(Membership):
    tape: Taped

    def step(self, now: int, event: Input) -> list[Effect]:
        effects = super().step(now, event)
        self.tape.took(now, event, effects)
        return effects


@define(slots=True)
class Sent:
    """Messages of one kind, engine's or membership's, between two marks."""

    messages: list[object] = Factory(list)
    bytes: int = 0


class _Counting(Watch):
    """Judges nothing; keeps what was sent."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.sent = {ENGINE: Sent(), MEMBERSHIP: Sent()}
        self.batches: list[tuple[Rows, str]] = []

    def stored(self, node: SimNode, batch: Any) -> None:
        """A batch is on disk."""
        if batch:
            self.batches.append((list(batch), node.name))

    def sending(self, node: SimNode, to: NodeId, message: object) -> None:
        """A message leaves."""
        sent = self.sent[MEMBERSHIP if type(message) in _OF_MEMBERSHIP else ENGINE]
        sent.messages.append(message)
        sent.bytes += len(_CODEC.encode(message))


class TapedWorld(World):
    """A world without faults whose machines are taped.

    ``mark`` ends a part; ``sent`` has what was sent in each part, and ``seconds`` what each costs.
    """

    def __init__(
        self, nodes: int, *, config: EngineConfig, partitions: int, is_taping: bool = True
    ) -> None:
        super().__init__(0, ("a",) * nodes, partitions=partitions, config=config)
        self.is_taping = is_taping
        self.tapes: list[Taped] = []
        self.names: list[str] = []
        self.sent: dict[str, dict[str, Sent]] = {}
        self.stored: dict[str, list[tuple[Rows, str]]] = {}
        """By part: the rows of each store, and the name of the node whose it is."""
        self.took_ns: dict[str, int] = {}
        self._counting = _Counting(self)
        self._marked_ns = self.events.now
        self.checks = self._counting
        # All alike: reads are hedged where one is slower than usual, and none shall be.
        self.network.default_delay = Delay([_DELAY_NS])

    def make_engine(
        self,
        node_id: NodeId,
        instance: bytes,
        source: random.Random,
        rows: dict[bytes, bytes],
        spare: bytes | None,
    ) -> Engine:
        """One that is taped."""
        if not self.is_taping:
            return super().make_engine(node_id, instance, source, rows, spare)
        kept, seed, config = dict(rows), copy.copy(source), self.config
        engine = _TapedEngine(node_id, instance, config, source, rows, spare)
        engine.tape = Taped(
            ENGINE, lambda: Engine(node_id, instance, config, copy.copy(seed), kept, spare)
        )
        self.tapes.append(engine.tape)
        return engine

    def make_membership(
        self,
        identity: Identity,
        settings: ClusterSettings,
        rows: dict[bytes, bytes],
        source: random.Random,
    ) -> Membership:
        """One that is taped."""
        if not self.is_taping:
            return super().make_membership(identity, settings, rows, source)
        kept, seed = dict(rows), copy.copy(source)
        membership = _TapedMembership(identity, settings, rows, source)
        membership.tape = Taped(
            MEMBERSHIP, lambda: Membership(identity, settings, kept, copy.copy(seed))
        )
        self.tapes.append(membership.tape)
        return membership

    def start_taping(self, config: EngineConfig) -> None:
        """Start all nodes anew on their disks, with this configuration, and tape from here on."""
        for node in self.nodes.values():
            node.stop()
        self.is_taping, self.config = True, config
        self.tapes, self.names, self.sent, self.stored, self.took_ns = [], [], {}, {}, {}
        for node in self.nodes.values():
            node.start()

    def mark(self, name: str) -> None:
        """What happened since the last mark has this name."""
        self.names.append(name)
        for tape in self.tapes:
            tape.marks.append(len(tape.inputs))
        self.sent[name] = self._counting.sent
        self._counting.sent = {ENGINE: Sent(), MEMBERSHIP: Sent()}
        self.stored[name], self._counting.batches = self._counting.batches, []
        self.took_ns[name] = self.events.now - self._marked_ns
        self._marked_ns = self.events.now

    def seconds(self, kind: str) -> dict[str, float]:
        """Processor seconds of all machines of a kind together, by part."""
        total: dict[str, Any] = dict.fromkeys(self.names, 0.0)
        for tape in self.tapes:
            if tape.kind == kind:
                for name, spent in zip(self.names, tape.seconds(), strict=True):
                    total[name] += spent
        return total


def codec_us(messages: Sequence[object]) -> float:
    """Processor time to encode each of the messages once, and to decode it, in microseconds."""
    encode, decode = _CODEC.encode, _CODEC.decode
    began = time.process_time()
    for message in messages:
        decode(encode(message))
    return (time.process_time() - began) * 1e6


_OF_MEMBERSHIP = frozenset(MEMBERS_MESSAGES.classes.values())
