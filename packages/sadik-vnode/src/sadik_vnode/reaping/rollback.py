"""Catching up: what a node does whose store was put back to an older state.

Its records may show what was deleted, reaped everywhere, and forgotten. So it **contributes nothing
that the owners lack**: it answers nobody and coordinates nothing until each of its records has been
compared with those of the other owners. What one of them holds too stays. What they all lack goes,
from the context as well, or it would erase what it does not know of; what they know as replaced
goes from the versions only. Where it is no owner, all goes. A dot that this present life has made
is not an old one, and stays in any case; so does all of a partition that nobody else owns.

Where all owners that can be reached were rolled back, a whole cluster from a backup say, there is
no later state, and what they hold counts.

Then it is in the generation of the others, with nothing left in it that is older, and what it has
missed it gets like any node that was away.
"""

from __future__ import annotations

from typing import Final

from sadik_causality import Container, Context, Dot
from sadik_machine import MILLISECOND, SECOND, FailureReason, NodeId, ScanRows
from sadik_vnode.births import Births
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import DATA_RANGE, Key, lost_leaves, record_key
from sadik_vnode.messages import Status
from sadik_vnode.reaping.messages import StatesAsked, StatesTold
from sadik_vnode.record import Record

__all__ = ["CatchingUp"]

_KEYS_MAX: Final = 64
_SCAN_BYTES: Final = 64 * 1024
_ANSWER_NS: Final = 5 * SECOND
_RETRY_NS: Final = SECOND
_PAUSE_NS: Final = MILLISECOND


class CatchingUp(Conversation):
    """Goes through all records once, a few keys at a time, and then says that it is done."""

    __slots__ = (
        "_births", "_cursor", "_keys", "_left", "_pending", "_states", "_states_behind",
        "_stop_row",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk, births: Births) -> None:
        super().__init__(desk)
        self._births = births
        self._cursor = DATA_RANGE[0]
        self._stop_row = b""
        self._keys: list[Key] = []
        self._pending: dict[NodeId, list[Key]] = {}
        self._states: dict[Key, list[Container[None]]] = {}
        self._states_behind: dict[Key, list[Container[None]]] = {}
        self._left = 0

    def start(self) -> None:
        """Begin."""
        self.wake("next", self.desk.now)

    def due(self, what: str) -> None:
        """Time for the next keys; or somebody does not answer."""
        if what == "answer" or self.desk.placement.ring is None:
            self._later()
        else:
            self.desk.outbox.load(
                ScanRows(self._cursor, DATA_RANGE[1], _KEYS_MAX, _SCAN_BYTES, keys_only=True),
                self._scanned,
                lambda _: self._later(),
            )

    def received(self, sender: NodeId, message: object) -> None:
        """What another owner knows."""
        if not isinstance(message, StatesTold) or sender not in self._pending:
            return
        keys = self._pending[sender]
        is_current = message.status == Status.OK
        if len(message.states) != len(keys) or not (
            is_current or message.status == Status.NOT_READY
        ):
            self._later()
            return
        try:
            told = [
                Container.checked(dict.fromkeys(dots), Context.from_plain(context))
                for dots, context in message.states
            ]
        except ValueError:
            self.desk.counters.malformed_messages += 1
            self._later()
            return
        del self._pending[sender]
        into = self._states if is_current else self._states_behind
        for key, state in zip(keys, told, strict=True):
            into[key].append(state)
        if not self._pending:
            self._reduce()

    def unsent(self, to: NodeId, message: object) -> None:
        """An owner was not reached."""
        self._later()

    def peer_lost(self, peer: NodeId) -> None:
        """An owner is down: the others are asked anew."""
        if peer in self._pending:
            self._later()

    def _later(self) -> None:
        """Ask for the same keys again after a while."""
        self._pending = {}
        self.desk.deadlines.drop((self, "answer"))
        self.wake("next", self.desk.now + _RETRY_NS)

    def _scanned(self, rows: list[tuple[bytes, bytes]]) -> None:
        if not rows:
            self.close("next", "answer")
            self.desk.generations.caught_up()
            return
        self._stop_row = rows[-1][0] + b"\0"
        self._keys = [record_key(row) for row, _ in rows if not lost_leaves(row)]
        self._states = {key: [] for key in self._keys}
        self._states_behind = {key: [] for key in self._keys}
        self._pending = {}
        for key in self._keys:
            others = self._others(key)
            reachable = [owner for owner in others if self.desk.placement.is_routable(owner)]
            if others and not reachable:
                self._later()
                return
            for owner in reachable:
                self._pending.setdefault(owner, []).append(key)
        if not self._pending:
            self._reduce()
            return
        self.wake("answer", self.desk.now + _ANSWER_NS)
        for owner, keys in list(self._pending.items()):
            items = tuple((key.bucket, key.key) for key in keys)
            self.desk.outbox.send(owner, StatesAsked(self.id, items))

    def _others(self, key: Key) -> list[NodeId]:
        """The other owners, where this node owns the key: who owns nothing needs to ask nobody."""
        placement = self.desk.placement
        owners = placement.register(placement.partition(key)).owners
        own = placement.self_id
        if own not in owners:
            return []
        return [owner for owner in owners if owner != own and placement.is_member(owner)]

    def _reduce(self) -> None:
        """Keep of these records what may stay."""
        self.desk.deadlines.drop((self, "answer"))
        self._left = 1 + len(self._keys)
        for key in self._keys:
            self._reduce_one(key, self._states[key] or self._states_behind[key])
        self._one_done()

    def _reduce_one(self, key: Key, states: list[Container[None]]) -> None:
        placement = self.desk.placement
        is_owner = placement.self_id in placement.register(placement.partition(key)).owners

        def make(before: Record) -> Change:
            if is_owner and not states:
                return Change(before, [], ())  # nobody else owns it
            after = self._reduced(before, states)
            return Change(before if after is None else after, [], ())

        def failed(_reason: FailureReason) -> None:
            # The disk is full: these keys are looked at again.
            self._stop_row = self._cursor
            self._one_done()

        self.desk.replica.update(key, make, self._one_done, failed)

    def _reduced(self, before: Record, states: list[Container[None]]) -> Record | None:
        """What of a record may stay; None where all of it may."""
        mine = before.container
        gone: list[Dot] = []
        unknown: list[Dot] = []
        for dot in mine.versions:
            if self._births.is_of_this_instance(dot[0]) or any(dot in s.versions for s in states):
                continue
            gone.append(dot)
            if not any(state.context.covers(dot) for state in states):
                unknown.append(dot)
        if not gone:
            return None
        versions = {dot: version for dot, version in mine.versions.items() if dot not in gone}
        context = mine.context.without_dots(unknown)
        if not versions and not any(states):
            # Nobody knows the key: what it covered was reaped.
            context = Context.from_dots(())
        self.desk.counters.rolled_back_versions += len(gone)
        # Counting on under an actor of which dots are unknown now would make one twice.
        own = before.own_actor if self._births.is_of_this_instance(before.own_actor) else b""
        return Record(Container(versions, context), own)

    def _one_done(self) -> None:
        self._left -= 1
        if not self._left:
            self._cursor = self._stop_row
            self.wake("next", self.desk.now + _PAUSE_NS)
