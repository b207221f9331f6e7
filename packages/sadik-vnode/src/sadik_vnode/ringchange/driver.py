"""Driving the ring to where it should be: one plan, one member that carries it out.

The plan is what `sadik_hashing.claim` makes of the members that are up and the present map, once
membership has stood still for a second: five nodes that join at once are one plan. The member
with the least id that is up and may be reached drives it. It keeps nothing on disk: who takes
over reads from the registers how far each partition is. Should two drive at once, their
proposals hinder each other, and that is all.

    done ------- decide ---> write-both   once everybody concerned may be reached, or has left
    write-both - decide ---> read-new     once all owners have adopted it and receivers are filled
    write-both - decide ---> done (old)   once a receiver has left the cluster
    read-new --- decide ---> done (new)   once all owners have adopted it

An owner that is down and has not left holds its partitions' changes up, and is named.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from attrs import Factory, define

from sadik_hashing import Assignment, claim
from sadik_machine import MILLISECOND, SECOND, NodeId
from sadik_members import (
    Liveness,
    MemberState,
    NothingHeld,
    Phase,
    Register,
    claimants,
    register_to_plain,
)
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.requests import Result, Transfer, TransfersResult
from sadik_vnode.ringchange.adopting import Adopting
from sadik_vnode.ringchange.deciding import Deciding, voters
from sadik_vnode.ringchange.filling import Filling
from sadik_vnode.ringchange.messages import (
    AdoptionAsked,
    AdoptionTold,
    FillAsked,
    FillTold,
    RegistersTold,
    SizesAsked,
    SizesTold,
    TransfersAsked,
)
from sadik_vnode.ringchange.sizes import Sizes
from sadik_vnode.ringchange.steps import abort_of, after, givers
from sadik_vnode.ringchange.telling import AskingTransfers, transfers_told
from sadik_vnode.ringchange.voice import Voice

__all__ = ["RingChanges"]

_CHANGES_MAX: Final = 32
_BEGUN_MAX: Final = 4
_BEGIN_AGAIN_NS: Final = 10 * MILLISECOND
"""So many changes begin at once, and the next so much later: each is a round of Paxos, and clients
wait for as long as it takes to begin all."""
_SOON_NS: Final = 5 * MILLISECOND
"""A look at all changes takes some tenths of a millisecond, and each change has many."""
_TICK_NS: Final = 200 * MILLISECOND
_ASK_AGAIN_NS: Final = SECOND
_HASTE: Final = 10
_RETRY_NS: Final = 300 * MILLISECOND


@define(slots=True)
class _Change:
    """A partition on its way. ``reason`` says for people what it waits for."""

    is_deciding: bool = False
    retry_at: int = 0
    reason: str = ""
    is_stalled: bool = False
    filled: dict[NodeId, int] = Factory(dict)
    fill_asked_at: dict[NodeId, int] = Factory(dict)
    fill_waits: str = ""
    bytes: int = 0
    bytes_epoch: int = 0


class RingChanges(Conversation):
    """Drives changes where it is this node's turn, and does this node's part in all of them."""

    __slots__ = (
        "_adopted",
        "_adopting",
        "_asked",
        "_begin_at",
        "_changes",
        "_deciding",
        "_filling",
        "_is_clearing",
        "_key",
        "_serve",
        "_sizes",
        "_source",
        "_still_at",
        "_target",
        "_tick_at",
        "voice",
    )  # fmt: skip

    is_background = True

    def __init__(self, desk: Desk, source: random.Random, saved_voice: bytes | None) -> None:
        super().__init__(desk)
        self.close()
        self._source = source
        self.voice = Voice(desk, saved_voice)
        """Of what this node's acceptor may speak."""
        self._deciding = Deciding(desk, random.Random(source.getrandbits(64)), self.voice)
        self._adopting = Adopting(desk)
        self._filling = Filling(desk, self._fill_told)
        self._sizes = Sizes(desk)
        self._changes: dict[int, _Change] = {}
        self._adopted: dict[NodeId, dict[int, int]] = {}
        self._asked: dict[tuple[NodeId, int], tuple[int, int]] = {}
        self._begin_at = 0
        self._key: object = None
        self._still_at = 0
        self._is_clearing = False
        self._target: Assignment | None = None
        self._tick_at: int | None = None
        self._serve: dict[type, Callable[[NodeId, object], None]] = {
            RegistersTold: self._deciding.told,  # type: ignore[dict-item]
            AdoptionAsked: self._adopting.asked,  # type: ignore[dict-item]
            AdoptionTold: self._adoption_told,  # type: ignore[dict-item]
            FillAsked: self._filling.asked,  # type: ignore[dict-item]
            FillTold: self._fill_told,  # type: ignore[dict-item]
            SizesAsked: self._sizes.asked,  # type: ignore[dict-item]
            SizesTold: self._sizes.told,  # type: ignore[dict-item]
            TransfersAsked: self._transfers_asked,  # type: ignore[dict-item]
        }

    # Events

    @property
    def transfers_active(self) -> int:
        """Partitions that are being filled on this node."""
        return self._filling.active

    @property
    def has_doubts(self) -> bool:
        """Whether this node is having decided what it may not vote on."""
        return self._deciding.has_doubts

    @property
    def is_settled(self) -> bool:
        """Whether nothing moves or is going to, as far as it is for this node to drive."""
        if self.driver() != self.desk.self_id:
            return True
        return self._tick_at is None and self._target is not None and not self._changes

    def serve(self, sender: NodeId, message: object) -> bool:
        """Take a message about changes of the ring; whether it was one."""
        serve = self._serve.get(type(message))
        if serve is None:
            return self._deciding.serve(sender, message)
        serve(sender, message)
        return True

    def poke(self) -> None:
        """Members, ring or liveness have changed."""
        if self.desk.placement.ring is None or not self.desk.config.changes_ring:
            return
        self._deciding.look()
        self._adopting.stored()
        self._filling.poke()
        self._soon(_SOON_NS)

    def due(self, what: str) -> None:
        """Look what can be done."""
        self._tick_at = None
        self._tick()

    def driver(self) -> NodeId | None:
        """Who drives, as far as this node can tell."""
        placement = self.desk.placement
        able = [
            member.id
            for member in placement.members.values()
            if member.state is MemberState.UP and placement.is_routable(member.id)
        ]
        return min(able, default=None)

    def _soon(self, after_ns: int) -> None:
        at = self.desk.now + after_ns
        if self._tick_at is None or at < self._tick_at:
            self._tick_at = at
            self.wake("tick", at)

    # The plan

    def _plan(self) -> Assignment | None:
        """Where the ring should be; None while membership does not stand still."""
        desk = self.desk
        nodes = [
            claimant
            for claimant in claimants(desk.placement.members)
            if desk.placement.members[NodeId(claimant.id)].state is MemberState.UP
        ]
        key = tuple(nodes)
        ring = desk.placement.ring
        assert ring is not None, "who plans knows a ring"
        if key != self._key:
            self._key = key
            width = min(ring.replicas, len(nodes))
            lacks = any(len(register.settled) < width for register in ring.registers)
            # Replicas that are missing are not waited for: to grow a list moves nothing in vain.
            after_ns = desk.config.plan_after_ns // (_HASTE if lacks else 1)
            self._still_at = desk.now + after_ns
            self._target = None
        if self._target is not None:
            return self._target
        if desk.now < self._still_at or not nodes:
            return None
        present = tuple(register.settled for register in ring.registers)
        self._target = claim(nodes, ring.partitions, ring.replicas, present)
        return self._target

    # Driving

    def _tick(self) -> None:
        desk = self.desk
        ring = desk.placement.ring
        if ring is None:
            return
        self._see_off()
        self._deciding.look()
        if self.driver() != desk.self_id:
            self._rest()
            return
        target = self._plan()
        for partition, register in enumerate(ring.registers):
            if partition in self._changes:
                continue
            is_due = register.phase is not Phase.DONE or (
                target is not None and register.owners != target[partition]
            )
            if is_due:
                self._changes[partition] = _Change()
        under_way = sum(
            desk.placement.register(p).phase is not Phase.DONE and not change.is_stalled
            for p, change in self._changes.items()
        )
        begun_max = _BEGUN_MAX if desk.now >= self._begin_at else 0
        begun = 0
        asks: dict[NodeId, list[int]] = {}
        for partition, change in list(self._changes.items()):
            register = desk.placement.register(partition)
            if register.phase is Phase.DONE and not change.is_deciding:
                if under_way + begun >= _CHANGES_MAX or begun >= begun_max:
                    change.reason = "others are moved first"
                    continue
                begun += self._begin(partition, change, register, target)
            else:
                self._advance(partition, change, register, asks)
        for node, partitions in asks.items():
            registers = tuple(register_to_plain(p, desk.placement.register(p)) for p in partitions)
            desk.outbox.send(node, AdoptionAsked(self.id, registers))
        self._sizes.look(self._changes)
        if begun:
            self._begin_at = desk.now + _BEGIN_AGAIN_NS
        if desk.now < self._begin_at:
            self._soon(self._begin_at - desk.now)
        if self._changes or target is None:
            wait_ns = max(self._still_at - desk.now, _SOON_NS) if target is None else _TICK_NS
            self._soon(min(wait_ns, _TICK_NS))
        else:
            self._adopted.clear()
            self._asked.clear()
            self._sizes.rest()

    def _see_off(self) -> None:
        """A node that leaves says when it owns nothing any more, and no note waits with it, nor any
        record that an owner might lack.
        """
        own = self.desk.placement.members.get(self.desk.self_id)
        if own is None or own.state is not MemberState.LEAVING:
            return
        if not self._owns_nothing():
            self._soon(_TICK_NS)
        elif not self._is_clearing:
            self._is_clearing = True
            self.desk.foreign.when_clear(self._cleared)

    def _cleared(self) -> None:
        """The owners have all that was here when this node had ceased to be one. What came later,
        such as a hint that was on its way, is handed off in another round.
        """
        self._is_clearing = False
        if self._owns_nothing() and not self.desk.foreign.may_hold:
            self.desk.outbox.announce(NothingHeld())
            self._soon(_ASK_AGAIN_NS)
        else:
            self._soon(_TICK_NS)

    def _owns_nothing(self) -> bool:
        desk = self.desk
        durable = desk.placement.durable
        return (
            durable is not None
            and not any(desk.self_id in register.owners for register in durable.registers)
            and not desk.hints.notes_pending
            and self._is_heard()
        )

    def _is_heard(self) -> bool:
        """Whether half of the other members at least would hear a farewell. Who has only just
        started, or is cut off, waits: the others would take it for one that is leaving for ever.
        """
        placement = self.desk.placement
        others = [node for node in placement.present if node != self.desk.self_id]
        near = sum(placement.liveness(node) is Liveness.UP for node in others)
        return 2 * near >= len(others)

    def _rest(self) -> None:
        """Another member drives."""
        self._deciding.give_up()
        self._changes.clear()
        self._adopted.clear()
        self._asked.clear()
        self._sizes.rest()
        self._target = None
        self._key = None

    def _begin(
        self, partition: int, change: _Change, register: Register, target: Assignment | None
    ) -> int:
        """Take the first step of a change, or be done with it. How many changes begin by it."""
        if target is None:
            change.reason = "the plan waits until membership stands still"
            return 0
        wanted = tuple(NodeId(node) for node in target[partition])
        following = after(register, wanted)
        if following is None:
            del self._changes[partition]
            return 0
        lost = self._lost((*register.owners, *following.owners))
        if lost:
            self._waits_for_node(change, lost[0])
            return 0
        self._propose(partition, change, register, following)
        return 1

    def _advance(
        self, partition: int, change: _Change, register: Register, asks: dict[NodeId, list[int]]
    ) -> None:
        if change.is_deciding:
            return
        if register.phase is Phase.WRITE_BOTH and any(
            self._has_left(node) for node in register.new if node not in register.old
        ):
            self._propose(partition, change, register, abort_of(register))
            return
        late = self._not_adopted(partition, register, asks)
        if late:
            name = self.desk.placement.name_of(late[0])
            change.reason = f"waits until {name} has the new register on disk"
            self._stalled(change, late)
            return
        if register.phase is Phase.WRITE_BOTH and not self._is_filled(partition, change, register):
            return
        following = after(register, ())
        assert following is not None, "a change that is under way has a next step"
        self._propose(partition, change, register, following)

    def _propose(
        self, partition: int, change: _Change, register: Register, following: Register
    ) -> None:
        desk = self.desk
        if desk.now < change.retry_at:
            return
        change.is_stalled = False
        change.reason = "its owners decide"

        change.is_deciding = True

        def done(is_decided: bool) -> None:
            change.is_deciding = False
            if is_decided:
                change.filled.clear()
                change.retry_at = 0
                self._soon(_SOON_NS)
                return
            change.retry_at = desk.now + _RETRY_NS + self._source.randrange(_RETRY_NS)
            asked = voters(desk, register)
            lost = self._lost(asked)
            gone = [node for node in asked if self._has_left(node)]
            if lost:
                name = desk.placement.name_of(lost[0])
                change.reason = f"no majority of its owners answers: {name} cannot be reached"
            elif gone:
                name = desk.placement.name_of(gone[0])
                change.reason = (
                    f"no majority of its owners answers, and {name}, which is one, is gone: "
                    "if that lasts, remove it with --force"
                )
            self._stalled(change, lost)
            self._soon(_TICK_NS)

        self._deciding.propose(partition, register, following, done)

    def _stalled(self, change: _Change, nodes: list[NodeId]) -> None:
        change.is_stalled = any(not self.desk.placement.is_routable(node) for node in nodes)

    def _waits_for_node(self, change: _Change, node: NodeId) -> None:
        change.is_stalled = True
        name = self.desk.placement.name_of(node)
        change.reason = f"waits for {name}, which cannot be reached: start it, or remove it"

    def _lost(self, nodes: tuple[NodeId, ...]) -> list[NodeId]:
        placement = self.desk.placement
        return [n for n in nodes if placement.is_member(n) and not placement.is_routable(n)]

    def _has_left(self, node: NodeId) -> bool:
        return not self.desk.placement.is_member(node)

    # Adoption

    def _not_adopted(
        self, partition: int, register: Register, asks: dict[NodeId, list[int]]
    ) -> list[NodeId]:
        """The owners that are not known to have the register on disk; adds whom to ask."""
        desk = self.desk
        late: list[NodeId] = []
        for node in register.owners:
            if self._has_left(node):
                continue
            if node == desk.self_id:
                durable = desk.placement.durable
                known = durable.registers[partition].epoch if durable is not None else 0
            else:
                known = self._adopted.get(node, {}).get(partition, 0)
            if known >= register.epoch:
                continue
            late.append(node)
            epoch, at = self._asked.get((node, partition), (0, 0))
            is_asked = epoch == register.epoch and desk.now - at < _ASK_AGAIN_NS
            if node != desk.self_id and not is_asked and desk.placement.is_routable(node):
                self._asked[node, partition] = (register.epoch, desk.now)
                asks.setdefault(node, []).append(partition)
        return late

    def _adoption_told(self, sender: NodeId, message: AdoptionTold) -> None:
        adopted = self._adopted.setdefault(sender, {})
        for partition, epoch in message.epochs:
            adopted[partition] = max(epoch, adopted.get(partition, 0))
        self._soon(_SOON_NS)

    # Filling

    def _is_filled(self, partition: int, change: _Change, register: Register) -> bool:
        desk = self.desk
        lacking = [n for n in register.receivers if change.filled.get(n) != register.epoch]
        lacking = [node for node in lacking if not self._has_left(node)]
        for node in lacking:
            asked_at = change.fill_asked_at.get(node)
            if asked_at is not None and desk.now - asked_at < _ASK_AGAIN_NS:
                continue
            change.fill_asked_at[node] = desk.now
            question = FillAsked(self.id, partition, register.epoch)
            if node == desk.self_id:
                self._filling.asked(node, question)
            else:
                desk.outbox.send(node, question)
        if lacking:
            name = desk.placement.name_of(lacking[0])
            change.reason = f"{name} is brought what the partition holds"
            if change.fill_waits:
                change.reason += f": {change.fill_waits}"
            self._stalled(change, lacking)
        else:
            change.fill_asked_at.clear()
        return not lacking

    def _fill_told(self, sender: NodeId, message: FillTold) -> None:
        change = self._changes.get(message.partition)
        if change is None:
            return
        change.fill_waits = message.waits_for
        if message.epoch > change.bytes_epoch:
            # Another slot of the same partition: it begins anew.
            change.bytes_epoch, change.bytes = message.epoch, 0
        change.bytes = max(change.bytes, message.bytes)
        if message.is_filled:
            change.filled[sender] = message.epoch
            self._soon(_SOON_NS)

    # What is told of it

    def transfers(self) -> list[Transfer]:
        """The changes that this node drives, planned ones too."""
        found: list[Transfer] = []
        target = self._target
        for partition, change in sorted(self._changes.items()):
            register = self.desk.placement.register(partition)
            giving: tuple[NodeId, ...]
            receiving: tuple[NodeId, ...]
            state = "planned"
            if register.phase is Phase.DONE:
                wanted = target[partition] if target is not None else register.owners
                giving = tuple(n for n in register.owners if n not in wanted)
                receiving = tuple(NodeId(n) for n in wanted if n not in register.owners)
            else:
                state = "moving" if register.phase is Phase.WRITE_BOTH else "switching"
                giving, receiving = givers(register), register.receivers
            done, total = self._progress(partition, change, register, receiving)
            found.append(
                Transfer(
                    partition,
                    giving[0] if giving else None,
                    receiving[0] if receiving else None,
                    done,
                    "waiting" if change.is_stalled else state,
                    change.reason,
                    total,
                )
            )
        return found

    def _progress(
        self, partition: int, change: _Change, register: Register, receiving: tuple[NodeId, ...]
    ) -> tuple[int, int]:
        """Bytes that are there, and that there are to be. The latter is an estimate until the
        receivers are filled."""
        if not receiving:
            return 0, 0
        total = self._sizes.of(partition)
        if register.phase is Phase.READ_NEW:
            total = max(total, change.bytes)
            return total, total
        done = change.bytes if change.bytes_epoch == register.epoch else 0
        if done and all(change.filled.get(node) == register.epoch for node in receiving):
            total = done
        return done, max(done, total)

    def here(self) -> list[Transfer]:
        """What can be seen from the registers alone, where no driver answers."""
        ring = self.desk.placement.ring
        return [
            Transfer(
                partition,
                next(iter(givers(register)), None),
                register.receivers[0],
                0,
                "waiting",
                "no member that could drive it can be reached",
                0,
            )
            for partition, register in enumerate(ring.registers if ring is not None else ())
            if register.phase is not Phase.DONE
        ]

    def ask_transfers(self, done: Callable[[Result], None]) -> None:
        """Tell what moves in the whole cluster."""
        driver = self.driver()
        if driver == self.desk.self_id:
            self._tick()
            done(TransfersResult(self.transfers(), driver))
        elif driver is None:
            done(TransfersResult(self.here(), None))
        else:
            AskingTransfers(self.desk, driver, self.here, done).start()

    def _transfers_asked(self, sender: NodeId, message: TransfersAsked) -> None:
        self._tick()
        self.desk.outbox.send(sender, transfers_told(message.request, self.transfers()))
