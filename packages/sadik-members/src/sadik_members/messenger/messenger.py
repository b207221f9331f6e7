"""The messenger: keeps a link to every peer that it is told of, and moves messages over it.

Both sides of a pair may dial. One link survives, and both sides agree on which, by three rules:

- While a node is in a handshake that it dialled itself, it refuses an incoming one of a lesser node
  id (``duplicate``): the greater id's dial wins.
- A node that has answered an incoming hello begins no handshake of its own with that peer before
  the other has ended, and the greater id ends one that it began without knowing whom it dials.
- Where a link is up already, an incoming dial replaces it only if it is newer than the link. Dials
  are counted, and each hello bears the count, so an acceptor tells a peer that lost the link and
  dials again (a greater count than when the link was made) from a dial that crossed it on
  the way. Of two that crossed, the greater id's wins.

A link is two streams, for small and for bulk messages, and ends when either breaks. Nothing is ever
sent twice: what was handed to a stream that broke may have arrived or not, what was not is reported
as unsent. So at most once holds between two boots by construction: a link is of one boot of
each side, its messages are numbered, and the numbers hold a transport to it.

One task reads each stream, or sees to it that it is read where the host waits for all of them, and
one writes it; `send` only appends. Memory is bounded by the outboxes
here, and by `hold`, which lets the host stop all reading until it has caught up.
"""

from __future__ import annotations

import random

import trio
from attrs import define, field

from sadik_comms import (
    Address,
    AddressInvalid,
    Backoff,
    CommsError,
    DialFailed,
    Listener,
    Stream,
    Transport,
)
from sadik_machine import (
    SECOND,
    Codec,
    LinkState,
    NodeId,
)
from sadik_members.admission import BootsMet, admission_refusal
from sadik_members.handshake import Handshake
from sadik_members.hello import (
    NONCE_BYTES,
    Established,
    Hello,
    Refusal,
    RefusalReason,
    Refused,
    Role,
    StreamKind,
)
from sadik_members.messenger.events import Counters, MessengerEvents, MessengerLimits, Watcher
from sadik_members.messenger.greeting import Admit, Greeter, drive, judge_crossing, say_refusal
from sadik_members.messenger.link import Link
from sadik_members.messenger.outbox import SEQUENCE_BYTES, Outbox
from sadik_members.messenger.pump import Pump
from sadik_members.news import ClusterJoined, DialTargets, HandshakeRefused, MembersChanged
from sadik_members.proof import ClusterSecrets
from sadik_members.settings import Identity
from sadik_members.view import Member, MemberState

__all__ = ["Messenger"]

SETTLED_S = 1.0
"""A link that lasted this long was a good one: after it the wait between dials starts anew."""

SEEN_OFF_S = 0.5
"""So long the streams to who has left go on, for what was still to be written."""

# What belongs to two nodes that dial each other, or to one that stops: nobody need act on it.
_ORDINARY = ("duplicate", "self", "no_link", "closed", "shutting_down", "busy")
_KNOWN = tuple(str(reason) for reason in RefusalReason)


@define(eq=False)
class _Target:
    """Somebody to keep a link to: a member by id, or whoever is at a seed address."""

    address: str
    node: NodeId | None
    scope: trio.CancelScope = field(factory=trio.CancelScope)


class Messenger:
    """Streams to all peers of one node. See the module for how links are kept.

    ``identity`` is this node in this life, ``random`` for nonces (outside of tests a
    ``random.SystemRandom``). Pass what Membership announces to `observe`; run `run` in a task.
    Where there is a ``watcher``, streams that have a descriptor are read when it says.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        codec: Codec,
        identity: Identity,
        cluster_name: str,
        events: MessengerEvents,
        random: random.Random,
        limits: MessengerLimits | None = None,
        secrets: ClusterSecrets | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.counters = Counters()
        self._transport = transport
        self._codec = codec
        self._greeter = Greeter(identity, cluster_name, secrets)
        self._me = identity.node_id
        self._events = events
        self._random = random
        self._limits = limits or MessengerLimits()
        self._members: dict[NodeId, Member] = {}
        self._targets = DialTargets({}, ())
        self._kept: dict[tuple[NodeId | None, str], _Target] = {}
        self._met = BootsMet()
        self._links: dict[NodeId, Link] = {}
        self._dialling: dict[NodeId, int] = {}
        """Whom this node is in a handshake with that it dialled itself, and how often."""
        self._answered: dict[NodeId, int] = {}
        """Whose hello this node has answered in a handshake that has not ended."""
        self._attempt = 0
        self._greeting: dict[trio.CancelScope, None] = {}
        """Incoming handshakes that have not ended, the oldest first."""
        self._is_gathering = False
        self._gathered: dict[Outbox, Link] = {}
        """Where something was put since, and whose it is."""
        self._pump = Pump(codec, events, self._limits, self.counters, self._down, watcher)
        self._nursery: trio.Nursery | None = None
        self._listener: Listener | None = None
        self._is_closing = False

    # The host's side.

    async def run(
        self,
        listener: Listener,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take and keep links until `shutdown`, or cancellation, which drops what is unwritten.

        Closes ``listener`` at the end.
        """
        assert self._nursery is None, "a messenger runs once"
        self._listener = listener
        async with listener, trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(listener.serve, self._accept, nursery)
            nursery.start_soon(self._pump.tell_heard)
            self._keep_targets()
            task_status.started()

    def observe(self, news: object) -> None:
        """Take what Membership announced: `DialTargets`, `ClusterJoined`, `MembersChanged`.

        Other news is ignored, so a host may pass everything.
        """
        match news:
            case DialTargets():
                self._targets = news
                self._keep_targets()
            case ClusterJoined():
                self._greeter.cluster_id = news.cluster_id
            case MembersChanged():
                self._members = dict(news.members)
                for node in list(self._links):
                    member = self._members.get(node)
                    if member is not None and member.state is MemberState.LEFT:
                        self._down(self._links[node], "removed", is_seen_off=True)
            case _:
                return
        for link in self._links.values():
            link.is_trusted = self._is_trusted(link.hello)

    def use_secrets(self, secrets: ClusterSecrets) -> None:
        """Prove, and accept, these from the next handshake on; links that stand live on."""
        self._greeter.secrets = secrets

    def send(self, to: NodeId, message: object, *, bulk: bool = False) -> bool:
        """Hand over a message, without waiting.

        False means that it was not taken and provably never will be sent: there is no link, or its
        buffer is full (then `MessengerEvents.on_link` says FULL too). True means that it will be
        sent once, or be reported as unsent, or be lost with its link.
        """
        link = self._links.get(to)
        if link is None or self._is_closing:
            self.counters.reject("not_linked")
            return False
        payload = self._codec.encode(message)
        limits = self._limits
        if bulk or len(payload) > limits.bulk_from_bytes:
            if len(payload) + SEQUENCE_BYTES > limits.bulk_frame_bytes:
                self.counters.reject("too_large")
                return False
            outbox = link.bulk
        else:
            outbox = link.small
        if outbox.offer(message, payload):
            if self._is_gathering:
                self._gathered[outbox] = link
            else:
                outbox.wake()
            return True
        self.counters.reject("full")
        if not link.is_full:
            link.is_full = True
            self._events.on_link(to, LinkState.FULL)
        return False

    def gather(self, is_gathering: bool) -> None:
        """Gather what is sent from now on, or write what was gathered and gather no more.

        What is not gathered waits for the turn of the task that writes it. What is goes at once, as
        far as streams take it, without waking that task.
        """
        self._is_gathering = is_gathering
        if not is_gathering and self._gathered:
            gathered, self._gathered = self._gathered, {}
            for outbox, link in gathered.items():
                self._pump.write_now(link, outbox)

    def is_linked(self, node: NodeId) -> bool:
        """Whether there is a link to ``node`` now."""
        return node in self._links

    @property
    def pending_bytes(self) -> dict[NodeId, int]:
        """Bytes that wait for each linked peer, in ascending order of id."""
        return {
            node: self._links[node].small.pending_bytes + self._links[node].bulk.pending_bytes
            for node in sorted(self._links)
        }

    def hold(self) -> None:
        """Stop reading, because the host's inbox is full: peers are slowed in turn."""
        self._pump.hold()

    def release(self) -> None:
        """Read on."""
        self._pump.release()

    async def shutdown(self, flush_ns: int) -> None:
        """Take no more messages, write what waits for at most ``flush_ns``, end all links.

        Peers read the end of the streams after the last message. `run` returns after it.
        """
        self._is_closing = True
        if self._nursery is None:
            return
        for target in self._kept.values():
            target.scope.cancel()
        self._kept.clear()
        if self._listener is not None:
            await self._listener.aclose()
        self.release()
        links = list(self._links.values())
        for link in links:
            link.small.close()
            link.bulk.close()
        with trio.move_on_after(flush_ns / SECOND):
            for link in links:
                await link.ended.wait()
        self._nursery.cancel_scope.cancel()

    # Links.

    def _establish(self, hello: Hello, *, is_ours: bool, nonce: bytes, address: str) -> Link:
        node = NodeId(hello.node_id)
        if node in self._members:
            self._met.meet(node, hello.boot_number, hello.boot_nonce)
        old = self._links.get(node)
        if old is not None:
            self._down(old, "replaced")
        limits = self._limits
        link = Link(
            hello=hello,
            is_ours=is_ours,
            nonce=nonce,
            address=address,
            small=Outbox(limits.small_buffer_bytes, may_exceed=False),
            bulk=Outbox(limits.bulk_buffer_bytes, may_exceed=True),
            is_trusted=self._is_trusted(hello),
        )
        self._links[node] = link
        self.counters.links_up += 1
        self._events.on_link(node, LinkState.UP)
        self._events.on_log("link_up", {"peer": node.hex(), "address": address, "dialled": is_ours})
        return link

    def _is_trusted(self, hello: Hello) -> bool:
        """Whether both sides are of this cluster, so that other machines' messages may pass."""
        if not self._greeter.cluster_id:
            return False
        return bool(hello.cluster_id) or NodeId(hello.node_id) in self._members

    def _down(self, link: Link, reason: str, *, is_seen_off: bool = False) -> None:
        """End a link. Synchronous, so that nobody sees it half ended; twice is harmless.

        Who is seen off still gets what waits for it: the last of that answers its farewell.
        """
        if link.is_down:
            return
        link.is_down = True
        link.reason = reason
        node = link.node
        if self._links.get(node) is link:
            del self._links[node]
        self.counters.links_down += 1
        if is_seen_off and self._nursery is not None:
            link.is_full = False
            link.small.close()
            link.bulk.close()
            self._nursery.start_soon(self._end_soon, link)
        else:
            unsent = link.small.take_unsent() + link.bulk.take_unsent()
            if unsent:
                self._events.on_unsent(node, unsent)
            link.scope.cancel()
            link.ended.set()
        self._events.on_link(node, LinkState.DOWN)
        self._events.on_log("link_down", {"peer": node.hex(), "reason": reason})

    async def _end_soon(self, link: Link) -> None:
        await trio.sleep(SEEN_OFF_S)
        link.scope.cancel()
        link.ended.set()

    async def _run_link(self, link: Link, stream: Stream, first: bytes, leftover: bytes) -> None:
        """Move messages until the link ends. ``first`` goes out before them."""
        try:
            with link.scope:
                async with stream, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump.write, link, StreamKind.SMALL, stream, first)
                    nursery.start_soon(self._pump.read, link, StreamKind.SMALL, stream, leftover)
                    if link.is_ours:
                        nursery.start_soon(self._open_bulk, link)
        finally:
            self._down(link, "stopped")

    async def _run_bulk(self, link: Link, stream: Stream, first: bytes, leftover: bytes) -> None:
        link.has_bulk = True
        link.open_streams += 1
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump.write, link, StreamKind.BULK, stream, first)
            nursery.start_soon(self._pump.read, link, StreamKind.BULK, stream, leftover)
            await link.ended.wait()
            nursery.cancel_scope.cancel()

    # Dialling.

    def _keep_targets(self) -> None:
        """Start and stop dialling so that it fits the targets."""
        if self._nursery is None or self._is_closing:
            return
        wanted: dict[tuple[NodeId | None, str], None] = {}
        for node, address in self._targets.members.items():
            if node != self._me:
                wanted[(node, address)] = None
        for seed in self._targets.seeds:
            wanted[(None, seed)] = None
        for key in [key for key in self._kept if key not in wanted]:
            self._kept.pop(key).scope.cancel()
        for key in wanted:
            if key not in self._kept:
                target = _Target(key[1], key[0])
                self._kept[key] = target
                self._nursery.start_soon(self._keep, target)

    async def _keep(self, target: _Target) -> None:
        """Dial whenever there is no link to the target."""
        limits = self._limits
        backoff = Backoff(self._random, limits.redial_first_ns, limits.redial_max_ns)
        has_failed = False
        node = target.node
        with target.scope:
            while True:
                link = self._links.get(node) if node is not None else None
                outcome = link or await self._dial(target)
                if isinstance(outcome, Link):
                    node, has_failed = outcome.node, False
                    await outcome.ended.wait()
                    if trio.current_time() - outcome.since >= SETTLED_S:
                        backoff.reset()
                        continue
                elif isinstance(outcome, Refused):
                    if outcome.reason == RefusalReason.SELF:
                        return
                    if target.node is None and outcome.node_id:
                        node = NodeId(outcome.node_id)
                elif not has_failed:
                    has_failed = True
                    detail = {"address": target.address, "reason": str(outcome)}
                    self._events.on_log("dial_failed", detail)
                await trio.sleep(backoff.next_ns() / SECOND)

    async def _dial(self, target: _Target) -> Link | Refused | CommsError:
        """Dial once; on success the link runs in a task of its own."""
        self._attempt += 1
        self.counters.dials += 1
        attempt = self._attempt
        try:
            stream = await self._transport.dial(Address.parse(target.address))
        except (DialFailed, AddressInvalid) as error:
            return error
        node = target.node
        if node is not None and (node in self._links or node in self._answered):
            # The peer's own dial was quicker.
            await stream.aclose()
            return self._links.get(node) or Refused(
                RefusalReason.DUPLICATE, "linked meanwhile", by_peer=False
            )
        nonce = self._random.randbytes(NONCE_BYTES)
        hello = self._greeter.hello(StreamKind.SMALL, nonce, attempt, target.node or b"", b"")
        handshake = self._greeter.handshake(Role.DIALLER, stream, hello, self._admit_outgoing)
        if target.node is not None:
            self._dialling[target.node] = self._dialling.get(target.node, 0) + 1
        try:
            outcome = await drive(stream, handshake)
        finally:
            if target.node is not None:
                _count_down(self._dialling, target.node)
        if isinstance(outcome, Refused):
            await self._end_refused(
                stream, handshake, outcome, target.address, outgoing=True, expected=target.node
            )
            return outcome
        link = self._establish(outcome.peer, is_ours=True, nonce=nonce, address=target.address)
        assert self._nursery is not None
        first = handshake.data_to_send()
        self._nursery.start_soon(self._run_link, link, stream, first, handshake.leftover)
        return link

    async def _open_bulk(self, link: Link) -> None:
        """Dial the bulk stream of a link, again and again until it is there."""
        limits = self._limits
        backoff = Backoff(self._random, limits.redial_first_ns, limits.redial_max_ns)
        while True:
            self.counters.dials += 1
            try:
                stream = await self._transport.dial(Address.parse(link.address))
            except (DialFailed, AddressInvalid):
                await trio.sleep(backoff.next_ns() / SECOND)
                continue
            nonce = self._random.randbytes(NONCE_BYTES)
            hello = self._greeter.hello(StreamKind.BULK, nonce, 0, link.node, link.nonce)
            handshake = self._greeter.handshake(
                Role.DIALLER, stream, hello, self._admit_bulk_of(link)
            )
            outcome = await drive(stream, handshake)
            if isinstance(outcome, Established):
                first = handshake.data_to_send()
                await self._run_bulk(link, stream, first, handshake.leftover)
                return
            await self._end_refused(
                stream, handshake, outcome, link.address, outgoing=True, expected=link.node
            )
            await trio.sleep(backoff.next_ns() / SECOND)

    # Handshakes.

    async def _end_refused(
        self,
        stream: Stream,
        handshake: Handshake,
        refused: Refused,
        address: str,
        *,
        outgoing: bool,
        expected: NodeId | None = None,
    ) -> None:
        """Report a refusal, tell the other side why, and close."""
        reason = refused.reason if refused.reason in _KNOWN else "other"
        self.counters.reject(f"handshake_{reason}")
        if refused.reason not in _ORDINARY:
            self._events.on_refused(
                HandshakeRefused(
                    address=address,
                    reason=refused.reason,
                    detail=refused.detail,
                    outgoing=outgoing,
                    cluster_id=refused.cluster_id,
                    cluster_name=refused.cluster_name,
                    by_peer=refused.by_peer,
                    boot_number=refused.boot_number,
                    is_proven=refused.is_proven and self._is_meant(stream, expected),
                )
            )
        await say_refusal(stream, handshake)

    def _is_meant(self, stream: Stream, expected: NodeId | None) -> bool:
        """Whether a stream is to the member that it was dialled for, as far as that was proven."""
        member = None if expected is None else self._members.get(expected)
        return stream.proven_names is None or member is None or member.name in stream.proven_names

    async def _accept(self, stream: Stream) -> None:
        """Answer one incoming stream."""
        if len(self._greeting) >= self._limits.handshakes:
            # A node of ours is done in no time: whoever has taken longest is none, most likely.
            self.counters.reject("handshake_busy")
            oldest = next(iter(self._greeting))
            del self._greeting[oldest]
            oldest.cancel()
        scope = trio.CancelScope()
        self._greeting[scope] = None
        hello = self._greeter.hello(
            StreamKind.SMALL, self._random.randbytes(NONCE_BYTES), self._attempt, b"", b""
        )
        answered: list[NodeId] = []
        admit = self._admit_incoming(answered)
        handshake = self._greeter.handshake(Role.ACCEPTOR, stream, hello, admit)
        outcome: Established | Refused | None = None
        try:
            with scope:
                outcome = await drive(stream, handshake)
        finally:
            self._greeting.pop(scope, None)
            for node in answered:
                _count_down(self._answered, node)
        if outcome is None:
            stream.abort()
        elif isinstance(outcome, Refused):
            await self._end_refused(stream, handshake, outcome, stream.peer, outgoing=False)
        elif outcome.kind is StreamKind.SMALL:
            peer = outcome.peer
            link = self._establish(peer, is_ours=False, nonce=peer.nonce, address=peer.peer)
            await self._run_link(link, stream, handshake.data_to_send(), handshake.leftover)
        else:
            link = self._links[outcome.node_id]
            await self._run_bulk(link, stream, handshake.data_to_send(), handshake.leftover)

    def _admit_incoming(self, answered: list[NodeId]) -> Admit:
        """What one incoming handshake is judged by: at its hello, and again at its end.

        Whoever is answered is noted in ``answered``.
        """
        is_hello = True

        def admit(hello: Hello, names: frozenset[str] | None) -> Refusal | None:
            nonlocal is_hello
            was_hello, is_hello = is_hello, False
            if self._is_closing:
                return Refusal(RefusalReason.SHUTTING_DOWN, "this node is stopping")
            refusal = admission_refusal(hello, self._members, self._met, names)
            if refusal is not None:
                return refusal
            node = NodeId(hello.node_id)
            link = self._links.get(node)
            if hello.kind == StreamKind.BULK:
                return self._judge_bulk(hello, link)
            if link is None and len(self._links) >= self._limits.links:
                return Refusal(RefusalReason.BUSY, "this node has links to too many others")
            # Not at its end: the dialler takes the link as up by then.
            if link is None and was_hello and node in self._dialling and self._me > node:
                return Refusal(RefusalReason.DUPLICATE, "this node's own dial is under way")
            refusal = judge_crossing(hello, link, self._me)
            if refusal is None and was_hello:
                answered.append(node)
                self._answered[node] = self._answered.get(node, 0) + 1
            return refusal

        return admit

    def _judge_bulk(self, hello: Hello, link: Link | None) -> Refusal | None:
        if (
            link is None
            or link.is_ours
            or link.nonce != hello.link
            or link.has_bulk
            or not link.is_boot_of(hello)
        ):
            return Refusal(RefusalReason.NO_LINK, "there is no small stream to this one")
        return None

    def _admit_outgoing(self, hello: Hello, names: frozenset[str] | None) -> Refusal | None:
        """Whether the node that answered this one's dial is to be linked."""
        if self._is_closing:
            return Refusal(RefusalReason.SHUTTING_DOWN, "this node is stopping")
        refusal = admission_refusal(hello, self._members, self._met, names)
        if refusal is not None:
            return refusal
        node = NodeId(hello.node_id)
        link = self._links.get(node)
        if link is not None and link.is_boot_of(hello):
            return Refusal(RefusalReason.DUPLICATE, "there is a link already")
        if node in self._answered and self._me > node:
            return Refusal(RefusalReason.DUPLICATE, "the other side's dial is under way")
        return None

    def _admit_bulk_of(self, link: Link) -> Admit:
        def admit(hello: Hello, names: frozenset[str] | None) -> Refusal | None:
            refusal = admission_refusal(hello, self._members, self._met, names)
            if refusal is not None:
                return refusal
            if link.is_down or not link.is_boot_of(hello):
                return Refusal(RefusalReason.NO_LINK, "the small stream has ended")
            return None

        return admit


def _count_down(counts: dict[NodeId, int], node: NodeId) -> None:
    counts[node] -= 1
    if not counts[node]:
        del counts[node]
