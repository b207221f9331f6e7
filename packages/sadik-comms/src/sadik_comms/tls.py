"""Streams over TLS 1.3 in which both sides prove by certificate who they are.

`TlsTransport` wraps another transport's streams. There is one authority, the cluster's own: a
certificate that it did not sign is refused in either direction, so a stranger gets no stream at
all. Host names are not checked here, since a node is not its address: whom a certificate names is
`Stream.proven_names`, for whoever knows whom it expects.

Only version 1.3 is spoken, without session tickets or early data: a handshake is one round trip,
nothing can be replayed, and after it no side has anything to say that was not asked for. The end
of a stream is a message of its own (``close_notify``), so a connection that is cut short is told
from one that ended. (RFC 8446, sections 4.4 and 6.1.)

To dial is to shake hands, so the listener must be served. In version 1.3 the dialler is done before
the listener has seen its certificate: one that is refused there looks open until a read breaks. A
`Stream.send_all` that is cancelled may leave a record cut in two, so closing the stream then breaks
it.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import attrs
import trio

from sadik_comms.errors import CommsError, DialFailed, LocallyClosed, StreamBroken
from sadik_comms.transport import RECEIVE_BYTES, Handler, Listener, Stream, Transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from sadik_comms.address import Address

_NS_PER_S = 1_000_000_000
_WRITE_BYTES = 65536
_FAREWELL_S = 0.05
_ALERTS = {
    "CERTIFICATE_VERIFY_FAILED": "the certificate is not of this cluster's authority, or is not "
    "valid now",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other side wants a certificate of this node",
    "TLSV1_ALERT_UNKNOWN_CA": "the other side does not know the authority of this node's "
    "certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the other side finds this node's certificate expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other side does not accept this node's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the other side does not accept this node's certificate",
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "HTTP_REQUEST": "the other side speaks HTTP, not TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the other side shows no certificate",
    "UNSUPPORTED_PROTOCOL": "the other side does not speak TLS 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the other side does not speak TLS 1.3",
}


class TlsCredentials:
    """A node's certificate and key, and the authority whose certificates it accepts.

    ``cert`` (with intermediate ones behind it), ``key`` and ``ca`` are files in PEM form.

    Raises:
        ValueError: a file is missing, unreadable or no such thing, or key and certificate do not
            belong together; the message names the file.
    """

    def __init__(
        self, cert: PathLike[str] | str, key: PathLike[str] | str, ca: PathLike[str] | str
    ) -> None:
        self._files = (cert, key, ca)
        self._dialling, self._listening = self._contexts()

    def reload(self) -> None:
        """Read the files anew; streams from now on use what they say, those that stand live on.

        Raises:
            ValueError: as at construction; then what was loaded before stays in use.
        """
        self._dialling, self._listening = self._contexts()

    def dialling(self) -> ssl.SSLContext:
        """The settings of a stream that this side opens."""
        return self._dialling

    def listening(self) -> ssl.SSLContext:
        """The settings of a stream that the other side opens."""
        return self._listening

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        return (
            self._context(ssl.PROTOCOL_TLS_CLIENT),
            self._context(ssl.PROTOCOL_TLS_SERVER),
        )

    def _context(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        cert, key, ca = self._files
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        if protocol is ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        load_certificate(context, cert, key)
        load_authority(context, ca)
        return context


def load_certificate(
    context: ssl.SSLContext, cert: PathLike[str] | str, key: PathLike[str] | str
) -> None:
    """Have a context show this certificate; both are files in PEM form.

    Raises:
        ValueError: a file is missing, unreadable or no such thing, or key and certificate do not
            belong together; the message names the files.
    """
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, _PasswordWanted) as error:
        raise ValueError(f"certificate {cert} with key {key}: {_why(error)}") from error


def load_authority(context: ssl.SSLContext, ca: PathLike[str] | str) -> None:
    """Have a context accept what this authority has signed; a file in PEM form.

    Raises:
        ValueError: it is missing, unreadable or no such thing; the message names it.
    """
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ValueError(f"authority {ca}: {_why(error)}") from error


class _PasswordWanted(Exception):  # noqa: N818 - asked by OpenSSL, answered with a sentence
    def __str__(self) -> str:
        return "the key is encrypted, and nobody is there to type its password: decrypt it"


def _no_password() -> str:
    raise _PasswordWanted


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return {
            "KEY_VALUES_MISMATCH": "the key is not this certificate's",
            "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
        }.get(error.reason or "", "it is no PEM file of that kind")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


class TlsStream(Stream):
    """One stream of another transport, encrypted; made by `TlsTransport`."""

    __slots__ = (
        "_closed", "_ended", "_incoming", "_inner", "_is_over", "_names", "_outgoing", "_ready",
        "_sending", "_tls",
    )  # fmt: skip

    def __init__(self, inner: Stream, context: ssl.SSLContext, *, is_listener: bool) -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_listener)
        self._names: frozenset[str] = frozenset()
        self._ready = bytearray()
        """Decrypted already, and not received by anybody."""
        self._closed = False
        self._ended = False
        self._is_over = False
        """The stream below has ended."""
        self._sending = False

    async def greet(self) -> None:
        """Carry out the handshake; once, before anything else.

        Raises `StreamBroken` where a side is not accepted.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError as error:
                with contextlib.suppress(CommsError):
                    await self._flush()  # the alert, that the other side may know why
                raise self._broken(error) from error
            else:
                await self._flush()
                break
        certificate = self._tls.getpeercert() or {}
        # Pairs of kind and name, as the standard library gives them.
        pairs = certificate.get("subjectAltName", ())
        self._names = frozenset(str(pair[1]) for pair in pairs if pair[0] == "DNS")

    @property
    def peer(self) -> str:
        return self._inner.peer

    @property
    def proven_names(self) -> frozenset[str]:
        return self._names

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, must be at least 1")
        self._check_open()
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        while True:
            if self._ready:
                await trio.lowlevel.cancel_shielded_checkpoint()
                data = bytes(self._ready[:max_bytes])
                del self._ready[:max_bytes]
                return data
            try:
                data = self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                await self._feed()
                has_waited = True
                self._check_open()
                continue
            except ssl.SSLZeroReturnError:
                data = b""  # the other side's end, when this side's was said before
            except ssl.SSLError as error:
                raise self._broken(error) from error
            if not has_waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._check_open()
        if self._ended:
            raise LocallyClosed(f"the sending half of the stream to {self.peer} is closed")
        self._sending = True
        try:
            with memoryview(data) as whole, whole.cast("B") as rest:
                if not len(rest):
                    await self._inner.send_all(b"")
                for start in range(0, len(rest), _WRITE_BYTES):
                    try:
                        self._tls.write(rest[start : start + _WRITE_BYTES])
                    except ssl.SSLError as error:
                        raise self._broken(error) from error
                    await self._flush()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._check_open()
        if self._ended:
            await trio.lowlevel.checkpoint()
            return
        self._sending = True
        try:
            self._say_end()
            await self._flush()
            await self._inner.send_eof()
        finally:
            self._sending = False

    async def aclose(self) -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        if not self._ended and not self._sending:
            self._say_end()
            # The end is a message: it goes out if the way is free, and waits for nobody.
            with trio.move_on_after(_FAREWELL_S, shield=True), contextlib.suppress(CommsError):
                await self._flush()
        await self._inner.aclose()

    def abort(self) -> None:
        self._closed = True
        self._inner.abort()

    def _say_end(self) -> None:
        """Write the message that ends this direction; the other may go on (RFC 8446, 6.1)."""
        self._ended = True
        # Having written it the library looks for the other side's, and takes data that it finds
        # there for a fault: so it must find nothing, and `receive_some` everything.
        with contextlib.suppress(ssl.SSLError):
            while pending := self._tls.pending():
                self._ready += self._tls.read(pending)
        unread = b"" if self._is_over else self._incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        if unread:
            self._incoming.write(unread)

    async def _feed(self) -> None:
        """Wait for bytes, or the end, of the stream below."""
        data = await self._inner.receive_some()
        if data:
            self._incoming.write(data)
        else:
            self._is_over = True
            self._incoming.write_eof()

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._inner.send_all(data)

    def _check_open(self) -> None:
        if self._closed:
            raise LocallyClosed(f"the stream to {self.peer} was closed on this side")

    def _broken(self, error: ssl.SSLError) -> CommsError:
        if self._closed:
            return LocallyClosed(f"the stream to {self.peer} was closed on this side")
        return StreamBroken(f"the stream to {self.peer} broke: {_reason(error)}")


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "it was cut short"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{_ALERTS['CERTIFICATE_VERIFY_FAILED']} ({error.verify_message})"
    return _ALERTS.get(error.reason or "", error.reason or "TLS failed")


class TlsListener(Listener):
    """Another transport's listener whose streams are greeted first; see `TlsTransport.listen`."""

    __slots__ = ("_greeting", "_inner", "_transport")

    def __init__(self, transport: TlsTransport, inner: Listener) -> None:
        self._transport = transport
        self._inner = inner
        self._greeting: dict[trio.CancelScope, None] = {}
        """Handshakes that have not ended, the oldest first."""

    @property
    def address(self) -> Address:
        return self._inner.address

    async def serve(self, handler: Handler, nursery: trio.Nursery) -> None:
        async def greeted(inner: Stream) -> None:
            context = self._transport.credentials.listening()
            stream = TlsStream(inner, context, is_listener=True)
            if len(self._greeting) >= self._transport.greetings_max:
                # Who belongs here is done in no time; whoever has taken longest does not.
                oldest = next(iter(self._greeting))
                del self._greeting[oldest]
                oldest.cancel()
            scope = trio.move_on_after(self._transport.greeting_timeout_ns / _NS_PER_S)
            self._greeting[scope] = None
            reason = ""
            try:
                with scope:
                    await stream.greet()
            except CommsError as error:
                reason = str(error)
            finally:
                self._greeting.pop(scope, None)
            if scope.cancelled_caught:
                reason = "no TLS handshake in time"
            if reason:
                stream.abort()
                if self._transport.on_stranger is not None:
                    self._transport.on_stranger(inner.peer, reason)
                return
            async with stream:
                await handler(stream)

        await self._inner.serve(greeted, nursery)

    async def aclose(self) -> None:
        await self._inner.aclose()


@attrs.frozen(kw_only=True)
class TlsTransport(Transport):
    """TLS over the streams of ``inner``.

    - ``credentials``: of this node; `TlsCredentials.reload` takes effect for the next stream.
    - ``greeting_timeout_ns``: what a handshake may take, in either direction.
    - ``greetings_max``: handshakes of others under way at once; at the bound the one that has taken
      longest is ended for the next.
    - ``on_stranger``: told of each incoming connection that proved nothing: where from, and why.
      Called in the serving task, must not block or raise.
    """

    inner: Transport
    credentials: TlsCredentials
    greeting_timeout_ns: int = 5 * _NS_PER_S
    greetings_max: int = 256
    on_stranger: Callable[[str, str], None] | None = None

    async def dial(self, address: Address) -> TlsStream:
        stream = TlsStream(
            await self.inner.dial(address), self.credentials.dialling(), is_listener=False
        )
        try:
            with trio.fail_after(self.greeting_timeout_ns / _NS_PER_S):
                await stream.greet()
        except trio.TooSlowError:
            stream.abort()
            raise DialFailed(address, "it takes connections, but no TLS handshake") from None
        except StreamBroken as error:
            stream.abort()
            raise DialFailed(address, str(error)) from error
        except BaseException:
            stream.abort()
            raise
        return stream

    async def listen(self, address: Address) -> TlsListener:
        return TlsListener(self, await self.inner.listen(address))
