"""The reap generation: a number that all members of a cluster enter together, one after another.

A node is in one generation, which is a row of its store. Every message that carries versions bears
the generation in which they were read, and **what was read two generations ago is refused**. The
one before still counts, because nodes enter a generation within moments of each other, not at once,
and no request shall fail for that.

::

    in g --(nothing foreign of before g is left here)--> cleared g --(all members cleared g)--> in
    g+1

So between any two members there is never more than one generation, and when anybody is in g+1,
whatever lay with a node that does not own it when that node entered g has since been handed to all
of its owners. *Cleared* means that a sweep of `sadik_vnode.foreign` that began in g came to its
end.

Each node tells the others in a document (`sadik_members` spreads it and keeps it on every disk):
its generation, the one it has cleared, the one it wants, and its view, a hash of the members and of
the epochs of all registers. A report of another view does not count: who does not know of a member,
or of an owner, cannot say that nothing is left. A generation is entered only while somebody wants
it, so a cluster that deletes nothing is quiet; a member that is down holds it up.

A node that hears of a generation which nobody could have entered without it was rolled back: its
store is an older state of itself. It is *behind* until `rollback` has seen to that. One whose store
is empty has nothing to contribute and simply joins the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define

from sadik_hashing import BLAKE3
from sadik_machine import SECOND, FailureReason, NodeId, PlainError, decode_plain, encode_plain
from sadik_members import Document, MemberState, Publish
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import REAP_ROWS
from sadik_vnode.record import DamagedRecord, open_value, seal_value

__all__ = ["TOLERANCE", "Generations"]

TOLERANCE: Final = 1
"""How many generations ago a state may have been read that is still taken."""

_PREFIX: Final = "reap/"
_VIEW_BYTES: Final = 8
_RETRY_NS: Final = SECOND
_FIELDS: Final = (int, int, int, bytes)
_GENERATION_MAX: Final = 1 << 60
"""Nobody comes so far: what a message says beyond is not taken for a generation."""


@define(slots=True)
class _Report:
    """What a member said of itself last."""

    stamp: int
    generation: int
    cleared: int
    wanted: int
    view: bytes


class Generations(Conversation):
    """This node's generation, and what it knows of the others'.

    ``saved`` are the values of `REAP_ROWS` at the start, None for one that is not there. ``life``
    is a random number of this start.
    """

    __slots__ = (
        "_clearing", "_entered_at", "_is_empty", "_is_storing", "_known_others", "_most_heard",
        "_others_of", "_own_stamp", "_own_wanted", "_published", "_reports", "_view", "_view_of",
        "_views_cleared", "cleared", "generation", "is_behind", "life", "on_behind", "on_entered",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk, saved: Sequence[bytes | None], life: int) -> None:
        super().__init__(desk)
        self.close()
        self.life = life
        self.generation, self.cleared = _opened(saved)
        self.is_behind = False
        """Whether this node's store was rolled back, and has not caught up yet."""
        self.on_behind: Callable[[], None] = _nothing
        self.on_entered: Callable[[], None] = _nothing
        self._is_empty: Callable[[], bool] | None = None
        self._is_storing = False
        self._clearing: tuple[int, bytes] | None = None
        self._most_heard = self.generation
        self._reports: dict[NodeId, _Report] = {}
        self._own_stamp = 0
        self._own_wanted = 0
        self._published: tuple[object, ...] = ()
        self._entered_at = 0
        self._view = b""
        self._view_of: tuple[object, object] = (None, None)
        self._known_others: list[NodeId] = []
        self._others_of: object = None
        self._views_cleared = b""

    # What the rest of the engine asks and tells

    def start(self, is_empty: Callable[[], bool]) -> None:
        """What is on disk is known now; ``is_empty`` tells whether there is no record at all."""
        self._is_empty = is_empty
        if self.cleared < self.generation and is_empty():
            self._save(self.generation, self.generation)
        self._look()

    def takes(self, generation: int) -> bool:
        """Whether a state that was read in this generation may be merged here."""
        self.heard(generation)
        return not self.is_behind and self.is_recent(generation)

    def is_recent(self, generation: int) -> bool:
        """Whether a state of this generation is not too old by now."""
        return generation >= self.generation - TOLERANCE

    def heard(self, generation: int) -> None:
        """Somebody is in this generation, or was."""
        if self._most_heard < generation < _GENERATION_MAX:
            self._most_heard = generation
            self._look()

    def want(self, generation: int) -> None:
        """This node waits for the cluster to enter a generation."""
        if generation > self._own_wanted:
            self._own_wanted = generation
            self._look()

    def adopt(self, document: Document) -> None:
        """Take in a document, if it is a member's report."""
        if not document.name.startswith(_PREFIX):
            return
        try:
            node = NodeId(bytes.fromhex(document.name.removeprefix(_PREFIX)))
            report = _report_of(document)
        except ValueError:
            self.desk.counters.malformed_messages += 1
            return
        if node == self.desk.self_id:
            if document.stamp > self._own_stamp:
                # Of a life before this one: what is told next has to come after it.
                self._own_stamp = document.stamp
                self._published = ()
        elif node not in self._reports or self._reports[node].stamp < document.stamp:
            self._reports[node] = report
        self._most_heard = max(self._most_heard, report.generation)
        self._look()

    def view_changed(self) -> None:
        """Members or registers have changed."""
        self._look()

    def caught_up(self) -> None:
        """Nothing is left here that the owners lack."""
        self._save(self._most_heard, self._most_heard)

    def blockers(self) -> list[NodeId]:
        """The members that the next generation waits for, by id."""
        view = self._present_view()
        return [node for node in self._others() if not self._has_cleared(node, view)]

    def due(self, what: str) -> None:
        """Time to enter the next generation, or to store again."""
        self._look()

    def lost_something(self) -> None:
        """A record turned out to be damaged: what was said of it in this life holds no more."""
        self.life += 1

    # Deciding

    def _look(self) -> None:
        """Do what can be done now, and tell it."""
        if self._is_storing or self.is_behind or self._is_empty is None:
            return
        if self._most_heard > self.generation:
            self._follow(self._is_empty())
            return
        if not self.desk.placement.members or self.desk.placement.ring is None:
            return
        wanted = self._most_wanted()
        if wanted > self.generation:
            view = self._present_view()
            if self.cleared < self.generation or self._views_cleared != view:
                self._clear(view)
            elif not self.blockers():
                self._enter_next()
        if not self._is_storing:  # else there will be more to tell in a moment
            self._publish(wanted)

    def _follow(self, is_empty: bool) -> None:
        """Others are in a later generation."""
        if self._most_heard == self.generation + 1 and self.cleared == self.generation:
            self._save(self.generation + 1, self.generation)
        elif is_empty:
            self._save(self._most_heard, self._most_heard)
        else:
            # Nobody could have entered it before this node had cleared the one before.
            self.is_behind = True
            self.desk.counters.rollbacks += 1
            self.on_behind()

    def _clear(self, view: bytes) -> None:
        """See that nothing foreign is left of before now; comes back here at the end."""
        generation = self.generation
        if self._clearing == (generation, view):
            return
        self._clearing = (generation, view)

        def clear() -> None:
            if self._clearing == (generation, view):
                self._clearing = None
            if generation != self.generation or view != self._present_view():
                self._look()
                return
            self._views_cleared = view
            if self.cleared < generation and not self._is_storing:
                self._save(generation, generation)
            else:
                self._look()

        self.desk.foreign.when_clear(clear)

    def _enter_next(self) -> None:
        at = self._entered_at + self.desk.config.reap_pace_ns
        if self.desk.now >= at:
            self._save(self.generation + 1, self.generation)
        else:
            self.wake("pace", at)

    def _save(self, generation: int, cleared: int) -> None:
        self._is_storing = True

        def stored() -> None:
            self._is_storing = False
            has_entered = generation != self.generation
            self.generation, self.cleared = generation, cleared
            self._most_heard = max(self._most_heard, generation)
            self.is_behind = False
            if has_entered:
                self._entered_at = self.desk.now
                self.on_entered()
            self._look()

        def failed(_reason: FailureReason) -> None:
            self._is_storing = False
            if self.is_behind:
                self.on_behind()
            self.wake("again", self.desk.now + _RETRY_NS)

        row = seal_value(encode_plain((generation, cleared)))
        batch = [(copy, row) for copy in REAP_ROWS]
        self.desk.outbox.store(batch, (), stored, failed)

    # Reports

    def _others(self) -> list[NodeId]:
        placement = self.desk.placement
        if self._others_of is not placement.members:
            own = placement.self_id
            self._known_others = [
                node
                for node in sorted(placement.members)
                if node != own and placement.is_member(node)
            ]
            self._others_of = placement.members
        return self._known_others

    def _has_cleared(self, node: NodeId, view: bytes) -> bool:
        report = self._reports.get(node)
        return report is not None and report.cleared >= self.generation and report.view == view

    def _most_wanted(self) -> int:
        wanted = [report.wanted for node in self._others() if (report := self._reports.get(node))]
        return max([self._own_wanted, *wanted])

    def _present_view(self) -> bytes:
        placement = self.desk.placement
        members, ring = self._view_of
        if members is not placement.members or ring is not placement.ring:
            ids = [m.id for m in placement.members.values() if m.state is not MemberState.LEFT]
            registers = placement.ring.registers if placement.ring is not None else ()
            plain = (sorted(ids), tuple(register.epoch for register in registers))
            self._view = BLAKE3.digest(encode_plain(plain), _VIEW_BYTES)
            self._view_of = (placement.members, placement.ring)
        return self._view

    def _publish(self, wanted: int) -> None:
        """Tell the others how far this node is, where that helps anybody."""
        if not self.generation and not wanted:
            return
        own = self.desk.self_id
        plain = (self.generation, self.cleared, self._own_wanted, self._views_cleared)
        if plain == self._published or not self.desk.placement.is_member(own):
            return
        self._published = plain
        self._own_stamp += 1
        body = encode_plain(plain)
        self.desk.outbox.announce(Publish(Document(_PREFIX + own.hex(), self._own_stamp, body)))


def _opened(saved: Sequence[bytes | None]) -> tuple[int, int]:
    """(generation, cleared) of a row that is sound; a store without one has cleared nothing."""
    found = [(0, -1)]
    for row in saved:
        try:
            if row is not None:
                generation, cleared = decode_plain(open_value(row))
                found.append((generation, cleared))
        except DamagedRecord:
            continue
    return max(found)


def _report_of(document: Document) -> _Report:
    """The report of a document; ValueError where it is none."""
    try:
        plain = decode_plain(document.body)
    except PlainError as error:
        raise ValueError(str(error)) from error
    if type(plain) is tuple and tuple(map(type, plain[:4])) == _FIELDS:
        generation, cleared, wanted, view = plain[:4]
        if max(generation, cleared, wanted) < _GENERATION_MAX:
            return _Report(document.stamp, generation, cleared, wanted, view)
    raise ValueError("not a report")


def _nothing() -> None:
    """Nobody wants to know."""
