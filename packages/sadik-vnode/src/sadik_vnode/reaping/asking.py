"""Asking the other owners whether they hold some records exactly alike, and gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import define

from sadik_causality import Container, Context
from sadik_machine import SECOND, NodeId
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import Status
from sadik_vnode.reaping.answering import item_of, merge_context
from sadik_vnode.reaping.messages import GoneAsked, GoneTold
from sadik_vnode.record import Record

__all__ = ["Asking", "Proof"]

_ANSWER_NS: Final = 10 * SECOND


@define(slots=True)
class Proof:
    """What the owners answered. ``alike`` are the records that all of them hold alike.

    No state of those records that any owner had in a generation after ``generation`` was another.
    ``least`` is the least generation that an owner was in; ``lives`` are the lives that answered.
    """

    alike: dict[Key, None]
    generation: int
    least: int
    lives: dict[NodeId, int]


class Asking(Conversation):
    """One question to each of the other owners. ``generation`` is the one that the records were
    read in. Calls ``done`` once; who does not answer has nothing alike.
    """

    __slots__ = ("_done", "_pending", "_proof", "_records")

    is_background = True

    def __init__(
        self,
        desk: Desk,
        records: Mapping[Key, Record],
        generation: int,
        done: Callable[[Proof], None],
    ) -> None:
        super().__init__(desk)
        self._records = records
        lives = {desk.self_id: desk.generations.life}
        self._proof = Proof(dict.fromkeys(records), generation, generation, lives)
        self._pending: dict[NodeId, list[Key]] = {}
        self._done = done

    def start(self) -> None:
        """Ask. May call ``done`` at once, where nobody else owns any of it."""
        desk = self.desk
        items: dict[NodeId, list[Key]] = {}
        for key in self._records:
            register = desk.placement.register(desk.placement.partition(key))
            if desk.self_id not in register.owners:
                del self._proof.alike[key]
                continue
            for owner in register.owners:
                if owner != desk.self_id:
                    items.setdefault(owner, []).append(key)
        self._pending = items
        self.wake("answer", desk.now + _ANSWER_NS)
        for owner, keys in list(items.items()):
            told = tuple(
                item_of(
                    key, desk.placement.register(desk.placement.partition(key)).epoch,
                    self._records[key],
                )
                for key in keys
            )  # fmt: skip
            desk.outbox.send(owner, GoneAsked(self.id, told))
        self._end_if_answered()

    def received(self, sender: NodeId, message: object) -> None:
        """What one owner holds."""
        if not isinstance(message, GoneTold):
            return
        keys = self._pending.get(sender)
        if keys is None:
            return
        if message.status != Status.OK or len(message.verdicts) != len(keys):
            self._lost(sender)
            return
        del self._pending[sender]
        proof = self._proof
        for key, is_alike in zip(keys, message.verdicts, strict=True):
            if not is_alike:
                proof.alike.pop(key, None)
        proof.generation = max(proof.generation, message.generation)
        proof.least = min(proof.least, message.generation)
        proof.lives[sender] = message.life
        for index, plain in message.wider:
            if 0 <= index < len(keys):
                self._merge(keys[index], plain)
        self._end_if_answered()

    def unsent(self, to: NodeId, message: object) -> None:
        """An owner was not reached."""
        self._lost(to)

    def peer_lost(self, peer: NodeId) -> None:
        """An owner is down."""
        self._lost(peer)

    def due(self, what: str) -> None:
        """Somebody does not answer."""
        for owner in list(self._pending):
            self._lost(owner)

    def _merge(self, key: Key, plain: object) -> None:
        try:
            context = Context.from_plain(plain)
        except ValueError:
            self.desk.counters.malformed_messages += 1
            return
        dots = self._records[key].container.live_dots()
        if context.covers_all(dots):
            merge_context(self.desk, key, Container(dict.fromkeys(dots), context))

    def _lost(self, owner: NodeId) -> None:
        for key in self._pending.pop(owner, ()):
            self._proof.alike.pop(key, None)
        self._end_if_answered()

    def _end_if_answered(self) -> None:
        if not self._pending and self.id in self.desk.conversations:
            self.close("answer")
            self._done(self._proof)
