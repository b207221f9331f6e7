"""A node that was removed from its cluster: how it comes to know, and what becomes of its data.

It hears of it from the member table, or from a peer that refuses it and has proven to be one. From
then on it serves nobody, says why, and when it ends its store is moved aside: kept, and never
served again by a start that has not heard of it yet. A node that leaves in good order holds
nothing by then and is not meant.
"""

from __future__ import annotations

from sadik_machine import NodeId
from sadik_members import HandshakeRefused, MembersChanged, MemberState
from sadik_node.identity import DataDirectory
from sadik_node.log import Log

__all__ = ["Removal"]


class Removal:
    """Listens for it, for as long as the process runs."""

    def __init__(self, own_id: NodeId, log: Log) -> None:
        self._own_id = own_id
        self._log = log
        self._is_leaving = False
        self.detail = ""
        """How this node came to know that it was removed; empty while it was not."""

    def observe(self, news: object) -> None:
        """What the machines tell."""
        if not isinstance(news, MembersChanged):
            return
        own = news.members.get(self._own_id)
        if own is None:
            return
        if own.state is MemberState.LEAVING:
            self._is_leaving = True
        elif own.state is MemberState.LEFT and not self._is_leaving:
            self._found("the member table says that this node was removed from the cluster")

    def refused(self, refused: HandshakeRefused) -> None:
        """A handshake failed."""
        if refused.by_peer and refused.is_proven and refused.reason == "removed":
            self._found(f"a member says: {refused.detail}")

    def end(self, directory: DataDirectory) -> None:
        """The store is closed: move it aside, if this node was removed."""
        if self.detail and not self._is_leaving:
            aside = directory.retire(self.detail)
            self._log.event("moved_aside", f"{self.detail}: its data are kept in {aside}")

    def _found(self, detail: str) -> None:
        if not self.detail:
            self.detail = detail
            self._log.event("removed", detail)
