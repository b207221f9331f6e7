"""Two ways to be wrong: our caller's and the other side's.

The distinction is h11's: a `LocalProtocolError` is a defect in the program that uses a machine;
a `RemoteProtocolError` is misbehaviour of a peer, which closes its stream and harms nobody else.
"""

from __future__ import annotations

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """Base of both."""


class LocalProtocolError(ProtocolError):
    """This side broke the rules of the machine that it uses."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what no correct peer sends.

    ``reason`` is a short stable word for counters (``sadik_rejected_total{reason}``); the message
    is for the log.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
