"""TLS between nodes: who is let in, what is proven, and what a stranger gets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from certificates import Authority
from sadik_comms import (
    Address,
    CommsError,
    DialFailed,
    Stream,
    StreamBroken,
    TcpTransport,
    TlsCredentials,
    TlsTransport,
)

HERE = Address("127.0.0.1", 0)
OURS, THEIRS = Authority(), Authority()
LIMIT_S = 20


def transport(credentials: TlsCredentials, strangers: list[str] | None = None) -> TlsTransport:
    def note(_peer: str, reason: str) -> None:
        if strangers is not None:
            strangers.append(reason)

    return TlsTransport(inner=TcpTransport(), credentials=credentials, on_stranger=note)


class Server:
    """Answers every stream with what it sent; remembers the names that were proven."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.names: list[frozenset[str] | None] = []

    async def handle(self, stream: Stream) -> None:
        self.names.append(stream.proven_names)
        try:
            while data := await stream.receive_some():
                await stream.send_all(data)
        except CommsError:
            pass


@asynccontextmanager
async def serving(listening: TlsTransport) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery, await listening.listen(HERE) as listener:
        server = Server(listener.address)
        nursery.start_soon(listener.serve, server.handle, nursery)
        yield server
        nursery.cancel_scope.cancel()


async def open_raw(address: Address) -> trio.SocketStream:
    return await trio.open_tcp_stream(address.host, address.port)


async def ask(stream: trio.SSLStream[trio.SocketStream]) -> None:
    await stream.send_all(b"hello")
    await stream.receive_some()


async def breaks(stream: Stream) -> None:
    """Receive until the stream breaks; it must not end."""
    try:
        while await stream.receive_some():
            pass
    except StreamBroken:
        return
    raise AssertionError("it ended")


async def echoed(dialling: TlsTransport | TcpTransport, address: Address) -> bytes:
    async with await dialling.dial(address) as stream:
        await stream.send_all(b"hello")
        return await stream.receive_some()


async def test_each_side_proves_the_names_of_its_certificate() -> None:
    with trio.fail_after(LIMIT_S):
        async with serving(transport(OURS.credentials("n1", "n1.example"))) as server:
            dialling = transport(OURS.credentials("n2"))
            async with await dialling.dial(server.address) as stream:
                assert stream.proven_names == {"n1", "n1.example"}
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"x"
            assert server.names == [frozenset({"n2"})]


async def test_a_transport_without_proof_proves_no_names() -> None:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery, await TcpTransport().listen(HERE) as listener:
            server = Server(listener.address)
            nursery.start_soon(listener.serve, server.handle, nursery)
            assert await echoed(TcpTransport(), server.address) == b"hello"
            assert server.names == [None]
            nursery.cancel_scope.cancel()


async def test_a_certificate_of_another_authority_gets_no_stream() -> None:
    """In either direction: the dialler knows at once, the listener's word breaks a read."""
    strangers: list[str] = []
    with trio.fail_after(LIMIT_S):
        async with serving(transport(OURS.credentials("n1"), strangers)) as server:
            cert, key = THEIRS.issue("n1")
            with pytest.raises(DialFailed, match="not of this cluster's authority"):
                await transport(THEIRS.credentials("n2")).dial(server.address)
            trusting = TlsCredentials(cert, key, OURS.ca)
            with pytest.raises(StreamBroken, match=r"authority of this node|broke"):
                await echoed(transport(trusting), server.address)
            assert server.names == []
            assert await echoed(transport(OURS.credentials("n3")), server.address) == b"hello"
    assert len(strangers) == 2


async def test_who_speaks_no_tls_or_shows_no_certificate_gets_nothing() -> None:
    strangers: list[str] = []
    with trio.fail_after(LIMIT_S):
        async with serving(transport(OURS.credentials("n1"), strangers)) as server:
            async with await TcpTransport().dial(server.address) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await breaks(stream)
            nobody = ssl.create_default_context(cafile=str(OURS.ca))
            nobody.check_hostname = False
            async with await open_raw(server.address) as raw:
                with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):
                    await ask(trio.SSLStream(raw, nobody))
            assert server.names == []
    assert len(strangers) == 2
    assert "certificate" in strangers[1]


async def test_an_older_protocol_is_refused() -> None:
    with trio.fail_after(LIMIT_S):
        async with serving(transport(OURS.credentials("n1"))) as server:
            cert, key = OURS.issue("old")
            older = ssl.create_default_context(cafile=str(OURS.ca))
            older.check_hostname = False
            older.load_cert_chain(cert, key)
            older.maximum_version = ssl.TLSVersion.TLSv1_2
            async with await open_raw(server.address) as raw:
                with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):
                    await trio.SSLStream(raw, older).do_handshake()


async def test_who_says_nothing_is_not_waited_for() -> None:
    strangers: list[str] = []
    listening = TlsTransport(
        inner=TcpTransport(),
        credentials=OURS.credentials("n1"),
        greeting_timeout_ns=50_000_000,
        on_stranger=lambda _peer, reason: strangers.append(reason),
    )
    with trio.fail_after(LIMIT_S):
        async with serving(listening) as server:
            async with await TcpTransport().dial(server.address) as stream:
                await breaks(stream)
            async with trio.open_nursery() as nursery, await TcpTransport().listen(HERE) as silent:

                async def hold(_stream: Stream) -> None:
                    await trio.sleep_forever()

                nursery.start_soon(silent.serve, hold, nursery)
                with pytest.raises(DialFailed, match="no TLS handshake"):
                    await listening.dial(silent.address)
                nursery.cancel_scope.cancel()
    assert strangers == ["no TLS handshake in time"]


async def test_many_that_say_nothing_keep_nobody_out() -> None:
    listening = TlsTransport(
        inner=TcpTransport(), credentials=OURS.credentials("n1"), greetings_max=2
    )
    with trio.fail_after(LIMIT_S):
        async with serving(listening) as server:
            first = await TcpTransport().dial(server.address)
            others = [await TcpTransport().dial(server.address) for _ in range(3)]
            async with await transport(OURS.credentials("n2")).dial(server.address) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
            await breaks(first)
            for each in (first, *others):
                await each.aclose()


async def test_a_stream_that_is_cut_short_has_not_ended() -> None:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            listening = transport(OURS.credentials("n1"))
            listener = await listening.listen(HERE)

            async def cut(stream: Stream) -> None:
                await stream.send_all(b"half of it")
                # What an attacker on the way can do: end the connection, not the stream.
                await stream._inner.aclose()  # type: ignore[attr-defined]

            nursery.start_soon(listener.serve, cut, nursery)
            async with await transport(OURS.credentials("n2")).dial(listener.address) as stream:
                assert await stream.receive_some() == b"half of it"
                with pytest.raises(StreamBroken, match="cut short"):
                    await stream.receive_some()
            await listener.aclose()


async def test_new_certificates_are_taken_without_a_new_start() -> None:
    cert, key = OURS.issue("before")
    credentials = TlsCredentials(cert, key, OURS.ca)
    with trio.fail_after(LIMIT_S):
        async with serving(transport(credentials)) as server:
            dialling = transport(OURS.credentials("n2"))
            async with await dialling.dial(server.address) as old:
                new_cert, new_key = OURS.issue("after")
                cert.write_bytes(new_cert.read_bytes())
                key.write_bytes(new_key.read_bytes())
                credentials.reload()
                async with await dialling.dial(server.address) as new:
                    assert [old.proven_names, new.proven_names] == [{"before"}, {"after"}]
                await old.send_all(b"lives on")
                assert await old.receive_some() == b"lives on"
                key.write_bytes(b"no key")
                with pytest.raises(ValueError, match="no PEM file"):
                    credentials.reload()
                async with await dialling.dial(server.address) as still:
                    assert still.proven_names == {"after"}


def test_files_that_are_no_credentials_are_named(tmp_path: Path) -> None:
    cert, key = OURS.issue("n1")
    _, other_key = OURS.issue("n2")
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="the key is not this certificate's"):
        TlsCredentials(cert, other_key, OURS.ca)
    with pytest.raises(ValueError, match=r"missing\.pem.*No such file"):
        TlsCredentials(tmp_path / "missing.pem", key, OURS.ca)
    with pytest.raises(ValueError, match=r"authority .*missing\.pem: No such file"):
        TlsCredentials(cert, key, tmp_path / "missing.pem")
    with pytest.raises(ValueError, match=r"authority .*empty\.pem"):
        TlsCredentials(cert, key, empty)
