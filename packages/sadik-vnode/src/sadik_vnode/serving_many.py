"""A replica's side of a read of many keys: one load, and one answer for all of them.

Each key is judged as it is when it is asked for alone: by its own epoch, from disk, in the
generation in which its load was asked for. What would not fit the answer is left to a question
of its own.
"""

from __future__ import annotations

from typing import Final

from sadik_machine import FailureReason, NodeId
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import Key, is_name
from sadik_vnode.messages import MANY_KEYS_MAX, KeyState, ManyStates, ReadMany, Status
from sadik_vnode.news import Touched
from sadik_vnode.parts import container_to_plain
from sadik_vnode.record import Record

__all__ = ["ServingMany"]

_OVERHEAD_BYTES: Final = 64
"""What a version takes in a message beside its head and its body, about."""


class ServingMany:
    """Answers reads of many keys. ``trace_chars_max`` bounds the trace that others may have one
    log."""

    def __init__(self, desk: Desk, trace_chars_max: int) -> None:
        self._desk = desk
        self._trace_chars_max = trace_chars_max

    def read(self, sender: NodeId, message: ReadMany) -> None:
        """Tell what is on disk."""
        desk = self._desk
        names = message.keys
        if len(names) > MANY_KEYS_MAX or not all(is_name(name[1], name[2]) for name in names):
            desk.counters.malformed_messages += 1
            return
        if message.trace:
            trace = message.trace[: self._trace_chars_max]
            for _, bucket, key, _ in names:
                desk.outbox.announce(Touched(trace, "read", bucket, key, sender))
        placement, generation = desk.placement, desk.generations.generation
        keys = [Key.of(bucket, key) for _, bucket, key, _ in names]
        is_old = [
            placement.register(placement.partition(key)).epoch > name[0]
            for key, name in zip(keys, names, strict=True)
        ]

        def read(records: list[Record]) -> None:
            states: list[KeyState | None] = []
            room = desk.config.message_bytes_max
            for record, name, old in zip(records, names, is_old, strict=True):
                state, size = _NEWER if old else _state(record, name[3], room)
                room -= size
                states.append(state)
            answer = ManyStates(message.request, Status.OK, tuple(states), generation)
            desk.outbox.send(sender, answer)

        def failed(_reason: FailureReason) -> None:
            self.refuse(sender, message, Status.FAILED)

        desk.replica.read_many(keys, read, failed, for_client=True)

    def refuse(self, sender: NodeId, message: ReadMany, status: Status) -> None:
        """Say of no key what is held: each is to be asked for alone."""
        self._desk.outbox.send(sender, ManyStates(message.request, status, ()))


_NEWER: tuple[KeyState | None, int] = ((Status.NEWER_EPOCH, (), ()), 0)


def _state(record: Record, known: bytes, room: int) -> tuple[KeyState | None, int]:
    """What the answer says of a record, and about how many bytes that takes."""
    if known and known == record.sum():
        return None, 0
    container = record.container
    size = sum(
        len(v.head) + (v.size if v.body is not None else 0) + _OVERHEAD_BYTES
        for v in container.versions.values()
    )
    if size > room:
        return (Status.FAILED, (), ()), 0
    return (Status.OK, container_to_plain(container), container.context.to_plain()), size
