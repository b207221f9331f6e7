"""Hosts for messengers in tests: they remember what they are told."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from sadik_comms import Address, Transport
from sadik_machine import Codec, LinkState, MessageRange, NodeId
from sadik_members import (
    MESSAGES,
    ClusterJoined,
    ClusterSecrets,
    DialTargets,
    HandshakeRefused,
    Identity,
    Member,
    MembersChanged,
    MemberState,
)
from sadik_members.messenger import Messenger, MessengerLimits, Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEST_MESSAGES = MessageRange("messenger-tests", 900, 909)


@TEST_MESSAGES.message(900)
@define
class Note:
    """A message of another machine than membership."""

    number: int
    body: bytes = b""


CODEC = Codec(MESSAGES, TEST_MESSAGES)
CLUSTER = b"c" * 16


def node_id(number: int) -> NodeId:
    return NodeId(number.to_bytes(8, "big"))


@define(eq=False)
class Host:
    """Takes what a messenger tells."""

    number: int
    got: list[tuple[int, object]] = field(factory=list)
    links: list[tuple[int, LinkState]] = field(factory=list)
    unsent: list[tuple[int, object]] = field(factory=list)
    refused: list[HandshakeRefused] = field(factory=list)
    told: list[str] = field(factory=list)
    heard: list[tuple[NodeId, ...]] = field(factory=list)
    log: list[tuple[str, dict[str, object]]] = field(factory=list)
    changed: trio.Event = field(factory=trio.Event)
    address: Address | None = None
    messenger: Messenger = field(init=False)

    def deliver(self, peer: NodeId, messages: list[object]) -> None:
        self.got += [(int.from_bytes(peer, "big"), message) for message in messages]
        self._note()

    def on_link(self, peer: NodeId, state: LinkState) -> None:
        self.links.append((int.from_bytes(peer, "big"), state))
        self.told.append(state.value)
        self._note()

    def on_unsent(self, peer: NodeId, messages: list[object]) -> None:
        self.told.append("unsent")
        self.unsent += [(int.from_bytes(peer, "big"), message) for message in messages]
        self._note()

    def on_refused(self, refused: HandshakeRefused) -> None:
        self.refused.append(refused)
        self._note()

    def on_heard(self, peers: tuple[NodeId, ...]) -> None:
        self.heard.append(peers)
        self._note()

    def on_log(self, event: str, fields: Mapping[str, object]) -> None:
        self.log.append((event, dict(fields)))

    def _note(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, holds: object) -> None:
        """Wait until ``holds()``, looking at every change; 10 s at most."""
        assert callable(holds)
        with trio.fail_after(10):
            while not holds():
                await self.changed.wait()

    def numbers(self, sender: int) -> list[int]:
        """The numbers of the notes that came from ``sender``."""
        return [m.number for s, m in self.got if s == sender and isinstance(m, Note)]

    def states(self, peer: int) -> list[LinkState]:
        return [state for number, state in self.links if number == peer]

    def is_linked(self, peer: int) -> bool:
        return self.messenger.is_linked(node_id(peer))


def member(number: int, address: str, **changes: object) -> Member:
    values: dict[str, object] = {
        "id": node_id(number),
        "name": f"n{number}",
        "peer": address,
        "http": "h:1",
        "zone": "",
        "weight": 1.0,
        "incarnation": 1,
        "state": MemberState.UP,
        "boot_number": 1,
        "boot_nonce": number,
    }
    return Member(**{**values, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    transport: Transport,
    number: int,
    *,
    listen: Address | None = None,
    boot: int = 1,
    cluster: bytes = CLUSTER,
    cluster_name: str = "test",
    limits: MessengerLimits | None = None,
    secrets: ClusterSecrets | None = None,
    watcher: Watcher | None = None,
) -> AsyncIterator[Host]:
    """A host whose messenger runs; it dials nobody before it is told to by `aim`."""
    listener = await transport.listen(listen or Address(f"h{number}", 1))
    identity = Identity(
        node_id(number),
        f"n{number}",
        str(listener.address),
        "h:1",
        "",
        1.0,
        boot,
        number if boot == 1 else boot,
    )
    host = Host(number)
    host.address = listener.address
    host.messenger = Messenger(
        transport=transport,
        codec=CODEC,
        identity=identity,
        cluster_name=cluster_name,
        events=host,
        random=random.Random(number * 100 + boot),
        limits=limits,
        secrets=secrets,
        watcher=watcher,
    )
    if cluster:
        host.messenger.observe(ClusterJoined(cluster, b"k" * 32))
    async with trio.open_nursery() as nursery:
        await nursery.start(host.messenger.run, listener)
        yield host
        nursery.cancel_scope.cancel()


def aim(host: Host, *others: Host, seeds: tuple[str, ...] = ()) -> None:
    """Tell a messenger whom to keep links to."""
    targets = {node_id(other.number): str(other.address) for other in others}
    host.messenger.observe(DialTargets(targets, seeds))


def tell_members(host: Host, *members: Member) -> None:
    host.messenger.observe(MembersChanged({m.id: m for m in members}))
