"""A replica's side: what a node does for the coordinators of other nodes.

Every answer rests on what is on disk: acknowledgements ride in the store, states are read from
disk or wait for it. A replica that knows a newer register of the partition answers with that and
does nothing; one that knows an older one serves, for merging is safe under any register.
"""

from __future__ import annotations

from typing import Final

from sadik_causality import Dot
from sadik_machine import FailureReason, NodeId, Send
from sadik_vnode.adoption import newer_of
from sadik_vnode.coordinator.explaining import Held, inspect, inspection
from sadik_vnode.coordinator.listing import Entry, registers_beyond, scan_keys
from sadik_vnode.coordinator.putting import Forwarding, waiting_for
from sadik_vnode.desk import Desk
from sadik_vnode.hints import NoteCheck
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import (
    Body,
    FetchBody,
    HintCounts,
    HintCountsAsked,
    Inspect,
    Inspection,
    KeysScanned,
    ReplicaAck,
    ReplicaRead,
    ReplicaState,
    ReplicaWrite,
    ScanKeys,
    Status,
)
from sadik_vnode.parts import container_to_plain, record_in
from sadik_vnode.record import Record, Rows

__all__ = ["Serving"]

_STATUS_OF: Final = {FailureReason.FULL: Status.FULL}

_NO_CONTEXT: list[object] = []


class Serving:
    """Answers the messages of other nodes' coordinators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def write(self, sender: NodeId, message: ReplicaWrite) -> None:
        """Merge, durably; keep a note where this node stands in for the slot."""
        desk = self._desk
        key = Key.of(message.bucket, message.key)
        slot = message.slot
        partition = desk.placement.partition(key)
        if desk.placement.register(partition).epoch > message.epoch:
            self._refuse(sender, message, Status.NEWER_EPOCH, newer_of(desk, partition))
            return
        try:
            incoming: Record | None = record_in(message)
        except ValueError:
            incoming = None
        if incoming is None or not incoming.is_whole or not desk.placement.is_member(slot):
            desk.counters.malformed_messages += 1
            self._refuse(sender, message, Status.FAILED)
            return
        if not desk.generations.takes(message.generation):
            desk.counters.old_generations += 1
            is_behind = desk.generations.is_behind
            status = Status.NOT_READY if is_behind else Status.OLD_GENERATION
            self._refuse(sender, message, status)
            return
        if desk.is_disk_short and message.is_put:
            self._refuse(sender, message, Status.FULL)
            return
        desk.clock.adopt(desk.now, message.timestamp)
        desk.arrived(partition, sender, len(message.row) or incoming.body_bytes)
        if slot == desk.self_id:
            self._merge(sender, message, key, incoming)
        else:
            self._stand_in(sender, message, key, incoming)

    def _refuse(
        self,
        sender: NodeId,
        message: ReplicaWrite,
        status: Status,
        newer: tuple[object, ...] | None = None,
    ) -> None:
        generation = self._desk.generations.generation
        ack = ReplicaAck(message.request, message.slot, status, False, newer, generation)
        self._desk.outbox.send(sender, ack)

    def _is_late(self, sender: NodeId, message: ReplicaWrite) -> bool:
        """Whether this node has gone on since the message came, so that it is refused after all."""
        desk = self._desk
        if desk.generations.takes(message.generation):
            return False
        desk.counters.old_generations += 1
        self._refuse(sender, message, Status.OLD_GENERATION)
        return True

    def _merge(self, sender: NodeId, message: ReplicaWrite, key: Key, incoming: Record) -> None:
        """Merge what is for this node itself."""
        if message.answer:
            self._merge_and_answer(sender, message, key, incoming)
            return

        def no_rows() -> Rows | None:
            return None if self._is_late(sender, message) else []

        def failed(reason: FailureReason) -> None:
            self._refuse(sender, message, _STATUS_OF.get(reason, Status.FAILED))

        ack = ReplicaAck(message.request, message.slot, Status.OK, self._desk.config.durable)
        self._desk.replica.take(key, incoming, no_rows, [Send(sender, ack)], None, failed)

    def _merge_and_answer(
        self, sender: NodeId, message: ReplicaWrite, key: Key, incoming: Record
    ) -> None:
        """Merge a write that a client brought to this node, and tell the client that it is done."""
        desk = self._desk
        ack = ReplicaAck(message.request, message.slot, Status.OK, desk.config.durable)
        waiting: Forwarding | None = None

        def no_rows() -> Rows | None:
            nonlocal waiting
            if self._is_late(sender, message):
                return None
            # What is stored before this node adopts a newer register counts under the older one:
            # it tells nobody that it has adopted one before that is on disk.
            if desk.placement.register(desk.placement.partition(key)).epoch <= message.epoch:
                waiting = waiting_for(desk, sender, message.answer)
                ack.answered = waiting is not None
            return []

        def stored() -> None:
            if waiting is not None:
                waiting.stored()

        def failed(reason: FailureReason) -> None:
            if waiting is not None:
                waiting.not_stored()
            self._refuse(sender, message, _STATUS_OF.get(reason, Status.FAILED))

        desk.replica.take(key, incoming, no_rows, [Send(sender, ack)], stored, failed)

    def _stand_in(self, sender: NodeId, message: ReplicaWrite, key: Key, incoming: Record) -> None:
        """Merge what is for another owner, with a note of it."""
        desk = self._desk
        noted = [message.slot]
        ack = ReplicaAck(message.request, message.slot, Status.OK, desk.config.durable)

        def merge(check: NoteCheck) -> None:
            def notes() -> Rows | None:
                if self._is_late(sender, message):
                    return None
                rows = desk.hints.rows(noted, key, check)
                if rows is None:
                    desk.hints.dropped(1)
                    self._refuse(sender, message, Status.HINTS_FULL)
                else:
                    desk.hints.written(noted, key, check)
                return rows

            def failed(reason: FailureReason) -> None:
                desk.hints.note_lost(key, check)
                self._refuse(sender, message, _STATUS_OF.get(reason, Status.FAILED))

            desk.replica.take(key, incoming, notes, [Send(sender, ack)], None, failed)

        desk.hints.check(noted, key, merge)

    def read(self, sender: NodeId, message: ReplicaRead) -> None:
        """Tell what is on disk of a key."""
        desk = self._desk
        key = Key.of(message.bucket, message.key)
        partition = desk.placement.partition(key)
        if desk.placement.register(partition).epoch > message.epoch:
            newer = newer_of(desk, partition)
            self._state(sender, message.request, Status.NEWER_EPOCH, newer)
            return
        generation = desk.generations.generation
        known = desk.replica.known(key)
        if known is not None:
            self._tell(sender, message, known, generation)
            return
        desk.replica.read(
            key,
            lambda record: self._tell(sender, message, record, generation),
            lambda _: self._state(sender, message.request, Status.FAILED),
        )

    def _tell(self, sender: NodeId, message: ReplicaRead, record: Record, generation: int) -> None:
        """Say what a record that was read in this generation holds."""
        desk = self._desk
        if message.known and message.known == record.sum():
            desk.outbox.send(
                sender,
                ReplicaState(message.request, Status.SAME, (), _NO_CONTEXT, None, generation),
            )
            return
        container = record.container
        small = 0
        for version in container.versions.values():
            if version.body is not None:
                small += version.size
        bodies = message.bodies and small <= desk.config.message_bytes_max
        state = ReplicaState(
            message.request, Status.OK, container_to_plain(container, bodies=bodies),
            container.context.to_plain(), None, generation,
        )  # fmt: skip
        desk.outbox.send(sender, state)

    def fetch(self, sender: NodeId, message: FetchBody) -> None:
        """Send one version's body."""
        desk = self._desk
        key = Key.of(message.bucket, message.key)
        dot = (message.actor, message.counter)

        def send(body: bytes | None) -> None:
            desk.outbox.send(sender, Body(message.request, message.actor, message.counter, body))

        def read(record: Record) -> None:
            version = record.container.versions.get(dot)
            if version is None or version.body is not None:
                send(None if version is None else version.body)
                return

            def fetched(bodies: dict[Dot, bytes]) -> None:
                send(bodies.get(dot))

            desk.replica.read_bodies(key, [dot], fetched, lambda _: send(None))

        desk.replica.read(key, read, lambda _: send(None))

    def scan(self, sender: NodeId, message: ScanKeys) -> None:
        """Send a chunk of the keys that this node owns."""
        desk = self._desk

        def done(entries: list[Entry], upto: bytes | None) -> None:
            newer = registers_beyond(desk, message.partitions)
            if newer:
                answer = KeysScanned(message.request, Status.NEWER_EPOCH, (), None, tuple(newer))
            else:
                answer = KeysScanned(message.request, Status.OK, tuple(entries), upto)
            desk.outbox.send(sender, answer)

        def failed(_reason: FailureReason) -> None:
            desk.outbox.send(sender, KeysScanned(message.request, Status.FAILED, (), None))

        scan_keys(
            desk, message.bucket, message.prefix, message.after, max(message.limit, 1), done, failed
        )

    def inspect(self, sender: NodeId, message: Inspect) -> None:
        """Tell people what this node holds of a key."""
        desk = self._desk

        def done(held: Held) -> None:
            desk.outbox.send(sender, inspection(message.request, held))

        def failed(_reason: FailureReason) -> None:
            desk.outbox.send(
                sender, Inspection(message.request, Status.FAILED, (), _NO_CONTEXT, ())
            )

        inspect(desk, Key.of(message.bucket, message.key), done, failed)

    def count_hints(self, sender: NodeId, message: HintCountsAsked) -> None:
        """Tell how many notes wait here."""
        desk = self._desk
        desk.outbox.send(sender, HintCounts(message.request, tuple(desk.hints.by_slot())))

    def not_ready(self, sender: NodeId, message: object) -> None:
        """This node has no ring yet: say so, that the coordinator need not wait."""
        refusal: object | None = None
        if isinstance(message, ReplicaWrite):
            refusal = ReplicaAck(message.request, message.slot, Status.NOT_READY, False)
        elif isinstance(message, ReplicaRead):
            refusal = ReplicaState(message.request, Status.NOT_READY, (), _NO_CONTEXT)
        elif isinstance(message, ScanKeys):
            refusal = KeysScanned(message.request, Status.NOT_READY, (), None)
        elif isinstance(message, FetchBody):
            refusal = Body(message.request, message.actor, message.counter, None)
        elif isinstance(message, Inspect):
            refusal = Inspection(message.request, Status.NOT_READY, (), _NO_CONTEXT, ())
        if refusal is not None:
            self._desk.outbox.send(sender, refusal)

    def _state(
        self,
        sender: NodeId,
        request: int,
        status: Status,
        newer: tuple[object, ...] | None = None,
    ) -> None:
        self._desk.outbox.send(sender, ReplicaState(request, status, (), _NO_CONTEXT, newer))
