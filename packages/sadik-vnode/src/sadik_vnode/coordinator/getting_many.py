"""Many gets at once: one load of this node's own records, one question to each other replica.

What was said of a single get (`sadik_vnode.coordinator.getting`) holds key by key: nearly always
the owners that are asked first are up, answer soon and say the same. For these keys one message
asks for many, with the sum of what this node holds, and one answers that it is the same. Whatever
else happens to a key, it is left to a get of its own, which begins from the beginning: an owner
that is down or lost, an answer that differs, is damaged or of another generation, a newer register,
a partition whose owners change, a large value, a session's context. So each key is answered as it
would have been alone.

Where an owner is slow, the next one is put the same question, as for a single get. Keys are not
left to themselves for being late: in a cluster that is slow because it has too much to do that
would cost most. But a node of an older version of the software does not know the question: whoever
never answered one is not waited for so long, and then asked none for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from sadik_causality import Container
from sadik_machine import FailureReason, NodeId
from sadik_members import Phase
from sadik_vnode.coordinator.getting import Getting
from sadik_vnode.coordinator.reading import needs
from sadik_vnode.coordinator.showing import present, shown
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.keyspace import Key
from sadik_vnode.messages import MANY_KEYS_MAX, KeyState, ManyStates, ReadMany, Status
from sadik_vnode.parts import container_from_plain
from sadik_vnode.quorum import BadQuorum, Wanted, wanted
from sadik_vnode.record import Record
from sadik_vnode.requests import (
    GETS_MAX,
    Get,
    GetMany,
    ManyFound,
    Outcome,
    Result,
    Tally,
    Unavailable,
)
from sadik_vnode.sums import sum_of
from sadik_vnode.version import Version

__all__ = ["GettingMany"]

assert GETS_MAX <= MANY_KEYS_MAX, "the keys of one request fit one message to each replica"

_PATIENCE_HEDGES: Final = 10
"""After so many times the interval of a hedge a node that never answered such a question is taken
for one that does not know it, and this node's disk for one that does not answer."""

_ALARMS: Final = ("own", "hedge", "end")


class _Item:
    """One get as long as its owners agree.

    ``lacks`` so many answers, ``others`` are owners that were not asked, and ``agreed`` is what
    those who answered hold; None once the key was left to itself.
    """

    __slots__ = (
        "agreed", "asked", "at", "epoch", "get", "is_open", "key", "lacks", "others", "r",
    )  # fmt: skip

    def __init__(
        self, at: int, get: Get, key: Key, epoch: int, r: int, order: tuple[NodeId, ...], count: int
    ) -> None:
        self.at = at
        self.get = get
        self.key = key
        self.epoch = epoch
        self.r = r
        self.asked = order[:count]
        self.others = order[count:]
        self.lacks = count
        self.agreed: Container[Version] | None = None
        self.is_open = True


class GettingMany(Conversation):
    """The gets of one request on the node that it asked."""

    __slots__ = (
        "_asked", "_began", "_done", "_gets", "_is_cancelled", "_items", "_left", "_open",
        "_put_at", "_reads", "_results", "_single", "_wants",
    )  # fmt: skip

    def __init__(self, desk: Desk, request: GetMany, done: Callable[[Result], None]) -> None:
        assert 0 < len(request.gets) <= GETS_MAX, "who wants more asks twice"
        super().__init__(desk)
        self._gets = request.gets
        self._done = done
        self._began = desk.outbox.now
        self._results: list[Result | None] = [None] * len(request.gets)
        self._left = len(request.gets)
        """Gets that have no result yet."""
        self._items: list[_Item] = []
        self._open = 0
        """Items that are open: none disagrees, and not enough have answered."""
        self._asked: dict[NodeId, list[tuple[_Item, Container[Version] | None]]] = {}
        """By owner that was asked and has not answered, for which keys, and what it was told of."""
        self._put_at: dict[NodeId, int] = {}
        """By owner that was asked, when."""
        self._reads: list[_Item] = []
        """Those for whose records this node's disk was asked and has not answered."""
        self._single: dict[int, Getting] = {}
        """By place, the gets that were left to themselves and have no result yet."""
        self._is_cancelled = False
        self._wants: dict[tuple[object, ...], tuple[Wanted, Wanted] | None] = {}
        desk.keys_beyond += len(request.gets) - 1

    def start(self) -> None:
        """Read all. May answer at once."""
        alone = []
        for at, get in enumerate(self._gets):
            item = self._item(at, get)
            if item is None:
                alone.append(at)
            else:
                self._items.append(item)
        self._open = len(self._items)
        if self._items:
            self._set_alarms()
            self._read_own()
        else:
            self.close()
        for at in alone:
            self._leave(at)

    def cancel(self) -> None:
        """The client has gone."""
        self._is_cancelled = True
        self._reads = []
        self.close(*_ALARMS)
        self._end()
        for getting in self._single.values():
            getting.cancel()

    # Who may agree

    def _item(self, at: int, get: Get) -> _Item | None:
        """How to read a key together with others; None where it is to be read alone."""
        placement, versed, me = self.desk.placement, self.desk.versed, self.desk.self_id
        key = Key.of(get.bucket, get.key)
        partition = placement.partition(key)
        order = placement.reading_order(partition)
        want = self._wanted(get)
        if order is None or want is None or get.at_least is not None:
            return None
        register = placement.register(partition)
        r, pr = needs(want, len(order))
        count = max(r, pr)
        if not 0 < count <= len(order) or register.phase is not Phase.DONE:
            return None
        for node in order[:count]:
            if node != me and not versed.may_ask(node, self._began):
                return None
        return _Item(at, get, key, register.epoch, r, order, count)

    def _wanted(self, get: Get) -> tuple[Wanted, Wanted] | None:
        """R and PR of a get, nearly always those of the get before; None for no such quorum."""
        name = (get.bucket, get.r, get.pr)
        if name not in self._wants:
            properties = self.desk.buckets.get(get.bucket)
            ring = self.desk.placement.ring
            assert ring is not None, "a node without a ring takes no requests"
            try:
                r = wanted(get.r, properties.r, ring.replicas)
                self._wants[name] = r, wanted(get.pr, properties.pr, ring.replicas)
            except BadQuorum:
                self._wants[name] = None
        return self._wants[name]

    def _set_alarms(self) -> None:
        """When to ask others, and when to give up what is open."""
        desk = self.desk
        latest_ns = desk.config.hedge_ns
        patience_ns = min([item.get.timeout_ns for item in self._items])
        peers = {n: None for item in self._items for n in item.asked if n != desk.self_id}
        if not all(map(desk.versed.knows, peers)):
            patience_ns = min(patience_ns, _PATIENCE_HEDGES * latest_ns)
        self.wake("end", self._began + patience_ns)
        # Never earlier than a single get is hedged at the latest, and only as often as not all
        # are slow: then one question more for each would make it worse.
        hedge_ns = max(desk.latencies_of_many.hedge_after_ns(peers, patience_ns), latest_ns)
        if hedge_ns < patience_ns:
            self.wake("hedge", self._began + hedge_ns)

    # Asking

    def _read_own(self) -> None:
        """Read what this node holds, then ask the others with the sums of it."""
        desk = self.desk
        own = [item for item in self._items if item.asked[0] == desk.self_id]
        if not own:
            self._ask()
            return
        generation = desk.generations.generation
        self._reads = own
        self.wake("own", self._began + _PATIENCE_HEDGES * desk.config.hedge_ns)

        def read(records: list[Record]) -> None:
            if not self._reads:
                return
            if desk.generations.takes(generation):
                for item, record in zip(own, records, strict=True):
                    if item.is_open:
                        self._answered(item, record.container)
            else:
                desk.counters.old_generations += 1
                self._leave_all(own)
            self._ask()

        def failed(_reason: FailureReason) -> None:
            if self._reads:
                self._leave_all(own)
                self._ask()

        desk.replica.read_many([item.key for item in own], read, failed, for_client=True)

    def _ask(self) -> None:
        """One question to each owner that is to be asked besides this node."""
        me = self.desk.self_id
        self._reads = []
        self.desk.deadlines.drop((self, "own"))
        questions: dict[NodeId, list[_Item]] = {}
        for item in self._items:
            if item.is_open:
                for node in item.asked:
                    if node != me:
                        questions.setdefault(node, []).append(item)
        for node, items in questions.items():
            self._put(node, items)
        self._rest()

    def _ask_others(self) -> None:
        """One owner more for each key that is open, unless that one is being waited for already."""
        desk = self.desk
        questions: dict[NodeId, list[_Item]] = {}
        for item in self._items:
            if item.is_open and item.others:
                node, item.others = item.others[0], ()
                if (
                    node not in self._asked
                    and desk.placement.is_routable(node)
                    and desk.versed.may_ask(node, desk.now)
                ):
                    questions.setdefault(node, []).append(item)
        if questions:
            desk.latencies_of_many.hedged()
        for node, items in questions.items():
            desk.counters.hedged_reads += len(items)
            self._put(node, items)

    def _put(self, node: NodeId, items: list[_Item]) -> None:
        self._asked[node] = [(item, item.agreed) for item in items]
        self._put_at[node] = self.desk.now
        keys = [(i.epoch, i.key.bucket, i.key.key, _sum_of(i.agreed)) for i in items]
        self.desk.counters.replica_reads += len(items)
        self.desk.outbox.send(node, ReadMany(self.id, tuple(keys), items[0].get.trace))

    # Answers

    def received(self, sender: NodeId, message: object) -> None:
        """An owner's states."""
        if type(message) is not ManyStates:
            return
        asked = self._asked.pop(sender, None)
        if asked is None:
            return
        desk = self.desk
        desk.versed.answered(sender)
        desk.latencies_of_many.add(sender, desk.now - self._put_at[sender])
        is_fit = False
        if message.status == Status.OK:
            if len(message.states) != len(asked):
                desk.counters.malformed_messages += 1
            elif not desk.generations.takes(message.generation):
                desk.counters.old_generations += 1
            else:
                is_fit = True
        if is_fit:
            for (item, known), state in zip(asked, message.states, strict=True):
                if not item.is_open:
                    self._told_late(item, state)
                elif state is None and known is not None and known is item.agreed:
                    self._counts(item, known)
                else:
                    self._told(item, state)
        else:
            self._leave_all([item for item, _ in asked])
        self._rest()

    def unsent(self, to: NodeId, message: object) -> None:
        """The question never left."""
        self.peer_lost(to)

    def peer_lost(self, peer: NodeId) -> None:
        """One that was asked is not going to answer."""
        asked = self._asked.pop(peer, None)
        if asked is not None:
            self._leave_all([item for item, _ in asked])
            self._rest()

    def due(self, what: str) -> None:
        """Time to ask others, to go on without this node's disk, to give up what is open, or to
        wait no longer for the late, who might at last show that they know the question.
        """
        if what == "hedge":
            self._ask_others()
            return
        if what == "own":
            self._leave_all(self._reads)
            self._ask()
            return
        if not self._open:
            self._asked.clear()
        for node in self._asked:
            self.desk.versed.silent(node, self.desk.now)
        for item in self._items:
            if item.is_open and self._began + item.get.timeout_ns <= self.desk.now:
                self._too_late(item)
        self._leave_all(self._items)
        self._rest()

    def _told(self, item: _Item, state: KeyState | None) -> None:
        """What an owner says of a key that is open, but that it is as it was told."""
        if state is None:
            self.desk.counters.malformed_messages += 1  # there is nothing that it could be like
        elif state[0] == Status.OK:
            try:
                answer = container_from_plain(state[1], state[2])
            except ValueError:
                self.desk.counters.malformed_messages += 1
            else:
                self._answered(item, answer)
                return
        self._leave(item.at, item)

    def _told_late(self, item: _Item, state: KeyState | None) -> None:
        """After the key's answer: note only whether this owner agrees with it."""
        if state is None:
            return
        status, versions, _ = state
        dots = {(version[0], version[1]) for version in versions}
        if status == Status.OK and item.agreed is not None and dots != item.agreed.versions.keys():
            self.desk.repairs.soon(item.key)

    def _answered(self, item: _Item, answer: Container[Version]) -> None:
        """What an owner holds: the first that says so, or one that has to agree with it."""
        agreed = item.agreed
        if agreed is None:
            agrees = all(version.body is not None for version in answer.versions.values())
            item.agreed = agreed = answer
        else:
            # Merging it changes nothing, and it lacks nothing that is live: it needs no repair.
            agrees = agreed.merge(answer) is agreed and agreed.same_live(answer)
        if agrees:
            self._counts(item, agreed)
        else:
            self._leave(item.at, item)

    def _counts(self, item: _Item, agreed: Container[Version]) -> None:
        """One owner more agrees; when as many do as R and PR want, they are the answer."""
        item.lacks -= 1
        if item.lacks:
            return
        desk, key = self.desk, item.key
        count = len(item.asked)
        there = list(present(desk, key.bucket, agreed))
        tally = Tally(item.r, count, 0, count, 0)
        item.is_open = False
        self._open -= 1
        self._settle(item.at, shown(desk, key, agreed, there, tally, latest=item.get.latest))

    def _too_late(self, item: _Item) -> None:
        count = len(item.asked) - item.lacks
        tally = Tally(item.r, count, 0, count, 0)
        item.agreed = None
        item.is_open = False
        self._open -= 1
        detail = "not enough replicas answered in time"
        self._settle(item.at, Unavailable(Outcome.INDETERMINATE, detail, tally))

    # Where they do not agree

    def _leave_all(self, items: Iterable[_Item]) -> None:
        for item in items:
            if item.is_open:
                self._leave(item.at, item)

    def _leave(self, at: int, item: _Item | None = None) -> None:
        """Leave a key to a get of its own, in what is left of its time."""
        if item is not None:
            item.agreed = None
            item.is_open = False
            self._open -= 1

        def done(result: Result) -> None:
            if not self._is_cancelled:
                self._single.pop(at, None)
                self._settle(at, result)

        get = self._gets[at]
        getting = Getting(self.desk, get, done, self._began + get.timeout_ns)
        self._single[at] = getting
        getting.start()

    # The end

    def _rest(self) -> None:
        """Where no key is open any more, take part no longer than for those who are late."""
        if self._open:
            return
        if not self._asked:
            self.close(*_ALARMS)
            return
        for item in self._items:
            if item.agreed is not None:
                # The late are told apart by dots, so let the values go.
                item.agreed = item.agreed.without_values()  # type: ignore[assignment]
        self.desk.deadlines.drop((self, "hedge"))
        self.wake("end", self.desk.now + self.desk.config.linger_ns)

    def _settle(self, at: int, result: Result) -> None:
        self._results[at] = result
        self._left -= 1
        if not self._left:
            self._end()
            self._done(ManyFound(self._results))  # type: ignore[arg-type]

    def _end(self) -> None:
        self.desk.keys_beyond -= len(self._gets) - 1


def _sum_of(agreed: Container[Version] | None) -> bytes:
    """The sum of what is known of a key; empty where nothing is."""
    return b"" if agreed is None else sum_of(agreed.context, agreed.live_dots())
