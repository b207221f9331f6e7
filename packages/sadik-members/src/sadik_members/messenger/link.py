"""A link: the two streams between this boot and one boot of a peer, which live and end together."""

from __future__ import annotations

import trio
from attrs import define, field

from sadik_machine import NodeId
from sadik_members.hello import Hello, StreamKind
from sadik_members.messenger.outbox import Outbox

__all__ = ["Link"]


@define(eq=False)
class Link:
    """``nonce`` is that of the dialler's hello: bulk streams name it to find their link."""

    hello: Hello
    is_ours: bool
    """This node dialled it."""
    nonce: bytes
    address: str
    small: Outbox
    bulk: Outbox
    is_trusted: bool
    """Messages other than membership's are taken from it."""
    has_bulk: bool = False
    open_streams: int = 1
    is_down: bool = False
    is_full: bool = False
    reason: str = ""
    since: float = field(factory=trio.current_time)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)

    @property
    def node(self) -> NodeId:
        """Who is at the other end."""
        return NodeId(self.hello.node_id)

    def is_boot_of(self, hello: Hello) -> bool:
        """Whether ``hello`` is of the same life of the peer."""
        mine = self.hello
        return (mine.boot_number, mine.boot_nonce) == (hello.boot_number, hello.boot_nonce)

    def outbox(self, kind: StreamKind) -> Outbox:
        """Where messages of that kind wait."""
        return self.small if kind is StreamKind.SMALL else self.bulk
