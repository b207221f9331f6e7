"""This node's voice in the registers of partitions that it owns: durable promises.

Of a partition only the state of its newest epoch is kept: nobody proposes for an epoch before the
one before it is decided. A row a partition, read when it is first asked for; every answer
rides in the store of what it rests on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from sadik_machine import (
    FailureReason,
    GetRows,
    NodeId,
    PlainError,
    RemoteProtocolError,
    Send,
    decode_plain,
    encode_plain,
)
from sadik_members import register_from_plain
from sadik_vnode.adoption import newer_of
from sadik_vnode.desk import Desk
from sadik_vnode.keyspace import acceptor_row
from sadik_vnode.record import DamagedRecord, open_value, seal_value
from sadik_vnode.ringchange.messages import Accept, Accepted, Prepare, Promise

__all__ = ["NO_BALLOT", "Acceptor", "Ballot"]

Ballot = tuple[int, bytes]
"""Round and proposer. Greater beats lesser."""

NO_BALLOT: Ballot = (0, b"")
_NEVER: Ballot = (1 << 62, b"")
"""In the place of a promise where nothing can be promised."""

Answer = Callable[[object], None]


@define(slots=True)
class _State:
    epoch: int = 0
    promised: Ballot = NO_BALLOT
    ballot: Ballot | None = None
    register: tuple[object, ...] | None = None
    is_damaged: bool = False


class Acceptor:
    """Answers `Prepare` and `Accept`. ``here`` takes the answers to this node's own questions."""

    def __init__(self, desk: Desk, here: Answer) -> None:
        self._desk = desk
        self._here = here
        self._states: dict[int, _State] = {}
        self._loading: dict[int, list[Callable[[_State], None]]] = {}

    def asked(self, sender: NodeId, message: Prepare | Accept) -> None:
        """A proposer's question."""
        desk = self._desk
        ring = desk.placement.ring
        if ring is None or not 0 <= message.partition < ring.partitions:
            return
        if ring.registers[message.partition].epoch >= message.epoch:
            newer = newer_of(desk, message.partition)
            refusal: object = Accepted(message.request, _NEVER, newer)
            if isinstance(message, Prepare):
                refusal = Promise(message.request, _NEVER, None, None, newer)
            self._tell(sender, refusal)
            return
        self._with_state(message.partition, lambda state: self._answer(sender, message, state))

    def _answer(self, sender: NodeId, message: Prepare | Accept, state: _State) -> None:
        if state.is_damaged:
            return  # what was promised is not known: it has no voice in this partition
        ballot = (message.ballot[0], bytes(message.ballot[1]))
        if message.epoch > state.epoch:
            state = _State(message.epoch)
        is_late = message.epoch < state.epoch or ballot < state.promised
        promised = _NEVER if message.epoch < state.epoch else max(state.promised, ballot)
        if isinstance(message, Prepare):
            answer: object = Promise(message.request, promised, state.ballot, state.register)
            new = _State(state.epoch, promised, state.ballot, state.register)
        else:
            try:
                register_from_plain((message.partition, *message.register))
            except RemoteProtocolError:
                self._desk.counters.malformed_messages += 1
                return
            answer = Accepted(message.request, promised)
            new = _State(state.epoch, promised, ballot, message.register)
        if is_late:
            self._tell(sender, answer)
        else:
            self._store(message.partition, new, sender, answer)

    def _tell(self, sender: NodeId, answer: object) -> None:
        if sender == self._desk.self_id:
            self._here(answer)
        else:
            self._desk.outbox.store((), [Send(sender, answer)], None, _ignore)

    def _store(self, partition: int, state: _State, sender: NodeId, answer: object) -> None:
        self._states[partition] = state
        is_own = sender == self._desk.self_id
        content = (state.epoch, state.promised, state.ballot, state.register)
        row = (acceptor_row(partition), seal_value(encode_plain(content)))

        def failed(_reason: FailureReason) -> None:
            self._states.pop(partition, None)  # it is read anew from disk

        self._desk.outbox.store(
            [row],
            [] if is_own else [Send(sender, answer)],
            (lambda: self._here(answer)) if is_own else None,
            failed,
        )

    def _with_state(self, partition: int, then: Callable[[_State], None]) -> None:
        state = self._states.get(partition)
        if state is not None:
            then(state)
            return
        waiting = self._loading.get(partition)
        if waiting is not None:
            waiting.append(then)
            return
        self._loading[partition] = [then]

        def loaded(rows: list[bytes | None]) -> None:
            self._states[partition] = _state_of(rows[0])
            for waits in self._loading.pop(partition):
                waits(self._states.get(partition) or _state_of(rows[0]))

        def failed(_reason: FailureReason) -> None:
            del self._loading[partition]

        self._desk.outbox.load(GetRows((acceptor_row(partition),)), loaded, failed)


def _state_of(row: bytes | None) -> _State:
    if row is None:
        return _State()
    try:
        values: Any = decode_plain(open_value(row))
        epoch, promised, ballot, register = values
        return _State(epoch, promised, ballot, register)
    except (DamagedRecord, PlainError, ValueError, TypeError):
        return _State(is_damaged=True)


def _ignore(_reason: FailureReason) -> None:
    """Who asked asks again."""
