"""The answering side of reaping: what this node holds, told from disk, and takes away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sadik_causality import Container, Context
from sadik_machine import FailureReason, NodeId
from sadik_members import register_to_plain
from sadik_vnode.anti_entropy.answering import are_owners
from sadik_vnode.desk import Desk
from sadik_vnode.due import is_gone
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import Key, is_name
from sadik_vnode.messages import Status
from sadik_vnode.reaping.messages import (
    CoversAsked,
    CoversTold,
    GoneAsked,
    GoneItem,
    GoneTold,
    Reap,
    Reaped,
    StatesAsked,
    StatesTold,
)
from sadik_vnode.record import Record
from sadik_vnode.ringchange.messages import RegistersTold

__all__ = ["ITEMS_MAX", "Answering", "item_of", "merge_context", "take_away_all"]

ITEMS_MAX: Final = 256
"""Records that one message asks about."""


def item_of(key: Key, epoch: int, record: Record) -> GoneItem:
    """A record that is gone, as a message tells it."""
    container = record.container
    return key.bucket, key.key, epoch, tuple(container.live_dots()), container.context.to_plain()


def _parsed(items: Sequence[GoneItem]) -> list[tuple[Key, int, Container[None]]]:
    """Keys, epochs and what is told of the records; ValueError where a message is malformed."""
    found = []
    for bucket, name, epoch, dots, context in items[:ITEMS_MAX]:
        if not is_name(bucket, name):
            raise ValueError("not a name")
        told = Container.checked(dict.fromkeys(dots), Context.from_plain(context))
        found.append((Key(bucket, name), epoch, told))
    return found


def merge_context(desk: Desk, key: Key, told: Container[None]) -> None:
    """Know what another owner knows of a record that both hold, of the same live versions."""

    def make(before: Record) -> Change | None:
        mine = before.container
        if not mine.same_live(told) or mine.context.dominates(told.context):
            return None
        context = mine.context.join(told.context)
        return Change(Record(Container(mine.versions, context), before.own_actor), [], ())

    desk.replica.update(key, make, None, lambda _: None)


def take_away_all(
    desk: Desk,
    peer: NodeId,
    items: Sequence[tuple[Key, int, Container[None]]],
    done: Callable[[bool], None],
) -> None:
    """Take away the records that are still as they are told; ``done`` gets whether none failed.

    ``peer`` is the owner that found the proof, this node itself or another.
    """
    left = len(items) + 1
    is_well = True

    def one_done() -> None:
        nonlocal left
        left -= 1
        if not left:
            done(is_well)

    def failed(_reason: FailureReason) -> None:
        nonlocal is_well
        is_well = False
        one_done()

    for key, epoch, told in items:

        def may_go(record: Record, key: Key = key, epoch: int = epoch, told: Any = told) -> bool:
            container = record.container
            goes = (
                container.same_live(told)
                and container.context == told.context
                and is_gone(container, desk.wall_ns)
                and are_owners(desk, desk.placement.partition(key), epoch, peer)
            )
            desk.counters.reaped += goes
            return goes

        desk.replica.take_away(key, may_go, one_done, failed)
    one_done()


class Answering:
    """Answers other nodes. All of it is told from disk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._serve: dict[type, Callable[[NodeId, Any], None]] = {
            GoneAsked: self.gone,
            Reap: self.reap,
            CoversAsked: self.covers,
            StatesAsked: self.states,
        }

    def serve(self, sender: NodeId, message: object) -> bool:
        """Answer a question of another node; whether it was one."""
        serve = self._serve.get(type(message))
        if serve is None:
            return False
        try:
            serve(sender, message)
        except ValueError:
            self._desk.counters.malformed_messages += 1
        return True

    @property
    def _may_tell(self) -> bool:
        desk = self._desk
        return desk.placement.ring is not None and not desk.generations.is_behind

    def gone(self, sender: NodeId, message: GoneAsked) -> None:
        """Tell which records are the same here, and gone."""
        desk = self._desk
        # The generation at which the load is asked for: what it finds was here by then.
        generation, life = desk.generations.generation, desk.generations.life

        def refuse(status: Status) -> None:
            desk.outbox.send(sender, GoneTold(message.request, status, generation, life, ()))

        if not self._may_tell:
            refuse(Status.NOT_READY)
            return
        asked = _parsed(message.items)

        def read(records: list[Record]) -> None:
            verdicts = []
            wider: list[tuple[int, object]] = []
            for index, ((key, epoch, told), record) in enumerate(zip(asked, records, strict=True)):
                mine = record.container
                partition = desk.placement.partition(key)
                is_same = (
                    mine.same_live(told)
                    and is_gone(mine, desk.wall_ns)
                    and are_owners(desk, partition, epoch, sender)
                )
                verdicts.append(is_same and mine.context == told.context)
                if is_same and not verdicts[-1]:
                    if not told.context.dominates(mine.context):
                        wider.append((index, mine.context.to_plain()))
                    merge_context(desk, key, told)
            desk.outbox.send(
                sender,
                GoneTold(
                    message.request, Status.OK, generation, life, tuple(verdicts), tuple(wider)
                ),
            )

        desk.replica.read_many([key for key, _, _ in asked], read, lambda _: refuse(Status.FAILED))

    def reap(self, sender: NodeId, message: Reap) -> None:
        """Take away what is proven, if this node is what it was when it said so."""
        desk, generations = self._desk, self._desk.generations

        def tell(status: Status) -> None:
            desk.outbox.send(sender, Reaped(message.request, status))

        generations.heard(message.generation)
        if (
            not self._may_tell
            or message.life != generations.life
            or generations.generation < message.generation
        ):
            tell(Status.NOT_READY)
            return
        take_away_all(
            desk,
            sender,
            _parsed(message.items),
            lambda is_well: tell(Status.OK if is_well else Status.FAILED),
        )

    def covers(self, sender: NodeId, message: CoversAsked) -> None:
        """Tell which contexts of records that this node owns are covered here."""
        desk = self._desk

        def refuse(status: Status) -> None:
            desk.outbox.send(sender, CoversTold(message.request, status, ()))

        if not self._may_tell:
            refuse(Status.NOT_READY)
            return
        asked: list[tuple[Key, int, Context]] = []
        for bucket, name, epoch, context in message.items[:ITEMS_MAX]:
            if not is_name(bucket, name):
                raise ValueError("not a name")
            asked.append((Key(bucket, name), epoch, Context.from_plain(context)))

        def read(records: list[Record]) -> None:
            verdicts = []
            newer: dict[int, tuple[object, ...]] = {}
            for (key, epoch, context), record in zip(asked, records, strict=True):
                partition = desk.placement.partition(key)
                register = desk.placement.register(partition)
                if register.epoch > epoch:
                    newer[partition] = register_to_plain(partition, register)
                verdicts.append(
                    register.epoch == epoch
                    and desk.self_id in register.owners
                    and record.container.context.dominates(context)
                )
            if newer:
                desk.outbox.send(sender, RegistersTold(tuple(newer.values())))
            desk.outbox.send(sender, CoversTold(message.request, Status.OK, tuple(verdicts)))

        desk.replica.read_many([key for key, _, _ in asked], read, lambda _: refuse(Status.FAILED))

    def states(self, sender: NodeId, message: StatesAsked) -> None:
        """Tell a node that was rolled back what is known here."""
        desk = self._desk

        def refuse(status: Status) -> None:
            desk.outbox.send(sender, StatesTold(message.request, status, ()))

        if desk.placement.ring is None:
            refuse(Status.NOT_READY)
            return
        # One that was rolled back too says so: it counts where nobody else can tell.
        status = Status.NOT_READY if desk.generations.is_behind else Status.OK
        if not all(is_name(*item) for item in message.items):
            raise ValueError("not a name")
        keys = [Key(*item) for item in message.items[:ITEMS_MAX]]

        def read(records: list[Record]) -> None:
            states = tuple(
                (tuple(record.container.live_dots()), record.container.context.to_plain())
                for record in records
            )
            desk.outbox.send(sender, StatesTold(message.request, status, states))

        desk.replica.read_many(keys, read, lambda _: refuse(Status.FAILED))
