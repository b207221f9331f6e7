"""The reaper: finds what is gone, has it proven, waits, and has all owners take it away.

The first owner of a partition does it for all. A record of which everything is a delete or has
expired goes through four stages.

1. *Alike*: every owner tells, from its disk, that it holds exactly these live versions and this
   context, and that they are gone by its own clock. Let g be the latest generation of an answer:
   from g+1 on, no owner ever showed or sent a state that lacks it.
2. *Proven*, when the cluster is in generation g+5. An older value can have been made up to g+1, and
   be on its way to a fallback until all refuse what was read in g+1, which is from g+3 on. What has
   come to a fallback by then is with the owners before anybody enters g+4, and what a fallback sent
   them in g+3 all refuse from g+5 on. (`generations` tolerates one generation; without that it
   would be g+3.)
3. *Kept*: `EngineConfig.tombstone_ns` longer, for sessions, and for people who look.
4. *Taken away*: every owner is asked again. If all hold it still unchanged, in the life in which
   they said so first, they are told to take it away. A node that started anew meanwhile may have
   come back with an older store: then it begins with stage 1.

What is in hand is kept in memory, as a hash a record; after a restart all begins anew.

A pass over the rows of what is due looks for more. There is one only when it may find something: a
record has become due, is due now by the clock, or was not alike the last time; somebody comes or
goes who has to be asked; a batch is done with. A node where nothing is deleted does nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define

from sadik_hashing import BLAKE3
from sadik_machine import MILLISECOND, SECOND, FailureReason, NodeId, ScanRows, encode_plain
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.due import due_ms, is_gone
from sadik_vnode.key_state import Change
from sadik_vnode.keyspace import DUE_RANGE, Key, due_row, parse_due_row
from sadik_vnode.messages import Status
from sadik_vnode.reaping.answering import ITEMS_MAX, item_of, take_away_all
from sadik_vnode.reaping.asking import Asking, Proof
from sadik_vnode.reaping.generations import TOLERANCE
from sadik_vnode.reaping.messages import GoneItem, Reap, Reaped
from sadik_vnode.record import Record

__all__ = ["Reaper"]

_PROVEN_AFTER: Final = 3 + 2 * TOLERANCE
_SCAN_BYTES: Final = 64 * 1024
_IN_HAND_MAX: Final = 32_768
_PASS_MIN_NS: Final = 200 * MILLISECOND
_PASS_MAX_NS: Final = 5 * SECOND
_PASS_IDLE_NS: Final = 60 * SECOND
"""The longest wait for a record that is due at some time, whatever the wall clock does."""
_PASS_SHARE: Final = 10
"""A pass is at work for at most one part in so many of the time, whatever waits. To wait for owners
that do not answer is no work."""
_TRIES_MAX: Final = 5
_RETRY_NS: Final = SECOND
_ANSWER_NS: Final = 10 * SECOND
_HASH_BYTES: Final = 16


@define(slots=True, eq=False)
class _Batch:
    """Records that were found alike together."""

    proven_in: int
    lives: dict[NodeId, int]
    hashes: dict[Key, bytes]
    may_go_at: int | None = None
    is_at_work: bool = False


class Reaper(Conversation):
    """Looks for what is gone, every now and then, and carries batches through their stages."""

    __slots__ = (
        "_asked_at", "_batches", "_began", "_counted", "_cursor", "_in_hand", "_is_left",
        "_is_passing", "_is_started", "_pass_at", "_reaping", "_rests_until", "_unreachable",
        "_unreachable_now", "is_counted",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.close()
        self._batches: deque[_Batch] = deque()
        self._in_hand: dict[Key, None] = {}
        self._reaping: dict[Key, None] = {}
        self._is_started = False
        self._is_passing = False
        self._is_left = False
        self._pass_at: int | None = None
        self._rests_until = 0
        self._cursor = DUE_RANGE[0]
        self._counted = 0
        self._began = 0
        self._asked_at = 0
        self._unreachable: dict[NodeId, None] = {}
        self._unreachable_now: dict[NodeId, None] = {}
        self.is_counted = False
        """Whether all that is gone here has been counted once."""
        desk.replica.on_due = self._became_due

    # What others ask

    def is_reaping(self, key: Key) -> bool:
        """Whether all owners are being told to take this record away: nobody is to be sent it."""
        return key in self._reaping

    @property
    def in_hand(self) -> int:
        """Records that are proven, or on the way to it."""
        return len(self._in_hand)

    def waits_for(self) -> list[NodeId]:
        """The members that hold reaping up as this node sees it: owners that cannot be reached, and
        who has not cleared the present generation. Of the latter those that are away, if there are
        any: what the others keep for them they cannot hand off.
        """
        found = dict(self._unreachable)
        if any(batch.proven_in > self.desk.generations.generation for batch in self._batches):
            blockers = self.desk.generations.blockers()
            is_routable = self.desk.placement.is_routable
            away = [node for node in blockers if not is_routable(node)]
            found.update(dict.fromkeys(away or blockers))
        return sorted(found)

    def start(self) -> None:
        """Begin to look."""
        self._is_started = True
        self.look_again()

    def stop(self) -> None:
        """Look no more: this node is about to stop."""
        self._is_started = False
        self._pass_at = None
        for what in ("pass", "look"):
            self.desk.deadlines.drop((self, what))

    def due(self, what: str) -> None:
        """Time for a pass, for its next chunk, or to look after the batches."""
        if what == "pass":
            self._begin_pass()
        elif what == "chunk":
            self._scan()
        else:
            self.look()

    def look(self) -> None:
        """See which batches are proven, and which may go."""
        if not self._is_started:
            return
        now, generation = self.desk.now, self.desk.generations.generation
        earliest: int | None = None
        for batch in list(self._batches):
            if batch.proven_in > generation or batch.is_at_work:
                continue
            if batch.may_go_at is None:
                batch.may_go_at = now + self.desk.config.tombstone_ns
            if batch.may_go_at <= now:
                batch.is_at_work = True
                _Taking(self.desk, batch, self._reaping, self._taken).start()
            elif earliest is None or batch.may_go_at < earliest:
                earliest = batch.may_go_at
        if earliest is not None:
            self.wake("look", earliest)

    # When to look for what is gone

    def look_again(self) -> None:
        """Something has changed that may let this node reap what it could not."""
        self._pass_within(self._interval_ns)

    def _became_due(self, key: Key, due: int | None) -> None:
        """A record is due at another time now, or no more."""
        if due is not None and self._is_first_owner(key):
            in_ns = due * MILLISECOND - self.desk.wall_ns
            self._pass_within(min(max(in_ns, self._interval_ns), _PASS_IDLE_NS))
        else:
            self._pass_within(_PASS_MAX_NS)  # only to count

    def _is_first_owner(self, key: Key) -> bool:
        placement = self.desk.placement
        if placement.ring is None:
            return False
        owners = placement.register(placement.partition(key)).owners
        return bool(owners) and owners[0] == placement.self_id

    def _pass_within(self, within_ns: int) -> None:
        if not self._is_started:
            return
        at = self.desk.now + within_ns
        if self._pass_at is None or at < self._pass_at:
            self._pass_at = at
            if not self._is_passing:
                self._set_pass()

    def _set_pass(self) -> None:
        if self._pass_at is not None:
            self.wake("pass", max(self._pass_at, self._rests_until))

    @property
    def _interval_ns(self) -> int:
        tenth = self.desk.config.tombstone_ns // 10
        return min(max(tenth, _PASS_MIN_NS), _PASS_MAX_NS)

    # Looking for what is gone

    def _begin_pass(self) -> None:
        desk = self.desk
        self._pass_at = None
        if desk.placement.ring is None or desk.generations.is_behind:
            self.look_again()
            return
        self._is_passing = True
        self._is_left = False
        self._cursor = DUE_RANGE[0]
        self._counted = 0
        self._began = desk.now
        self._unreachable_now = {}
        self._scan()

    def _scan(self) -> None:
        self.desk.outbox.load(
            ScanRows(self._cursor, DUE_RANGE[1], ITEMS_MAX, _SCAN_BYTES, keys_only=True),
            self._scanned,
            lambda _: self._end_pass(is_whole=False),
        )

    def _scanned(self, rows: list[tuple[bytes, bytes]]) -> None:
        if not rows:
            self._end_pass(is_whole=True)
            return
        self._cursor = rows[-1][0] + b"\0"
        wall_ms = self.desk.wall_ns // MILLISECOND
        due_by_key: dict[Key, int] = {}
        for row, _ in rows:
            try:
                due, key = parse_due_row(row)
            except ValueError:
                continue  # a damaged key: the record that it told of is found when it is read
            if due > wall_ms:
                self._cursor = DUE_RANGE[1]
                self._pass_within(min((due - wall_ms) * MILLISECOND, _PASS_IDLE_NS))
                break
            self._counted += due == 0
            if key not in self._in_hand and self._is_mine(key):
                due_by_key[key] = due
        if not due_by_key or len(self._in_hand) >= _IN_HAND_MAX:
            self._is_left = self._is_left or bool(due_by_key)
            self._next_chunk()
            return
        # The generation at which the load is asked for: what it finds was here by then.
        generation = self.desk.generations.generation
        self.desk.replica.read_many(
            list(due_by_key),
            lambda records: self._read(due_by_key, records, generation),
            lambda _: self._leave(),
        )

    def _is_mine(self, key: Key) -> bool:
        """Whether this node is the one to reap it, and every owner can be asked."""
        placement = self.desk.placement
        owners = placement.register(placement.partition(key)).owners
        if placement.self_id not in owners:
            return False
        away = [o for o in owners if not (placement.is_member(o) and placement.is_routable(o))]
        self._unreachable_now.update(dict.fromkeys(away))
        return not away and owners[0] == placement.self_id

    def _read(self, due_by_key: dict[Key, int], records: list[Record], generation: int) -> None:
        gone: dict[Key, Record] = {}
        wall_ns = self.desk.wall_ns
        for (key, due), record in zip(due_by_key.items(), records, strict=True):
            if due_ms(record.container) != due:
                self._remove_stray(key, due)
            elif is_gone(record.container, wall_ns):
                gone[key] = record
        if not gone:
            self._next_chunk()
            return
        hashes = {key: _hash_of(_item(self.desk, key, gone[key])) for key in gone}
        self._asked_at = self.desk.now
        Asking(self.desk, gone, generation, lambda proof: self._alike(hashes, proof)).start()

    def _remove_stray(self, key: Key, due: int) -> None:
        """A row whose record was damaged, and is another since."""

        def make(before: Record) -> Change | None:
            if due_ms(before.container) == due:
                return None
            return Change(before, [(due_row(due, key), None)], ())

        self.desk.replica.update(key, make, None, _ignore)

    def _leave(self) -> None:
        """These records could not be read: they are looked at again."""
        self._is_left = True
        self._next_chunk()

    def _alike(self, hashes: dict[Key, bytes], proof: Proof) -> None:
        self._began += self.desk.now - self._asked_at  # as if the pass had begun later by that
        self._is_left = self._is_left or len(proof.alike) < len(hashes)
        if proof.alike:
            hashes = {key: hashes[key] for key in proof.alike}
            proven_in = proof.generation + _PROVEN_AFTER
            self._batches.append(_Batch(proven_in, proof.lives, hashes))
            self._in_hand.update(dict.fromkeys(proof.alike))
            self.desk.generations.want(proven_in)
            self.look()
        self._next_chunk()

    def _next_chunk(self) -> None:
        if self._cursor == DUE_RANGE[1]:
            self._end_pass(is_whole=True)
            return
        now = self.desk.now
        self.wake("chunk", now + self.desk.admission.pause_ns(now, 0))

    def _end_pass(self, *, is_whole: bool) -> None:
        now = self.desk.now
        if is_whole:
            self.desk.replica.tombstones = self._counted
            self._unreachable = self._unreachable_now
            self.is_counted = True
        self._is_passing = False
        self._rests_until = now + (now - self._began) * _PASS_SHARE
        if self._is_left or not is_whole:
            self.look_again()
        self._set_pass()

    def _taken(self, batch: _Batch, *, again: bool) -> None:
        """A batch is done with; or it is to be tried again."""
        if again:
            batch.is_at_work = False
            batch.may_go_at = self.desk.now + _RETRY_NS
            self.look()
            return
        self._batches.remove(batch)
        for key in batch.hashes:
            del self._in_hand[key]
        self.look_again()  # some of it may have changed, and be gone as it is now


class _Taking(Conversation):
    """Stage 4 of one batch: ask again, tell the owners, and take it away here when they have."""

    __slots__ = ("_batch", "_done", "_items", "_marks", "_records", "_told", "_tries")

    is_background = True

    def __init__(
        self,
        desk: Desk,
        batch: _Batch,
        marks: dict[Key, None],
        done: Callable[..., None],
    ) -> None:
        super().__init__(desk)
        self._batch = batch
        self._marks = marks
        self._done = done
        self._records: dict[Key, Record] = {}
        self._items: dict[Key, GoneItem] = {}
        self._told: dict[NodeId, None] = {}
        self._tries = 0

    def start(self) -> None:
        """See what is still as it was."""
        generation = self.desk.generations.generation
        keys = list(self._batch.hashes)
        self.desk.replica.read_many(
            keys, lambda records: self._read(keys, records, generation), lambda _: self._end()
        )

    def received(self, sender: NodeId, message: object) -> None:
        """An owner has taken them away."""
        if isinstance(message, Reaped) and sender in self._told:
            if message.status == Status.OK:
                del self._told[sender]
            if not self._told:
                self._take_away()

    def due(self, what: str) -> None:
        """Tell those again who have not said that it is done."""
        self._tell()

    def _read(self, keys: list[Key], records: list[Record], generation: int) -> None:
        for key, record in zip(keys, records, strict=True):
            if record.is_absent:
                continue
            item = _item(self.desk, key, record)
            if _hash_of(item) == self._batch.hashes[key]:
                self._records[key] = record
                self._items[key] = item
        if not self._records:
            self._end()
        else:
            Asking(self.desk, self._records, generation, self._asked).start()

    def _asked(self, proof: Proof) -> None:
        lives = self._batch.lives
        if any(lives.get(owner) != life for owner, life in proof.lives.items()):
            self._end()
            return
        if proof.least < self._batch.proven_in:
            self._end(again=True)  # it is about to enter the generation
            return
        self._items = {key: item for key, item in self._items.items() if key in proof.alike}
        if not self._items:
            self._end()
            return
        told = {
            owner: None
            for key in self._items
            for owner in self._owners(key)
            if owner != self.desk.self_id
        }
        if any(owner not in lives for owner in told):
            self._end()  # an owner since it was asked: nothing is proven of it
            return
        self._marks.update(dict.fromkeys(self._items))
        self._told = told
        self._tell()

    def _owners(self, key: Key) -> tuple[NodeId, ...]:
        return self.desk.placement.register(self.desk.placement.partition(key)).owners

    def _tell(self) -> None:
        if self._tries >= _TRIES_MAX:
            # Somebody does not answer: what it holds still will be found, and proven anew.
            self._end()
            return
        self._tries += 1
        for owner in list(self._told):
            items = tuple(item for key, item in self._items.items() if owner in self._owners(key))
            reap = Reap(self.id, self._batch.lives[owner], self._batch.proven_in, items)
            self.desk.outbox.send(owner, reap)
        if self._told:
            self.wake("again", self.desk.now + _ANSWER_NS // _TRIES_MAX)
        else:
            self._take_away()

    def _take_away(self) -> None:
        self.desk.deadlines.drop((self, "again"))
        items = [
            (key, item[2], self._records[key].container.without_values())
            for key, item in self._items.items()
        ]
        take_away_all(self.desk, self.desk.self_id, items, lambda _: self._end())

    def _end(self, *, again: bool = False) -> None:
        self.close("again")
        for key in self._items:
            self._marks.pop(key, None)
        self._done(self._batch, again=again)


def _item(desk: Desk, key: Key, record: Record) -> GoneItem:
    epoch = desk.placement.register(desk.placement.partition(key)).epoch
    return item_of(key, epoch, record)


def _hash_of(item: GoneItem) -> bytes:
    """What stands for a record in hand: it changes with its versions, its context and its epoch."""
    return BLAKE3.digest(encode_plain(item), _HASH_BYTES)


def _ignore(_reason: FailureReason) -> None:
    """The next pass finds it again."""
