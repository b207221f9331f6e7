"""Deciding a partition's next register: one value an epoch, by a majority of the owners before it.

`sadik_register` decides: a partition is a name, and each epoch of it a register that is written
once, by Paxos among the owners of the epoch before. Here is what ties its machine to the ring.

- **Who is asked.** Owners that were removed by force have no voice: that is what an operator says
  by it. The others keep theirs when they are dead, for a majority of those that were is what makes
  the value one.
- **What is known is not asked again.** Who asks about an epoch that this node knows to be decided
  is told the newest register, and the machine never sees the question. So promises are of use only
  until the ring on this node's disk has passed them, and are forgotten then.
- **What may be forgotten is not spoken of.** `sadik_vnode.ringchange.voice` says when.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import frozen

from sadik_machine import (
    SECOND,
    Announce,
    Cancelled,
    Effect,
    Failed,
    FailureReason,
    Input,
    Load,
    Loaded,
    NodeId,
    PlainError,
    Received,
    RemoteProtocolError,
    Reply,
    Requested,
    RequestId,
    ScanRows,
    Send,
    Store,
    Stored,
    Ticket,
    Woke,
    decode_plain,
    encode_plain,
)
from sadik_members import Register, register_from_plain, register_to_plain
from sadik_register import (
    MESSAGES,
    Conflict,
    Damaged,
    DamagedRecordError,
    Decided,
    Propose,
    RegisterKey,
    Registers,
    read_key,
)
from sadik_register.messages import Accept, Ask, Decision, Prepare
from sadik_vnode.adoption import adopt
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import REGISTERS_PREFIX, REGISTERS_RANGE
from sadik_vnode.ringchange.messages import RegistersTold
from sadik_vnode.ringchange.voice import Voice

__all__ = ["Deciding", "voters"]

_TIMEOUT_NS: Final = 2 * SECOND
_NAME: Final = b"ring"
_SCAN_ROWS: Final = 1000
_SCAN_BYTES: Final = 256 * 1024
_SETTLING_MAX: Final = 8
_SETTLE_AGAIN_NS: Final = 3 * SECOND
_MESSAGES: Final = frozenset(MESSAGES.classes.values())


def voters(desk: Desk, register: Register) -> tuple[NodeId, ...]:
    """The nodes of which a majority decides what comes after ``register``."""
    members = desk.placement.members
    found = tuple(
        node
        for node in register.acceptors
        if (member := members.get(node)) is None or not member.is_forced
    )
    # Of owners that are all removed by force nothing is left to ask.
    return found or (desk.self_id,)


def key_of(partition: int, epoch: int) -> RegisterKey:
    """The write-once register of a partition's epoch."""
    return RegisterKey(_NAME + partition.to_bytes(2, "big"), epoch)


def partition_of(key: RegisterKey) -> int | None:
    """The partition of a register, or None where it is none of the ring's."""
    if len(key.name) != len(_NAME) + 2 or not key.name.startswith(_NAME):
        return None
    return int.from_bytes(key.name[len(_NAME) :], "big")


def value_of(partition: int, register: Register) -> bytes:
    """A register as it is written."""
    return encode_plain(register_to_plain(partition, register))


def register_of(key: RegisterKey, value: bytes) -> Register | None:
    """The register that is written so, or None where nobody can have meant it for this epoch."""
    try:
        partition, register = register_from_plain(decode_plain(value))
    except (PlainError, RemoteProtocolError):
        return None
    return register if key_of(partition, register.epoch) == key else None


@frozen
class _Asked:
    partition: int
    epoch: int
    value: bytes
    done: Callable[[bool], None]
    settles: bool = False
    """Whether it is proposed to end a doubt: nobody else's business, and not given up."""


class Deciding(Conversation):
    """This node's part in the ring's registers: it proposes, and it accepts."""

    __slots__ = (
        "_asked", "_is_scanned", "_kept", "_number", "_registers", "_settling", "_source", "_voice",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk, source: random.Random, voice: Voice) -> None:
        super().__init__(desk)
        self.close()
        self._voice = voice
        self._source = source
        self._settling: dict[int, None] = {}
        boot = source.getrandbits(64)
        self._registers = Registers(desk.self_id, boot, source, row_prefix=REGISTERS_PREFIX)
        self._number = 0
        self._asked: dict[RequestId, _Asked] = {}
        self._kept: dict[int, dict[int, None]] = {}
        """The epochs of which this node may have promises on its disk, by partition."""
        self._is_scanned = False

    # Proposing

    def propose(
        self, partition: int, base: Register, value: Register, done: Callable[[bool], None]
    ) -> None:
        """Propose ``value`` for the epoch after ``base``; ``done`` is called once, with whether
        the epoch is decided, with this value or another.
        """
        assert value.epoch == base.epoch + 1, "epochs are decided one after the other"
        self._propose(base, _Asked(partition, value.epoch, value_of(partition, value), done))

    def _propose(self, base: Register, asked: _Asked) -> None:
        self._number += 1
        request_id = RequestId(self._number)
        self._asked[request_id] = asked
        self._keep(asked.partition, asked.epoch)
        quorums = self._voice.quorums(asked.partition, voters(self.desk, base))
        key = key_of(asked.partition, asked.epoch)
        self._step(Requested(request_id, Propose(key, asked.value, quorums, _TIMEOUT_NS)))

    def give_up(self) -> None:
        """Another member proposes from now on. What was proposed may be decided all the same."""
        for request_id, asked in list(self._asked.items()):
            if not asked.settles:
                del self._asked[request_id]
                self._step(Cancelled(request_id))

    def _settle(self) -> None:
        """Have what this node is in doubt about decided without it, some partitions at a time."""
        desk, voice = self.desk, self._voice
        ring = desk.placement.ring
        if not voice.is_in_doubt or ring is None or not desk.config.changes_ring:
            return
        voice.look()
        is_waiting = False
        for partition, base in enumerate(ring.registers):
            if partition in self._settling or not voice.needs_settling(
                partition, voters(desk, base)
            ):
                continue
            is_waiting = True
            if len(self._settling) >= _SETTLING_MAX:
                break
            self._settling[partition] = None
            value = voice.same_again(partition, base, self._source.getrandbits(63))
            done = partial(self._settled, partition)
            self._propose(base, _Asked(partition, base.epoch + 1, value, done, settles=True))
        if is_waiting:
            self.wake("doubt", desk.now + _SETTLE_AGAIN_NS)

    def _settled(self, partition: int, _is_decided: bool) -> None:
        self._settling.pop(partition, None)

    @property
    def has_doubts(self) -> bool:
        """Whether something that this node is in doubt about is to be settled now."""
        ring = self.desk.placement.ring
        if not self._voice.is_in_doubt or ring is None:
            return False
        return any(
            self._voice.needs_settling(partition, voters(self.desk, base))
            for partition, base in enumerate(ring.registers)
        )

    # Answering

    def serve(self, sender: NodeId, message: object) -> bool:
        """Take a message about registers; whether it was one."""
        if type(message) not in _MESSAGES:
            return False
        key = RegisterKey(message.name, message.epoch)  # type: ignore[attr-defined]
        partition = partition_of(key)
        ring = self.desk.placement.ring
        if ring is None:
            return True  # what is decided is not known yet, so nothing can be said
        if partition is None or partition >= ring.partitions:
            self.desk.counters.malformed_messages += 1
            return True
        match message:
            case Decision(value=value):
                # It is kept with the ring, not with the promises.
                self._adopt(key, value)
            case Prepare() | Accept() | Ask() if ring.registers[partition].epoch >= key.epoch:
                plain = register_to_plain(partition, ring.registers[partition])
                self.desk.outbox.send(sender, RegistersTold((plain,)))
            case Accept(value=value) if register_of(key, value) is None:
                self.desk.counters.registers_refused += 1
            case Prepare() | Accept() | Ask() if not self._may_answer(partition, key.epoch):
                self.desk.counters.registers_abstained += 1
            case _:
                if isinstance(message, Prepare | Accept):
                    self._keep(partition, key.epoch)
                self._step(Received(sender, message))
        return True

    def _may_answer(self, partition: int, epoch: int) -> bool:
        base = self.desk.placement.register(partition)
        return self._voice.may_answer(partition, epoch, voters(self.desk, base))

    def told(self, _sender: NodeId, message: RegistersTold) -> None:
        """A peer knows more than this node does."""
        ring = self.desk.placement.ring
        for plain in message.registers:
            try:
                partition, register = register_from_plain(plain)
            except RemoteProtocolError:
                self.desk.counters.malformed_messages += 1
                continue
            if ring is not None and 0 <= partition < ring.partitions:
                adopt(self.desk, partition, register)
        self.look()

    def due(self, what: str) -> None:
        """The machine wakes; or it is time to look what is in doubt."""
        if what == "doubt":
            self._settle()
        else:
            self._step(Woke())

    def look(self) -> None:
        """The ring may have changed: what is decided is not proposed, and not kept, any more."""
        for request_id, asked in list(self._asked.items()):
            if self.desk.placement.register(asked.partition).epoch >= asked.epoch:
                del self._asked[request_id]
                self._step(Cancelled(request_id))
                asked.done(True)
        self._forget()
        self._settle()

    # The machine

    def _step(self, event: Input) -> None:
        self._perform(self._registers.step(self.desk.now, event))

    def _perform(self, effects: list[Effect]) -> None:
        outbox = self.desk.outbox
        replies: list[Reply] = []
        for effect in effects:
            match effect:
                case Send(to, message):
                    outbox.send(to, message)
                case Load(ticket, query):
                    outbox.load(query, self._loaded(ticket), self._failed(ticket))
                case Store(ticket, batch, then):
                    rests = [each for each in then if not isinstance(each, Announce)]
                    outbox.store(batch, rests, self._stored(ticket), self._failed(ticket))
                case Reply():
                    replies.append(effect)
                case Announce(Conflict()):
                    self.desk.counters.registers_refused += 1
                case Announce(Damaged()):
                    self.desk.counters.damaged_records += 1
                case _:
                    pass  # what is decided is told by the reply, or by `Decision`
        deadline = self._registers.deadline
        if deadline is None:
            self.desk.deadlines.drop((self, "registers"))
        else:
            self.wake("registers", deadline)
        for reply in replies:
            self._answered(reply)

    def _loaded(self, ticket: Ticket) -> Callable[[object], None]:
        return lambda value: self._step(Loaded(ticket, value))

    def _stored(self, ticket: Ticket) -> Callable[[], None]:
        return lambda: self._step(Stored(ticket))

    def _failed(self, ticket: Ticket) -> Callable[[FailureReason], None]:
        def failed(reason: FailureReason) -> None:
            self._is_scanned = False  # what was to be forgotten may still be there
            self._step(Failed(ticket, reason))

        return failed

    def _answered(self, reply: Reply) -> None:
        asked = self._asked.pop(reply.request_id, None)
        if asked is None:
            return
        is_decided = isinstance(reply.result, Decided)
        if isinstance(reply.result, Decided):
            if asked.settles and reply.result.value == asked.value:
                self._voice.settled(asked.partition)
            self.desk.counters.registers_decided += 1
            self._adopt(reply.result.key, reply.result.value, is_own=True)
        asked.done(is_decided)

    def _adopt(self, key: RegisterKey, value: bytes, *, is_own: bool = False) -> None:
        register, partition = register_of(key, value), partition_of(key)
        if register is None or partition is None:
            self.desk.counters.registers_refused += 1
        else:
            adopt(self.desk, partition, register, is_own=is_own)
            self.look()

    # Forgetting

    def _keep(self, partition: int, epoch: int) -> None:
        self._kept.setdefault(partition, {})[epoch] = None

    def _forget(self) -> None:
        """Remove promises of epochs that the ring on this node's disk has passed."""
        durable = self.desk.placement.durable
        if durable is None:
            return
        if not self._is_scanned:
            self._is_scanned = True
            self._scan(REGISTERS_RANGE[0])
        past: list[RegisterKey] = []
        for partition, epochs in list(self._kept.items()):
            known = durable.registers[partition].epoch if partition < durable.partitions else 0
            for epoch in [each for each in epochs if each <= known]:
                del epochs[epoch]
                past.append(key_of(partition, epoch))
            if not epochs:
                del self._kept[partition]
        if past:
            self._perform(self._registers.forget(self.desk.now, past))

    def _scan(self, start: bytes) -> None:
        """Find what an earlier life of this node has promised."""

        def loaded(rows: list[tuple[bytes, bytes]]) -> None:
            for row, _ in rows:
                try:
                    key = read_key(REGISTERS_PREFIX, row)
                except DamagedRecordError:
                    continue
                partition = partition_of(key)
                if partition is not None:
                    self._keep(partition, key.epoch)
            if rows:
                self._scan(rows[-1][0] + b"\0")
            else:
                self._forget()

        def failed(_reason: FailureReason) -> None:
            self._is_scanned = False

        query = ScanRows(start, REGISTERS_RANGE[1], _SCAN_ROWS, _SCAN_BYTES, keys_only=True)
        self.desk.outbox.load(query, loaded, failed)
