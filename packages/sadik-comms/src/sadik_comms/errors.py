"""What can go wrong with a stream, in words of this package.

Whatever carries the bytes, its library's errors (``OSError``, trio's resource errors, a TLS
library's alerts) are translated to these by the transport, so that nothing above has to know them.
Three kinds are kept apart: the other side or the way to it failed (`DialFailed`, `StreamBroken`),
this machine could not do it (`ListenFailed`, `AcceptFailed`), and the caller did it wrong
(`AddressInvalid`, `LocallyClosed`).
"""

# ruff: noqa: N818 -- named for what happened: "except DialFailed" reads as a sentence

from __future__ import annotations


class CommsError(Exception):
    """Base of every error of this package."""


class AddressInvalid(CommsError, ValueError):
    """A text or a pair that is no address; the message says which part and what is accepted."""


class DialFailed(CommsError):
    """No stream could be opened, and nothing was sent.

    ``reason`` says why and what to check; it may be shown to an operator as it is.
    """

    def __init__(self, address: object, reason: str) -> None:
        super().__init__(f"cannot dial {address}: {reason}")
        self.reason = reason


class ListenFailed(CommsError):
    """An address cannot be listened at; ``reason`` says why and what to check."""

    def __init__(self, address: object, reason: str) -> None:
        super().__init__(f"cannot listen at {address}: {reason}")
        self.reason = reason


class AddressInUse(ListenFailed):
    """Somebody else listens at the address."""


class AcceptFailed(CommsError):
    """A connection that arrived could not be taken; reported, never raised: listening goes on."""

    def __init__(self, address: object, reason: str) -> None:
        super().__init__(f"cannot accept at {address}: {reason}")
        self.reason = reason


class StreamBroken(CommsError):
    """The stream is gone: the peer reset or closed it, or the way to it failed.

    What was sent and not answered may or may not have arrived.
    """


class LocallyClosed(CommsError):
    """This side has closed the stream, its sending half or the listener: by the caller's own act.

    Also raised in a task that was blocked in the stream when another task closed it.
    """
