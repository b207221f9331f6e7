"""What the clients' listener says to who asks it for what is served at the operators' own.

421 (RFC 9110, 15.5.20): right, but not here. Where that listener is, only those are told who can
make use of it: who has shown a token, where tokens are asked for; and of an address on loopback who
comes from loopback, since to anybody else it would mean another machine.
"""

from __future__ import annotations

from attrs import frozen

from sadik_node.http.answers import Answer, problem
from sadik_node.http.server import LOOPBACK

__all__ = ["Elsewhere"]

_KIND = "urn:sadik:problem:operators-listener"


@frozen
class Elsewhere:
    """The operators' listener as the clients' one knows it."""

    url: str
    is_loopback: bool
    """Whether only this machine reaches it."""

    def misdirected(self, path: str, address: str, *, is_known: bool) -> Answer:
        """The refusal. ``address`` is the client's, as connections are counted by; ``is_known``
        whether it may be told where to go.
        """
        detail = f"{path} is served at the operators' listener of this node (listen.admin)"
        if not is_known:
            return problem(421, detail, reason="listener", kind=_KIND)
        if self.is_loopback and address != LOOPBACK:
            detail += ", which is on loopback: ask on its own machine"
            return problem(421, detail, reason="listener", kind=_KIND)
        return problem(
            421, f"{detail}: {self.url}", reason="listener", kind=_KIND, operators=self.url
        )
