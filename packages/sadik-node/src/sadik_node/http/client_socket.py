"""The socket of one client as its connection sees it: in the clear, or under TLS.

`TlsSocket` behaves as a non-blocking socket does, so that nothing above it knows of TLS: where
OpenSSL wants to read or to write first, it would block. The handshake is no step of its own; it
goes on within whatever read or write comes next. Two rules keep that true with an edge-triggered
poll:

- ``send`` goes on until everything is taken or the kernel takes no more, for a short count means
  that an event will come;
- a piece that was refused is offered again as it was (`Output` keeps it), as OpenSSL demands.

A read gives one record at most, so a short one does *not* mean that nothing is left.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Protocol

__all__ = ["ClientSocket", "PlainHttpError", "TlsSocket"]

_PIECE_BYTES = 64 * 2**10
_WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ClientSocket(Protocol):
    """What a connection needs of its socket; all of it as `socket.socket` has it."""

    def fileno(self) -> int:
        """See `socket.socket.fileno`."""
        ...

    def recv_into(self, buffer: memoryview, /) -> int:
        """See `socket.socket.recv_into`."""
        ...

    def send(self, data: bytes | memoryview, /) -> int:
        """See `socket.socket.send`."""
        ...

    def sendmsg(self, buffers: Sequence[bytes], /) -> int:
        """See `socket.socket.sendmsg`."""
        ...

    def shutdown(self, how: int, /) -> None:
        """See `socket.socket.shutdown`."""
        ...

    def close(self) -> None:
        """See `socket.socket.close`."""
        ...


class PlainHttpError(ConnectionError):
    """The client speaks HTTP without TLS to a port that wants it."""


class TlsSocket:
    """The server's side of TLS on a connected, non-blocking socket, which it takes over.

    Raises OSError where the client has gone already.
    """

    __slots__ = ("_tls",)

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    @property
    def is_established(self) -> bool:
        """Whether the handshake is over."""
        return self._tls.version() is not None

    def fileno(self) -> int:
        """See `ClientSocket`."""
        return self._tls.fileno()

    def recv_into(self, buffer: memoryview, /) -> int:
        """See `ClientSocket`."""
        try:
            return self._tls.recv_into(buffer)
        except _WANTS:
            raise BlockingIOError from None
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                raise PlainHttpError from None
            raise

    def send(self, data: bytes | memoryview, /) -> int:
        """See `ClientSocket`."""
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            try:
                sent += self._tls.send(view[sent : sent + _PIECE_BYTES])
            except _WANTS:
                if not sent:
                    raise BlockingIOError from None
                break
        return sent

    def sendmsg(self, buffers: Sequence[bytes], /) -> int:
        """See `ClientSocket`."""
        total = 0
        for data in buffers:
            try:
                sent = self.send(data)
            except BlockingIOError:
                if not total:
                    raise
                return total
            total += sent
            if sent < len(data):
                break
        return total

    def shutdown(self, how: int, /) -> None:
        """Say that nothing more comes. What is read from then on is not deciphered any more."""
        self._say_goodbye()
        self._tls.shutdown(how)

    def close(self) -> None:
        """See `ClientSocket`; a client that still listens is told that this is the end."""
        self._say_goodbye()
        self._tls.close()

    def answer_in_the_clear(self, answer: bytes) -> None:
        """Say something to a client that speaks no TLS, as far as it can be said at once."""
        with contextlib.suppress(OSError):
            socket.socket.send(self._tls, answer)
            self._tls.shutdown(socket.SHUT_WR)
            # What lies unread at the close would reset the connection, and the answer with it.
            self._tls.recv(_PIECE_BYTES)

    def _say_goodbye(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.is_established:
                self._tls.unwrap()
