"""The transports of this package, and one that wraps another's streams, keep the common rules."""

import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.abc import Instrument
from trio.testing import MockClock

from certificates import Authority
from sadik_comms import (
    RECEIVE_BYTES,
    Address,
    Handler,
    Listener,
    MemoryNetwork,
    Stream,
    TcpTransport,
    TlsTransport,
    Transport,
)
from sadik_comms.conformance import TransportConformance

AUTHORITY = Authority()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _run_in_virtual_time(
    test: Callable[[], Awaitable[object]], clock: None, instruments: Sequence[Instrument]
) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0), instruments=instruments)


_virtual_time = pytest.mark.trio(run=_run_in_virtual_time)


class TestTcp(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        return TcpTransport(), TcpTransport(), Address("127.0.0.1", 0)


class TestTcpOfAName(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        return TcpTransport(), TcpTransport(), Address("localhost", 0)


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
class TestTcpOverIpv6(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        return TcpTransport(), TcpTransport(), Address("::1", 0)


class TestTcpWithSmallBuffers(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        small = TcpTransport(send_buffer_bytes=16384, receive_buffer_bytes=16384)
        return small, small, Address("127.0.0.1", 0)


class TestTls(TransportConformance):
    shakes_hands = True

    def transports(self) -> tuple[Transport, Transport, Address]:
        transport = TlsTransport(inner=TcpTransport(), credentials=AUTHORITY.credentials("n1"))
        return transport, transport, Address("127.0.0.1", 0)


class TestTlsWithSmallBuffers(TransportConformance):
    shakes_hands = True

    def transports(self) -> tuple[Transport, Transport, Address]:
        small = TcpTransport(send_buffer_bytes=16384, receive_buffer_bytes=16384)
        transport = TlsTransport(inner=small, credentials=AUTHORITY.credentials("n1"))
        return transport, transport, Address("127.0.0.1", 0)


@_virtual_time
class TestMemory(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        network = MemoryNetwork()
        return network.transport("b"), network.transport("a"), Address("b", 0)


@_virtual_time
class TestMemoryWithSmallBuffers(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        network = MemoryNetwork(buffer_bytes=5000)
        return network.transport("b"), network.transport("a"), Address("b", 0)


@_virtual_time
class TestMemoryWithDelay(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        network = MemoryNetwork(buffer_bytes=1_000_000)
        network.delay("a", "b", 5_000_000)
        return network.transport("b"), network.transport("a"), Address("b", 0)


class _MaskedStream(Stream):
    """What TLS will do in its place: change the bytes on the way, leave all else alone."""

    def __init__(self, inner: Stream) -> None:
        self._inner = inner

    @property
    def peer(self) -> str:
        return self._inner.peer

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        return (await self._inner.receive_some(max_bytes)).translate(_MASK)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(bytes(data).translate(_MASK))

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    def abort(self) -> None:
        self._inner.abort()


_MASK = bytes(byte ^ 0x5A for byte in range(256))


class _MaskedListener(Listener):
    def __init__(self, inner: Listener) -> None:
        self._inner = inner

    @property
    def address(self) -> Address:
        return self._inner.address

    async def serve(self, handler: Handler, nursery: trio.Nursery) -> None:
        await self._inner.serve(lambda stream: handler(_MaskedStream(stream)), nursery)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _MaskedTransport(Transport):
    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def dial(self, address: Address) -> Stream:
        return _MaskedStream(await self._inner.dial(address))

    async def listen(self, address: Address) -> Listener:
        return _MaskedListener(await self._inner.listen(address))


class TestATransportThatWrapsAnother(TransportConformance):
    def transports(self) -> tuple[Transport, Transport, Address]:
        masked = _MaskedTransport(TcpTransport())
        return masked, masked, Address("127.0.0.1", 0)
